"""Rows of sequential gates and of basins: what is claimed stands in them, and nothing that is not."""

from __future__ import annotations

import pytest
from hypothesis import Phase, find, settings
from point_certificates import BENCHMARK, identity

from certify.documents import BasinRecord, GateRecord
from certify.evidence import Requirement, Verdict
from certify.evidence.sequential import ScoreRequirement, SequentialEvidence, decide, gate_plan
from certify.evidence.trials import Subject, Trials
from certify.evidence.width import WidthEvidence
from certify.records import Environment, ExplicitIdentity, WeightNoise
from certify.report.render import render_html, row_of
from certify.statistics import Decision
from certify.strategies import measurements
from certify.verify import differences

LAW = WeightNoise(sigma={"a": 0.1}, sizes={"a": 10})
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=64)
QUICK = settings(database=None, phases=[Phase.generate])
ENVIRONMENT = Environment(python="3.12", platform="Linux", packages={"torch": "2.13.0"})


def gate(outcome: str) -> GateRecord:
    """A gate whose trials all have one outcome, up to its decision."""
    base, checkpoint, plan = identity("base", "b"), identity("final", "1"), gate_plan(0.5, 0.8, alpha=0.05)
    outcomes = outcome
    while decide(plan, ENGINE.eta(LAW), outcomes) is Decision.CONTINUE:
        outcomes += outcome
    seed = Trials("sequential", Subject(BENCHMARK, base, checkpoint), LAW, plan.cap, user_seed=7).seed
    evidence = SequentialEvidence(law=LAW, engine=ENGINE, seed=seed, plan=plan, outcomes=outcomes)
    return GateRecord.make(
        base=base,
        checkpoint=checkpoint,
        benchmark=BENCHMARK,
        requirement=ScoreRequirement(unit="score", limit=0.5),
        evidence=evidence,
        environment=ENVIRONMENT,
    )


@pytest.mark.parametrize(
    ("outcome", "verdict", "lower", "upper"),
    [("1", Verdict.CERTIFIED, 0.5, None), ("0", Verdict.REFUTED, None, 0.5)],
)
def test_the_bound_of_a_sequential_gate_is_what_it_required(
    outcome: str, verdict: Verdict, lower: float | None, upper: float | None
) -> None:
    """The mean of a run that stopped by its outcomes is no estimate, and is not shown as one."""
    record = gate(outcome)
    assert differences(record) == []
    row = row_of(record, "gate.json")
    assert (row.verdict, row.lower, row.upper, row.value, row.need) == (verdict, lower, upper, None, 0.5)
    assert (row.n, row.of) == (len(record.evidence.outcomes), "draws")
    assert row.required == "at least 0.5"
    assert row.digests["gate"] == record.digest
    assert row.seeds["evidence"].endswith("(user seed 7)")
    assert record.claim_text in row.claim
    assert "final<wbr>[own]" in render_html([row])


def test_a_basin_has_a_claim_and_no_interval() -> None:
    """Its width is one number of the grid, and it speaks of no checkpoint."""
    measurement = find(measurements(), lambda m: not m.benchmark.graded, settings=QUICK)
    evidence, requirement = WidthEvidence(basin=measurement.basin), Requirement(limit=0.1)
    record = BasinRecord.make(
        base=measurement.base,
        benchmark=measurement.benchmark,
        requirement=requirement,
        alpha=0.05,
        evidence=evidence,
        environment=ENVIRONMENT,
    )
    row = row_of(record, "basin.json")
    assert row.item == f"basin of {measurement.base.name}[{measurement.benchmark.name}]"
    assert (row.value, row.lower, row.upper, row.checkpoint) == (None, None, None, "")
    assert row.claim == record.claim_text
    assert "checkpoint" not in row.digests
    assert record.verdict.capitalize() in render_html([row])
