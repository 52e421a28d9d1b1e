"""Features in the plane that leave attention almost no choice: which chains are safe whatever the features.

A large common coordinate makes every state listen to state ``t`` with the weight ``w(t)`` that one likes, and
a small second coordinate ``y`` tilts this a little. In this limit softmax TD is unstable as soon as
``sum_s w(s) y(s) (y - gamma P y)(s) < 0``, for any number of states. Ours; see :doc:`/book/divergence`.
"""

from collections.abc import Sequence
from dataclasses import replace

from flint import arb, fmpq

from icrl._arguments import checked
from icrl.divergence.exact_chains import LARGEST_PRECISION, ExactChain, Rational, exact_chain, rational


@checked
def independent_part(transition: Sequence[Sequence[Rational]]) -> tuple[fmpq, list[fmpq]] | None:
    """``(c, p)`` with ``P = c I + 1 p'``, or None if the chain has not this form.

    These are the chains that draw the next state whatever the present one, but for staying put, more often
    (``c > 0``) or less (``c < 0``). With a positive discount, on them and on no others softmax TD converges
    whatever the distinct features.

    Args:
        transition: ``(S, S)`` rational numbers.
    """
    rows = [[rational("transition", entry) for entry in row] for row in transition]
    states = range(len(rows))
    if len(rows) == 1:
        return fmpq(1), [fmpq(0)]
    # Column t without its diagonal entry must be constant; the rows sum to 1, so one c serves all.
    columns = [{rows[s][t] for s in states if s != t} for t in states]
    if any(len(column) > 1 for column in columns):
        return None
    p = [column.pop() for column in columns]
    return 1 - sum(p), p


@checked
def smooth_form(
    transition: Sequence[Sequence[Rational]],
    discount: Rational,
    weights: Sequence[Rational],
    values: Sequence[Rational],
) -> fmpq:
    """``F = sum_s w(s) y(s) (y - gamma P y)(s)``, exactly; below 0 softmax TD diverges in the smooth limit.

    Args:
        transition: ``(S, S)``.
        discount: ``gamma``.
        weights: ``(S,)`` positive ``w``.
        values: ``(S,)`` distinct ``y`` with ``sum w y = 0``.
    """
    rows = [[rational("transition", entry) for entry in row] for row in transition]
    gamma = rational("discount", discount)
    w = [rational("weights", entry) for entry in weights]
    y = [rational("values", entry) for entry in values]
    if not w or not len(w) == len(y) == len(rows):
        raise ValueError(f"weights has {len(w)} entries, values {len(y)}; transition has {len(rows)} rows")
    if min(w) <= 0 or len(set(y)) < len(y) or sum(a * b for a, b in zip(w, y, strict=True)) != 0:
        raise ValueError(
            f"weights is {w}, values {y}; weights must be positive, values distinct, and sum w y exactly 0"
        )
    after = [sum((p * v for p, v in zip(row, y, strict=True)), fmpq(0)) for row in rows]
    return sum((a * b * (b - gamma * c) for a, b, c in zip(w, y, after, strict=True)), fmpq(0))


@checked
def smooth_chain(
    transition: Sequence[Sequence[Rational]],
    discount: Rational,
    weights: Sequence[Rational],
    values: Sequence[Rational],
    distribution: Sequence[Rational] | None = None,
    smoothness: int = 16,
) -> ExactChain:
    """The chain with the features ``x(s) = (R + log a(s) / R, eps y(s))``, ``a = w / mu``.

    The smaller ``eps`` and, for its sake, the larger ``R``, the nearer is ``tr B - (1 - gamma)`` to
    ``eps^2 F / sum w`` with ``F`` of :func:`smooth_form`.

    Args:
        transition: ``(S, S)``.
        discount: ``gamma``.
        weights: ``(S,)`` positive ``w``: whom everybody listens to.
        values: ``(S,)`` distinct ``y`` with ``sum w y = 0``.
        distribution: how often each state is a source; without it the stationary one.
        smoothness: ``eps max|y| = 2^-smoothness``; ``R = 2^(3 smoothness)``.
    """
    w = [rational("weights", entry) for entry in weights]
    y = [rational("values", entry) for entry in values]
    if not y:
        raise ValueError("values is empty; it must have one entry for each state")
    small = 1 / (fmpq(2) ** smoothness * max(abs(value) for value in y))
    large = fmpq(2) ** (3 * smoothness)
    flat = [[0, small * value] for value in y]
    chain = exact_chain(transition, discount, flat, 1, distribution)
    loud = [a / mu for a, mu in zip(w, chain.distribution, strict=True)]
    first = [lambda a=a: arb(large) + arb(a).log() / arb(large) for a in loud]
    return replace(chain, features=tuple((x, row[1]) for x, row in zip(first, flat, strict=True)))


