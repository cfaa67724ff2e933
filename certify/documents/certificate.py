"""The documents that make claims: of one checkpoint, of a gate, of a basin, of a family. They declare fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from certify.documents.judged import Judged
from certify.evidence import Evidence, Judgement, Requirement
from certify.evidence.cover import CoverEvidence, CoverJudgement
from certify.evidence.paired_items import unlike_benchmark, unlike_groups, unlike_order, unlike_pool
from certify.evidence.point import PointEvidence
from certify.evidence.sequential import GateJudgement, ScoreRequirement, SequentialEvidence
from certify.evidence.skills import SkillsEvidence, SkillsJudgement
from certify.evidence.trials import RecordedRun, Subject
from certify.evidence.width import WidthEvidence, WidthJudgement
from certify.records import Alpha, BenchmarkIdentity, BroughtScores, Environment, FamilyIdentity, ModelIdentity, Record


class Certificate(Judged):
    """One claim about one checkpoint from one kind of evidence.

    ``informational``: it was gathered beside what was required, and no exit code or headline rests on it.
    """

    schema_name: Literal["pytest-basin/certificate"] = Field(default="pytest-basin/certificate", alias="schema")
    base: ModelIdentity
    checkpoint: ModelIdentity
    benchmark: BenchmarkIdentity
    requirement: Requirement
    alpha: Alpha
    evidence: Evidence
    environment: Environment
    judgement: Judgement
    informational: bool = False


class ScoresRecord(Judged):
    """One claim about one checkpoint whose scores, like its base's, were made by another tool.

    ``differences``: what is not alike in the two logs, and may be.
    """

    schema_name: Literal["pytest-basin/scores"] = Field(default="pytest-basin/scores", alias="schema")
    base: BroughtScores
    checkpoint: BroughtScores
    benchmark: BenchmarkIdentity
    requirement: Requirement
    alpha: Alpha
    evidence: PointEvidence
    differences: tuple[str, ...] = ()
    environment: Environment
    judgement: Judgement

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """Every run of draws: none."""
        return ()

    def judged_again(self) -> Record:
        """Return the judgement that the recorded scores give now; its claim says who made them."""
        judgement = super().judged_again()
        assert isinstance(judgement, Judgement)
        tool = f"{self.base.tool} {self.base.version}".strip() if self.base.tool != "table" else "a table of them"
        claim = f"{judgement.claim} The scores were brought, by {tool}: no model was run here."
        between = self.benchmark.graded or self.benchmark.groups is not None  # a bound that needs nothing of the kind
        limits = (*judgement.limits, BROUGHT) if between else (*judgement.limits, BROUGHT, RIGHT_OR_WRONG)
        notes = (*judgement.notes, *(f"of the two logs: {line}" for line in self.differences))
        return judgement.model_copy(update={"claim": claim, "limits": limits, "notes": notes})

    def contradictions(self) -> list[str]:
        """Return what its parts say of each other and that is not so."""
        scores, where = self.evidence.scores, "evidence.scores"
        lines = unlike_benchmark(self.benchmark, [scores.m], scores.graded)
        lines += unlike_groups(self.benchmark, where, scores.groups)
        lines += unlike_pool(self.benchmark, where, scores.pool)
        return lines + unlike_order(self.benchmark, where, scores.order)


BROUGHT = (
    "On trust: that these scores are those of the two models, and how they were asked and judged. Nothing here can be "
    "replayed."
)

RIGHT_OR_WRONG = "Every item of the population is taken to be right or wrong, as all of these are."


class GateRecord(Judged):
    """One sequential gate on one checkpoint: its requirement, its plan, every outcome, and what they decide."""

    schema_name: Literal["pytest-basin/gate"] = Field(default="pytest-basin/gate", alias="schema")
    base: ModelIdentity
    checkpoint: ModelIdentity
    benchmark: BenchmarkIdentity
    requirement: ScoreRequirement
    evidence: SequentialEvidence
    environment: Environment
    judgement: GateJudgement

    @property
    def failure_probability(self) -> float:
        """That of a pass."""
        return self.evidence.plan.alpha

    def _judged(self) -> GateJudgement:
        return self.evidence.judge(self.benchmark, self.requirement)

    def contradictions(self) -> list[str]:
        """Return what its parts say of each other and that is not so."""
        subject = Subject(self.benchmark, self.base, self.checkpoint)
        return self.evidence.contradictions(subject, self.requirement, whole=self.version > 1)


class BasinRecord(Judged):
    """What is claimed about the basin of a base on one benchmark: its width, and where checkpoints lie in it."""

    schema_name: Literal["pytest-basin/basin"] = Field(default="pytest-basin/basin", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    requirement: Requirement
    alpha: Alpha
    evidence: WidthEvidence
    environment: Environment
    judgement: WidthJudgement


class SkillsRecord(Judged):
    """What is claimed about the basins of one or several skills of a base, on exactly the items of their benchmarks.

    ``benchmark`` is that of the one skill, or the pool of all, each with the same weight.
    """

    schema_name: Literal["pytest-basin/skills"] = Field(default="pytest-basin/skills", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    requirement: Requirement
    alpha: Alpha
    evidence: SkillsEvidence
    environment: Environment
    judgement: SkillsJudgement


class CoverRecord(Judged):
    """One claim about a whole family of checkpoints, made of a base: where in its box what must be kept is kept."""

    schema_name: Literal["pytest-basin/cover"] = Field(default="pytest-basin/cover", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    requirement: Requirement
    alpha: Alpha
    evidence: CoverEvidence
    environment: Environment
    judgement: CoverJudgement

    @property
    def about(self) -> FamilyIdentity:
        """The family."""
        return self.evidence.family
