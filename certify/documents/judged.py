"""A document that makes a claim, which anyone can judge again from its counts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from certify.documents.document import VERSION, Document
from certify.errors import InvalidPlan
from certify.evidence import Judgement
from certify.evidence.cover import CoverJudgement
from certify.evidence.judgement import Shown, up
from certify.evidence.paired_items import ItemScores
from certify.evidence.sequential import GateJudgement
from certify.evidence.skills import SkillsJudgement
from certify.evidence.trials import RecordedRun, Subject
from certify.evidence.width import WidthJudgement
from certify.records import BenchmarkIdentity, BroughtScores, FamilyIdentity, ModelIdentity, Record, Seed, short_digest
from certify.statistics import attempt_alpha
from certify.writing import write_whole

MUCH_MISSING = 0.01
"""Share of missing answers above which the claim itself says so."""


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

    @property
    def _in_brief(self) -> str:
        about = f"{self.about.name} of {self.base.name}" if self.about else self.base.name
        return f"{self.verdict}: {self.evidence.kind}, {about} on {self.benchmark.name}"

    @property
    def _told(self) -> dict[str, str]:
        said = self.said
        return {
            "verdict": said.verdict.value,
            "claim": said.claim,
            "notes": "; ".join(self.shown().notes),
            "base": self.base.name,
            **({"checkpoint": self.about.name} if self.about else {}),
            "benchmark": self.benchmark.name,
            "not covered": " ".join(said.limits),
        }

    def _judged(self) -> Judgement | GateJudgement | WidthJudgement | CoverJudgement | SkillsJudgement:
        judged: Judgement = self.evidence.judge(self.benchmark, self.requirement, self.failure_probability)
        return judged

    def contradictions(self) -> list[str]:
        """Return one line for each thing that its parts say of each other and that is not so."""
        lines: list[str] = self.evidence.contradictions(self.subject, self.failure_probability, whole=self.version > 1)
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
