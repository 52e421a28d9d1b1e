"""Both papers' constructions written out in NumPy, matrix by matrix, and ways to break them.

No forward pass of the package is called: these are second transcriptions, for comparison and for the
negative controls of the chapters. Xie et al. (2026), eqs. (1)-(3), (13)-(15), (18), (19); Liang and Lai
(2026), eqs. (1), (4), (5); the faults are ours.
"""

import numpy as np
from jaxtyping import Float

from icrl._arguments import checked
from icrl.linear_transformer import sarsa_weights
from icrl.mdp import MarkovDecisionProcess
from icrl.policies import softmax_policy, softmax_score
from icrl.policy_improvement import actor_critic_update


@checked
def literal_forward(
    prompt: Float[np.ndarray, "D N"],
    value: Float[np.ndarray, "D D"],
    score: Float[np.ndarray, "D D"],
    discount: float,
    num_layers: int,
    *,
    mask: bool = True,
    moves: int = -1,
    clears: bool = True,
    dual: bool = False,
) -> Float[np.ndarray, "L_plus_1 N"]:
    """The forward pass with every matrix of eqs. (1)-(3), (13)-(15), (18), (19) written out, in NumPy.

    It shares no code with :class:`~icrl.softmax_transformer.SoftmaxTransformer`, and it can be broken
    on purpose: ``mask=False`` lets the query be a source, ``moves=+1`` shifts the memory the wrong
    way, ``clears=False`` leaves the old target in place. Returns the current-memory row
    ``(num_layers+1, n+1)``.
    """
    z = np.asarray(prompt)
    size, columns = z.shape
    masked = np.zeros((columns, columns))
    masked[-1] = -np.inf if mask else 0
    shift = np.eye(columns, k=moves)  # (Y Pi)[:, j] = Y[:, j+1] for moves = -1
    unit = np.eye(size)
    u = unit - clears * np.outer(unit[-2], unit[-2])
    w = discount * np.outer(unit[-2], unit[-1])
    rows = [z[-1]]
    for _ in range(num_layers):
        logits = z.T @ score @ z + masked
        weights = np.exp(logits - logits.max(axis=0))
        y = value @ z @ (weights / weights.sum(axis=0))
        z = z + y + w @ y @ shift if dual else u @ (z + y) + w @ (z + y) @ shift
        rows.append(z[-1])
    return np.array(rows)


SOFTMAX_FAULTS = {
    "no mask on the query": {"mask": False},
    "last row [0, 1, 1, 0]": {"row": (1, 1, 0)},
    "shift the wrong way": {"moves": 1},
    "target row not cleared": {"clears": False},
}
"""What to change in :func:`literal_forward`, by name; ``row`` is the foot of the value matrix."""


@checked
def literal_readout(
    prompt: Float[np.ndarray, "D N"],
    P: Float[np.ndarray, "D D"],
    V: Float[np.ndarray, "D D"],
    num_parameters: int,
) -> Float[np.ndarray, " p"]:
    """The block of eq. (1) with every column computed, in NumPy, then the foot of its last column."""
    H = np.array(prompt)
    after = H + (V @ H) @ (H.T @ P @ H) / (H.shape[1] - 1)
    return after[-num_parameters:, -1]


SARSA_FAULTS = (
    "sign of the current-value block",
    "gamma missing from the prompt",
    "parameter column not last",
    "no constant 1 above the weights",
)
"""What :func:`literal_sarsa` can do wrong."""


