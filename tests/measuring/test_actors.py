"""Draws shared out to actors: the records of one process, whoever dies, dawdles or has other files.

Actors are copies of the driver's process here; ``test_ray.py`` has those of Ray.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import models
import pytest
from actors import by_forked_actors
from forked import start

from certify.__main__ import main
from certify.cluster import Crew, hub
from certify.cluster.crew import Gone, Line
from certify.cluster.member import Ended, Given, Started, Told, Waiting
from certify.errors import CertificateMismatch, CertifyWarning, InvalidInput, InvalidPlan
from certify.measuring import environment
from certify.measuring.run import Run
from certify.noise.explicit import ExplicitEngine

AT = ("-b", "own.jsonl")
MEASURE = ("measure", "base", *AT, "--sigma", "0.05", "--grid", "0.01,0.02", "-n", "60", "--max-drop", "0.5",
           "--engine", "explicit")  # fmt: skip
COMMANDS = {
    "basin": ("basin", "base", *AT, "--grid", "0.001,0.01", "-n", "20", "--max-drop", "0.5", "--engine", "activation"),
    "gate": ("gate", "tuned", "--base", "base", *AT, "--sigma", "0.01", "--p1", "0.9", "--at-least", "0.5"),
    "check": ("check", "tuned", "--base", "base", *AT, "--require", "smoothed,audit", "-n", "20", "--sigma", "0.01",
              "--max-drop", "0.5"),
    "cover": ("cover", "base", "--family", "segment:tuned", "--range", "0,1", "--windows", "2", "-n", "60", *AT,
              "--max-drop", "0.5"),
}  # fmt: skip
RAY = ("--ray", "local", "--ray-actors", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint near it and items; elsewhere the same names, and other weights."""
    where = tmp_path_factory.mktemp("actors")
    for place, seed in ((where, 0), (where / "elsewhere", 1)):
        models.save_folder(place / "base", models.llama(seed=seed))
        models.variant(place / "base", place / "tuned", lambda t: t["model.norm.weight"].add_(1e-4))
        models.write_jsonl(place / "own.jsonl", models.own_answers(models.llama(), 20))
    (where / "nowhere").mkdir()
    return where


def run(folder: Path, output: str, words: Sequence[str], *more: str, **how: Any) -> CompletedProcess[str]:
    words = (*words, "-o", output, "--draws-dir", f"{output}.draws", *more)
    return start(*words, cwd=folder, **how).finish()


def records(place: Path) -> list[bytes]:
    """What a command wrote, by name."""
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    return [file.read_bytes() for file in files]


@pytest.fixture(scope="module")
def alone(folder: Path) -> Path:
    """The measurement of one process."""
    assert run(folder, "alone.json", MEASURE).returncode == 0
    return folder / "alone.json"


def test_actors_give_the_measurement_of_one_process(folder: Path, alone: Path) -> None:
    """Byte for byte: a table and levels; the driver alone keeps the draws."""
    done = run(folder, "two.json", MEASURE, *RAY, before=by_forked_actors())
    assert done.returncode == 0, done.stderr
    assert records(folder / "two.json") == records(alone)
    assert {file.name.split(".")[1] for file in folder.glob("two.json.draws/*/ledger.*")} == {"0"}


@pytest.mark.parametrize("name", COMMANDS)
def test_actors_give_the_records_of_one_process(folder: Path, name: str) -> None:
    """Likewise, and the exit code: levels in activation space, widths, blocks of a gate and of an audit, a cover."""
    ends = "" if name in ("check", "cover") else ".json"
    one = run(folder, f"{name}1{ends}", COMMANDS[name])
    two = run(folder, f"{name}2{ends}", COMMANDS[name], *RAY, before=by_forked_actors())
    assert one.returncode in (0, 1, 3), one.stderr
    assert two.returncode == one.returncode, two.stderr
    assert records(folder / f"{name}1{ends}") == records(folder / f"{name}2{ends}") != []


def lesson(first: Callable[[int], object], number: int = 0) -> Callable[[], None]:
    """Have one actor do something before it writes a draw, which ``first`` is told."""

    def taught(actor: int) -> None:
        if actor != number:
            return
        at, seen = ExplicitEngine.at, list[int]()

        def watched(self: ExplicitEngine, draw: int) -> Any:
            seen.append(draw)
            return at(self, draw if (other := first(len(seen))) is None else int(str(other)) + draw)

        ExplicitEngine.at = watched  # type: ignore[method-assign]

    return by_forked_actors(taught)


