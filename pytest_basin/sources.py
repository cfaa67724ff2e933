"""What one pytest process opens for its basin tests: models, benchmarks and measurements, each once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_basin.options import TASK, Settings, found_from

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark, JsonlBenchmark, PooledBenchmark
    from certify.checkpoints import Checkpoint
    from certify.checkpoints.family import Family, FamilyKind
    from certify.documents import Measurement
    from certify.evidence.displacement import Displacement
    from certify.logs import Log, Paired
    from certify.measuring import Base
    from certify.measuring.candidate import Candidate


Stamp = tuple[tuple[str, int, int], ...]


class Sources:
    """Everything that is opened under the settings, kept for the whole run."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config, self.settings = config, settings
        self.provided: dict[str, Path | Benchmark] = {}
        self._read: dict[Path, JsonlBenchmark | PooledBenchmark] = {}
        self._places: dict[str, str] = {}
        self._given: dict[str, Checkpoint] = {}
        self._opened: dict[tuple[Any, ...], Checkpoint] = {}
        self._bases: dict[tuple[str, str, str], Base] = {}
        self._candidate: Candidate | None = None
        self._family: tuple[tuple[Any, ...], Family] | None = None
        self._scores: dict[str, dict[str, Paired]] = {}
        self._displacements: dict[tuple[str, Stamp, str, Stamp], Displacement] = {}

    @cached_property
    def benchmarks(self) -> dict[str, Path]:
        """The configured benchmark files by name; reads none of them."""
        found: dict[str, Path] = {}
        for path in self.settings.value("benchmark") or ():
            name = self._name(path)
            if name in found:
                raise pytest.UsageError(f"two benchmarks are called {name!r}: {found[name]} and {path}")
            found[name] = path
        return found

    @staticmethod
    def _name(path: Path) -> str:
        if not str(path).startswith(TASK):
            return path.stem
        from certify.benchmarks.lm_eval_tasks import task_name

        return task_name(str(path))

    def checkpoints(self, asked: Mapping[str, Any], word: str = "checkpoint") -> dict[str, str]:
        """Return the checkpoints, or with the word ``scores-of`` their scores, that a test gates, by names in its ids.

        They are the marker's, each the name of a configured one or a place seen from the root directory; else all that
        are configured.

        Raises:
            UsageError: one is named twice.
        """
        configured = names_of(_different(self.settings.value(word) or ()))
        root = self.config.rootpath
        chosen = [configured.get(str(each)) or found_from(root, str(each)) for each in asked.get("checkpoints", ())]
        return names_of(_different(chosen)) if chosen else configured

    def names(self, asked: Mapping[str, Any], item: pytest.Item) -> list[str]:
        """Return the benchmarks that a marker means: the named ones, else all that are configured.

        Names that are not configured are asked of the hook ``pytest_basin_benchmark``, and then left to the fixture
        ``basin_benchmarks`` if nothing is configured at all.

        Raises:
            UsageError: an unknown name, or none at all.
        """
        named = list(asked.get("benchmarks", ()))
        unknown = [name for name in named if name not in self.benchmarks and not self._provided(name, item)]
        if unknown and self.benchmarks:
            raise pytest.UsageError(
                f"basin marker: no benchmark is called {', '.join(map(repr, unknown))}; configured: "
                f"{', '.join(self.benchmarks)}"
            )
        if not named and not self.benchmarks:
            raise pytest.UsageError("no benchmark to gate on: " + how_to_give("benchmark", "FILE.jsonl"))
        return named or list(self.benchmarks)

    def _provided(self, name: str, item: pytest.Item) -> bool:
        if name.startswith(TASK):  # names itself
            self.provided[name] = Path(name)
        if name not in self.provided:
            found = item.ihook.pytest_basin_benchmark(config=self.config, name=name)
            if found is not None:
                self.provided[name] = found
        return name in self.provided

    def read(self, path: Path) -> JsonlBenchmark | PooledBenchmark:
        """Return the benchmark in a file, read once."""
        from certify.benchmarks import open_pool_or_benchmark

        if path not in self._read:
            self._read[path] = open_pool_or_benchmark(path)
        return self._read[path]

    def file(self, name: str) -> JsonlBenchmark | PooledBenchmark | None:
        """Return the benchmark of this name if it is a file that collection knows."""
        path = self.benchmarks.get(name, self.provided.get(name))
        return self.read(Path(path)) if isinstance(path, str | Path) else None

    @cached_property
    def _base_logs(self) -> dict[str, Log]:
        from certify.logs import read_logs

        return read_logs(self.settings.value("scores"), self.settings.value("cluster"))

    def scores(self, of: str) -> dict[str, Paired]:
        """Return a checkpoint's scores by another tool, paired with the base's, by task or pool. Loads no torch.

        Raises:
            CertifyError: they cannot be read or do not pair.
        """
        from certify.logs import pair, pool, read_logs, together

        if of not in self._scores:
            metrics, chance = self.settings.value("metric") or (), self.settings.value("chance")
            both = together(self._base_logs, read_logs(Path(of), self.settings.value("cluster")))
            pairs, pools = [pair(*logs, metrics, chance) for logs in both], self.settings.value("scores-pool") or ()
            found = [pool(pairs, file) for file in pools] or pairs
            self._scores[of] = {each.benchmark.name: each for each in found}
        return self._scores[of]

    def tasks(self, places: Sequence[str]) -> list[str]:
        """Return the tasks, or pools of them, that the scores of each of several checkpoints are of.

        Raises:
            UsageError: those of a base or of a checkpoint are not configured, or two checkpoints' are of other tasks.
            CertifyError: as by :meth:`scores`.
        """
        if self.settings.value("scores") is None or not places:
            raise pytest.UsageError(
                "basin_scores rests on the logs of both models: give --basin-scores and --basin-scores-of, or the ini "
                "keys basin_scores and basin_scores_of (write = before a path: else pytest takes it for a test, and "
                "looks for the ini file there)"
            )
        first, *others = places
        held = list(self.scores(first))
        for place in others:
            if self.scores(place).keys() != {*held}:
                here, there = (", ".join(self.scores(each)) for each in (first, place))
                raise pytest.UsageError(f"scores of other tasks: {first} holds {here}; {place} holds {there}")
        return held

    @cached_property
    def measurements(self) -> dict[str, list[Measurement]]:
        """The configured measurements by their benchmark's digest: one of each base."""
        from certify.documents import read_measurement
        from certify.records import identity_key

        found: dict[str, list[Measurement]] = {}
        files: dict[str, Path] = {}
        for path in self.settings.value("measurement") or ():
            measurement = read_measurement(path)
            benchmark = measurement.benchmark
            known = files.setdefault(f"{benchmark.digest} {identity_key(measurement.base)}", path)
            if known != path:
                raise pytest.UsageError(
                    f"two measurements are of the benchmark {benchmark.name!r} and the base {measurement.base.name}: "
                    f"{known} and {path}"
                )
            found.setdefault(benchmark.digest, []).append(measurement)
        return found

    def measurement(self, of: Base) -> Measurement | list[Measurement] | None:
        """Return the measurement of a base on its benchmark; a single one of the benchmark whatever its base.

        The library says what does not fit. Of a pool those of the base on all of its benchmarks, or none.
        """
        from certify.records import identity_key

        def own(digest: str) -> list[Measurement]:
            return [each for each in self.measurements.get(digest, []) if identity_key(each.base) == key]

        key, digest = identity_key(of.checkpoint.identity), of.benchmark.digest
        if parts := getattr(of.benchmark, "benchmarks", ()):
            found = [each for part in parts for each in own(part.digest)]
            return found if len(found) == len(parts) else None
        return next(iter(own(digest) or self.measurements.get(digest, [])), None)

    def named(self, given: str | Path | Checkpoint) -> str:
        """Return the name of what a fixture gave: a path, or a checkpoint that is open already and is kept here."""
        if isinstance(given, str | Path):
            return str(given)
        names = (str(given.path) if n == 1 else f"{given.path} {n}" for n in itertools.count(1))
        return next(name for name in names if self._given.setdefault(name, given) is given)

    def place(self, source: str, item: pytest.Item | None) -> str:
        """Return where a base or checkpoint lies: what ``pytest_basin_load_checkpoint`` says, else its own name."""
        if source not in self._places:
            hook = item.ihook if item is not None else self.config.hook
            self._places[source] = str(hook.pytest_basin_load_checkpoint(config=self.config, source=source) or source)
        return self._places[source]

    def checkpoint(self, place: str, base: Checkpoint | None = None) -> Checkpoint:
        """Return an opened checkpoint, an adapter merged into ``base``; its weights are hashed once for all gates."""
        from certify.checkpoints import open_checkpoint

        if place in self._given:
            return self._given[place]
        key = (place, _stamp(Path(place)), (str(base.path), _stamp(base.path)) if base else ())
        if key not in self._opened:
            config = self.settings.value("config") if base else None
            self._opened[key] = open_checkpoint(place, base, config=config)
        return self._opened[key]

    def base(self, place: str, benchmark: Benchmark, device: str) -> Base:
        """Return the base opened with one benchmark; its weights are hashed and loaded once for all benchmarks."""
        from certify.measuring import Base

        key = (place, device, benchmark.digest)
        if key not in self._bases:
            same = next((b for (p, d, _), b in self._bases.items() if (p, d) == (place, device)), None)
            opened = self._given.get(place, place)
            self._bases[key] = same.on(benchmark) if same else Base.open(opened, benchmark, device)
        return self._bases[key]

    def candidate(self, base: Base, place: str) -> Candidate:
        """Return the checkpoint held against the base; its weights are loaded once, until another one is asked for."""
        from certify.measuring.candidate import Candidate

        checkpoint = self.checkpoint(place, base.checkpoint)
        known = self._candidate
        if known is None or known.checkpoint is not checkpoint or not _same_model(known.base, base):
            known = Candidate(base, checkpoint)
        self._candidate = known.on(base)
        return self._candidate

    def family(self, kind: FamilyKind, base: Checkpoint, place: str) -> Family:
        """Return the models that the files at ``place`` span with the base, kept until others are asked for.

        Raises:
            UsageError: it is a checkpoint that is open already.
        """
        from certify.checkpoints.family import open_family

        if place in self._given:
            raise pytest.UsageError(f"cover evidence makes its models of files: name {place}, do not open it")
        key = (kind, str(base.path), _stamp(base.path), place, _stamp(Path(place)))
        if self._family is None or self._family[0] != key:
            self._family = key, open_family(kind, place, base)
        return self._family[1]

    def displacement(self, base: str, checkpoint: str) -> Displacement:
        """Return how far each tensor moved; streams both sets of weight files once."""
        from certify.checkpoints import difference

        key = (base, _stamp(Path(base)), checkpoint, _stamp(Path(checkpoint)))
        if key not in self._displacements:
            opened = self.checkpoint(base)
            self._displacements[key] = difference(opened, self.checkpoint(checkpoint, opened))
        return self._displacements[key]

    def shown(self, path: str | Path) -> str:
        """Return a path as a person in the invocation directory would write it."""
        here = self.config.invocation_params.dir
        return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def _stamp(place: Path) -> Stamp:
    """Return names, times and sizes of the files of a checkpoint: one that was written anew is opened anew.

    Those of a recipe are its own and its models'.
    """
    from certify.checkpoints.recipe import SUFFIXES, read_recipe

    files = sorted(place.iterdir()) if os.path.isdir(place) else [place] if os.path.isfile(place) else []
    stamp = tuple((file.name, (found := file.stat()).st_mtime_ns, found.st_size) for file in files)
    if place.suffix not in SUFFIXES or files != [place]:
        return stamp
    recipe = read_recipe(place)
    return sum((_stamp(Path(recipe.place(model.source))) for model in recipe.inputs), stamp)