@checked
def literal_sarsa(
    fault: str | None,
    w: Float[np.ndarray, " d"],
    phi: Float[np.ndarray, "n d"],
    phi_next: Float[np.ndarray, "n d"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    alpha: float,
) -> Float[np.ndarray, " d"]:
    """What the block reads out when it is broken in one of the ways of ``SARSA_FAULTS``, or intact (None).

    Raises:
        ValueError: a fault of another name.
    """
    _known("fault", fault, SARSA_FAULTS)
    d = len(w)
    P, V = (x.numpy().copy() for x in sarsa_weights(d, alpha))
    gamma = 1 if fault == SARSA_FAULTS[1] else discount
    x = np.column_stack([phi, gamma * phi_next, rewards])
    # Written out by hand: the package's own prompt refuses a discount of 1.
    H = np.zeros((3 * d + 2, len(x) + 1))
    H[: 2 * d + 1, :-1] = x.T
    H[2 * d + 1 :, -1] = [0 if fault == SARSA_FAULTS[3] else 1, *w]
    if fault == SARSA_FAULTS[0]:
        P[:d] *= -1
    if fault == SARSA_FAULTS[2]:
        H = np.roll(H, 1, axis=1)
    return literal_readout(H, P, V, d)


ACTOR_CRITIC_FAULTS = (
    "the value left behind is not subtracted",
    "the next value is not discounted",
    "bootstrapped where the episode ended",
    "policy features in place of the score",
)
"""What :func:`literal_actor_critic` can do wrong."""


@checked
def literal_actor_critic(
    w: Float[np.ndarray, " d"],
    lam: Float[np.ndarray, " k"],
    window: tuple,
    policy_means: Float[np.ndarray, "n k"],
    beyond: Float[np.ndarray, "n d"],
    alpha: float,
    beta: float,
    broken: str | None = None,
) -> Float[np.ndarray, " p"]:
    """The block written out in NumPy, with one piece broken on purpose (or none).

    ``policy_means`` ``(n, k)`` is what the score subtracts from the policy features, and ``beyond``
    ``(n, d)`` the features of the state after each transition, ended or not. ``window`` is ``phi, phi_next,
    rewards, scores, discount``.

    Raises:
        ValueError: ``broken`` is none of ``ACTOR_CRITIC_FAULTS``.
    """
    _known("broken", broken, ACTOR_CRITIC_FAULTS)
    phi, phi_next, rewards, scores, discount = window
    d, n = len(w), len(rewards)
    if broken == ACTOR_CRITIC_FAULTS[2]:
        phi_next = beyond
    if broken == ACTOR_CRITIC_FAULTS[3]:
        scores = scores + policy_means
    seen = phi_next if broken == ACTOR_CRITIC_FAULTS[1] else discount * phi_next
    left = 0 if broken == ACTOR_CRITIC_FAULTS[0] else -1
    P = np.vstack([left * np.eye(d + 1)[1:], np.eye(d + 1)[1:], np.eye(d + 1)[:1]])
    heard = np.column_stack([phi, seen, rewards]) @ P @ np.append(1, w)
    values = np.column_stack([alpha * phi, beta * scores])
    return np.concatenate([w, lam]) + values.T @ heard / n


@checked
def actor_critic_miss(rng: np.random.Generator, broken: str | None) -> float:
    """How far the block, broken in this way (or, given None, not at all), strays from actor-critic."""
    corridor = np.full((3, 2, 3), 0.0)
    corridor[0, :, [0, 1]], corridor[1, :, [1, 2]], corridor[2, :, 2] = 0.5, 0.5, 1
    process = MarkovDecisionProcess(
        corridor,
        np.array([[0.3, -0.2], [1.0, 0.5], [0, 0]]),
        0.8,
        start=np.array([1.0, 0, 0]),
        terminal=np.array([False, False, True]),
    )
    features, critic = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 2))
    w, lam = rng.normal(size=2), rng.normal(size=4)
    score = softmax_score(lam, features)
    run = process.rollout(softmax_policy(lam, features), 20, rng)
    window = *run.window(critic), run.rewards, run.window(score)[0], 0.8
    means, beyond = run.window(features - score)[0], critic[run.states[1:]]
    computed = literal_actor_critic(w, lam, window, means, beyond, 0.5, 0.5, broken)
    expected = np.concatenate(actor_critic_update(w, lam, *window, 0.5, 0.5))
    return float(np.abs(computed - expected).max() / max(1.0, np.abs(expected).max()))


def _known(name, fault, faults):
    if fault is not None and fault not in faults:
        raise ValueError(f"{name} is {fault!r}; it must be None or one of {', '.join(map(repr, faults))}")
