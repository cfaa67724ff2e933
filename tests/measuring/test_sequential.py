"""Sequential gates through the real sampling path, on half-spaces whose smoothed score is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import models
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binom
from test_end_to_end import DIMENSION, ENGINE, SIGMA, HalfSpace, Thresholds, law

from certify.checkpoints import open_checkpoint
from certify.documents import GateRecord, read_document
from certify.errors import ActivationRefused, CertifyWarning, CheckpointError, InvalidInput, InvalidPlan
from certify.evidence.sequential import ScoreRequirement, SequentialEvidence, decide, gate_plan, least_to_pass
from certify.evidence.trials import Subject
from certify.measuring import Base, sequential
from certify.measuring.candidate import Candidate
from certify.measuring.item_trials import EngineChoice
from certify.measuring.replay import replay
from certify.measuring.run import Run
from certify.measuring.sequential import LARGEST_BLOCK, SMALLEST_BLOCK, PlannedGate, run_gate, written_trials
from certify.measuring.world import World
from certify.noise.activation import ActivationPairs, pairs
from certify.noise.activation.pairs import Table
from certify.records import ActivationIdentity, ModelIdentity, digest
from certify.statistics import Decision, GatePlan, clopper_pearson_lower
from certify.verify import differences

MARGINS = (0.5, 1.0, 1.5)
DIGESTS = ["sha256:" + c * 64 for c in "0123456789abcdef"]
SIZES = pytest.mark.parametrize("repeats", [150, pytest.param(2000, marks=pytest.mark.statistical)])
CAP, ALPHA = 120, 0.1
ANY_PLAN = GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=CAP)


def identity(i: int) -> ModelIdentity:
    return ModelIdentity(name=f"m{i}", weights=DIGESTS[i % 16], companions={}, parameters=DIMENSION, dtypes=("F32",))


def moved(r: float) -> HalfSpace:
    """The checkpoint at distance r against a."""
    return HalfSpace(torch.full((DIMENSION,), -r * SIGMA / DIMENSION**0.5))


def planned(plan: GatePlan, i: int = 1, user_seed: int = 0) -> PlannedGate:
    requirement = ScoreRequirement(unit="score", limit=plan.p0)
    return PlannedGate(
        Subject(Thresholds(MARGINS).identity, identity(0), identity(i)), law(), requirement, plan, user_seed
    )


def gate(plan: GatePlan, r: float = 0.0, i: int = 1, user_seed: int = 0, run: Run | None = None) -> GateRecord:
    with written_trials(planned(plan, i, user_seed), moved(r), Thresholds(MARGINS), ENGINE) as trials:
        return run_gate(planned(plan, i, user_seed), trials, run=run)


def test_a_plan_that_no_truth_satisfies_is_refused_before_the_first_draw() -> None:
    """p1 at p0 is above p0, and not above p0 + eta: nothing is drawn to find that out."""
    plan = GatePlan(p0=0.6, p1=0.6 + 1e-15, alpha=0.05, cap=300)
    with written_trials(planned(plan, 1, 0), moved(0.0), Thresholds(MARGINS), ENGINE) as trials:
        unasked = replace(trials, score=lambda _: pytest.fail("drawn"))
        with pytest.raises(InvalidInput, match=r"p1 = 0\.6.*must be above p0"):
            run_gate(planned(plan, 1, 0), unasked)


def truth(r: float) -> float:
    return float(np.mean(ndtr(np.array(MARGINS) - r)))


@pytest.fixture(scope="module")
def paths():  # type: ignore[no-untyped-def]
    """Outcomes of CAP trials for each of many gates at distance 0.5, drawn through the real path."""
    known: dict[int, list[str]] = {}

    def draw(repeats: int) -> list[str]:
        if repeats not in known:
            rows = []
            for i in range(repeats):
                with written_trials(planned(ANY_PLAN, user_seed=i), moved(0.5), Thresholds(MARGINS), ENGINE) as trials:
                    rows.append("".join(str(int(right or 0)) for right, _ in trials.score(range(CAP))))
            known[repeats] = rows
        return known[repeats]

    return draw


def ends(paths: list[str], plan: GatePlan) -> list[Decision]:
    """Where each path ends, by stopping at its first decision."""
    found = []
    for path in paths:
        stops = (n for n in range(1, CAP + 1) if plan.decide(n, path[:n].count("1")) is not Decision.CONTINUE)
        found.append(decide(plan, 0.0, path[: next(stops)]))
    return found


@SIZES
def test_a_checkpoint_exactly_at_the_requirement_passes_with_probability_at_most_alpha(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J = p0: false passes stay below the count that has probability 1e-6 at alpha."""
    plan = GatePlan(p0=truth(0.5), p1=0.9, alpha=ALPHA, cap=CAP)
    passed = sum(d is Decision.PASSED for d in ends(paths(repeats), plan))
    assert passed <= binom.isf(1e-6, repeats, ALPHA), f"{passed} of {repeats} at alpha {ALPHA}"


