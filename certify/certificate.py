"""Measurements, certificates, gate and basin records: the files that certify writes.

A :class:`Measurement` holds what was counted at a base, once. A :class:`Certificate` holds what is claimed
about one checkpoint, with everything needed to recompute the claim without torch, weights or benchmark. A
:class:`GateRecord` holds the same of a sequential gate, a :class:`BasinRecord` of the basin of a base, a
:class:`SkillsRecord` of the basins of several skills, a :class:`CoverRecord` of a family of checkpoints.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import Field, model_validator

from certify.errors import CertificateMismatch, InvalidInput, InvalidPlan, UnsupportedSchema
from certify.evidence import Evidence, Judgement, Requirement, crosschecks
from certify.evidence.cover import CoverEvidence, CoverJudgement
from certify.evidence.distance import BaseDraws
from certify.evidence.judgement import Shown, up
from certify.evidence.paired_items import ItemScores, unlike_benchmark, unlike_groups, unlike_order, unlike_pool
from certify.evidence.point import PointEvidence
from certify.evidence.position import Basin
from certify.evidence.sequential import GateJudgement, ScoreRequirement, SequentialEvidence
from certify.evidence.skills import SkillsEvidence, SkillsJudgement
from certify.evidence.trials import RecordedRun, Subject
from certify.evidence.width import WidthEvidence, WidthJudgement
from certify.parsing import read_json, validated
from certify.records import (
    Alpha,
    BenchmarkIdentity,
    BroughtIdentity,
    BroughtScores,
    Digest,
    Environment,
    FamilyIdentity,
    ModelIdentity,
    Positive,
    Record,
    Seed,
    WeightNoise,
    derive_seed,
    digest,
    short_digest,
)
from certify.statistics import attempt_alpha
from certify.text import shortened, visible
from certify.writing import write_whole

Version = Literal[1, 2]
VERSION: Version = 2
MUCH_MISSING = 0.01
"""Share of missing answers above which the claim itself says so."""


class Document(Record):
    """A record with a schema, a version and a digest over all its other fields."""

    schema_name: str = Field(alias="schema")
    version: Version = VERSION
    digest: Digest

    @classmethod
    def seal(cls, **fields: Any) -> Self:
        """Build the document and its digest."""
        provisional = cls.model_validate({**fields, "digest": "sha256:" + "0" * 64})
        complete = cls.model_validate_json(provisional.model_dump_json(by_alias=True))  # every field is set now
        return complete.model_copy(update={"digest": complete.own_digest()})

    def own_digest(self) -> str:
        """Return the digest of every field that is in the file but the digest itself.

        A later release may add a field with a default; files from before do not have it, and keep their digest.
        """
        return digest(self.model_dump(mode="json", by_alias=True, exclude={"digest"}, exclude_unset=True))

    def to_text(self) -> str:
        """Return the file's text."""
        value = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    def to_json(self, path: str | Path) -> Path:
        """Write the file whole or not at all (written aside, synced, renamed) and return its path."""
        return write_whole(Path(path), self.to_text())


