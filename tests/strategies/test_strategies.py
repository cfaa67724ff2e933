"""The strategies make what they say: valid records, whole ranges, every verdict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from certify import statistics
from certify.documents import Certificate, CoverRecord, Measurement, read_document
from certify.evidence import KINDS, Requirement, alpha_of
from certify.evidence.paired_items import PairedScores
from certify.evidence.smoothed import DrawScores
from certify.records import BenchmarkIdentity, ModelIdentity, NoiseLaw, SubspaceNoise, WeightNoise
from certify.strategies import (
    alphas,
    certificates,
    confidences,
    counts,
    covers,
    draw_scores,
    item_scores,
    measurements,
    noise_laws,
    paired_scores,
    pools,
    score_tables,
    small_models,
)
from certify.verify import differences

FOUND = settings(max_examples=500, database=None)
GENERATE = settings(max_examples=2000, database=None, phases=[Phase.generate])


@given(counts(), alphas(), confidences())
def test_counts_and_probabilities_are_accepted_by_every_bound(pair: tuple[int, int], alpha: float, sure: float) -> None:
    """k of n, alpha in the range of one-pass bounds, confidence that converts."""
    k, n = pair
    assert 0 <= k <= n
    assert 0.0 <= statistics.one_pass_lower(k, n, alpha) <= statistics.one_pass_upper(k, n, alpha) <= 1.0
    assert 0.0 < alpha_of(sure) < 1.0


def test_both_ends_of_a_count_are_reached() -> None:
    """0 of n and n of n are where bounds go wrong."""
    assert find(counts(min_n=5), lambda pair: pair[0] == 0, settings=FOUND) == (0, 5)
    assert find(counts(min_n=5), lambda pair: pair[0] == pair[1], settings=FOUND) == (5, 5)


@given(score_tables(), score_tables(graded=True))
def test_tables_have_a_row_for_each_draw(plain: np.ndarray, graded: np.ndarray) -> None:
    """Two axes, scores in [0, 1], 0 or 1 unless graded; a band takes the means of the rows."""
    for table in (plain, graded):
        assert table.ndim == 2
        assert np.all((table >= 0) & (table <= 1))
        statistics.score_band(table.mean(axis=1), 0.05)
    assert set(np.unique(plain)) <= {0.0, 1.0}


@settings(max_examples=50)
@given(item_scores(missing=True, min_items=3), paired_scores(), draw_scores(items=7))
def test_scores_are_records_already(scores: tuple[float | None, ...], pair: PairedScores, draws: DrawScores) -> None:
    """Items may lack an answer, pairs have equal length, draws are multiples of 1/7 with their failures."""
    assert len(scores) >= 3
    assert pair.lost + pair.gained <= pair.m
    assert all(abs(7 * s - round(7 * s)) < 1e-9 for s in draws.scores)
    assert all(s + f <= 1.0 + 1e-9 for s, f in zip(draws.scores, draws.shares_failed, strict=True))


@given(noise_laws())
def test_noise_moves_something(law: WeightNoise | SubspaceNoise) -> None:
    """A law without noise is none; frozen tensors occur."""
    assert law.dimension > 0
    assert law.noise_norm > 0


@settings(max_examples=40)
@given(certificates())
def test_certificates_verify(certificate: Certificate) -> None:
    """Every bound, seed and digest fits, also after a trip through JSON."""
    assert differences(certificate) == []
    assert Certificate.model_validate_json(certificate.to_text()) == certificate


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(kind, verdict) for kind in KINDS for verdict in ("certified", "undecided", "refuted")
     if (kind, verdict) != ("distance", "refuted")],
)  # fmt: skip
def test_every_verdict_of_every_kind_occurs(kind: str, verdict: str) -> None:
    """Tests that are fed with these certificates meet each case."""
    strategy = certificates(kinds=[kind])
    found = find(strategy, lambda c: c.verdict == verdict, settings=GENERATE)
    assert found.evidence.kind == kind


@settings(max_examples=20)
@given(measurements())
def test_measurements_verify_and_are_read_back(measurement: Measurement) -> None:
    """As files, too."""
    assert differences(measurement) == []
    assert measurement.to_text() == Measurement.model_validate_json(measurement.to_text()).to_text()


@settings(max_examples=5)
@given(small_models())
def test_small_models_run(model: torch.nn.Module) -> None:
    """Causal language models on the CPU, in eval mode, without gradients."""
    logits = model(torch.tensor([[1, 2, 3]])).logits
    assert logits.shape == (1, 3, 32)
    assert bool(logits.isfinite().all())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_the_same_example_has_the_same_weights_and_disturbs_nothing() -> None:
    """Replaying a failure needs the same model; the user's random numbers are his own."""
    from certify.strategies.models import _model

    shape = {"vocab_size": 32, "hidden": 8, "layers": 1, "heads": 2, "shared": 1, "tied": True}
    state = torch.random.get_rng_state()
    for architecture in ("llama", "gpt2"):
        one, two, other = (_model(architecture, shape, seed).state_dict() for seed in (1, 1, 2))  # type: ignore[arg-type]
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.random.get_rng_state(), state)