@SIZES
def test_the_gate_has_the_power_and_speed_that_its_plan_states(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J above p0: passes are binomial with the plan's exact probability (two-sided, 1e-6)."""
    plan = GatePlan(p0=0.55, p1=truth(0.5), alpha=ALPHA, cap=CAP)
    passed, expected = sum(d is Decision.PASSED for d in ends(paths(repeats), plan)), plan.power
    low, high = binom.ppf(5e-7, repeats, expected), binom.isf(5e-7, repeats, expected)
    assert low <= passed <= high, f"{passed} of {repeats}, planned {expected:.3f}"


@SIZES
def test_refutation_of_a_checkpoint_that_keeps_the_requirement_is_as_rare(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """E J = p0 with alpha_refute: false refutations stay within their own alpha."""
    plan = GatePlan(p0=truth(0.5), p1=0.9, alpha=ALPHA, cap=CAP, alpha_refute=ALPHA)
    refuted = sum(d is Decision.REFUTED for d in ends(paths(repeats), plan))
    assert refuted <= binom.isf(1e-6, repeats, ALPHA)


@SIZES
def test_peeking_at_clopper_pearson_is_caught(paths, repeats: int) -> None:  # type: ignore[no-untyped-def]
    """Negative control: stopping at the first look at which a fixed-n bound passes fails the test above."""
    p0 = truth(0.5)
    looks = np.arange(1, CAP + 1)
    counts = np.array([[int(c) for c in path] for path in paths(repeats)]).cumsum(1)
    peeked = int((clopper_pearson_lower(counts, looks, ALPHA) >= p0).any(1).sum())
    assert peeked > binom.isf(1e-6, repeats, ALPHA)


def test_a_record_recomputes_from_its_file(tmp_path: Path) -> None:
    """Requirement, plan, seed, outcomes and verdict survive the file, and nothing in it contradicts itself."""
    record = gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300))
    assert record.verdict == "certified"
    assert f"is above 0.6 ({record.judgement.right} of {record.judgement.drawn} trials right)" in record.claim_text
    read = read_document(record.to_json(tmp_path / "gate.json"))
    assert read == record
    assert differences(read) == []


FORGERIES = [
    (("evidence", "outcomes"), lambda old: "0" * len(old), "evidence: the gate was decided (futile) after"),
    (("evidence", "outcomes"), lambda old: old + "1", "evidence: the gate was decided (passed) after"),
    (("evidence", "outcomes"), lambda old: old[:-1], "evidence: the gate is not decided after"),
    (("evidence", "seed", "value"), lambda old: "0" * 64, "evidence.seed: recorded 0000"),
    (("evidence", "plan", "cap"), lambda old: old + 1, "evidence.seed: recorded"),
    (("evidence", "plan", "alpha"), lambda old: 0.01, "evidence: the gate is not decided after"),
    (("evidence", "plan", "p0"), lambda old: 0.5, "evidence.plan.p0: recorded 0.5, recomputed 0.6"),
    (("requirement", "limit"), lambda old: 0.7, "evidence.plan.p0: recorded 0.6, recomputed 0.7"),
    (("benchmark", "chance"), lambda old: 0.7, "evidence: a score above 0.6 says nothing: chance is 0.7"),
    (("benchmark", "graded"), lambda old: True, "benchmark: is graded"),
    (("checkpoint", "weights"), lambda old: DIGESTS[9], "evidence.seed: recorded"),
    (("judgement", "verdict"), lambda old: "refuted", "judgement.verdict: recorded 'refuted', recomputed 'certified'"),
    (("judgement", "claim"), lambda old: "All is well.", "judgement.claim: recorded 'All is well.'"),
    (("environment", "python"), lambda old: "2.7", None),
]


