"""Training a linear block to mimic its teacher: loss and flow, what the tasks let one see, where flows end,
and Algorithm 1."""

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
from icrl.gradient_flow.flow import (
    Flow,
    MimickingLoss,
    gradient_flow,
    mimicking_loss,
    outcome,
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

__all__ = [
    "ACTOR_CRITIC_KINDS",
    "FATES",
    "NULL",
    "SARSA_KINDS",
    "CornerFlow",
    "Flow",
    "Landing",
    "LocalRate",
    "MimickingLoss",
    "Richness",
    "Training",
    "alignment",
    "basin_row",
    "block_gradients",
    "corner_flow",
    "fate",
    "follow",
    "gradient_flow",
    "growth",
    "landing_point",
    "local_rate",
    "mimicking_loss",
    "norm_bound",
    "outcome",
    "polyak",
    "random_actor_critic_tasks",
    "random_start",
    "random_starts",
    "random_tasks",
    "richness",
    "train",
    "trainings_row",
]