def test_the_draws_of_an_actor_that_is_killed_go_to_another(folder: Path, alone: Path) -> None:
    """SIGKILL in the middle of a part: a new actor takes its place, and one line says so."""
    dying = lesson(lambda seen: os.kill(os.getpid(), signal.SIGKILL) if seen == 10 else None)
    done = run(folder, "killed.json", MEASURE, *RAY, before=dying)
    assert done.returncode == 0, done.stderr
    assert records(folder / "killed.json") == records(alone)
    (line,) = [each for each in done.stderr.splitlines() if "is lost" in each]
    assert line.startswith("certify: warning: process ")
    assert line.endswith("is lost (killed): its draws go to another actor")


def test_an_actor_that_dawdles_holds_nothing_up(folder: Path, alone: Path) -> None:
    """It keeps a part for an hour, which the other does meanwhile."""
    began = time.monotonic()
    done = run(folder, "slow.json", MEASURE, *RAY, before=lesson(lambda seen: time.sleep(3600) if seen == 3 else None))
    assert (done.returncode, time.monotonic() - began < 1800) == (0, True)
    assert records(folder / "slow.json") == records(alone)


def test_scores_are_the_actors(folder: Path, alone: Path) -> None:
    """The equality above can fail: where both draw something else, the measurement is another."""
    shifted = by_forked_actors(_shift)
    done = run(folder, "shifted.json", MEASURE, *RAY, before=shifted)
    assert done.returncode == 0, done.stderr
    assert records(folder / "shifted.json") != records(alone)


def _shift(actor: int) -> None:
    at = ExplicitEngine.at
    ExplicitEngine.at = lambda self, draw: at(self, draw + 1000)  # type: ignore[method-assign]


def _elsewhere(place: str) -> Callable[[int], None]:
    def move(actor: int) -> None:
        change = os.chdir
        os.chdir = lambda path: change(Path(str(path), place))

    return move


def _older(actor: int) -> None:
    version_of = environment.version_of
    environment.version_of = lambda name: "1.0" if name == "torch" else version_of(name)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("taught", "said"),
    [
        (_elsewhere("elsewhere"), "would score something else than the driver: weights sha256:"),
        (_older, "would score something else than the driver: environment packages torch 1.0, here "),
        (_elsewhere("nowhere"), "own.jsonl: no such file"),
    ],
)
def test_an_actor_that_has_something_else_is_refused(folder: Path, taught: Any, said: str) -> None:
    """Another folder's content, another version, no folder: one line that names the process, and nothing is kept."""
    done = run(folder, "refused.json", MEASURE, *RAY, before=by_forked_actors(taught))
    assert done.returncode == 2
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("estimate:")]
    assert line.startswith("certify: error: --ray: process ")
    assert said in line
    assert not (folder / "refused.json").exists()


def test_an_interrupted_run_resumes(folder: Path, alone: Path) -> None:
    """Ctrl-C keeps what was drawn; the same command, without actors, ends with the bytes of one process."""
    slow = by_forked_actors(lambda actor: _slow())
    words = (*MEASURE, "-o", "stopped.json", "--draws-dir", "stopped.draws")
    begun = start(*words, *RAY, cwd=folder, before=slow)
    until = time.monotonic() + 300
    while time.monotonic() < until and _lines(folder / "stopped.draws") < 55:
        time.sleep(0.05)
    os.kill(begun.pid, signal.SIGINT)
    done = begun.finish()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "certify: interrupted; nothing was written half")
    kept = _lines(folder / "stopped.draws")
    assert kept >= 55
    assert start(*words, cwd=folder).finish().returncode == 0
    assert records(folder / "stopped.json") == records(alone)


def _slow() -> None:
    at = ExplicitEngine.at

    def slowly(self: ExplicitEngine, draw: int) -> Any:
        time.sleep(0.05)
        return at(self, draw)

    ExplicitEngine.at = slowly  # type: ignore[method-assign]


def _lines(folder: Path) -> int:
    return sum(len(file.read_bytes().splitlines()) for file in folder.glob("*/ledger.*.jsonl"))


# What a crew does, with actors that are made up


