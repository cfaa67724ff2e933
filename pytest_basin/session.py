"""The gates of one pytest process: what each asks, measured, judged, and left behind."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_basin import gpu, replay, store
from pytest_basin.baselines import Baselines, objection, sentence
from pytest_basin.bound import CERTIFIED, Bound
from pytest_basin.filing import file_certificate
from pytest_basin.gates import BasinWarning, Covered, Gate, resolve
from pytest_basin.markers import check_values
from pytest_basin.options import SETTINGS, Settings
from pytest_basin.results import RESULTS, errored, junit, result
from pytest_basin.sources import Sources, names_of

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark
    from certify.checkpoints.family import Family
    from certify.documents import Certificate, CoverRecord, Measurement
    from certify.evidence.distance import DrawDesign
    from certify.evidence.paired_items import Items
    from certify.logs import Paired
    from certify.measuring import Base
    from certify.measuring.candidate import Candidate
    from certify.records import BenchmarkIdentity, Groups

OBJECTIONS = pytest.StashKey[list[tuple[bool, list[str]]]]()
"""Why a test must not pass although its assertions hold: whether that is undecided, and the text."""
KEPT = ("smoothed", "audit", "cover")
"""Evidence whose draws or scores are kept while they are gathered."""
UNASKED = (
    "this test would pass whatever it says. Assert on {}, or set basin_unasked = allow in the ini file if that is meant"
)


def _try_folder(settings: Settings) -> None:
    """Try the folder of certificates before anything is measured for it.

    Raises:
        UsageError: it cannot be made or written to.
    """
    from certify.errors import InvalidInput
    from certify.writing import refuse_unwritable_folder

    if (folder := settings.value("cert-dir")) is not None:
        try:
            refuse_unwritable_folder(folder)
        except InvalidInput as error:
            raise pytest.UsageError(f"basin_cert_dir: {error}") from None


class Session:
    """The settings, what was opened under them, and the running item."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings: Settings = config.stash[SETTINGS]
        check_values({"confidence": self.settings.value("confidence")}, "basin {}")  # of the line on all gates
        _try_folder(self.settings)
        self.sources = Sources(config, self.settings)
        self.baselines = Baselines(self.settings)
        self.item: pytest.Item | None = None
        self.runs = 0
        self.order: dict[str, int] = {}
        self.names: dict[str, str] = {}  # of checkpoints, each told apart from all that the session gates
        self.expected = 0
        self.bounds: list[Bound] = []
        self.drawing = ""
        self._nth: Counter[tuple[str, str]] = Counter()
        self._infeasible: dict[tuple[Any, ...], str] = {}

    @property
    def several(self) -> bool:
        """Whether more than one gate was collected, so that a line on all of them is due."""
        return self.expected > 1

    @property
    def disabled(self) -> bool:
        """Whether basin tests are skipped."""
        return bool(self.settings.value("disable"))

    def gate(self, asked: Mapping[str, Any], benchmark: str) -> Gate:
        """Return the gate that ``asked`` means on one benchmark."""
        return resolve(asked, self.settings, benchmark)

    def position_gate(self, benchmark: str) -> Gate:
        """Return what ``in basin`` asks on one benchmark: position evidence, whatever is forced on markers."""
        gate = self.gate({}, benchmark)
        return replace(gate, evidence="position", origins={**gate.origins, "evidence": "in basin"})

    def gates(self, item: pytest.Item) -> list[Gate]:
        """Return the gates of a collected item, as far as collection can know them."""
        parameters = _parameters(item)
        found = [parameters[name] for name in ("basin_bound", "basin_scores") if name in parameters]
        if "basin" in getattr(item, "fixturenames", ()):
            found += [self.position_gate(name) for name in self.sources.benchmarks]
        return found

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Learn the order of the items, so that results stand in it whoever runs them, and how many gates there are."""
        self.order = {replay.test_id(item): i for i, item in enumerate(items)}
        places = dict.fromkeys(place for item in items if (place := _place(item)))
        self.names = {place: name for name, place in names_of(list(places)).items()}
        self.expected = sum(len(self.gates(item)) for item in items)

    def trials(self, gate: Gate, benchmark: Benchmark | BenchmarkIdentity, items: int) -> tuple[int | None, str]:
        """Return how many items or draws the gate's evidence counts, None where no measurement says so."""
        if gate.evidence in ("point", "position", "audit"):
            return items, "items"
        if gate.evidence in ("smoothed", "cover"):
            return gate.draws, "draws"
        measured = self.sources.measurements.get(benchmark.digest, [])  # of one base each: which is meant shows later
        fewest = (min((draws.n for draws in each.draws), default=None) for each in measured)
        return max((n for n in fewest if n is not None), default=None), "draws"

    def groups(self, gate: Gate, benchmark: Benchmark | BenchmarkIdentity) -> Groups:
        """Return the groups of a benchmark's items where the gate's evidence counts them and not the items."""
        from certify.evidence.feasibility import BY_GROUP

        if gate.evidence not in BY_GROUP or self.settings.value("items") == "fixed":
            return None
        found: Groups = getattr(benchmark, "groups", None)  # a provider of one's own may say it when items are encoded
        return found

    def design(self, gate: Gate, benchmark: Benchmark | BenchmarkIdentity) -> DrawDesign:
        """Return the design of a measurement's draws: pairs, which need fewest, if any of them are."""
        measured = self.sources.measurements.get(benchmark.digest, []) if gate.evidence == "distance" else []
        designs = {draws.design for measurement in measured for draws in measurement.draws}
        return "pairs" if "pairs" in designs else "table"

    def problem(self, gate: Gate, benchmark: Benchmark | BenchmarkIdentity, items: int) -> str:
        """Return why the gate cannot pass with its numbers of items or draws, or nothing. Never imports torch."""
        n, _ = self.trials(gate, benchmark, items)
        if n is None or (self.settings.value("items") == "fixed" and gate.evidence == "point"):
            return ""
        if gate.family is not None:
            from certify.evidence.cover import too_few_draws

            return too_few_draws(gate.draws, gate.family.box, gate.requirement, gate.alpha, benchmark.chance)
        identity: Any = getattr(benchmark, "identity", benchmark)  # known of a pool before its items are encoded
        if getattr(identity, "pool", None) is not None:
            return self._too_small(gate, identity)
        design, groups = self.design(gate, benchmark), self.groups(gate, benchmark)
        key = (gate.evidence, n, gate.unit, gate.limit, gate.confidence, benchmark.chance, design, groups)
        if key not in self._infeasible:
            from certify.evidence.feasibility import infeasible
            from certify.records import units

            asked, grouped = (gate.requirement, gate.alpha, benchmark.chance, design), groups is not None
            found = infeasible(gate.evidence, units(n, groups), *asked, grouped=grouped) or ""
            self._infeasible[key] = found.removeprefix(f"{gate.evidence}: ")
        return self._infeasible[key]

    def _too_small(self, gate: Gate, pool: BenchmarkIdentity) -> str:
        """Return why a gate of point evidence cannot pass on a pool of benchmarks, or nothing."""
        from certify.evidence.feasibility import infeasible_pool

        found = infeasible_pool(pool, gate.requirement, gate.alpha) if gate.evidence == "point" else None
        return (found or "").removeprefix("point: ")

    def measure(
        self, name: str, gate: Gate, base: str, checkpoint: str, benchmark: Path | Benchmark, device: str
    ) -> Bound:
        """Gather the evidence that one gate requires, and keep what it found with the running item.

        An input that the library refuses fails the test in one line.
        """
        from certify.errors import CertifyError

        __tracebackhide__ = True
        try:
            places = self.sources.place(base, self.item), self.sources.place(checkpoint, self.item)
            bound = self._measure(name, gate, *places, benchmark, device)
            self.bounds.append(bound)
            self._settle(bound)
        except (CertifyError, pytest.UsageError) as error:
            problem, self.drawing = str(error), ""
        else:
            return bound
        pytest.fail(f"{name}: {problem}", pytrace=False)  # outside the except clause: nothing is chained to it

    def paired(self, gate: Gate, item: pytest.Item) -> Paired:
        """Return the scores that a collected item's gate on scores made elsewhere rests on."""
        of = _place(item) or next(iter(self.sources.checkpoints({}, "scores-of").values()))
        return self.sources.scores(of)[gate.benchmark]

    def measure_scores(self, name: str, gate: Gate, of: str) -> Bound:
        """Judge scores that another tool made; what the library refuses fails the test in one line."""
        from certify.errors import CertifyError

        __tracebackhide__ = True
        try:
            paired = self.sources.scores(of)[gate.benchmark]
            items, base = paired.benchmark.items, str(self.settings.value("scores"))
            bound = Bound(name, gate, None, base=base, checkpoint=of, trials=(items, "items"), brought=True)
            bound.reason = self.problem(gate, paired.benchmark, items)
            if not bound.reason:
                meant: Items = self.settings.value("items") or "population"
                bound.certificate = paired.judge(gate.requirement, gate.alpha, meant)
            self.bounds.append(bound)
            self._settle(bound)
        except (CertifyError, pytest.UsageError) as error:
            problem = str(error)
        else:
            return bound
        pytest.fail(f"{name}: {problem}", pytrace=False)

    def _measure(
        self, name: str, gate: Gate, base: str, checkpoint: str, benchmark: Path | Benchmark, device: str
    ) -> Bound:
        if self.settings.value("require-gpu") and (absent := gpu.missing(device)):
            raise pytest.UsageError(f"a GPU is required (--basin-require-gpu), and {absent}")
        opened = self.sources.read(Path(benchmark)) if isinstance(benchmark, str | Path) else benchmark
        with gpu.alone(device, store.folder(self.settings), lambda why: self._warn(f"{name} {why}")):
            scored = self.sources.base(base, opened, device)
            pooled = scored.scorer.identity.pool is not None
            alone = gate.evidence == "cover" or (gate.evidence == "point" and not pooled)
            measurement = None if alone else self.sources.measurement(scored)
            measured = measurement if isinstance(measurement, list) else [measurement] if measurement else []
            if lacking := self.lacking(gate, measured, base, benchmark):
                raise pytest.UsageError(lacking)
            items = scored.scorer.identity.items
            bound = Bound(name, gate, None, base=base, checkpoint=checkpoint, trials=self.trials(gate, opened, items))
            bound.reason = self.problem(gate, opened, items)
            if not bound.reason:
                self.drawing = name if gate.evidence in KEPT else ""
                judged: Base | Candidate = scored
                gather: Callable[[], Certificate | CoverRecord]
                if gate.family is not None:
                    models = self.sources.family(gate.family.kind, scored.checkpoint, checkpoint)
                    gather = partial(self._cover, gate, gate.family, scored, models)
                else:
                    judged = candidate = self.sources.candidate(scored, checkpoint)
                    gather = partial(self._certificate, gate, scored, candidate, measurement)
                start, loading = time.perf_counter(), judged.loading
                bound.certificate = gather()
                bound.seconds = time.perf_counter() - start - (judged.loading - loading)
                bound.trials = self._counted(bound)
                self.drawing = ""  # still set where Ctrl-C came in between
        return bound

    def _warn(self, text: str) -> None:
        if self.item is not None:
            self.item.warn(BasinWarning(text))

    def _certificate(
        self, gate: Gate, base: Base, candidate: Candidate, measurement: Measurement | Sequence[Measurement] | None
    ) -> Certificate:
        from certify.measuring import check
        from certify.noise import open_subspace
        from certify.records import DrawnSeed

        seed = self.settings.value("seed")
        (certificate,) = check(
            base,
            candidate,
            kinds=(gate.evidence,),
            requirement=gate.requirement,
            alpha=gate.alpha,
            measurement=measurement,
            sigma=self.settings.value("sigma"),
            draws=gate.draws,
            subspaces=[open_subspace(path) for path in self.settings.value("subspace") or ()],
            items=self.settings.value("items"),
            user_seed=DrawnSeed(seed) if self.config.getoption("basin_seed") == "random" else seed,
            run=store.run(self.settings) if gate.evidence in KEPT else None,
        )
        return certificate

    def _cover(self, gate: Gate, covered: Covered, base: Base, models: Family) -> CoverRecord:
        from certify.measuring.cover import measure_cover

        return measure_cover(
            base,
            models,
            covered.box,
            draws=gate.draws,
            requirement=gate.requirement,
            alpha=gate.alpha,
            chosen=covered.chosen,
            user_seed=self.settings.value("seed"),
            run=store.run(self.settings),
        )

    def _counted(self, bound: Bound) -> tuple[int | None, str]:
        """Return what was counted: planned beforehand, but for an audit, which ends where it is decided."""
        found = bound.certificate
        return (found.shown().n, "items") if found and found.evidence.kind == "audit" else bound.trials

    def lacking(self, gate: Gate, measured: Sequence[Measurement], base: str, benchmark: object) -> str:
        """Say which setting the gate cannot be judged without, and how to make it; nothing where it is there."""
        from certify.records import SubspaceNoise

        if getattr(self.sources.file(gate.benchmark), "identity", None) is not None:
            return ""  # by which kinds of evidence a pool is judged, the library says
        if gate.evidence == "smoothed" and self.settings.value("sigma") is None:
            laws = (draws.law for measurement in measured for draws in measurement.draws)
            if all(isinstance(law, SubspaceNoise) for law in laws):
                return "smoothed evidence needs a sigma: give --basin-sigma, or a measurement with noise on weights"
        if measured or gate.evidence not in ("position", "distance"):
            return ""
        shown = self.sources.shown
        source = shown(benchmark) if isinstance(benchmark, str | Path) else "FILE.jsonl"
        draws = "-n 1000 " if gate.evidence == "distance" else ""
        return (
            f"{gate.evidence} evidence rests on a measurement of the base on {gate.benchmark}, and no measurement of "
            f"this benchmark was given: run `certify measure {shown(base)} --benchmark {source} "
            f"{draws}-o {gate.benchmark}.measurement.json` once and name the file with --basin-measurement"
        )

    def _settle(self, bound: Bound) -> None:
        """Ask the project's hooks about the gate, write its files, and keep its row with the running item."""
        item = self.item
        if item is None:
            return
        row = self._row(bound, item)
        hook = item.ihook
        bound.veto = "; ".join(filter(None, hook.pytest_basin_veto(config=self.config, result=row)))
        bound.notes = list(filter(None, hook.pytest_basin_annotate(config=self.config, result=row)))
        bound.notes += [f"vetoed: {bound.veto}"] * bool(bound.veto)
        bound.notes += self._spelling(bound)
        row |= {"verdict": bound.verdict_at(bound.required), "notes": [*row["notes"], *bound.notes]}
        self._nth[gate := (bound.gate.benchmark, bound.gate.evidence)] += 1
        bound.file, filed = self._write(bound, item, self._nth[gate])
        row["notes"] += [*filed, *self._command(bound)]
        found = self.baselines.settle(bound, item, self._nth[gate])
        since = [f"since the baseline: {sentence(each, bound)} {each['verdict']}" for each in found if each["metric"]]
        row["notes"] += [note.strip() for note in since]
        row |= {
            "given": {"base": bound.base, "checkpoint": bound.checkpoint},
            "certificate": str(bound.file or ""),
            "baselines": found,
            "index": self.order.get(replay.test_id(item), 0),
        }
        row["p"] = self._p_value(bound)
        objections = (objection(each, bound, self.sources.shown(each["file"])) for each in found)
        item.stash.setdefault(OBJECTIONS, []).extend(filter(None, objections))
        self._record(item, row)

    def _command(self, bound: Bound) -> list[str]:
        """Return the command that writes the same record of a family, and draws its map; for what lies in files."""
        gate, shown = bound.gate, self.sources.shown
        path = self.sources.benchmarks.get(gate.benchmark, self.sources.provided.get(gate.benchmark))
        if gate.family is None or not isinstance(path, str | Path):
            return []
        command = gate.cover_command(self.settings, shown(bound.base), shown(path), shown(bound.checkpoint))
        return [f"on the command line, with a figure: {command}"]

    def _row(self, bound: Bound, item: pytest.Item) -> dict[str, Any]:
        given = replay.arguments(self.config, self.settings)
        return result(
            bound,
            nodeid=replay.test_id(item),
            layers=self._layers(bound),
            replay=replay.command(self.config, self.settings, item, given),
            **(self._named(item) if bound.gate.family is None else {}),
        )

    def _named(self, item: pytest.Item) -> dict[str, str]:
        """Return the name of the item's checkpoint, where there are several: whatever was found has the same one."""
        place = _place(item)
        return {"checkpoint": self.names.get(place, place)} if place else {}

    def _layers(self, bound: Bound) -> list[tuple[str, float]]:
        """Return the tensors that moved most, where somebody will read it: all weights are streamed for it."""
        from certify.errors import CertifyError

        if not bound.of_weights or (bound.verdict_at(bound.required) == CERTIFIED and self.config.get_verbosity() < 2):
            return []
        try:
            return list(self.sources.displacement(bound.base, bound.checkpoint).largest())
        except CertifyError:  # another architecture: the failure text says so
            return []

    def _spelling(self, bound: Bound) -> list[str]:
        """Return with ``-v`` what the files beside the weights spell differently without a difference in meaning."""
        from certify.checkpoints.difference import spelling_differences
        from certify.errors import CertifyError

        if not bound.of_weights or self.config.get_verbosity() < 1:
            return []
        try:
            base = self.sources.checkpoint(bound.base)
            found = spelling_differences(base, self.sources.checkpoint(bound.checkpoint, base))
        except CertifyError:  # the failure text says so
            return []
        return [f"spelled differently: {line}" for line in found]

    def _p_value(self, bound: Bound) -> float | None:
        """Return the gate's p-value for the line on all gates together; None where it is the only one."""
        from certify.evidence import alpha_of
        from certify.joint import holm_levels, p_value

        if not self.several:
            return None
        c, levels = bound.certificate, holm_levels(alpha_of(self.settings.value("confidence")), self.expected)
        return 1.0 if c is None or bound.veto else p_value(c.evidence, c.benchmark, c.requirement, levels)

    def _write(self, bound: Bound, item: pytest.Item, nth: int) -> tuple[Path | None, list[str]]:
        folder = self.settings.value("cert-dir")
        if folder is None:
            return None, []
        test = replay.test_id(item) + f"#{nth}" * (nth > 1)
        gate = test, bound.gate.benchmark, bound.gate.evidence
        return file_certificate(folder, gate, None if bound.veto else bound.certificate)

    def _record(self, item: pytest.Item, row: dict[str, Any]) -> None:
        """Keep a gate's row with the running item; JUnit reads the properties at teardown."""
        item.stash.setdefault(RESULTS, []).append(json.loads(json.dumps(row)))  # plain types, whatever numpy left in it
        self._publish(item)

    def _publish(self, item: pytest.Item) -> None:
        rows = item.stash.get(RESULTS, [])
        if self.settings.value("junit") != "off":
            others = [p for p in item.user_properties if not p[0].startswith("basin.")]
            item.user_properties[:] = [*others, *junit(rows)]

    def unasked(self, item: pytest.Item) -> str:
        """Return why the running test would pass whatever its gates say, or nothing."""
        if self.settings.value("unasked") == "allow":
            return ""
        if idle := [bound for bound in self.bounds if not bound.asked]:
            fixture = "basin_scores" if idle[0].brought else "basin_bound"
            named = ", ".join(bound.name for bound in idle)
            return f"{named}: measured, and compared with nothing; {UNASKED.format(fixture)}"
        names = getattr(item, "fixturenames", ())
        if "basin" in names and not any(bound.gate.origins.get("evidence") == "in basin" for bound in self.bounds):
            return f"{short_name(item)}: requests basin and asks it nothing; {UNASKED.format('basin')}"
        return ""

    def failed(self, item: pytest.Item, why: str) -> None:
        """Keep what a failed item's gates came to: an error, unless a verdict or a baseline explains it."""
        rows = item.stash.setdefault(RESULTS, [])
        if not rows:
            nodeid, p = replay.test_id(item), 1.0 if self.several else None
            for gate in self.gates(item):
                more = {"item": short_name(item), "nodeid": nodeid, "error": f"not judged: {why}", "p": p}
                more |= self._named(item)
                folder, filed = self.settings.value("cert-dir"), list[str]()
                if folder is not None:
                    _, filed = file_certificate(folder, (nodeid, gate.benchmark, gate.evidence), None)
                self._record(item, {**errored(gate, **more, notes=filed), "index": self.order.get(nodeid, 0)})
        elif all(row["verdict"] == CERTIFIED for row in rows) and not item.stash.get(OBJECTIONS, []):
            for row in rows:
                row["error"] = f"its test failed: {why}"
            self._publish(item)

    @property
    def item_name(self) -> str:
        """The running item, as tables and failure texts call it."""
        return short_name(self.item) if self.item else "basin"

    def begin(self, item: pytest.Item) -> None:
        """Forget what an earlier run of the same item left (a rerun measures again)."""
        self.item, self.drawing = item, ""
        self.runs += 1
        self.bounds.clear()
        self._nth.clear()
        item.stash[RESULTS] = []
        item.stash[OBJECTIONS] = []
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("basin.")]


STATE = pytest.StashKey[Session]()


def session_of(config: pytest.Config) -> Session:
    """Return this process's basin session, made when first asked for."""
    if STATE not in config.stash:
        config.stash[STATE] = Session(config)
    return config.stash[STATE]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    found: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return found


def _place(item: pytest.Item) -> str:
    """Return the checkpoint that an item was made for, where there are several; own parameters may be anything."""
    given = (_parameters(item).get(name) for name in ("basin_scores_of", "basin_checkpoint"))
    return next((place for place in given if isinstance(place, str)), "")


def short_name(item: pytest.Item) -> str:
    """Return an item's name without its ``test_``."""
    return item.name.removeprefix("test_")