class Measurement(Document):
    """What was counted at a base on one benchmark, for every checkpoint: its basin, and draws. It judges nothing."""

    schema_name: Literal["pytest-basin/measurement"] = Field(default="pytest-basin/measurement", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    basin: Basin
    draws: tuple[BaseDraws, ...] = ()
    environment: Environment

    @model_validator(mode="after")
    def _levels_or_brought(self) -> Self:
        if not self.basin.levels and not all(isinstance(each.engine, BroughtIdentity) for each in self.draws):
            raise ValueError("basin.levels: none, but draws were scored here")
        return self

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.basin.base

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """Every run of draws, all of them at the base."""
        subject = Subject(self.benchmark, self.base)
        draws = (each.run(f"draws.{i}", subject) for i, each in enumerate(self.draws))
        return (*self.basin.runs("basin", subject), *draws)

    def contradictions(self) -> list[str]:
        """Return one line for each thing that its parts say of each other and that is not so."""
        subject = Subject(self.benchmark, self.base)
        lines = self.basin.contradictions("basin", subject, whole=self.version > 1)
        for i, draws in enumerate(self.draws):
            lines += crosschecks.of_base_score(f"draws.{i}", draws.base_score, self.basin.base_score)
            lines += crosschecks.of_law(f"draws.{i}.law", draws.law, subject)
        return lines


DRAW_FILE = "basin_draw.json"
"""The file in a folder of drawn weights that says which draw they are."""


class DrawnWeights(Document):
    """What a folder of base + one draw holds: draw number ``draw`` of the ``draws`` that were planned, from 0.

    ``grid``: the sigmas that were planned, this one's among them, each with as many draws; ``alpha`` is the failure
    probability that all claims from one measurement of them share: each benchmark's has its own. Nothing here shows
    when that was declared. ``weights`` is the digest of the weights as they were written.
    """

    schema_name: Literal["pytest-basin/draw"] = Field(default="pytest-basin/draw", alias="schema")
    base: ModelIdentity
    law: WeightNoise
    sampler: Literal["strict"] = "strict"
    lattice_bits: Literal[12] = 12
    seed: Seed
    draw: Annotated[int, Field(ge=0)]
    draws: Annotated[int, Field(gt=0)]
    grid: Annotated[tuple[Positive, ...], Field(min_length=1)]
    alpha: Alpha
    weights: Digest

    @model_validator(mode="after")
    def _among_the_planned(self) -> Self:
        if self.draw >= self.draws:
            raise ValueError(f"draw {self.draw} of {self.draws}: they are numbered from 0")
        if list(self.grid) != sorted(set(self.grid)) or self.sigma not in self.grid:
            raise ValueError(f"sigma {self.sigma:g} must be one of the ascending grid {list(self.grid)}")
        if self.seed != self.seed_of(self.base, self.law, self.draws, self.seed.user_seed):
            raise ValueError("the seed is not the one that base, noise and number of draws give")
        return self

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise."""
        return max(self.law.sigma.values())

    @staticmethod
    def seed_of(base: ModelIdentity, law: WeightNoise, draws: int, user_seed: int) -> Seed:
        """Return where the draws come from, whatever they will be asked."""
        return derive_seed("drawn", law, None, base, n=draws, user_seed=user_seed)


def read_draw(folder: Path) -> DrawnWeights:
    """Read which draw a folder holds.

    Raises:
        InvalidInput: the folder does not say.
        CertificateMismatch: it was changed after it was written.
    """
    file = folder / DRAW_FILE
    if not file.is_file():
        raise InvalidInput(f"{folder}: has no {DRAW_FILE}, so nobody knows which draw it is: `certify draw` writes it")
    drawn = read_as(file, {"pytest-basin/draw": DrawnWeights})
    if drawn.digest != drawn.own_digest():
        raise CertificateMismatch(f"{file}: its digest does not fit its content: the file was changed")
    return drawn


class Judged(Document):
    """A document that makes a claim: what was asked, what was counted, and the judgement that follows from both.

    Its subclasses declare the fields; what a gate was asked stands in its plan, so it is judged and checked by that.
    """

    if TYPE_CHECKING:  # declared by each, so that files keep their order
        base: Any
        benchmark: BenchmarkIdentity
        evidence: Any
        requirement: Any
        judgement: Any

    @classmethod
    def make(cls, *, evidence: Any, requirement: Any, benchmark: BenchmarkIdentity, **fields: Any) -> Self:
        """Judge the evidence and seal the result with everything it rests on."""
        unjudged = cls.model_construct(evidence=evidence, requirement=requirement, benchmark=benchmark, **fields)
        judgement = unjudged.judged_again()
        return cls.seal(evidence=evidence, requirement=requirement, benchmark=benchmark, judgement=judgement, **fields)

    def under(self, requirement: Any) -> Self:
        """Return what the same evidence says about another requirement."""
        kept = set(type(self).model_fields) - {"schema_name", "version", "digest", "judgement", "requirement"}
        return type(self).make(requirement=requirement, **{name: getattr(self, name) for name in kept})

    def judged_again(self) -> Record:
        """Return the judgement that the recorded counts give now."""
        judgement, seeds = self._judged(), [run.seed for run in self.runs]
        subject = "family" if isinstance(self.about, FamilyIdentity) else "checkpoint"
        more = [*_of_seeds(seeds, "alpha" in type(self).model_fields, subject), *_of_missing(self.evidence.unanswered)]
        claim, notes = " ".join([judgement.claim, *more]), judgement.notes
        if missing := self.evidence.unanswered:
            notes = (*notes, f"{up(100 * missing, 2)} % of the answers are missing; each counts against the claim")
        return judgement.model_copy(update={"claim": claim, "notes": notes})

    def __repr__(self) -> str:
        """Return what it is about and its verdict, on one line."""
        about = f"{self.about.name} of {self.base.name}" if self.about else self.base.name
        digits = self.digest.removeprefix("sha256:")[:8]
        what = f"{self.evidence.kind}, {about} on {self.benchmark.name}"
        return f"<{type(self).__name__} {digits} {self.verdict}: {what}>"

    def _repr_html_(self) -> str:
        """Return the claim and what it is about as a table, for a notebook; whatever others wrote is escaped."""
        said = self.said
        shown = {
            "verdict": said.verdict.value,
            "claim": said.claim,
            "base": self.base.name,
            **({"checkpoint": self.about.name} if self.about else {}),
            "benchmark": self.benchmark.name,
            "not covered": " ".join(said.limits),
            "digest": self.digest,
        }
        cells = (f"<tr><th>{name}</th><td>{escape(visible(text))}</td></tr>" for name, text in shown.items() if text)
        return f"<table>{''.join(cells)}</table>"

    def _judged(self) -> Judgement | GateJudgement | WidthJudgement | CoverJudgement | SkillsJudgement:
        judged: Judgement = self.evidence.judge(self.benchmark, self.requirement, self.failure_probability)
        return judged

    def contradictions(self) -> list[str]:
        """Return one line for each thing that its parts say of each other and that is not so."""
        lines: list[str] = self.evidence.contradictions(
            self.subject, self.failure_probability, whole=self.version > 1
        )
        return lines

    @property
    def subject(self) -> Subject:
        """Whose scores it holds; another tool's are nobody's that is known here."""
        about = self.about
        assert not isinstance(about, BroughtScores)  # its record asks for none
        if isinstance(about, FamilyIdentity):
            return Subject(self.benchmark, self.base, family=about)
        return Subject(self.benchmark, self.base, about)

    def shown(self) -> Shown:
        """Return what every report says of its evidence."""
        shown: Shown = self.evidence.shown(self.benchmark, self.requirement, self.failure_probability, self.said)
        return shown

    @property
    def failure_probability(self) -> float:
        """That of the claim: the declared alpha, of which an attempt after the first gets its share.

        All attempts that were counted, of one kind of evidence in one unit at one declared alpha, fail together with
        probability at most 1.5 times that alpha: the first may spend all of it, and those from the second on spend at
        most half of it again. A gate's is its plan's.
        """
        declared = float(getattr(self, "alpha"))  # noqa: B009  (declared by subclasses)
        return charged_alpha(declared, max((run.seed.attempt for run in self.runs), default=0))

    @property
    def about(self) -> ModelIdentity | BroughtScores | FamilyIdentity | None:
        """The checkpoint (or the family) that the claim is about, None where it is the base itself."""
        return getattr(self, "checkpoint", None)

    @property
    def verdict(self) -> str:
        """``certified``, ``refuted`` or ``undecided``."""
        return str(self.judgement.verdict.value)

    @property
    def said(self) -> Any:
        """The judgement in today's words: a record of an earlier version is judged again, whatever words it stores."""
        try:
            return self.judgement if self.version == VERSION else self.judged_again()
        except InvalidPlan:  # a gate whose outcomes do not fit its plan, which `verify` says; these are its own words
            return self.judgement

    @property
    def claim_text(self) -> str:
        """The claim in words."""
        return str(self.said.claim)

    @property
    def file_name(self) -> str:
        """What its file is called: checkpoint (or base) with eight digits of its digest, benchmark, kind of evidence.

        Trainers call folders ``checkpoint-500`` again and again; the digits tell them apart.
        """
        model = self.about or self.base
        benchmark = _in_a_name(self.benchmark.name)
        return f"{_in_a_name(model.name)}-{short_digest(model)}.{benchmark}.{self.evidence.kind}.json"

    def file_in(self, folder: Path) -> Path:
        """Write it to ``folder`` under its name and return the path; nothing that lies there is replaced.

        Another record of the same name keeps its file, and this one gets a number; the same record is written once.
        """
        text, name = self.to_text(), self.file_name.removesuffix(".json")
        for number in count(1):
            path = folder / (f"{name}.json" if number == 1 else f"{name}.{number}.json")
            if not os.path.lexists(path):
                return write_whole(path, text)
            if path.is_file() and path.read_bytes() == text.encode():
                return path
        raise AssertionError("there is always another number")

    @property
    def unnoised(self) -> ItemScores | None:
        """The base's own item scores, where they are kept."""
        scores: ItemScores | None = self.evidence.unnoised
        return scores

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """Every run of draws at the base; of a gate, at its checkpoint."""
        found: tuple[RecordedRun, ...] = self.evidence.runs(self.subject)
        return found


def charged_alpha(alpha: float, attempt: int) -> float:
    """Return what an attempt (counted from 0) may fail with: the first ``alpha``, later ones their share of it."""
    return attempt_alpha(alpha, attempt + 1) if attempt else alpha


def _in_a_name(text: str) -> str:
    """Return as much of a name as fits into a file's, which has 255 bytes; that of a hub model has a slash."""
    return text.replace("/", "-").encode()[:100].decode(errors="ignore")


def _of_seeds(seeds: Sequence[Seed], charged: bool, subject: str) -> Iterator[str]:
    """Yield a sentence on each thing about ``seeds`` that is not the default, so that no claim is silent on it.

    ``charged``: the record itself gives a later attempt its share of alpha; a gate's plan was given one by its caller.
    """
    chosen = sorted({seed.user_seed for seed in seeds if seed.user_seed})
    if chosen:
        yield f"Drawn from user seed {', '.join(map(str, chosen))}, not from the default 0."
    if again := max((seed.attempt for seed in seeds), default=0):
        j = again + 1
        share = f", judged at 1/{j * (j + 1)} of the declared alpha" if charged else ""
        yield f"It is attempt {j} at this {subject}{share}."


def _of_missing(share: float) -> Iterator[str]:
    """Yield a warning where so many answers are missing that something is wrong with the models or the run."""
    if share > MUCH_MISSING:
        yield f"Warning: {up(100 * share, 2)} % of the answers are missing."


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


AnyDocument = Certificate | ScoresRecord | Measurement | GateRecord | BasinRecord | SkillsRecord | CoverRecord
D = TypeVar("D", bound=Document)
DOCUMENTS: Mapping[str, type[AnyDocument]] = {
    "pytest-basin/certificate": Certificate,
    "pytest-basin/scores": ScoresRecord,
    "pytest-basin/measurement": Measurement,
    "pytest-basin/gate": GateRecord,
    "pytest-basin/basin": BasinRecord,
    "pytest-basin/skills": SkillsRecord,
    "pytest-basin/cover": CoverRecord,
}


def read_document(path: str | Path) -> AnyDocument:
    """Read any of the files that certify writes, whichever it says it is.

    Raises:
        UnsupportedSchema: another schema, or a version that this release does not know.
        CertificateMismatch: a field is missing, unknown or out of range.
        CertifyError: the file is missing or not JSON.
    """
    return read_as(path, DOCUMENTS)


def read_as(path: str | Path, kinds: Mapping[str, type[D]]) -> D:
    """Read a file whose schema is one of ``kinds``; raises what :func:`read_document` does."""
    file = Path(path)
    value = read_json(file)
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, str) or schema not in kinds:
        raise UnsupportedSchema(f"{file}: schema is {shortened(repr(schema))}, expected one of {', '.join(kinds)}")
    version = value.get("version")
    if type(version) is not int or version not in get_args(Version):
        raise UnsupportedSchema(
            f"{file}: version is {shortened(repr(version))}; this release reads versions up to {VERSION}: upgrade "
            "pytest-basin"
        )
    return validated(kinds[schema], value, str(file))


def read_measurement(path: str | Path) -> Measurement:
    """Read a measurement whose digest fits.

    Raises:
        CertificateMismatch: the file is another document, or was changed after it was sealed.
    """
    document = read_document(path)
    if not isinstance(document, Measurement):
        kind = document.schema_name.rpartition("/")[2]
        raise CertificateMismatch(f"{path}: is a {kind}; a measurement is needed (`certify measure` writes one)")
    if document.digest != document.own_digest():
        raise CertificateMismatch(f"{path}: its digest does not fit its content: the file was changed")
    return document
