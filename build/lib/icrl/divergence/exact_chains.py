"""Computer-assisted proofs: the operator of softmax TD in ball arithmetic, from exact input.

Every number below is a rational or an interval that is certain to hold the true one (python-flint's
``arb``), so a comparison that comes out true is a proof. Ours; see :doc:`/book/divergence`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations

import numpy as np
from flint import acb, acb_mat, arb, arb_mat, ctx, fmpq, fmpq_mat
from jaxtyping import Float, Int

from icrl import _validation as valid
from icrl._arguments import checked
from icrl.mrp import MarkovRewardProcess
from icrl.softmax_td import empirical_process

Rational = int | str | Fraction | fmpq
"""An integer, a string such as ``"9/10"``, a fraction."""

Exact = Rational | Callable[[], arb]
"""A rational, or a function that encloses a number at the current precision."""

LARGEST_PRECISION = 4096


@checked
@dataclass(frozen=True, eq=False)
class ExactChain:
    """A chain with features, given exactly; built by :func:`exact_chain` and :func:`exact_context`.

    Attributes:
        transition: ``P``, rational.
        distribution: how often each state is a source, rational: stationary, or the counts of a context.
        discount: ``gamma``, rational.
        features: ``(S, d)`` exact numbers.
        inverse_temperature: ``tau``, rational; scores are ``tau <x(s), x(s')>``.
    """

    transition: fmpq_mat
    distribution: tuple[fmpq, ...]
    discount: fmpq
    features: tuple[tuple[Exact, ...], ...]
    inverse_temperature: fmpq

    def at(
        self, *, discount: Rational | None = None, inverse_temperature: Rational | None = None
    ) -> "ExactChain":
        """The same chain and features at another discount or inverse temperature."""
        new = {}
        if discount is not None:
            new["discount"] = _discount(discount)
        if inverse_temperature is not None:
            new["inverse_temperature"] = rational("inverse_temperature", inverse_temperature)
        return replace(self, **new)

    @checked
    def operator(self, precision: int = 128) -> arb_mat:
        """``B = M (I - gamma P)``, every entry enclosed, with ``precision`` bits."""
        with ctx.workprec(valid.count("precision", precision, 2)):
            states = range(len(self.features))
            x = [[_enclose(entry) for entry in row] for row in self.features]
            weight = [[self.distribution[t] * self._kernel(x[s], x[t]) for t in states] for s in states]
            normaliser = [sum(row, arb(0)) for row in weight]
            matching = arb_mat([[weight[s][t] / normaliser[s] for t in states] for s in states])
            bellman = [[int(s == t) - self.discount * self.transition[s, t] for t in states] for s in states]
            return matching * arb_mat(fmpq_mat(bellman))

    @checked
    def excess(self, precision: int = 128) -> arb:
        """``tr B - (1 - gamma)``, the sum of the other eigenvalues, enclosed; below 0 it proves divergence.

        Cheaper and tighter than :meth:`symmetric_functions`, whose first entry it is. With three states it
        is positive if and only if small steps converge.
        """
        operator = self.operator(precision)
        with ctx.workprec(valid.count("precision", precision, 2)):
            return sum((operator[s, s] for s in range(len(self.features))), arb(0)) - (1 - self.discount)

    @checked
    def inflow_condition(self, precision: int = 128) -> arb:
        """``gamma^2 max_t (nu P)(t) / nu(t)``, ``nu = mu Z``, enclosed; up to 1 small steps converge."""
        with ctx.workprec(valid.count("precision", precision, 2)):
            states = range(len(self.features))
            nu = [mu * z for mu, z in zip(self.distribution, self._normalisers(), strict=True)]
            inflow = [sum((nu[s] * self.transition[s, t] for s in states), arb(0)) / nu[t] for t in states]
            largest = inflow[0]
            for entry in inflow[1:]:
                largest = largest.max(entry)
            return self.discount**2 * largest

    def _normalisers(self):
        """``Z(s)``, at the current precision."""
        x = [[_enclose(entry) for entry in row] for row in self.features]
        sources = list(zip(self.distribution, x, strict=True))
        return [sum((mu * self._kernel(row, other) for mu, other in sources), arb(0)) for row in x]

    @checked
    def mean_condition(self, precision: int = 128) -> arb:
        """``gamma (sqrt q + 1 / sqrt q) / 2``, ``q = max Z / min Z``, enclosed; on-policy up to 1 is safe."""
        with ctx.workprec(valid.count("precision", precision, 2)):
            root = arb(1)
            for top, bottom in permutations(self._normalisers(), 2):
                root = root.max((top / bottom).sqrt())
            return self.discount * (root + 1 / root) / 2

    def _kernel(self, x, y):
        return (self.inverse_temperature * sum((a * b for a, b in zip(x, y, strict=True)), arb(0))).exp()

    @checked
    def symmetric_functions(self, precision: int = 128) -> list[arb]:
        """``e_1 .. e_{S-1}`` of the eigenvalues of ``B`` other than ``1 - gamma``; ``e_1`` is their sum.

        If all eigenvalues have positive real part, all of these are positive.
        """
        operator = self.operator(precision)
        with ctx.workprec(valid.count("precision", precision, 2)):
            highest_first = list(operator.charpoly())[::-1]
            quotient = [arb(0)]
            for coefficient in highest_first[:-1]:  # division by lambda - (1 - gamma)
                quotient.append(coefficient + (1 - self.discount) * quotient[-1])
            return [(-1) ** k * c for k, c in enumerate(quotient[1:])][1:]

    @checked
    def eigenvalues(self, precision: int = 128) -> list[acb]:
        """Enclosures of all eigenvalues of ``B``, each isolated from the others.

        Raises:
            ArithmeticError: they could not be told apart with 4096 bits, for instance since two are equal.
        """
        while precision <= LARGEST_PRECISION:
            operator = self.operator(precision)
            with ctx.workprec(valid.count("precision", precision, 2)):
                try:
                    return acb_mat(operator).eig()
                except ValueError:
                    precision *= 2
        raise ArithmeticError(f"no isolated eigenvalues with {LARGEST_PRECISION} bits; two may be equal")

    def converges(self) -> bool:
        """Whether softmax TD converges for small step sizes; a proof either way.

        True if every real part is certainly positive, False if one is certainly negative.

        Raises:
            ArithmeticError: neither could be decided.
        """
        precision = 128
        while precision <= LARGEST_PRECISION:
            parts = [value.real for value in self.eigenvalues(precision)]
            if any(part < 0 for part in parts):
                return False
            if all(part > 0 for part in parts):
                return True
            precision *= 2
        raise ArithmeticError(f"the sign of a real part could not be decided with {LARGEST_PRECISION} bits")

    def floats(self) -> tuple[MarkovRewardProcess, Float[np.ndarray, "S d"]]:
        """The nearest process in floating point, with zero rewards, and features (times ``sqrt(tau)``)."""
        entries = [[int(p.p) / int(p.q) for p in row] for row in self.transition.tolist()]
        discount = int(self.discount.p) / int(self.discount.q)
        process = MarkovRewardProcess(np.array(entries), np.zeros(len(entries)), discount)
        features = np.array([[float(_enclose(entry).mid()) for entry in row] for row in self.features])
        return process, np.sqrt(float(arb(self.inverse_temperature).mid())) * features


@checked
def exact_chain(
    transition: Sequence[Sequence[Rational]],
    discount: Rational,
    features: Sequence[Sequence[Exact]],
    inverse_temperature: Rational = 1,
    distribution: Sequence[Rational] | None = None,
) -> ExactChain:
    """A chain: on-policy, sources are weighted by the stationary distribution, solved in rationals.

    Args:
        transition: ``(S, S)`` rational numbers; rows sum to exactly 1.
        discount: ``gamma`` in ``[0, 1)``, rational.
        features: ``(S, d)`` exact numbers.
        inverse_temperature: ``tau``, rational.
        distribution: off-policy, how often each state is a source: positive, of any sum.

    Raises:
        ValueError: a float is given (0.9 is not 9/10), a row is not a distribution, shapes disagree, or the
            distribution is not unique and positive.
    """
    rows = [[rational("transition", p) for p in row] for row in transition]
    size = len(rows)
    if len(rows) == 0:
        raise ValueError("transition is empty; it must be a square matrix")
    for s, row in enumerate(rows):
        if len(row) != size:
            raise ValueError(f"transition row {s} has {len(row)} entries; the matrix must be {size} x {size}")
        if not row or min(row) < 0 or sum(row) != 1:
            raise ValueError(f"transition row {s} is {row}; it must be non-negative and sum to exactly 1")
    if distribution is not None:
        weights = [rational("distribution", entry) for entry in distribution]
        if len(weights) != size or min(weights) <= 0:
            raise ValueError(f"distribution is {weights}; it must have {size} positive entries")
        shares = [weight / sum(weights) for weight in weights]
        return _chain(rows, shares, discount, features, inverse_temperature)
    # mu (I - P + 11') = 1' has exactly one solution iff there is one stationary distribution.
    system = fmpq_mat([[int(s == t) - rows[t][s] + 1 for t in range(size)] for s in range(size)])
    try:
        distribution = [entry[0] for entry in system.solve(fmpq_mat([[1]] * size)).tolist()]
    except ZeroDivisionError:
        raise ValueError("transition has several stationary distributions; it must have one") from None
    if min(distribution) <= 0:
        raise ValueError(f"transition has the stationary distribution {distribution}; it must be positive")
    return _chain(rows, distribution, discount, features, inverse_temperature)


@checked
def exact_context(
    states: Int[np.ndarray, " n_plus_1"],
    discount: Rational,
    features: Sequence[Sequence[Exact]],
    inverse_temperature: Rational = 1,
) -> ExactChain:
    """What softmax TD iterates on this very context: transition frequencies and counts, as rationals.

    Every state with features must be visited. Other arguments as in :func:`exact_chain`.
    """
    states = valid.trajectory(states, len(features))
    visited, _ = empirical_process(states, np.zeros(len(states) - 1), 0.0)  # refuses contexts not closed
    if len(visited) < len(features):
        raise ValueError(
            f"states visits {visited.tolist()}; it must leave each of the {len(features)} states"
        )
    moves = np.zeros((len(visited), len(visited)), dtype=int)
    np.add.at(moves, (states[:-1], states[1:]), 1)
    counts = moves.sum(axis=1)
    rows = [[fmpq(int(k), int(total)) for k in row] for row, total in zip(moves, counts, strict=True)]
    distribution = [fmpq(int(total), int(counts.sum())) for total in counts]
    return _chain(rows, distribution, discount, features, inverse_temperature)


def _chain(rows, distribution, discount, features, inverse_temperature):
    table = tuple(tuple(row) for row in features)
    if len(table) != len(rows) or len({len(row) for row in table}) != 1:
        raise ValueError(f"features has rows of lengths {[len(r) for r in table]}; give {len(rows)} alike")
    for entry in (entry for row in table for entry in row):
        if not callable(entry):
            rational("features", entry)
    tau = rational("inverse_temperature", inverse_temperature)
    return ExactChain(fmpq_mat(rows), tuple(distribution), _discount(discount), table, tau)


def rational(name, value):
    if isinstance(value, fmpq):
        return value
    if isinstance(value, float):
        raise ValueError(f"{name} holds the float {value}; a proof needs an exact number, such as '9/10'")
    try:
        fraction = Fraction(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds {value!r}; it must be a rational number") from None
    return fmpq(fraction.numerator, fraction.denominator)


def _discount(value):
    result = rational("discount", value)
    if not 0 <= result < 1:
        raise ValueError(f"discount is {result}; it must lie in [0, 1)")
    return result


def _enclose(entry):
    return entry() if callable(entry) else arb(rational("features", entry))


@checked
def three_states() -> ExactChain:
    """Diverges for every step size, on-policy: the chain of :func:`icrl.mrp.divergent_mrp`."""
    return exact_chain([[0, "9/10", "1/10"], [1, 0, 0], [0, "1/2", "1/2"]], "9/10", [[1], [4], [5]])


@checked
def three_states_equal_norms() -> ExactChain:
    """The same with a coordinate appended that makes every squared norm 26: it converges."""
    features = [[1, 5], [4, lambda: arb(10).sqrt()], [5, 1]]
    return exact_chain([[0, "9/10", "1/10"], [1, 0, 0], [0, "1/2", "1/2"]], "9/10", features)


@checked
def four_states_equal_norms() -> ExactChain:
    """Equal norms, squared 14 with the temperature, and yet it diverges, at ``gamma = .999``."""
    rare = Fraction(3, 100_000)
    transition = [[1 - rare, rare, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    angles = (fmpq(0), fmpq(-120, 100), fmpq(-77, 100), fmpq(-117, 100))
    features = [[lambda a=a: arb(a).cos(), lambda a=a: arb(a).sin()] for a in angles]
    return exact_chain(transition, "999/1000", features, 14)


@checked
def five_states_equal_norms() -> ExactChain:
    """Equal norms, integer features and ``gamma = .9``: a complex pair has crossed to the left."""
    transition = [[0] * 5 for _ in range(5)]
    transition[0][0], transition[0][1] = "999/1000", "1/1000"
    for s in range(1, 5):
        transition[s][(s + 1) % 5] = 1
    features = [[-18, -1], [-1, 18], [-15, 10], [1, 18], [-10, 15]]
    return exact_chain(transition, "9/10", features, Fraction(4, 325))


@checked
def tight_chain(discount: Rational, root: Rational) -> ExactChain:
    """Extremal chains of the normaliser condition: three states, ``max Z / min Z`` close to ``root**2``.

    The verdict turns close to where ``gamma (b + 1/b) / 2 = 1``, ``b = root > 1``: where the condition ends.
    States 0 and 1 follow each other, state 2 is frequent and balances their values. A large common coordinate
    of the features makes state 0 louder by ``b**2``; small second coordinates tell the states apart.
    """
    gamma, b = _discount(discount), rational("root", root)
    if gamma == 0:
        raise ValueError("discount is 0; it must lie in (0, 1)")
    if not b > 1:
        raise ValueError(f"root is {b}; it must exceed 1")
    rare, size, large = 1 / (10_000 * b), 1 / (100 * b), fmpq(10) ** 7
    often = 100_000 * int((b + 1) ** 2 + 1)
    transition = [[0, 1, 0], [1 - rare, 0, rare], [rare / often, 0, 1 - rare / often]]
    first = [lambda: arb(large) + 2 * arb(b).log() / large, large, large]
    second = fmpq(1), b, -b * (b + 1) / often
    return exact_chain(transition, gamma, [[x, size * y] for x, y in zip(first, second, strict=True)])


@checked
def four_states_off_policy() -> ExactChain:
    """One-hot features, but sources that are not stationary: a complex pair has crossed to the left."""
    transition = [[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    one_hot = [[int(s == t) for t in range(4)] for s in range(4)]
    return exact_chain(transition, "99/100", one_hot, "33/5", (1, 162_755, 227, 2))