@checked
def proves_divergence(chain: ExactChain) -> bool:
    """Whether ``tr B < 1 - gamma`` for certain; False if it is certainly above.

    Raises:
        ArithmeticError: the sign could not be decided with 4096 bits.
    """
    precision = 128
    while precision <= LARGEST_PRECISION:
        excess = chain.excess(precision)
        if excess < 0 or excess > 0:
            return bool(excess < 0)
        precision *= 2
    raise ArithmeticError(
        f"the sign of the trace's excess could not be decided with {LARGEST_PRECISION} bits"
    )


@checked
def unsafe_features(
    transition: Sequence[Sequence[Rational]],
    discount: Rational,
    distribution: Sequence[Rational] | None = None,
) -> ExactChain:
    """The chain with features in the plane on which softmax TD diverges for every step size; certified.

    Exists for every chain that has not the form of :func:`independent_part`, every positive discount and
    every positive ``distribution`` of the sources (without it the stationary one).

    Raises:
        ValueError: the chain is safe whatever the features, or the discount is 0.
        ArithmeticError: the search for features was given up.
    """
    rows = [[rational("transition", entry) for entry in row] for row in transition]
    gamma, states = rational("discount", discount), range(len(rows))
    if gamma <= 0 or independent_part(rows) is not None:
        raise ValueError(
            f"transition is {rows} at the discount {gamma}; it must not be c I + 1 p', nor the discount 0: "
            "softmax TD converges there whatever the features"
        )
    triples = [(s, u, t) for s in states for u in states for t in states if len({s, u, t}) == 3]
    s, u, t = max(triples, key=lambda i: rows[i[0]][i[2]] - rows[i[1]][i[2]])
    rest = [i for i in states if i not in (s, u, t)]
    for doubling in range(1, 60):
        eta, size = fmpq(2) ** doubling, fmpq(2) ** (6 * doubling)
        # w_s y_s = 1 and w_t y_t = 1 / eta, balanced by a tiny y_u at a frequent u; the rest nearly silent.
        w, y = [1 / size] * len(rows), [fmpq(0)] * len(rows)
        w[s], y[s], w[t], y[t], w[u] = fmpq(1), fmpq(1), 1 / eta**2, eta, size
        for k, i in enumerate(rest, 1):
            y[i] = k / size
        y[u] = -sum(w[i] * y[i] for i in states if i != u) / w[u]
        if smooth_form(rows, gamma, w, y) < 0:
            for smoothness in (8, 16, 32, 64, 128):
                chain = smooth_chain(rows, gamma, w, y, distribution, smoothness)
                if proves_divergence(chain):
                    return chain
    raise ArithmeticError("no features found; the chain is too near to a safe one")


@checked(finite=False)
def long_cycle(discount: Rational, root: Rational, length: int, smoothness: int = 16) -> ExactChain:
    """Extremal chains of the inflow condition, on-policy: ``max_t (nu P)(t) / nu(t)`` is about ``root^2``.

    A cycle of ``length`` states, each ``root^2`` times less loud than the one before and with a value
    ``root`` times larger, and a frequent state that balances their values. ``F`` is about
    ``N - gamma root (N - 1) - gamma root^(1-N)``, negative for long cycles once ``gamma root > 1``.

    Args:
        discount: ``gamma``.
        root: greater than 1.
        length: ``N >= 2``, states of the cycle; the chain has one more.
        smoothness: as in :func:`smooth_chain`.
    """
    c, n = rational("root", root), length
    if not c > 1 or n < 2:
        raise ValueError(f"root is {c} and length {n}; root must exceed 1 and the length be at least 2")
    rare, often = fmpq(1, 10**6), fmpq(10) ** 9 * (2 * c) ** (2 * n)
    transition = [[fmpq(0)] * (n + 1) for _ in range(n + 1)]
    for s in range(n - 1):
        transition[s][s + 1] = fmpq(1)
    transition[n - 1][0], transition[n - 1][n] = 1 - rare, rare
    transition[n][0], transition[n][n] = rare / often, 1 - rare / often
    w = [c ** (-2 * s) for s in range(n)] + [often * c ** (-2 * (n - 1))]  # mu is 1, .., 1, often
    y = [c**s for s in range(n)]
    y.append(-sum(a * b for a, b in zip(w, y, strict=False)) / w[n])
    return smooth_chain(transition, discount, w, y, smoothness=smoothness)