@pytest.mark.parametrize(
    ("path", "change", "message"), FORGERIES, ids=[f"{'.'.join(path)} {message}" for path, _, message in FORGERIES]
)
def test_a_forged_record_is_found(path: tuple[str, ...], change: Any, message: str | None) -> None:
    """Whoever changes the file and gives it a fitting digest is caught by what the outcomes decide."""
    whole = json.loads(gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300)).to_text())
    place = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = change(place[path[-1]])
    if message is None:  # nothing follows from it: only the digest notices
        (line,) = differences(GateRecord.model_validate(whole))
        assert line.startswith("digest: recorded")
        return
    body = {k: v for k, v in whole.items() if k != "digest"}
    found = differences(GateRecord.model_validate({**body, "digest": digest(body)}))
    assert any(line.startswith(message) for line in found), found
    assert not any(line.startswith("digest") for line in found)


def test_draws_are_of_this_checkpoint_alone() -> None:
    """Same everything, same outcomes; another checkpoint or user seed, other outcomes; global state untouched."""
    plan = GatePlan(p0=0.7, p1=0.9, alpha=1e-6, beta=1e-6, cap=60)
    state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first, again, other, third = gate(plan), gate(plan), gate(plan, i=2), gate(plan, user_seed=1)
    assert first == again
    assert len({each.evidence.outcomes for each in (first, other, third)}) == 3
    assert len({each.evidence.seed.value for each in (first, other, third)}) == 3
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.random.get_rng_state(), state[1])


def test_far_below_the_requirement_it_ends_early_without_a_proof() -> None:
    """A checkpoint two sigma off ends as futile, or as refuted where the plan pays for it."""
    early = gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300), r=2.0)
    assert (early.judgement.decision, early.verdict) == (Decision.FUTILE, "undecided")
    assert "a score of 0.85 looked unlikely, which proves nothing" in early.claim_text
    paid = gate(GatePlan(p0=0.6, p1=0.85, alpha=0.05, cap=300, alpha_refute=0.05), r=2.0)
    assert (paid.judgement.decision, paid.verdict) == (Decision.REFUTED, "refuted")
    assert "is below 0.6 (" in paid.claim_text


def test_at_the_cap_it_says_what_it_lacked() -> None:
    """Undecided, with the number of further right answers that would have passed."""
    record = gate(GatePlan(p0=0.6, p1=0.85, alpha=1e-9, cap=20, alpha_refute=1e-9))
    assert (record.judgement.decision, record.verdict) == (Decision.CAPPED, "undecided")
    more = least_to_pass(record.evidence.plan, record.evidence.eta, 20, record.judgement.right)
    assert record.judgement.notes == (f"{more} more right answers in a row would have passed",)
    assert "the cap of 20 draws came first" in record.claim_text


def test_finite_precision_is_paid_on_both_sides() -> None:
    """A pass is judged at p0 + eta, a refutation at p0 - eta: a large eta delays both."""
    plan = GatePlan(p0=0.7, p1=0.95, alpha=0.05, cap=60, alpha_refute=0.05)
    for digit, end in (("1", Decision.PASSED), ("0", Decision.REFUTED)):
        first = next(n for n in range(1, 60) if decide(plan, 0.0, digit * n) is not Decision.CONTINUE)
        assert decide(plan, 0.0, digit * first) is end
        assert decide(plan, 0.2, digit * first) is Decision.CONTINUE


@pytest.mark.parametrize("unclear", [1, 5])
def test_unclear_trials_count_against_either_verdict(unclear: int) -> None:
    """Wherever they lie, a pass holds with all of them wrong, and a refutation with all of them right."""
    plan, seen = GatePlan(p0=0.6, p1=0.85, alpha=0.2, cap=40, alpha_refute=0.2), set()
    generator = np.random.default_rng(unclear)
    for p in np.tile((0.2, 0.9), 40):
        path = "".join(generator.choice(["1", "0"], size=40, p=[p, 1 - p]))
        for place in generator.choice(20, size=unclear, replace=False):
            path = path[:place] + "x" + path[place + 1 :]
        n, end = first_decision(plan, path)
        if end is Decision.PASSED:
            assert path[:n].replace("x", "0").count("1") >= plan.pass_at_least(n)
        if end is Decision.REFUTED:
            assert path[:n].replace("x", "1").count("1") <= plan.refuted_at_most(n)
        seen.add((end, "x" in path[:n]))
    assert {(Decision.PASSED, True), (Decision.REFUTED, True)} <= seen