def _same_model(one: Base, other: Base) -> bool:
    return one.checkpoint is other.checkpoint and one.device == other.device


def _different(places: Sequence[str]) -> Sequence[str]:
    """Return the places, of which no two are the same: one checkpoint would count as two gates."""
    known: dict[str, str] = {}
    for place in places:
        real = os.path.realpath(place) if os.path.lexists(place) else place.rstrip("/")
        if known.setdefault(real, place) is not place:
            raise pytest.UsageError(f"the same checkpoint is named twice: {known[real]} and {place}")
    return places


def names_of(places: Sequence[str]) -> dict[str, str]:
    """Return places by name: the shortest end of its path that no other has. Trainers call every folder ``final``."""
    parts = {place: place.rstrip("/").split("/") for place in places}

    def shortest(own: list[str]) -> str:
        ends = (n for n in range(1, len(own)) if sum(own[-n:] == other[-n:] for other in parts.values()) == 1)
        return "/".join(own[-next(ends, len(own)) :])

    return {shortest(own): place for place, own in parts.items()}


def how_to_give(word: str, value: str) -> str:
    """Say the three ways to give a setting that has a fixture."""
    key = f"basin_{word.replace('-', '_')}"
    fixture = "basin_benchmarks" if word == "benchmark" else key
    return f"give --basin-{word}={value}, the ini key {key}, or override the fixture {fixture} in conftest.py"
