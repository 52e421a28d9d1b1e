"""A claim links to the section that proves it: where the proof of its box stands, or else the box itself."""

import re
from pathlib import Path

import pytest

from icrl.claims import CLAIMS

BOOK = Path(__file__).parents[2] / "book"
PROVED = {
    "prop-operator": "operator-form",
    "prop-fixed-point": "fixed-point invertible-iff-distinct converges-iff-radius",
    "prop-factor-gamma": "factor-gamma",
    "prop-tabular": "tabular-limit tabular-td",
    "prop-linear": "linear-td",
    "prop-high-temperature": "high-temperature",
    "prop-equal-features": "equal-features",
    "prop-unvisited": "unvisited-query",
    "thm-1": "theorem-1-shift theorem-1-dual",
    "lem-1": "lemma-1",
    "prop-extensions": "per-layer-step-sizes several-queries",
    "lem-ct-recursion": "theorem-2-recursion theorem-2-norm",
    "prop-ct-constants": "population-operator theorem-2-formula theorem-2-constants",
    "thm-ct": "rate-per-layer context-error",
    "prop-ct-assumption": "assumption-contracts assumption-threshold best-match-elsewhere",
    "prop-ct-dichotomy": "zero-temperature",
    "prop-ct-near": "nearly-equal-features",
    "prop-dv-steps": "step-size-range",
    "prop-dv-loudness": "loudness",
    "thm-dv-two": "two-states",
    "thm-dv-three": "three-states-criterion",
    "thm-dv-example": "three-states-diverge",
    "thm-dv-safe": "safe-chains unsafe-chains",
    "lem-dv-smooth": "smooth-limit",
    "thm-dv-norms": "equal-norms-three",
    "thm-dv-four": "equal-norms-four equal-norms-five",
    "thm-dv-normaliser": "normaliser-condition normaliser-condition-mean",
    "cor-dv-diameter": "small-features",
    "thm-dv-sharp": "normaliser-condition-sharp inflow-condition-sharp",
    "cor-dv-bare": "no-normalisation",
    "thm-dv-onehot": "one-hot-on-policy",
    "prop-dv-onehot-off": "one-hot-three-states one-hot-off-policy",
    "lem-gm-identity": "neu-identity neu-cauchy-schwarz",
    "prop-gm-asymptotics": "neu-gradient-asymptotics",
    "prop-gm-endless": "neu-endless-context neu-gradient-limit neu-gradient-limit-query",
    "thm-gm": "theorem-3 neu-long-contexts",
    "prop-gm-order": "neu-other-order",
    "thm-gm-joint": "neu-joint-slope neu-joint-limit",
    "prop-gm-returns": "neu-returns",
    "prop-em-tables": "pretraining-tables pretraining-gradients",
    "prop-em-polynomial": "forward-polynomial horner-reachability construction-gap shared-row-roots",
    "prop-em-jobs": "two-jobs",
    "lem-readout": "readout-identity readout-symbolic",
    "thm-3-1": "theorem-3-1 scores-are-td-errors",
    "prop-renews": "stacked-blocks sarsa-trajectory lstd-limit",
    "prop-share": "share-of-visits",
    "lem-ac-score": "score",
    "thm-3-3": "theorem-3-3 actor-critic-closed-loop",
    "prop-ac-advantage": "td-error-advantage",
    "prop-ac-gradient": "actor-follows-gradient sampled-actor-step",
    "prop-ac-stalls": "pair-critic-stalls",
    "prop-gf-invariance": "proposition-3-1",
    "prop-gf-balance": "flow-balance commutant-law corner-law",
    "prop-gf-null": "null-dimension one-hot-manifold",
    "prop-gf-more": "null-dimension-actor-critic",
    "prop-gf-rate": "local-rate polyak-lojasiewicz",
    "prop-gf-share": "rate-by-modes polyak-at-the-end",
    "prop-gf-scale": "gap-and-scale",
    "prop-tm-rich": "mimicking-rich",
    "prop-tm-bounded": "flow-is-bounded",
    "prop-tm-mirror": "mirror-well",
    "prop-co-loop": "control-loop-sarsa control-loop-actor-critic control-loop-softmax",
    "prop-co-raised": "raised-rewards raised-one-window",
    "prop-co-gauge": "gauge gauge-matters",
    "prop-de-shift": "price-first-shifts price-and-ends",
    "thm-de-closed": "price-closed-contexts",
    "thm-de-last": "priced-td price-last",
    "prop-de-leaves": "price-first-constant price-first-open price-first-hurts",
    "thm-de-focused": "focused-minimax",
    "thm-de-circle": "circle-optimum",
    "thm-de-mixing": "minimax-with-mixing",
    "prop-de-doubling": "doubled-paths",
    "thm-de-momentum": "momentum-layer momentum-converges momentum-reversible",
    "cor-sc-pairs": "softmax-control-pairs",
    "thm-sc-invariance": "softmax-control-invariance centring-invariance",
    "cor-sc-price": "price-changes-nothing",
    "prop-sc-split": "error-of-a-pass two-rates",
    "thm-sc-pass": "improvement-per-pass certified-improvement",
    "thm-sc-loop": "loop-bound loop-bound-sharp",
    "prop-or-counts": "ordinary-compression",
    "prop-or-predictions": "ordinary-polynomials ordinary-instrument",
}
WITHOUT = {
    "thm-2": "quoted; prop-ct-constants has it with constants",
    "thm-gm-paper": "quoted as far as it is known",
    "thm-gf-convergence": "prop-gf-rate and prop-gf-null",
    "lem-dv-signs": "a step of prop-dv-steps",
    "lem-gm-tangent": "a step of prop-gm-asymptotics",
    "lem-gm-bounded": "a step of thm-gm",
    "prop-co-slots": "part of the check of prop-co-loop",
}


def sections():
    """The text of each labelled section, up to the next label of one."""
    found = {}
    for page in BOOK.glob("*.md"):
        parts = re.split(r"^\((sec-[^)]+)\)=$", page.read_text(), flags=re.M)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


SECTIONS = sections()
BOXES = {  # the section in which each box stands
    label: name
    for name, text in SECTIONS.items()
    for label in re.findall(
        r"^`{3,}\{prf:(?:theorem|proposition|lemma|corollary)\}.*\n:label: (\S+)", text, re.M
    )
}


def where_proved(box):
    """Where a proof says that it is of this box; else where the box's section has its proof; else itself."""
    named = [name for name, text in SECTIONS.items() if f"(Of {{prf:ref}}`{box}`.)" in text]
    sent = re.findall(r"\{ref\}`(?:The proof|Proof and picture|Proof) <(sec-\S+)>`", SECTIONS[BOXES[box]])
    return (named or sent or [BOXES[box]])[0]


@pytest.mark.parametrize("box", PROVED)
def test_claims_link_to_the_proof(box):
    assert {CLAIMS[name].section for name in PROVED[box].split()} == {where_proved(box)}


def test_every_box_has_a_claim():
    """Or a reason for having none."""
    assert set(PROVED) | set(WITHOUT) == set(BOXES)