TYPES = (
    BenchmarkIdentity,
    Certificate,
    DrawScores,
    Measurement,
    ModelIdentity,
    PairedScores,
    Requirement,
    SubspaceNoise,
    WeightNoise,
)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_hypothesis_knows_the_types(kind: type) -> None:
    """``st.from_type`` and annotated arguments need no strategy by name."""

    @settings(max_examples=3, database=None)
    @given(st.from_type(kind))
    def made(value: object) -> None:
        assert isinstance(value, kind)

    made()


def test_a_type_that_is_not_registered_is_noticed() -> None:
    """The check above can fail: what Hypothesis makes up by itself is no valid record."""
    from hypothesis.errors import HypothesisException
    from pydantic import ValidationError

    class Unknown(PairedScores):
        """Registered types do not cover subclasses."""

    with pytest.raises((HypothesisException, ValidationError, TypeError)):
        find(st.builds(Unknown), lambda value: len(value.base) > 3 and value.lost > 1, settings=GENERATE)


def test_the_union_of_laws_resolves() -> None:
    """``NoiseLaw`` is what fields are annotated with."""
    for kind in (WeightNoise, SubspaceNoise):
        find(st.from_type(NoiseLaw), lambda law, kind=kind: isinstance(law, kind), settings=GENERATE)


def test_a_certificate_of_a_strategy_is_a_file_like_any_other(tmp_path: Path) -> None:
    """Written and read by the same functions."""
    found = find(certificates(kinds=["point"]), lambda c: True, settings=GENERATE)
    path = found.to_json(tmp_path / "c.json")
    assert read_document(path) == found
    assert json.loads(path.read_text())["schema"] == "pytest-basin/certificate"


@settings(max_examples=30)
@given(covers(max_items=10, max_draws=60))
def test_covers_are_complete_and_valid(cover: CoverRecord) -> None:
    """With families of one and of two coefficients, whatever their windows show."""
    assert differences(cover) == []
    assert len(cover.said.windows) == len(cover.evidence.places)


def test_covers_have_windows_of_every_colour() -> None:
    """Kept, lost and open."""
    few = covers(max_items=5)
    for verdict in ("certified", "refuted", "undecided"):
        assert find(few, lambda cover, v=verdict: cover.verdict == v, settings=GENERATE).verdict == verdict


@settings(max_examples=20)
@given(certificates(kinds=["point", "audit"], benchmarks=pools(max_items=10)))
def test_certificates_on_pools_are_complete_and_valid(certificate: Certificate) -> None:
    """One decision over several benchmarks, by weights."""
    assert certificate.benchmark.pool is not None
    assert differences(certificate) == []