class _Actors(Line):
    """Each says what ``behave`` says of its number and of what it was given."""

    def __init__(self, behave: Callable[[int, Any], Any]) -> None:
        self._behave, self._said, self.given = behave, list[tuple[int, Any]](), list[tuple[int, tuple[int, ...]]]()

    def recruit(self, number: int) -> None:
        self._said.append((number, Started(f"actor {number}")))

    def send(self, number: int, reply: Any) -> None:
        if isinstance(reply, Given):
            self.given.append((number, tuple(place for place, _ in reply.batches)))
        if (said := self._behave(number, reply)) is not None:
            self._said.append((number, said))

    def next(self, timeout: float) -> Any:
        return self._said.pop(0) if self._said else time.sleep(timeout)


IDENTITY: Mapping[str, Any] = {"seed": "1", "weights": "w", "environment": {"packages": {"torch": "2"}}}
BATCHES = {i: [i] for i in range(40)}


def scored(reply: Any, *, by: float = 0.0, warned: tuple[str, ...] = ()) -> Waiting:
    batches = reply.batches if isinstance(reply, Given) else ()
    entries = tuple((place, tuple((draw / 100 + by, 0.0) for draw in batch)) for place, batch in batches)
    return Waiting(IDENTITY, entries, warned)


def found(actors: _Actors, size: int = 2) -> dict[int, Any]:
    return dict(Crew(actors, size).scored(IDENTITY, BATCHES))


EXPECTED = {i: ((i / 100, 0.0),) for i in BATCHES}


def test_every_batch_is_scored_once_and_parts_grow() -> None:
    """The first part of an actor is one batch; quick actors are then given more, and one at a time in the end."""
    actors = _Actors(lambda number, reply: scored(reply))
    assert found(actors) == EXPECTED
    sizes = [len(part) for _, part in actors.given]
    assert sorted(place for _, part in actors.given for place in part) == sorted(BATCHES)
    assert (sizes[0], max(sizes) > 5, sizes[-1]) == (1, True, 1)


def test_a_pace_is_of_one_kind_of_work() -> None:
    """Draws of one item were quick: the first part of what comes next is one batch again."""
    now: list[Mapping[str, Any]] = [IDENTITY]
    actors = _Actors(lambda number, reply: scored(reply)._replace(identity=now[-1]))
    crew = Crew(actors, 1)
    crew.tells(IDENTITY, dict(crew.scored(IDENTITY, BATCHES)))
    before = len(actors.given)
    now.append({**IDENTITY, "design": "table"})
    assert dict(crew.scored(now[-1], BATCHES)) == EXPECTED
    assert (len(actors.given[before - 1][1]), len(actors.given[before][1])) == (1, 1)
    assert len(actors.given[before + 1][1]) > 5


def test_who_died_is_replaced_as_long_as_something_gets_done() -> None:
    """Each second part kills; four deaths in a row of two actors, and no draw between, end the run."""
    deaths = iter(range(1000))
    actors = _Actors(lambda number, reply: Gone("out of memory") if isinstance(reply, Given) and next(deaths) % 2
                     else scored(reply))  # fmt: skip
    with warnings.catch_warnings(action="ignore", category=CertifyWarning):
        assert found(actors) == EXPECTED
        with pytest.raises(InvalidPlan, match="5 actors in a row died before they finished a draw; the last: no luck"):
            found(_Actors(lambda number, reply: Gone("no luck")))


def test_the_last_parts_are_given_out_twice() -> None:
    """An actor that never answers: its part goes to the other, when it is overdue; the first to come counts."""
    actors = _Actors(lambda number, reply: None if number == 0 and isinstance(reply, Given) else scored(reply))
    assert found(actors) == EXPECTED
    (held,) = [part for number, part in actors.given if number == 0]
    assert held in [part for number, part in actors.given if number == 1]


def test_a_part_whose_every_holder_is_overdue_goes_on_to_another() -> None:
    """Two of three never answer: the third ends the work."""
    actors = _Actors(lambda number, reply: None if number < 2 and isinstance(reply, Given) else scored(reply))
    assert found(actors, 3) == EXPECTED


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (Waiting({**IDENTITY, "weights": "v"}), InvalidInput, "actor 0 would .*: weights v, here w;"),
        (Ended(2, "no such folder"), InvalidInput, "actor 0: no such folder"),
        (Ended(4, "changed"), CertificateMismatch, "actor 0: changed"),
        (Ended(5, "error of certify itself"), RuntimeError, "actor 0: error of certify itself"),
        (Ended(0, ""), InvalidInput, "actor 0: ended before its work was done"),
    ],
)
def test_what_is_wrong_with_an_actor_is_said(said: Any, error: type[Exception], words: str) -> None:
    """By the driver, as an error of the same kind."""
    with pytest.raises(error, match=words):
        found(_Actors(lambda number, reply: said), 1)


