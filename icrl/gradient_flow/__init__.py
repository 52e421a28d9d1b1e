"""Training a linear block to mimic its teacher: loss and flow, what the tasks let one see, where flows end,
and Algorithm 1: small (:mod:`~icrl.gradient_flow.teacher_mimicking`), and at the size of the paper's
experiment (:mod:`~icrl.gradient_flow.experiment`)."""

from icrl.gradient_flow.basins import (
    FATES,
    Landing,
    LocalRate,
    basin_row,
    fate,
    follow,
    growth,
    local_rate,
    norm_bound,
    polyak,
    random_start,
    random_starts,
    trainings_row,
)
from icrl.gradient_flow.experiment import (
    Experiment,
    Lesson,
    Run,
    train_side_by_side,
    training_start,
)
from icrl.gradient_flow.flow import (
    Flow,
    MimickingLoss,
    gradient_flow,
    mimicking_loss,
    outcome,
)
from icrl.gradient_flow.full_count import (
    device_lessons,
    full_count_rows,
    train_on_device,
)
from icrl.gradient_flow.mirror_well import (
    GaussianLoss,
    Well,
    mirror_well,
    mirrored,
    mirrored_loss,
)
from icrl.gradient_flow.recovery import (
    Recovery,
    experiment_richness_row,
    experiment_tasks,
    null_dimension,
    recovery,
    spectrum,
    training_rows,
    unseen_data,
)
from icrl.gradient_flow.richness import (
    NULL,
    Richness,
    landing_point,
    richness,
)
from icrl.gradient_flow.tasks import (
    ACTOR_CRITIC_KINDS,
    SARSA_KINDS,
    random_actor_critic_tasks,
    random_tasks,
)
from icrl.gradient_flow.teacher_mimicking import (
    Training,
    alignment,
    train,
)
from icrl.gradient_flow.whole_block import (
    CornerFlow,
    block_gradients,
    corner_flow,
)
from icrl.gradient_flow.worlds import (
    Window,
    Worlds,
    random_worlds,
)

__all__ = [
    "ACTOR_CRITIC_KINDS",
    "FATES",
    "NULL",
    "SARSA_KINDS",
    "CornerFlow",
    "Experiment",
    "Flow",
    "GaussianLoss",
    "Landing",
    "Lesson",
    "LocalRate",
    "MimickingLoss",
    "Recovery",
    "Richness",
    "Run",
    "Training",
    "Well",
    "Window",
    "Worlds",
    "alignment",
    "basin_row",
    "block_gradients",
    "corner_flow",
    "device_lessons",
    "experiment_richness_row",
    "experiment_tasks",
    "fate",
    "follow",
    "full_count_rows",
    "gradient_flow",
    "growth",
    "landing_point",
    "local_rate",
    "mimicking_loss",
    "mirror_well",
    "mirrored",
    "mirrored_loss",
    "norm_bound",
    "null_dimension",
    "outcome",
    "polyak",
    "random_actor_critic_tasks",
    "random_start",
    "random_starts",
    "random_tasks",
    "random_worlds",
    "recovery",
    "richness",
    "spectrum",
    "train",
    "train_on_device",
    "train_side_by_side",
    "training_rows",
    "training_start",
    "trainings_row",
    "unseen_data",
]
