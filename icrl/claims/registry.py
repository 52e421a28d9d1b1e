"""What a claim is, and how a table of them is run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np


@dataclass(frozen=True)
class Evidence:
    """What one check saw: it holds if the error is at most the tolerance (NaN never is).

    ``error`` is the largest of all instances; ``seen`` says in words what was looked at.
    """

    error: float
    tolerance: float
    seen: str

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance."""
        return bool(self.error <= self.tolerance)


@dataclass(frozen=True)
class Claim:
    """A statement of the book with the check that backs it.

    Attributes:
        id: short name, unique.
        source: the paper and the place in it, or ``"ours"``.
        statement: one sentence, in MyST with TeX.
        kind: ``"identity"`` (both sides computed apart, difference measured), ``"symbolic"`` (algebra, no
            numbers), ``"limit"`` (a rate towards a limit), ``"bound"`` (an inequality; the error is the
            largest excess, or says what it is), ``"interval"`` (a sampled mean; the error is in standard
            errors), ``"proof"`` (ball arithmetic on exact input; the error counts steps not certified),
            ``"control"`` (a broken construction must miss; the error is the distance still lacking from
            a clear miss).
        section: label of the section of the book that proves it.
        check: draws fresh instances from the generator and returns the evidence.
        drawn_with: another claim, whose randomness this one shares: what is dear is then computed once.
        risk: probability that the check fails although the statement is true, 0 where it is below 1e-8 or
            nothing is left to chance but rounding. A mean that must lie within 4.5 standard errors has 7e-6.
    """

    id: str
    source: str
    statement: str
    kind: str
    section: str
    check: Callable[[np.random.Generator], Evidence]
    risk: float = 0.0
    drawn_with: str = ""

    def generator(self, seed: int) -> np.random.Generator:
        """Its own source of randomness: one claim alone draws what it draws among all of them."""
        return np.random.default_rng([seed, crc32((self.drawn_with or self.id).encode())])


class Claims(tuple):
    """Claims in the order of the book, ``Claims(a, b, ...)``; ``claims["theorem-1-shift"]`` is that one."""

    def __new__(cls, *claims: Claim):
        """From claims with ids that differ."""
        ids = [claim.id for claim in claims]
        if len(set(ids)) < len(ids):
            twice = sorted({each for each in ids if ids.count(each) > 1})
            raise ValueError(f"claims have the ids {', '.join(twice)} more than once; ids must differ")
        return super().__new__(cls, claims)

    def __getitem__(self, key):
        """By id, or by position as in any tuple."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        found = next((claim for claim in self if claim.id == key), None)
        if found is None:
            raise KeyError(f"no claim has the id {key!r}; the ids are {', '.join(c.id for c in self)}")
        return found


def relative_error(computed, expected) -> float:
    """Largest difference, relative to the largest expected entry where that exceeds 1."""
    computed, expected = np.asarray(computed), np.asarray(expected)
    if computed.shape != expected.shape:
        raise ValueError(f"computed has shape {computed.shape}; expected has {expected.shape}")
    return float(np.abs(computed - expected).max() / max(1.0, np.abs(expected).max()))


def largest(errors: Iterable[float]) -> float:
    """The largest error; NaN if any is, so that a NaN can never hide."""
    return float(np.max(list(errors)))


def upper_end(failures: int, runs: int) -> float:
    """Upper end of the Clopper-Pearson interval (95 %) for the probability of a failure."""
    from scipy.stats import binomtest  # here, or every chapter with claims loads it

    return float(binomtest(failures, runs).proportion_ci(0.95, "exact").high)


def table(claims: Iterable[Claim], seed: int) -> tuple[str, bool]:
    """Check each claim; the report as text, and whether all hold."""
    lines, all_hold = [], True
    for claim in claims:
        evidence = claim.check(claim.generator(seed))
        all_hold &= evidence.holds
        verdict = "holds" if evidence.holds else "FAILS"
        lines.append(
            f"{verdict}  {claim.id:<28} {claim.kind:<9} error {evidence.error:8.1e}"
            f"  tolerance {evidence.tolerance:7.0e}  {evidence.seen}"
        )
    return "\n".join(lines), all_hold


def markdown(chapters: Mapping[str, Iterable[Claim]], evidence: Mapping[str, Evidence]) -> str:
    """The table on the book's claims page: what each claim of each chapter says, and what its check saw."""
    lines = ["| chapter | claim | kind | verdict | margin | statement |", "|---|---|---|---|---|---|"]
    for chapter, claims in chapters.items():
        for claim in claims:
            seen = evidence[claim.id]
            size, margin = _short(seen.error), "none"  # inf or nan, which have no order of magnitude
            if seen.error == 0:
                margin = "exact"
            elif seen.error < np.inf:
                # Below 1e-12 it is rounding, and its power of ten differs between processors.
                floor = min(1e-12, seen.tolerance or 1e-12)
                above = 10.0 ** np.ceil(np.log10(max(seen.error, floor)))
                size = f"≤ {_short(above)}"
                if seen.holds:
                    times = max(1.0, seen.tolerance / above)
                    margin = f"≥ {_short(10.0 ** np.floor(np.log10(times) + 1e-9))}"
            said = (
                f"{claim.statement} *{claim.source}.* Seen: {seen.seen}; error {size}, "
                f"allowed {_short(seen.tolerance)}."
            )
            verdict = "holds" if seen.holds else "**FAILS**"
            name = f"[`{claim.id}`](#{claim.section})"
            lines.append(f"| {chapter} | {name} | {claim.kind} | {verdict} | {margin} | {_in_a_cell(said)} |")
    return "\n".join(lines)


def _in_a_cell(text):
    """Bars end a cell of a table, even with a backslash: in formulas by their names, elsewhere as a sign."""
    parts = text.split("$")
    parts[::2] = [part.replace("|", "&#124;") for part in parts[::2]]
    parts[1::2] = [part.replace("\\|", "\\Vert ").replace("|", "\\vert ") for part in parts[1::2]]
    return "$".join(parts)


def _short(number):
    """Few digits, and exponents as one writes them: 1e-5, not 1e-05."""
    return f"{number:g}".replace("e-0", "e-")
