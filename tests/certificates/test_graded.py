"""Graded or not, and how many items: what a record says of its benchmark has to be what its evidence holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from pydantic import ValidationError

from certify.documents import Certificate
from certify.evidence import BasinLevel, DistanceEvidence
from certify.evidence.paired_items import PairedScores
from certify.evidence.position import Basin
from certify.evidence.smoothed import DrawScores
from certify.records import ExplicitIdentity, Seed, WeightNoise
from certify.strategies import certificates
from certify.verify import differences

ENGINE, SEED = ExplicitIdentity(device="cpu", tokens_per_batch=1), Seed(value="0" * 64)


def judged_anew(certificate: Certificate, evidence: Any) -> Certificate:
    """The certificate with other evidence, consistent with it as a careful forger would make it."""
    return Certificate.make(
        base=certificate.base, checkpoint=certificate.checkpoint, benchmark=certificate.benchmark,
        requirement=certificate.requirement, alpha=certificate.alpha, evidence=evidence,
        environment=certificate.environment,
    )  # fmt: skip


@given(certificates(kinds=("distance",)))
def test_a_graded_table_verifies_and_graded_pairs_do_not(certificate: Certificate) -> None:
    """A band bounds scores between 0 and 1; a count of right answers does not."""
    assume(certificate.benchmark.graded)
    evidence = certificate.evidence
    assert isinstance(evidence, DistanceEvidence)
    assert differences(certificate) == []
    rounded = DrawScores(scores=tuple(float(round(s)) for s in evidence.draws.draws.scores))
    drawn = evidence.draws.model_copy(update={"design": "pairs", "draws": rounded})
    pairs = evidence.model_copy(update={"draws": drawn})
    assert "evidence.draws: pairs of a graded benchmark have no valid bound" in differences(
        judged_anew(certificate, pairs)
    )


@given(certificates(kinds=("point", "position"), min_items=3))
def test_another_kind_of_scores_than_the_benchmarks_is_found(certificate: Certificate) -> None:
    """Betting bounds where items are counted, or counts where items are graded."""
    evidence: Any = certificate.evidence
    part = "scores" if evidence.kind == "point" else "basin"
    held = getattr(evidence, part)
    whole = [*held.base, *(held.checkpoint if part == "scores" else ())]
    assume(held.graded is False or set(whole) <= {0.0, 1.0})
    if part == "basin" and held.graded:
        assume(all(set(x.scores) <= {0.0, 1.0} for x in (*held.levels, *evidence.points)))
    if not held.graded:
        assume(not any(level.engine.name == "activation" for level in getattr(held, "levels", ())))
    other = evidence.model_copy(update={part: held.model_copy(update={"graded": not held.graded})})
    found = differences(judged_anew(certificate, other))
    assert f"evidence: graded is {not held.graded}, the benchmark's is {held.graded}" in found


@given(certificates(kinds=("point", "position"), min_items=2))
def test_another_number_of_items_than_the_benchmarks_is_found(certificate: Certificate) -> None:
    """Items left out of the scores, or out of the benchmark."""
    evidence, items = certificate.evidence, certificate.benchmark.items
    less = certificate.benchmark.model_copy(update={"items": items - 1, "groups": None})
    fewer = certificate.model_copy(update={"benchmark": less})
    assert f"evidence: {items} item scores, the benchmark has {items - 1} items" in differences(
        judged_anew(fewer, evidence)
    )


def test_what_does_not_pair_is_refused() -> None:
    """Scores of unequal length, a level with other items than the base, a grid that does not ascend."""
    with pytest.raises(ValidationError, match="paired scores must have equal length, got 2 and 3"):
        PairedScores(base=(1.0, 0.0), checkpoint=(1.0, 0.0, 1.0))
    with pytest.raises(ValidationError, match=r"score 0\.5 of a benchmark that is not graded: must be 0 or 1"):
        PairedScores(base=(1.0,), checkpoint=(0.5,))

    def level(sigma: float, *scores: float) -> BasinLevel:
        law = WeightNoise(sigma={"w": sigma}, sizes={"w": 1})
        return BasinLevel(sigma=sigma, law=law, engine=ENGINE, seed=SEED, scores=scores)

    with pytest.raises(ValidationError, match=r"level sigma=0\.1 has 1 items, base 2"):
        Basin(base=(1.0, 1.0), levels=(level(0.1, 1.0),))
    with pytest.raises(ValidationError, match=r"the sigma grid must ascend without repeats, got \[0\.2, 0\.1\]"):
        Basin(base=(1.0,), levels=(level(0.2, 1.0), level(0.1, 1.0)))
