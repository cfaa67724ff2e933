"""Files of every released schema version verify forever: they are kept, never edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certify.documents import Certificate, CoverRecord, GateRecord, Measurement, SkillsRecord, read_document
from certify.evidence import KINDS, DistanceEvidence, PositionEvidence
from certify.records import digest
from certify.verify import differences

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("v*/**/*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_kept_file_still_verifies(path: Path) -> None:
    """Every bound, seed and digest of the file recomputes with today's code."""
    assert differences(read_document(path)) == []


def test_every_kind_is_kept() -> None:
    """A certificate of each kind of evidence, each verdict, a vacuous one, and a measurement."""
    documents = [read_document(path) for path in GOLDEN]
    certificates = [d for d in documents if isinstance(d, Certificate)]
    assert {c.evidence.kind for c in certificates} == set(KINDS)
    assert {c.verdict for c in certificates} == {"certified", "refuted", "undecided"}
    assert any(c.judgement.vacuous for c in certificates)
    assert any(isinstance(d, Measurement) for d in documents)


def test_every_engine_and_design_is_kept() -> None:
    """Tables from before designs were recorded, pairs by both engines, and basins by both."""
    documents = [read_document(path) for path in GOLDEN]
    measured = [d for d in documents if isinstance(d, Measurement)]
    judged = [d.evidence for d in documents if isinstance(d, Certificate)]
    draws = [x for m in measured for x in m.draws] + [e.draws for e in judged if isinstance(e, DistanceEvidence)]
    basins = [m.basin for m in measured] + [e.basin for e in judged if isinstance(e, PositionEvidence)]
    kept = {(x.engine.name, x.design) for x in draws}
    assert kept == {("explicit", "table"), ("explicit", "pairs"), ("activation", "pairs")}
    assert {level.engine.name for basin in basins for level in basin.levels} == {"explicit", "activation"}


def test_every_end_of_a_gate_is_kept() -> None:
    """Passed, refuted, given up and capped; drawn by either engine."""
    gates = [d for d in map(read_document, GOLDEN) if isinstance(d, GateRecord)]
    assert {d.judgement.decision.value for d in gates} == {"passed", "refuted", "futile", "capped"}
    assert {d.evidence.engine.name for d in gates} == {"explicit", "activation"}


def test_every_colour_of_a_cover_is_kept() -> None:
    """Windows that are kept, lost and open."""
    covers = [d for d in map(read_document, GOLDEN) if isinstance(d, CoverRecord)]
    assert {w.verdict.value for d in covers for w in d.judgement.windows} == {"certified", "refuted", "undecided"}


def test_a_pool_and_basins_of_several_skills_are_kept() -> None:
    """One decision over several benchmarks; skills under the same draws, on a grid that was refined."""
    documents = [read_document(path) for path in GOLDEN]
    assert any(isinstance(d, Certificate) and d.benchmark.pool for d in documents)
    levels = [level for d in documents if isinstance(d, SkillsRecord) for level in d.evidence.levels]
    assert {level.refined for level in levels} == {True, False}
    assert all(len(level.scores) > 1 for level in levels)


def test_a_field_that_a_later_release_adds_breaks_no_old_digest(tmp_path: Path) -> None:
    """A file that lacks a field with a default has the digest of what it holds, and still verifies."""
    value = json.loads((GOLDEN[0].parent / "benign.addition.position.json").read_text())
    del value["evidence"]["basin"]["graded"]
    del value["digest"]
    (tmp_path / "older.json").write_text(json.dumps({**value, "digest": digest(value)}))
    assert differences(read_document(tmp_path / "older.json")) == []
