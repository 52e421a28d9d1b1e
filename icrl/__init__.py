"""In-context reinforcement learning, executable: the constructions and checks behind the book."""

__version__ = "0.1.0"