def test_nobody_waits_for_actors_that_never_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster without room: an end after a while."""
    monkeypatch.setattr("certify.cluster.crew.START_WITHIN", 0.2)
    actors = _Actors(lambda number, reply: None)
    monkeypatch.setattr(actors, "recruit", lambda number: None)
    with pytest.raises(InvalidPlan, match=r"no actor has started in 0.2 s"):
        found(actors)


def test_what_actors_warn_of_is_said_once_for_each_run() -> None:
    """The driver draws nothing, so it would not see that noise is lost in rounding."""
    actors = _Actors(lambda number, reply: scored(reply, warned=("30 % did not move",) * isinstance(reply, Given)))
    with pytest.warns(CertifyWarning, match="30 % did not move") as caught:
        found(actors)
    assert len(caught) == 1


def test_an_actor_that_comes_late_is_told_what_was(tmp_path: Path) -> None:
    """What was chosen or drawn before it was there, by what it asks for."""
    told: list[Any] = []

    def behave(number: int, reply: Any) -> Any:
        told.extend([reply.value] if isinstance(reply, Told) else [])
        earlier = [{"choice": "sigma"}, {"design": "unnoised"}]
        return Waiting(earlier[len(told)]) if len(told) < 2 else scored(reply)

    crew = Crew(_Actors(behave), 1)
    run = Run(ledgers=tmp_path, crew=crew)
    assert run.same({"choice": "sigma"}, lambda: 0.5) == 0.5
    run.carry_out_batches([[0, 1]], lambda batch: [(i / 100, 0.0) for i in batch], "base", {"design": "unnoised"})
    assert run.carry_out(range(3), lambda draw: (9.0, 0.0), "draws", IDENTITY) == [EXPECTED[i][0] for i in range(3)]
    assert told[:2] == [0.5, {0: (0.0, 0.0), 1: (0.01, 0.0)}]


# Options


@pytest.fixture
def certify(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[int, str]]:
    def run(*words: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        measure = MEASURE[:-2] if "--engine" in words else MEASURE
        monkeypatch.setattr(sys, "argv", ["certify", *measure, "-o", "no.json", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ray-actors", "2"), "--ray-actors goes with --ray"),
        ((*RAY, "--processes", "2"), "--processes: torchrun and Ray both share draws"),
        ((*RAY, "--device", "cuda:1"), "--device cuda:1: Ray gives each actor its own"),
        ((*RAY, "--seed", "random"), "--seed random: each actor would draw its own"),
        ((*RAY, "--engine", "vllm"), "--ray: its actors score by transformers"),
        (("--ray", "local"), "ray is not installed: pip install 'pytest-basin[ray]'"),
    ],
)
def test_options_that_do_not_go_together(certify: Any, monkeypatch: Any, words: tuple[str, ...], said: str) -> None:
    """One line, and the extra by its name."""
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    code, err = certify(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("head", "--ray head: must be local, or HOST:PORT of the head of a cluster"),
        ("ray://head:1", "must be local, or HOST:PORT"),
        ("127.0.0.1:1", "--ray 127.0.0.1:1: nothing answers there (Connection refused)"),
        ("127.0.0.1:99999", "--ray 127.0.0.1:99999: nothing answers there ("),
    ],
)
def test_an_address_where_nothing_is_is_refused(certify: Any, monkeypatch: Any, address: str, said: str) -> None:
    """One line, before anything is drawn."""
    monkeypatch.setattr(hub, "find_spec", lambda name: True)
    code, err = certify("--ray", address)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_the_replacement_of_the_last_actor_has_time_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the run has taken until then."""
    from certify.cluster import crew as module

    said = iter([(0, Started("here")), (0, Gone("killed")), None, (1, Started("there")),
                 (1, Waiting({"a": 1})), (1, Waiting({"a": 1}, ((0, (1.0,)),)))])  # fmt: skip

    class Slow:
        def recruit(self, number: int) -> None: ...
        def send(self, number: int, reply: Any) -> None: ...
        def next(self, timeout: float) -> Any:
            time.sleep(0.02)
            return next(said)

    monkeypatch.setattr(module, "START_WITHIN", 0.05)
    with pytest.warns(CertifyWarning, match="is lost"):
        assert list(Crew(Slow(), 1).scored({"a": 1}, {0: (0,)})) == [(0, (1.0,))]
