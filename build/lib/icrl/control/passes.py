"""What a pass guarantees: improvement with estimates that err, the loop's bound, certificates.

An estimate ``q`` of action values errs by ``e = q - q_pi``; what counts in a state is how much the error
varies over actions, ``max_a e - min_a e``, never a common part. See :doc:`/book/softmax-control`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.contraction import Certificate, certificate
from icrl.control.updaters import DECIMALS, greedy
from icrl.mdp import MarkovDecisionProcess
from icrl.reduction import discounted


def _soft(policy, epsilon):
    """The part of an epsilon-soft policy that is not uniform."""
    policy, epsilon = valid.stochastic("policy", policy), valid.number("epsilon", epsilon)
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon is {epsilon:g}; it must lie in [0, 1)")
    least = epsilon / policy.shape[-1]
    if policy.min() < least - 1e-9:
        raise ValueError(
            f"policy holds {policy.min():g}; an epsilon-soft policy has at least {least:g} everywhere"
        )
    return (policy - least) / (1 - epsilon), epsilon


@dataclass(frozen=True, eq=False)
class Improvement:
    """One greedy step with an estimate, for one who knows the process: an oracle.

    Attributes:
        policy: ``(S, A)``, epsilon-greedy in the estimate.
        gap: ``(S,)``, ``max_a q`` minus the mean of ``q`` under the greedy part of the old policy.
        span: ``(S,)``, how much the error of the estimate varies over actions.
        moved: ``(S,)``, total variation between the old and the new greedy part.
        bracket: ``(S,)``, ``gap - moved span``; where it is nowhere negative no state gets worse.
        promised: ``(S,)``, a lower bound of ``gained``: the brackets along the new policy.
        gained: ``(S,)``, value of the new policy minus value of the old one.
    """

    policy: Float[np.ndarray, "S A"]
    gap: Float[np.ndarray, " S"]
    span: Float[np.ndarray, " S"]
    moved: Float[np.ndarray, " S"]
    bracket: Float[np.ndarray, " S"]
    promised: Float[np.ndarray, " S"]
    gained: Float[np.ndarray, " S"]

    @property
    def certified(self) -> bool:
        """Whether no bracket is negative, beyond what the sharing of ties may cost."""
        return bool(self.bracket.min() >= -(10.0**-DECIMALS))


@checked
def improvement(
    process: MarkovDecisionProcess,
    policy: Float[np.ndarray, "S A"],
    estimate: Float[np.ndarray, "S A"],
    epsilon: float,
) -> Improvement:
    """What becomes of a policy that turns epsilon-greedy in an estimate of its action values.

    Args:
        process: the world.
        policy: epsilon-soft.
        estimate: of its action values, with any error.
        epsilon: in ``[0, 1)``, of the new policy; that of the old one is as large or larger.

    Raises:
        ValueError: the policy gives an action less than ``epsilon / A``.
    """
    estimate = valid.shaped("estimate", estimate, process.reward.shape, "one value for each pair")
    old, epsilon = _soft(policy, epsilon)
    error = estimate - process.q_values(policy)
    new = greedy(estimate)
    gap = estimate.max(axis=1) - (old * estimate).sum(axis=1)
    span, moved = np.ptp(error, axis=1), np.abs(new - old).sum(axis=1) / 2
    bracket = gap - moved * span
    chosen = greedy(estimate, epsilon)
    chain = process.under(chosen)
    promised = (1 - epsilon) * discounted(chain.transition, process.discount, bracket[:, None])[:, 0]
    gained = chain.value() - process.under(policy).value()
    return Improvement(chosen, gap, span, moved, bracket, promised, gained)


@dataclass(frozen=True, eq=False)
class CertifiedImprovement:
    """The same from one window, for one who knows the range of the rewards and nothing else.

    Attributes:
        policy: ``(S, A)``, epsilon-greedy in the estimate.
        bracket: ``(S,)``, a lower bound of what the first action gains on average in each state, for all
            states at once with probability ``1 - delta``; ``-inf`` where it hangs on pairs never left.
        certificate: of the chain of pairs, from :func:`icrl.contraction.certificate`.
    """

    policy: Float[np.ndarray, "S A"]
    bracket: Float[np.ndarray, " S"]
    certificate: Certificate

    @property
    def certified(self) -> bool:
        """Whether no state gets worse, with probability ``1 - delta``."""
        return bool(self.bracket.min() >= 0)


@checked(finite=False)
def certified_improvement(
    policy: Float[np.ndarray, "S A"],
    estimate: Float[np.ndarray, "S A"],
    epsilon: float,
    pairs: Int[np.ndarray, " n_plus_1"],
    rewards: Float[np.ndarray, " n"],
    discount: float,
    reward_range: Float[np.ndarray, "2"] | tuple[float, float],
    delta: float,
) -> CertifiedImprovement:
    """Bound the gain of turning greedy from the window that the old policy collected.

    The estimate decides which actions are chosen, no more: the bound rests on the certainty-equivalence
    value of the window and its radii. So it holds for any estimate, from any network, warm start or not.

    Args:
        policy: epsilon-soft, fixed before the window, that collected it.
        estimate: ``(S, A)``, in which the new policy is greedy.
        epsilon: of the new policy.
        pairs: ``(n+1,)``, ``s A + a`` of one window without ends; the last occurs among the earlier ones.
        rewards: ``(n,)``, a function of the pair.
        discount: ``gamma``.
        reward_range: lowest and highest reward of any pair.
        delta: probability of failure allowed.

    Raises:
        ValueError: as :func:`icrl.contraction.certificate`, or a policy that is not epsilon-soft.
    """
    old, epsilon = _soft(policy, epsilon)
    estimate = valid.shaped("estimate", estimate, old.shape, "one value for each pair")
    pairs = valid.indices("pairs", pairs, estimate.size, "pairs")
    one_hot = np.eye(estimate.size)  # no number used below depends on the features
    found = certificate(one_hot, pairs, rewards, discount, reward_range, 0, delta)
    value, radius = np.zeros(estimate.size), np.full(estimate.size, np.inf)
    value[found.visited], radius[found.visited] = found.estimate, found.radius
    change = (greedy(estimate) - old).ravel()
    with np.errstate(invalid="ignore"):
        lost = np.where(change == 0, 0.0, np.abs(change) * radius)
    gain = (change * value - lost).reshape(estimate.shape).sum(axis=1)
    return CertifiedImprovement(greedy(estimate, epsilon), (1 - epsilon) * gain, found)


@checked
def best_soft(process: MarkovDecisionProcess, epsilon: float) -> Float[np.ndarray, "S A"]:
    """Action values of the best epsilon-soft policy: their greedy part is ``max_a``, the rest is uniform.

    ``max_a`` of the result is the value of that policy itself, its exploration included: it is the optimum
    of the process in which every action is replaced by a uniform one with probability ``epsilon``.
    """
    epsilon = valid.number("epsilon", epsilon)
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon is {epsilon:g}; it must lie in [0, 1)")

    def slipping(x):
        return (1 - epsilon) * x + epsilon * x.mean(axis=1, keepdims=True)

    slippery = MarkovDecisionProcess(slipping(process.transition), slipping(process.reward), process.discount)
    return slippery.optimal_q()


@checked
def loop_factor(discount: float, epsilon: float) -> float:
    """``eta = gamma (1 - epsilon) / (1 - gamma epsilon)``: what is left of the distance after a pass."""
    return discount * (1 - epsilon) / (1 - discount * epsilon)


@checked
def loop_bound(discount: float, epsilon: float, span: float) -> float:
    """``(1 - gamma epsilon) (1 - epsilon) span / (1 - gamma)^2``: where passes of this span of error end."""
    return (1 - discount * epsilon) * (1 - epsilon) * span / (1 - discount) ** 2


@checked
def ladder(
    num_rungs: int, num_stays: int, discount: float, epsilon: float, span: float
) -> tuple[MarkovDecisionProcess, Float[np.ndarray, "K S A"]]:
    """The world in which a loop loses as much as the bound allows, up to the share ``1 / num_stays``.

    On every rung one action moves down and ``num_stays`` stay. The best is to move, worth 0 everywhere. The
    error of pass ``k`` makes staying on rung ``k + 1`` look as good as moving. The rungs are paid so that
    this needs an error of the given span and no more.

    Returns:
        The process, and ``(num_rungs, S, A)``: the errors to add to the action values, pass by pass.
    """
    rungs, stays = valid.count("num_rungs", num_rungs, 1), valid.count("num_stays", num_stays, 1)
    discount, span = valid.discount(discount), valid.positive("span", span)
    epsilon = valid.number("epsilon", epsilon)
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon is {epsilon:g}; it must lie in [0, 1)")
    moves = epsilon / (stays + 1)  # of one who wants to stay
    slips = epsilon - moves  # of one who wants to move
    eta = discount * (1 - slips) / (1 - discount * slips)
    transition = np.zeros((rungs + 1, stays + 1, rungs + 1))
    reward, errors = np.zeros((rungs + 1, stays + 1)), np.zeros((rungs, rungs + 1, stays + 1))
    transition[0, :, 0], lost = 1, 0.0
    for k in range(1, rungs + 1):
        cost = 0.999999 * span + discount * (1 - eta) * lost  # a little less than the error can hide
        reward[k], reward[k, 0] = -(1 - slips) * cost, slips * cost  # moving is worth 0, slips included
        transition[k, 0, k - 1], transition[k, 1:, k] = 1, 1
        lost = (1 - epsilon) * cost / (1 - discount * (1 - moves))
        errors[k - 1, k, 1] = span
    return MarkovDecisionProcess(transition, reward, discount), errors


@checked
def quotient_rate(matrix: Float[np.ndarray, "N N"]) -> float:
    """Largest ``|eigenvalue|`` on differences: of a matrix with equal row sums, without the constants.

    Raises:
        ValueError: rows have different sums.
    """
    matrix = valid.array("matrix", matrix, 2)
    sums = matrix.sum(axis=1)
    if np.ptp(sums) > 1e-9 * max(1.0, np.abs(matrix).max()):
        raise ValueError(f"matrix has row sums from {sums.min():g} to {sums.max():g}; they must be equal")
    # Differences to the first entry: a basis of the quotient by the constants.
    differences = matrix[1:] - matrix[0]
    if not len(differences):
        return 0.0
    return float(np.abs(np.linalg.eigvals(differences[:, 1:])).max())