def first_decision(plan: GatePlan, path: str) -> tuple[int, Decision]:
    """Where and how a path ends that goes on until it is decided."""
    for n in range(1, len(path) + 1):
        if (found := decide(plan, 0.0, path[:n])) is not Decision.CONTINUE:
            return n, found
    raise AssertionError("undecided before the cap")


def test_a_gate_of_nothing_but_unclear_trials_stays_undecided() -> None:
    """Neither bound may use them."""
    plan = GatePlan(p0=0.6, p1=0.85, alpha=0.2, cap=40, alpha_refute=0.2)
    assert first_decision(plan, "x" * 40) == (40, Decision.CAPPED)
    assert decide(plan, 0.0, "x" * 39) is Decision.CONTINUE


def test_what_the_gate_cannot_test_is_refused() -> None:
    """A graded benchmark, and a p1 that eta has swallowed."""
    whole = planned(ANY_PLAN)
    with pytest.raises(InvalidPlan, match="half-spaces is graded"):
        benchmark = whole.subject.benchmark.model_copy(update={"graded": True})
        replace(whole, subject=replace(whole.subject, benchmark=benchmark))
    with pytest.raises(InvalidPlan, match=r"the plan tests a score of 0.6, but 0.61 is required"):
        replace(whole, requirement=ScoreRequirement(unit="score", limit=0.61))
    with pytest.raises(InvalidInput, match="must be above p0"):
        gate(GatePlan(p0=0.6, p1=0.6 + 1e-12, alpha=0.05, cap=10))


