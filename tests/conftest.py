"""One thread for each process: pytest-xdist fills the cores already."""

import torch

torch.set_num_threads(1)
