"""alpha* is printed so that it contradicts neither itself nor the sigma* beside it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_vacuous import BENCH, ENGINE, SEED, items, law

from certify.evidence import BasinLevel, PositionEvidence, Requirement, SegmentPoint, Verdict
from certify.evidence.displacement import Displacement
from certify.evidence.position import Basin, alpha_star_text, level_text


@pytest.mark.parametrize(
    ("alpha_star", "sigma_star", "text"),
    [
        (0.0421001, 0.06, "0.0422"),
        (0.00015, 0.001, "0.000150"),
        (0.000151234, None, "0.000152"),
        (0.04215, 0.04217, "0.04215"),
        (0.0, 0.01, "0.0000"),
        (1.5, 1.0, "1.5000"),
    ],
)
def test_three_digits_or_four_decimals(alpha_star: float, sigma_star: float | None, text: str) -> None:
    """More where these would lie beyond a sigma* that it does not exceed."""
    assert alpha_star_text(alpha_star, sigma_star) == text


@given(st.floats(1e-6, 100.0), st.floats(1.0, 1.5))
@example(1.890625, 1.0)  # six digits of six decimals were rounded a second time, to nearest
def test_what_lies_inside_reads_so(alpha_star: float, wider: float) -> None:
    """And is never printed nearer to the base than it is."""
    sigma_star = alpha_star * wider * (1 + 3e-5)
    for digits in (None, 4):
        assert alpha_star <= float(alpha_star_text(alpha_star, sigma_star, digits)) <= float(level_text(sigma_star))


def test_a_claim_on_small_weights_does_not_contradict_itself() -> None:
    """alpha* .00015 inside a width of .00016 was said to be .0002."""
    levels = (BasinLevel(sigma=s, law=law(s), engine=ENGINE, seed=SEED, scores=items(300)) for s in (0.0001, 0.00016))
    evidence = PositionEvidence(
        basin=Basin(base=items(300), levels=tuple(levels)),
        points=(SegmentPoint(fraction=1.0, scores=items(300)),),
        displacement=Displacement(norms={"w": 0.0015}, delta_norm=0.0015, dimension=100),
    )
    judged = evidence.judge(BENCH, Requirement(), 0.05)
    assert judged.verdict is Verdict.CERTIFIED
    assert "alpha* = 0.000150001, sigma* = 0.00016" in judged.claim  # norms are rounded up
    assert evidence.shown(BENCH, Requirement(), 0.05, judged).place == ("alpha* 0.000151", "sigma* 0.00016")
