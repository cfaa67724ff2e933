"""The rows that every report is made of: one gate each, in plain types, with defaults for what is not known."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from statistics import NormalDist
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from certify.documents import DOCUMENTS, AnyDocument, Judged
from certify.errors import InvalidInput
from certify.evidence.judgement import Deciding, Verdict, down, percent, up
from certify.parsing import first_problem
from certify.records import Alpha, Seed


class Outcome(StrEnum):
    """What became of a gate, worst first: its verdict, or that something failed before or after it was judged."""

    ERROR = "error"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    CERTIFIED = "certified"


_KINDS = tuple(name.rpartition("/")[2] for name in DOCUMENTS)
OTHERWISE = {
    "position": "point evidence may decide: it judges the checkpoint itself, wherever it lies",
    "distance": "point, position or smoothed evidence may decide: it looks at this one checkpoint",
    "audit": "answers to items that have none may decide, or an audit that is asked for this very limit",
    "sequential": "a gate with a larger cap may decide; it is another test",
    "basin": "more items, or a smaller first sigma, may decide",
    "skills": "more items, or a smaller first sigma, may decide",
    "cover": "more draws in the family may decide; they are another test",
}
"""What may settle evidence whose bounds do not simply close in on an estimate."""
RowUnit = Literal["drop", "retention", "absence", "score"]
"""What a requirement speaks of. A score must be at least its limit; an absence is a score that must be at most it."""


class Baseline(BaseModel):
    """What became of a gate's baseline: written, missing, or compared with, in one metric and with one margin.

    ``verdict`` is None where no margin was asked for; ``problem`` says why there was nothing to compare with.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    state: str = ""
    file: str = ""
    since: str = ""
    metric: str = ""
    margin: float | None = None
    verdict: Annotated[Verdict | None, BeforeValidator(lambda text: text or None)] = None
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    lost: int | None = None
    gained: int | None = None
    note: str = ""
    problem: str = ""

    @property
    def outcome(self) -> Verdict | None:
        """The verdict that the run rests on: without a baseline nothing is decided."""
        return Verdict.UNDECIDED if self.problem else self.verdict


