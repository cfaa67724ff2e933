"""What one pytest process opens and measures for its basin tests, each thing once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_basin.bound import Bound
from pytest_basin.gates import Gate, resolve
from pytest_basin.options import SETTINGS, Settings
from pytest_basin.results import RESULTS, certificate_name, junit, result

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark, JsonlBenchmark
    from certify.certificate import Certificate, Measurement
    from certify.evidence.distance import Displacement
    from certify.measuring import Base


class Session:
    """The settings, and everything opened under them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.settings: Settings = config.stash[SETTINGS]
        self.item: pytest.Item | None = None
        self.runs = 0
        self._opened: dict[Path, JsonlBenchmark] = {}
        self._bases: dict[tuple[str, str, str], Base] = {}
        self._infeasible: dict[tuple[Any, ...], str] = {}
        self._displacements: dict[tuple[str, str], Displacement] = {}

    @property
    def disabled(self) -> bool:
        """Whether basin tests are skipped."""
        return bool(self.settings.value("disable"))

    @cached_property
    def benchmarks(self) -> dict[str, Path]:
        """The configured benchmark files by name; reads none of them."""
        found: dict[str, Path] = {}
        for path in self.settings.value("benchmark") or ():
            if path.stem in found:
                raise pytest.UsageError(f"two benchmarks are called {path.stem!r}: {found[path.stem]} and {path}")
            found[path.stem] = path
        return found

    @cached_property
    def measurements(self) -> dict[str, Measurement]:
        """The configured measurements by their benchmark's digest."""
        from certify.certificate import read_measurement

        found: dict[str, tuple[Path, Measurement]] = {}
        for path in self.settings.value("measurement") or ():
            measurement = read_measurement(path)
            known = found.setdefault(measurement.benchmark.digest, (path, measurement))
            if known[0] != path:
                raise pytest.UsageError(
                    f"two measurements are of the benchmark {measurement.benchmark.name!r}: {known[0]} and {path}"
                )
        return {digest: measurement for digest, (_, measurement) in found.items()}

    def read(self, path: Path) -> JsonlBenchmark:
        """Return the benchmark in a file, read once."""
        from certify.benchmarks import open_benchmark

        if path not in self._opened:
            self._opened[path] = open_benchmark(path)
        return self._opened[path]

    def names(self, asked: Mapping[str, Any]) -> list[str]:
        """Return the benchmarks that a marker means: the named ones, else all that are configured.

        Raises:
            UsageError: an unknown name, or none at all.
        """
        named = list(asked.get("benchmarks", ()))
        unknown = [name for name in named if name not in self.benchmarks] if self.benchmarks else []
        if unknown:
            raise pytest.UsageError(
                f"basin marker: no benchmark is called {', '.join(map(repr, unknown))}; configured: "
                f"{', '.join(self.benchmarks)}"
            )
        if not named and not self.benchmarks:
            raise pytest.UsageError("no benchmark to gate on: " + how_to_give("benchmark", "FILE.jsonl"))
        return named or list(self.benchmarks)

    def gate(self, asked: Mapping[str, Any], benchmark: str) -> Gate:
        """Return the gate that ``asked`` means on one benchmark."""
        return resolve(asked, self.settings, benchmark)

    def trials(self, gate: Gate, benchmark: Benchmark, items: int) -> tuple[int | None, str]:
        """Return how many items or draws the gate's evidence counts, None where no measurement says so."""
        if gate.evidence in ("point", "position"):
            return items, "items"
        if gate.evidence == "smoothed":
            return gate.draws, "draws"
        measurement = self.measurements.get(benchmark.digest)
        return min(draws.n for draws in measurement.draws) if measurement else None, "draws"

    def problem(self, gate: Gate, benchmark: Benchmark, items: int) -> str:
        """Return why the gate cannot pass with its numbers of items or draws, or nothing. Never imports torch."""
        n, _ = self.trials(gate, benchmark, items)
        if n is None or (self.settings.value("items") == "fixed" and gate.evidence == "point"):
            return ""
        key = (gate.evidence, n, gate.unit, gate.limit, gate.confidence, benchmark.chance)
        if key not in self._infeasible:
            from certify.evidence.feasibility import infeasible

            found = infeasible(gate.evidence, n, gate.requirement, gate.alpha, benchmark.chance) or ""
            self._infeasible[key] = found.removeprefix(f"{gate.evidence}: ")
        return self._infeasible[key]

    def base(self, source: str, benchmark: Benchmark, device: str) -> Base:
        """Return the base opened with one benchmark; its weights are hashed and loaded once for all benchmarks."""
        from certify.measuring import Base

        key = (source, device, benchmark.digest)
        if key not in self._bases:
            same = next((b for (s, d, _), b in self._bases.items() if (s, d) == (source, device)), None)
            self._bases[key] = same.on(benchmark) if same else Base.open(source, benchmark, device)
        return self._bases[key]

    def measure(
        self, name: str, gate: Gate, base: str, checkpoint: str, benchmark: Path | Benchmark, device: str
    ) -> Bound:
        """Gather the evidence that one gate requires, and keep what it found with the running item.

        An input that the library refuses fails the test in one line.
        """
        from certify.errors import CertifyError

        __tracebackhide__ = True
        try:
            bound = self._measure(name, gate, base, checkpoint, benchmark, device)
        except (CertifyError, pytest.UsageError) as error:
            problem = str(error)
        else:
            self._record(bound)
            return bound
        pytest.fail(f"{name}: {problem}", pytrace=False)  # outside the except clause: nothing is chained to it

    def _measure(
        self, name: str, gate: Gate, base: str, checkpoint: str, benchmark: Path | Benchmark, device: str
    ) -> Bound:
        start = time.perf_counter()
        opened = self.read(Path(benchmark)) if isinstance(benchmark, str | Path) else benchmark
        scored = self.base(base, opened, device)
        items = scored.scorer.identity.items
        measurement = self.measurements.get(opened.digest)
        if measurement is None and gate.evidence in ("position", "distance"):
            raise pytest.UsageError(self._missing_measurement(gate, base, benchmark))
        trials = self.trials(gate, opened, items)
        problem = self.problem(gate, opened, items)
        if problem:
            return Bound(name, gate, None, trials=trials, reason=problem, base=base, checkpoint=checkpoint)
        certificate = self._certificate(gate, scored, checkpoint, None if gate.evidence == "point" else measurement)
        return Bound(
            name,
            gate,
            certificate,
            trials=trials,
            base=base,
            checkpoint=checkpoint,
            seconds=time.perf_counter() - start,
            file=self._write(certificate, gate),
        )

    def _certificate(self, gate: Gate, base: Base, checkpoint: str, measurement: Measurement | None) -> Certificate:
        from certify.measuring import check
        from certify.noise import open_subspace

        (certificate,) = check(
            base,
            checkpoint,
            kinds=(gate.evidence,),
            requirement=gate.requirement,
            alpha=gate.alpha,
            measurement=measurement,
            sigma=self.settings.value("sigma"),
            draws=gate.draws,
            subspaces=[open_subspace(path) for path in self.settings.value("subspace") or ()],
            items=self.settings.value("items"),
            user_seed=self.settings.value("seed"),
        )
        return certificate

    def _write(self, certificate: Certificate, gate: Gate) -> Path | None:
        folder = self.settings.value("cert-dir")
        if folder is None:
            return None
        test = self.item.nodeid if self.item else "test"
        return certificate.to_json(folder / certificate_name(test, gate.benchmark, gate.evidence))

    def _missing_measurement(self, gate: Gate, base: str, benchmark: object) -> str:
        """Say which measurement is needed, and how to make it."""
        source = self.shown(benchmark) if isinstance(benchmark, str | Path) else "FILE.jsonl"
        return (
            f"{gate.evidence} evidence rests on a measurement of the base on {gate.benchmark}, and no measurement of "
            f"this benchmark was given: run `certify measure {self.shown(base)} --benchmark {source} "
            f"-o {gate.benchmark}.measurement.json` once and name the file with --basin-measurement"
        )

    def shown(self, path: str | Path) -> str:
        """Return a path as a person in the invocation directory would write it."""
        here = self.config.invocation_params.dir
        return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)

    def displacement(self, base: str, checkpoint: str) -> Displacement:
        """Return how far each tensor moved; streams both sets of weight files once."""
        from certify.checkpoints import difference, open_checkpoint

        key = (str(base), str(checkpoint))
        if key not in self._displacements:
            self._displacements[key] = difference(open_checkpoint(base), open_checkpoint(checkpoint))
        return self._displacements[key]

    @property
    def item_name(self) -> str:
        """The running item, as tables and failure texts call it."""
        return short_name(self.item) if self.item else "basin"

    def begin(self, item: pytest.Item) -> None:
        """Forget what an earlier run of the same item left (a rerun measures again)."""
        self.item = item
        self.runs += 1
        item.stash[RESULTS] = []
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("basin.")]

    def _record(self, bound: Bound) -> None:
        """Keep a gate's result with the running item; JUnit reads the properties at teardown."""
        if self.item is not None:
            results = self.item.stash.setdefault(RESULTS, [])
            results.append(result(bound))
            others = [p for p in self.item.user_properties if not p[0].startswith("basin.")]
            self.item.user_properties[:] = [*others, *junit(results)]


STATE = pytest.StashKey[Session]()


def session_of(config: pytest.Config) -> Session:
    """Return this process's basin session, made when first asked for."""
    if STATE not in config.stash:
        config.stash[STATE] = Session(config)
    return config.stash[STATE]


def short_name(item: pytest.Item) -> str:
    """Return an item's name without its ``test_``."""
    return item.name.removeprefix("test_")


def how_to_give(word: str, value: str) -> str:
    """Say the three ways to give a setting that has a fixture."""
    fixture = "basin_benchmarks" if word == "benchmark" else f"basin_{word}"
    return f"give --basin-{word}={value}, the ini key basin_{word}, or override the fixture {fixture} in conftest.py"