def test_a_checkpoint_on_disk_is_gated_as_it_is(tmp_path: Path) -> None:
    """A copy of a base that is right on all its items passes; a wreck is refuted; another tokenizer is refused."""
    model = models.llama()
    models.save_folder(tmp_path / "base", model)
    base = Base.open(tmp_path / "base", models.write_jsonl(tmp_path / "own.jsonl", models.own_answers(model, 40)))
    noise = torch.Generator().manual_seed(0)

    def wreck(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor + torch.randn(tensor.shape, generator=noise)

    requirement = ScoreRequirement(unit="retention", limit=0.8, base=base.scores)
    plan = gate_plan(requirement.level(0.0), 0.95, alpha=0.05)
    found = {}
    for name, change in (("same", lambda tensors: None), ("wreck", wreck)):
        checkpoint = open_checkpoint(models.variant(tmp_path / "base", tmp_path / name, change))
        found[name] = Candidate(base, checkpoint).sequential(base.weight_law(1e-4), requirement, plan)
        assert found[name].checkpoint == checkpoint.identity
    assert (found["same"].verdict, found["wreck"].verdict) == ("certified", "refuted")
    assert "required: 0.8 of the base's 1 without noise" in found["same"].claim_text
    models.variant(tmp_path / "base", tmp_path / "other", lambda tensors: None)
    models.swap_tokens(tmp_path / "other", "0", "1")
    with pytest.raises(CheckpointError, match="tokenizer differs"):
        Candidate(base, open_checkpoint(tmp_path / "other")).sequential(base.weight_law(1e-4), requirement, plan)


PLAN = GatePlan(p0=0.6, p1=0.85, alpha=0.01, cap=200)


@pytest.mark.parametrize("stop", [0, 1, 17, 20])
def test_a_killed_gate_resumes_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    """An exception in the middle, the same gate again: the record of an undisturbed run, no draw drawn twice."""
    whole = gate(PLAN)
    assert whole.judgement.drawn > 20
    drawn: list[float] = []
    score = Thresholds.score

    def counting(self: Thresholds, model: Any, items: Sequence[int] | None = None) -> list[float]:
        if len(drawn) == stop:
            drawn.append(0)
            raise KeyboardInterrupt
        drawn.append(1)
        return score(self, model, items)

    monkeypatch.setattr(Thresholds, "score", counting)
    with pytest.raises(KeyboardInterrupt):
        gate(PLAN, run=Run(ledgers=tmp_path))
    assert gate(PLAN, run=Run(ledgers=tmp_path)) == whole
    assert sum(drawn) == whole.judgement.drawn
    assert gate(PLAN, run=Run(ledgers=tmp_path)) == whole
    assert sum(drawn) == whole.judgement.drawn


MEETING = Barrier(2)


class Threaded(World):
    """A rank that is a thread."""

    def wait(self) -> None:
        """Meet the other one."""
        MEETING.wait(timeout=30)


def test_two_processes_give_the_record_of_one(tmp_path: Path) -> None:
    """Each draws its share of a block; both look at the complete prefix and stop at the same trial."""
    with ThreadPoolExecutor(2) as ranks:
        runs = [ranks.submit(gate, PLAN, run=Run(ledgers=tmp_path, world=Threaded(i, 2))) for i in range(2)]
        records = [each.result() for each in runs]
    whole = gate(PLAN)
    assert records == [whole, whole]
    draws = [
        json.loads(line.partition(" ")[2])[0]
        for f in tmp_path.rglob("*.jsonl")
        for line in f.read_text().splitlines()[1:]
    ]
    assert sorted(draws) == list(range(len(draws)))  # none twice
    assert whole.judgement.drawn <= len(draws) <= whole.judgement.drawn + LARGEST_BLOCK


def test_one_of_two_processes_alone_says_what_is_missing(tmp_path: Path) -> None:
    """A rank whose partner died stops at the first block."""
    with pytest.raises(InvalidPlan, match="7 of draws 0 to 13 are missing"):
        gate(PLAN, run=Run(ledgers=tmp_path, world=Alone(0, 2)))
    with pytest.raises(InvalidPlan, match="need a folder"):
        gate(PLAN, run=Run(world=Alone(0, 2)))


class Alone(World):
    def wait(self) -> None:
        """Do not wait for a partner that is not there."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """A small Llama, gated against itself on the items that it answers."""
    where, model = tmp_path_factory.mktemp("small"), models.llama()
    models.save_folder(where / "base", model)
    base = Base.open(where / "base", models.write_jsonl(where / "own.jsonl", models.own_answers(model, 40)))
    return Candidate(base, open_checkpoint(where / "base"))


SHOWN = EngineChoice(engine="activation")


def shown(small: Candidate, choice: EngineChoice = SHOWN, run: Run | None = None) -> GateRecord:
    """The gate of a noise under which some answers are lost."""
    plan = gate_plan(0.8, 0.95, alpha=0.05)
    requirement = ScoreRequirement(unit="score", limit=0.8)
    return small.sequential(small.base.weight_law(0.01), requirement, plan, engine=choice, run=run)


def test_in_activation_space_the_record_does_not_depend_on_how_many_are_drawn_together(
    small: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of one, of three, and the usual ones; the outcomes have both kinds."""
    usual = shown(small)
    assert usual.evidence.engine.name == "activation"
    assert set(usual.evidence.outcomes) == {"0", "1"}
    assert differences(usual) == []
    for smallest, largest in ((1, 1), (3, 7)):
        monkeypatch.setattr(sequential, "SMALLEST_BLOCK", smallest)
        monkeypatch.setattr(sequential, "LARGEST_BLOCK", largest)
        assert shown(small) == usual


def test_a_block_never_exceeds_what_a_pass_needs(small: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that is always right wastes no draw."""
    asked: list[int] = []
    margins = ActivationPairs.margins

    def counting(self: ActivationPairs, table: Table, entries: Sequence[int]) -> list[list[float]]:
        asked.append(len(entries))
        return margins(self, table, entries)

    monkeypatch.setattr(ActivationPairs, "margins", counting)
    plan = gate_plan(0.8, 0.95, alpha=0.01)
    record = small.sequential(
        small.base.weight_law(1e-5), ScoreRequirement(unit="score", limit=0.8), plan, engine=SHOWN
    )
    assert set(record.evidence.outcomes) == {"1"}
    assert sum(asked) == record.judgement.drawn == least_to_pass(plan, 0.0, 0, 0)
    assert asked[0] == SMALLEST_BLOCK


def test_a_killed_gate_in_activation_space_resumes(
    small: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second block, it goes on there."""
    whole, margins, calls = shown(small), ActivationPairs.margins, [0]

    def failing(self: ActivationPairs, table: Table, entries: Sequence[int]) -> list[list[float]]:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return margins(self, table, entries)

    monkeypatch.setattr(ActivationPairs, "margins", failing)
    with pytest.raises(KeyboardInterrupt):
        shown(small, run=Run(ledgers=tmp_path))
    assert shown(small, run=Run(ledgers=tmp_path)) == whole


def test_decisions_within_the_guard_are_unclear_and_said(small: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a guard as wide as most margins, what is left decides less; each hidden trial counts against both sides."""
    monkeypatch.setattr(pairs, "GUARD_FLOOR", 0.3)
    record = shown(small)
    j, engine = record.judgement, record.evidence.engine
    assert isinstance(engine, ActivationIdentity)
    assert engine.guard == 0.3
    assert 0 < j.unclear == engine.guarded == record.evidence.outcomes.count("x")
    assert f"{j.unclear} unclear trials were counted as wrong for a pass and as right for a refutation" in j.notes
    assert f"{j.right} of {j.drawn} trials right, {j.unclear} unclear" in record.claim_text
    assert any(f"{j.unclear} of {j.drawn} decisions lay within it" in limit for limit in j.limits)
    assert differences(record) == []
    monkeypatch.setattr(pairs, "GUARD_FLOOR", 1e9)
    assert shown(small).judgement.decision is Decision.CAPPED


def test_an_item_without_an_answer_is_wrong_in_either_engine(small: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    """By definition of J, and not unclear: a model whose answers are NaN is refuted, whoever shows the noise."""
    requirement = ScoreRequirement(unit="score", limit=0.8)
    plan = gate_plan(0.8, 0.95, alpha=0.05)

    def silent(self: ActivationPairs, table: Table, entries: Sequence[int]) -> list[list[float]]:
        return [[float("nan")] * len(table[entry][1]) for entry in entries]

    def speechless(self: Any, model: Any, items: Sequence[int]) -> list[float]:
        return [float("nan") for _ in items]

    monkeypatch.setattr(ActivationPairs, "margins", silent)
    monkeypatch.setattr(type(small.base.scorer), "score", speechless)
    for engine in ("activation", "explicit"):
        law = small.base.weight_law(1e-3)
        record = small.sequential(law, requirement, plan, engine=EngineChoice(engine=engine))
        assert record.evidence.engine.name == engine
        assert set(record.evidence.outcomes) == {"0"}
        assert (record.verdict, record.judgement.unclear) == ("refuted", 0)
        assert differences(record) == []


def test_a_draw_without_an_answer_is_wrong_and_is_drawn_again_as_such(
    small: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits that are NaN under one draw: not unclear but 0, by definition of J, and no difference in a replay."""
    margins, place = ActivationPairs.margins, shown(small).evidence.outcomes.index("1")

    def without_an_answer(self: ActivationPairs, table: Table, entries: Sequence[int]) -> list[list[float]]:
        found = margins(self, table, entries)
        return [[float("nan")] if table[e][0] == place else own for e, own in zip(entries, found, strict=True)]

    monkeypatch.setattr(ActivationPairs, "margins", without_an_answer)
    record = shown(small)
    assert record.evidence.outcomes[place] == "0"
    assert (record.judgement.unclear, replay(record, small.base, 1000)) == (0, [])


def test_where_activation_space_is_not_exact_the_explicit_engine_takes_over(
    small: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning that names the reason; asked for by name, the refusal is an error."""

    def refusing(self: ActivationPairs) -> None:
        raise ActivationRefused("the oracle rejects this model")

    written = shown(small, EngineChoice())
    monkeypatch.setattr(ActivationPairs, "_prove", refusing)
    with pytest.warns(CertifyWarning, match="the oracle rejects this model; use the explicit engine, which takes over"):
        assert shown(small) == written
    assert written.evidence.engine.name == "explicit"
    with pytest.raises(ActivationRefused):
        shown(small, EngineChoice(engine="activation", asked=True))


def test_unclear_outcomes_without_a_guard_are_refused(small: Candidate) -> None:
    """Only the activation engine leaves a decision open, and as many as its identity says."""
    whole = json.loads(shown(small, EngineChoice()).evidence.model_dump_json())
    with pytest.raises(ValueError, match="1 unclear outcomes do not fit the explicit engine"):
        SequentialEvidence.model_validate({**whole, "outcomes": "x" + whole["outcomes"]})
    whole = json.loads(shown(small).evidence.model_dump_json())
    with pytest.raises(ValueError, match="0 unclear outcomes do not fit the activation engine"):
        SequentialEvidence.model_validate({**whole, "engine": {**whole["engine"], "guarded": 1}})