class Row(BaseModel):
    """One gate: what was asked, what was counted, what may be claimed, and how to see it again.

    ``error`` says what failed where the gate was not judged, or its test failed beside the verdict;
    ``informational``: no outcome of several gates rests on it. ``value``, ``lower``, ``upper`` and ``need`` are in the
    unit of the requirement; None where there is none. ``bound`` is the one that the verdict rests on, in the words of
    the claim; ``place`` and ``facts`` are what stands under it. ``n`` counts what ``of`` names; 0 when nothing was
    measured. ``p`` is the p-value of the requirement. ``layers`` are (tensor, share of the squared distance).
    ``items_lost`` and ``items_gained`` are numbers of items, from 1; ``texts`` what some of them ask, in a few words.
    ``running`` are (items, ln E that the requirement is met, ln E that it is missed).
    ``certificate`` is a path and ``replay`` a command; both empty where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    item: str
    nodeid: str = ""
    base: str = ""
    checkpoint: str = ""
    benchmark: str
    evidence: str
    verdict: Verdict
    error: str = ""
    informational: bool = False
    vacuous: bool = False
    unit: RowUnit
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    need: float
    bound: Deciding | None = None
    place: tuple[str, ...] = ()
    facts: str = ""
    n: Annotated[int, Field(ge=0)] = 0
    of: str = "items"
    items: Literal["", "population", "fixed"] = ""
    alpha: Alpha | None = None
    p: float | None = None
    method: str = ""
    claim: str = ""
    limits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    quantities: dict[str, float | None] = {}
    layers: tuple[tuple[str, float], ...] = ()
    items_lost: tuple[int, ...] = ()
    items_gained: tuple[int, ...] = ()
    texts: dict[int, str] = {}
    running: tuple[tuple[int, float | None, float | None], ...] = ()
    settings: str = ""
    seeds: dict[str, str] = {}
    digests: dict[str, str] = {}
    seconds: float | None = None
    certificate: str = ""
    replay: str = ""

    @property
    def outcome(self) -> Outcome:
        """The verdict, unless something failed."""
        return Outcome.ERROR if self.error else Outcome(self.verdict)

    @property
    def record(self) -> str:
        """The digest of the record that it is a row of, empty where that is not known."""
        return next((self.digests[kind] for kind in _KINDS if kind in self.digests), "")

    @property
    def quantity(self) -> str:
        """What is bounded, in a word."""
        return "score" if self.unit == "absence" else self.unit

    @property
    def at_most(self) -> bool:
        """Whether small values meet the requirement."""
        return self.unit in ("drop", "absence")

    @property
    def deciding(self) -> Deciding:
        """The bound that the verdict rests on; of a row that does not say it, from its interval."""
        if self.bound is not None:
            return self.bound
        met_below = (self.verdict is Verdict.CERTIFIED) == self.at_most
        both = self.verdict is Verdict.UNDECIDED
        lower, upper = (None if met_below and not both else self.lower), (self.upper if met_below or both else None)
        return Deciding(quantity=self.quantity, lower=lower, upper=upper)

    @property
    def found(self) -> str:
        """What was found, in words: the bound that the verdict rests on, or where something lies."""
        d = self.deciding
        return ", ".join(self.place) if self.place and d.lower is None and d.upper is None else d.words

    @property
    def bounded(self) -> str:
        """The bound in the quantity of the requirement, in words; a claim may speak of another, as that of distance."""
        same = self.deciding.quantity == self.quantity
        return self.found if same else self.model_copy(update={"bound": None}).found

    @property
    def on_trust(self) -> tuple[str, ...]:
        """The limits that say what nobody can see here of scores made elsewhere: no summary leaves them out."""
        return tuple(limit for limit in self.limits if limit.startswith("On trust:"))

    @property
    def cell(self) -> tuple[str, ...]:
        """The same in signs, line by line, for a table's cell; a vacuous bound is not repeated."""
        d = self.deciding
        bounded = d.lower is not None or d.upper is not None or not self.place
        return ("vacuous" if self.vacuous else d.signs, *self.place) if bounded else self.place

    @property
    def required(self) -> str:
        """The requirement without its quantity."""
        return f"at {'most' if self.at_most else 'least'} {self.need:g}"

    @property
    def said(self) -> str:
        """The claim, as it reads behind its verdict."""
        return re.sub(r"^Undecided whether\b", "It stays open whether", self.claim)

    @property
    def asked(self) -> str:
        """The requirement."""
        return f"{self.quantity} {self.required}"

    @property
    def room(self) -> float:
        """How far the bound that decides lies from what is required; where there is none, nothing is farther."""
        bound = self.deciding.upper if self.at_most else self.deciding.lower
        return abs(self.need - bound) if bound is not None else 1.0

    @property
    def estimate(self) -> str:
        """The plain estimate to nearest, or a dash."""
        return "-" if self.value is None else f"{self.value:z.3f}"

    @property
    def low(self) -> str:
        """The lower bound rounded down, or a dash."""
        return down(self.lower)

    @property
    def high(self) -> str:
        """The upper bound rounded up, or a dash."""
        return up(self.upper)

    @property
    def trials(self) -> str:
        """How much was counted."""
        return f"{self.n} {self.of}" if self.n else "nothing"

    @property
    def confidence(self) -> str:
        """How sure each bound is; on fixed items nothing is random and there is none."""
        all_known = self.evidence in ("point", "position") or (self.evidence == "audit" and self.value is not None)
        if self.items == "fixed" and all_known:
            return f"exactly these {self.of}"
        return "" if self.alpha is None else f"{percent(self.alpha)} one-sided each"

    @property
    def p_value(self) -> str:
        """The p-value rounded up, or a dash; none is computed above a quarter."""
        return "above 0.25" if self.p == 1.0 else up(self.p, 4)

    @property
    def settled_by(self) -> str:
        """What may decide an undecided gate, and how much of it; empty for any other, and where a hook vetoed it.

        Bounds close in on the estimate like 1/sqrt(n), if the rates seen are the true ones; the side that would decide
        has to reach the limit, and does so nine times in ten only where it is expected some way beyond.
        """
        if self.outcome is not Outcome.UNDECIDED or not self.record:
            return ""
        if self.vacuous and self.evidence != "distance":
            return "a stricter limit may decide: one that a model at chance does not meet"
        if self.evidence in OTHERWISE:
            return OTHERWISE[self.evidence]
        if self.value is None or self.lower is None or self.upper is None:
            more = "a smaller sigma" if self.of == "draws" else "more items"
            return f"{more} may decide, if the base scores above chance there at all"
        if (self.upper <= self.need) if self.at_most else (self.lower >= self.need):
            return ""
        if self.evidence == "point" and self.items == "fixed":
            return "answers to the items that have none may decide"
        gap = abs(self.value - self.need)
        width = self.upper - self.value if self.value < self.need else self.value - self.lower
        if gap * 1000 <= width:
            return f"no number of {self.of} decides soon: the estimate lies at the limit"
        z = NormalDist().inv_cdf(1 - min(self.alpha or 0.05, 0.25))
        needed = self.n * (width / gap * (1 + NormalDist().inv_cdf(0.9) / z)) ** 2
        step = 10 ** max(0, len(str(int(needed))) - 2)  # two digits, rounded up: the rule is no sharper than that
        many = f"about {math.ceil(needed / step) * step}{' fresh' * (self.of == 'draws')} {self.of}"
        return f"{many} decide nine times in ten if these rates are right; a retry is another test"

    @property
    def moved(self) -> tuple[tuple[str, float, str], ...]:
        """The tensors that moved most, each with its share of the squared distance and that in words."""
        return tuple((name, share, share_text(share)) for name, share in self.layers)

    @property
    def against_baseline(self) -> Outcome | None:
        """The worst outcome of its baselines, None where nothing was asked of one."""
        return worst(baseline.outcome for baseline in self.baselines)

    @property
    def failing(self) -> bool:
        """Whether the gate or its baseline is not certified, and somebody rests on that."""
        return not self.informational and {self.outcome, self.against_baseline} - {Outcome.CERTIFIED, None} != set()


def share_text(share: float) -> str:
    """Return a share of what moved as a whole percentage; a part that moved is never none."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"


def row_of(document: AnyDocument, file: str = "", **more: Any) -> Row:
    """Return the row of a judged record. ``more`` sets what the record does not hold (replay, settings ...).

    Raises:
        InvalidInput: the document is a measurement, which judges nothing.
    """
    if not isinstance(document, Judged):
        raise InvalidInput(
            f"{file or 'the document'} is a measurement, which makes no claim: `certify show` says it in words"
        )
    judgement, benchmark, checkpoint, shown = document.said, document.benchmark, document.about, document.shown()
    basin = f"basin of {document.base.name}[{benchmark.name}]"
    name = getattr(checkpoint, "title", checkpoint.name) if checkpoint else ""  # a family is not one of its points
    own: dict[str, Any] = {
        **dict(shown),
        **shown.interval.model_dump(),
        "item": f"{name}[{benchmark.name}]" if checkpoint else basin,
        "base": document.base.name,
        "checkpoint": name,
        "benchmark": benchmark.name,
        "evidence": document.evidence.kind,
        "verdict": judgement.verdict,
        "informational": getattr(document, "informational", False),
        "vacuous": getattr(judgement, "vacuous", False),
        "alpha": document.failure_probability,
        "claim": judgement.claim,
        "limits": judgement.limits,
        "seeds": {run.where: _seed(run.seed) for run in document.runs},
        "digests": {
            document.schema_name.rpartition("/")[2]: document.digest,
            "base": document.base.fingerprint,
            **({"checkpoint": checkpoint.fingerprint} if checkpoint else {}),
            "benchmark": benchmark.digest,
            **({"tokens": benchmark.tokens} if benchmark.tokens else {}),
        },
        "certificate": file,
        "replay": f"certify verify {shlex.quote(file)}" if file else "",
    }
    return Row(**{**own, **more})


def told_apart(rows: Iterable[AnyRow], context: AnyContext) -> tuple[list[Row], Context]:
    """Return the rows with checkpoints, and benchmarks, of one name told apart by their digests, and notes on overlaps.

    Trainers call folders ``checkpoint-500`` again and again, and folders of certificates keep earlier runs.

    Raises:
        InvalidInput: as by :func:`read_rows`.
    """
    read, about = read_rows(rows), read_context(context)
    shown = [_renamed(_renamed(row, read, "benchmark"), read, "checkpoint") for row in read]
    notes = [note for word in ("checkpoint", "benchmark") for note in _same_names(read, word)]
    runs: dict[tuple[str, ...], set[str]] = {}
    for row in shown:
        if row.digests.get("checkpoint"):
            gate = row.checkpoint, row.benchmark, row.evidence
            runs.setdefault(gate, set()).add(row.digests.get("certificate", ""))
    notes += [
        f"{checkpoint}[{benchmark}], {evidence}: {len(certificates)} certificates, of several runs or requirements; "
        "each is a test of its own, and picking one of them is another"
        for (checkpoint, benchmark, evidence), certificates in runs.items()
        if len(certificates) > 1
    ]
    return shown, about.model_copy(update={"notes": tuple(dict.fromkeys((*about.notes, *notes)))})


def _digests_of(name: str, rows: Sequence[Row], word: str) -> list[str]:
    """Return the digests of all that the rows call ``name``, in their order."""
    found = (row.digests.get(word, "") for row in rows if getattr(row, word) == name)
    return list(dict.fromkeys(filter(None, found)))


def _same_names(rows: Sequence[Row], word: str) -> Iterator[str]:
    for name in dict.fromkeys(getattr(row, word) for row in rows):
        if len(found := _digests_of(name, rows, word)) > 1:
            yield f"{name} is the name of {len(found)} different {word}s: {', '.join(map(_short, found))}"


def _renamed(row: Row, rows: Sequence[Row], word: str) -> Row:
    """Return the row with eight digits behind the name of its checkpoint or benchmark, where others have that name."""
    name, digest = getattr(row, word), row.digests.get(word, "")
    if not digest or len(_digests_of(name, rows, word)) < 2:
        return row
    longer = f"{name}@{_short(digest)}"
    before, bracket, after = row.item.partition("[")
    item = f"{longer if before == name else before}{bracket}{after}"
    if word == "benchmark":
        item = row.item.replace(f"[{name}]", f"[{longer}]")
    return row.model_copy(update={word: longer, "item": item})


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:8]


def _seed(seed: Seed) -> str:
    """Return the seed, and what the user chose of it: a seed of one's own and a repetition are never silent."""
    chosen = [f"user seed {seed.user_seed}"] if seed.user_seed else []
    chosen += [f"attempt {seed.attempt}"] if seed.attempt else []
    return f"{seed.value} ({', '.join(chosen)})" if chosen else seed.value


class Context(BaseModel):
    """What a report says once, above its gates. The date is passed in: nothing here reads a clock.

    ``crashed`` names gates whose process died, so that they have no row; ``not_run`` those that were skipped;
    ``refused`` tests, or files of them, that could not be collected.
    ``alpha`` is the failure probability of what is said of several checkpoints together. ``hub_tasks`` maps a benchmark
    to ``OWNER/DATASET:TASK`` of the Hugging Face hub, for reports that are read there, and is part of no other.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = "Basin report"
    base: str = ""
    checkpoint: str = ""
    date: str = ""
    seed: int | None = None
    holm: str = ""
    alpha: Alpha = 0.05
    crashed: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    hub_tasks: dict[str, str] = Field(default={}, exclude=True)


AnyRow = Row | Mapping[str, Any]
AnyContext = Context | Mapping[str, Any] | None
Fields = TypeVar("Fields", bound=BaseModel)


def read_rows(rows: Iterable[AnyRow]) -> list[Row]:
    """Return rows of plain types as :class:`Row`.

    Raises:
        InvalidInput: a field is missing or of the wrong kind; the message names row and field.
    """
    return [row if isinstance(row, Row) else _read(Row, row, f"row {i}") for i, row in enumerate(rows)]


def read_context(context: AnyContext) -> Context:
    """Return the context of a report. Raises InvalidInput naming the field that is wrong."""
    return context if isinstance(context, Context) else _read(Context, context or {}, "context")


def _read(kind: type[Fields], value: Mapping[str, Any], where: str) -> Fields:
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        raise InvalidInput(f"{where} of the report: {first_problem(error)}") from None


def worst(verdicts: Iterable[Verdict | Outcome | None]) -> Outcome | None:
    """Return an error when there is any, else refuted when any is, and so on; None when there is none."""
    found = set(verdicts)
    return next((outcome for outcome in Outcome if outcome in found), None)


def overall(rows: Iterable[Row], about: Context) -> Outcome | None:
    """Return the outcome of all required gates and their baselines together, None when there is no such gate."""
    found = {each for row in rows if not row.informational for each in (row.outcome, row.against_baseline)}
    return worst(found | ({Outcome.ERROR} if about.crashed or about.refused else set()))


def counts(rows: Iterable[Row]) -> dict[Outcome, int]:
    """Return the number of required gates with each outcome, worst first, zeros included."""
    found = Counter(row.outcome for row in rows if not row.informational)
    return {outcome: found[outcome] for outcome in Outcome}


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Return the rows by outcome, failing ones first, else in the given order; what is for information comes last."""
    order = list(Outcome)
    return sorted(rows, key=lambda row: (row.informational, order.index(row.outcome)))


def in_words(rows: Sequence[Row], about: Context) -> str:
    """Return the count of each outcome as a phrase, and the names of gates that have none."""
    others = [f"{len(named)} {what} ({', '.join(named)})" for what, named in
              (("crashed", about.crashed), ("not run", about.not_run), ("not collected", about.refused))
              if named]  # fmt: skip
    return "; ".join([_ran(rows), *others])


def _ran(rows: Sequence[Row]) -> str:
    required = [row for row in rows if not row.informational]
    if not required:
        return "no gates ran"
    gates = [f"{number} {_PHRASE.get(outcome, outcome)}" for outcome, number in counts(rows).items() if number]
    text = f"{len(required)} gate{'s' * (len(required) != 1)}: {', '.join(gates)}"
    against = Counter(row.against_baseline for row in required)
    baselines = [f"{against[outcome]} {outcome}" for outcome in Outcome if against[outcome]]
    text = f"{text}; against baselines: {', '.join(baselines)}" if baselines else text
    others = len(rows) - len(required)
    return f"{text}; {others} more for information" if others else text


_PHRASE = {Outcome.ERROR: "in error"}
