"""Hostile input for every file that certify reads and every value that it is given: made at random from a seed.

Each case damages one thing of a small valid world and gives it to the command line or to pytest, in a copy of this
process that has imported all it needs. What must be: an exit code of 0 to 4; one line on stderr for bad input, whoever
writes it, and none beside a verdict (estimates and warnings apart); at most :data:`SECONDS` of the processor and
:data:`MEMORY` more; and no file left behind where nothing was decided. ``python benchmarks/fuzz.py --cases 100000``
runs any number.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import importlib.util
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main
from damage import VALUES, WORDS, damage_file
from hostile_world import CHECK, COLLECT, DETAILS, DRAWN, SCORES, make_world

from certify.__main__ import main as certify
from certify.cli import output

SECONDS, PATIENCE, MEMORY, LONGEST = 20, 300, 1 << 30, 620
"""Of the processor; of waiting for a pipe or a lock, longer on a loaded machine; bytes; characters of a line."""
ACCEPTED, REFUSED = "accepted", "clear error"
BROKEN = ("traceback", "crash", "hang", "memory", "not one line", "too long a line", "left behind")
ITSELF = "{}"


@dataclass(frozen=True)
class Target:
    """Files of the world of which one is damaged, and commands of which one reads it (``{}``: its path)."""

    files: tuple[str, ...]
    commands: tuple[str, ...]


def _record(name: str, *more: str) -> Target:
    return Target((f"records/{name}.json",), ("verify {}", "show {}", "report {}", "report {} -t html", *more))


def _log(file: str, asked: str, metric: str = "acc", more: str = "") -> Target:
    return Target((f"logs/tuned{file}", f"logs/base{file}"), (SCORES.format(asked, metric) + more,))


def _items(name: str, ending: str = ".jsonl", model: str = "base", other: str = "tuned") -> Target:
    shown = f"show-items {model} -b {name}{ending}"
    checked = CHECK.replace("b.jsonl", f"{name}{ending}").replace("tuned --base base", f"{other} --base {model}")
    return Target((f"{name}{ending}", f"{name}.toml"), (shown, shown, checked))


ASKED = "show-items {dir} -b b.jsonl"
MERGED = CHECK.replace("tuned", ITSELF)
TARGETS: dict[str, Target] = {
    **{name: Target((f"base/{name}", f"tuned/{name}"), (CHECK, ASKED, "tokens {dir} -o out/tokens.json"))
       for name in ("config.json", "model.safetensors")},
    "generation_config.json": Target(("tuned/generation_config.json",), (CHECK,)),
    **{name: Target((f"base/{name}", f"tuned/{name}"), (ASKED, ASKED, CHECK))
       for name in ("tokenizer.json", "tokenizer_config.json")},
    "index": Target(("sharded/model.safetensors.index.json",), (CHECK.replace("tuned", "sharded"),)),
    "chat_template.jinja": Target(("chatty/chat_template.jinja",), ("show-items chatty -b chat.jsonl",)),
    "items": _items("b"),
    "items, chosen": _items("chosen"),
    "items, generated": _items("written"),
    "items of a chat": _items("chat", model="chatty", other="chatty"),
    "items of a task": _items("task"),
    "items in a table": _items("fields", ".csv"),
    "task.yaml": Target(("task.yaml", "docs.jsonl"), ("import-task task.yaml -o out/task.jsonl",)),
    "pool": Target(("suite.toml", "c.jsonl"), (CHECK.replace("b.jsonl", "suite.toml"),)),
    "pool of logs": Target(("tasks.toml",), (SCORES.format("", "acc") + " -b tasks.toml",)),
    "measurement": _record("measurement", f"{CHECK} --also position --measurement {ITSELF}"),
    **{name: _record(name) for name in ("position", "distance", "gate", "basin", "scores", "audit", "cover", "skills",
                                        "smoothed")},
    "point": _record("point", "compare {} records/point.json", "sign {} --key key.pem"),
    "pooled record": _record("pool", "compare {} records/pool.json"),
    "samples": _log("/samples_b_2026-01-01T00-00-00.000000.jsonl", "", more=" -b tasks.toml"),
    "results": _log("/results_2026-01-01T00-00-00.000000.json", ""),
    "inspect": _log(".json", ".json"),
    "inspect archive": _log(".eval", ".eval"),
    "lighteval": _log(f".details/{DETAILS}", ".details", "acc"),
    "table": _log(".csv", ".csv", "score"),
    "merge.toml": Target(("merge.toml",), (MERGED,)),
    "merge.yaml": Target(("merge.yaml",), (MERGED,)),
    "adapter": Target(("adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
                      (CHECK.replace("tuned", "adapter"),)),
    "draws": Target(("draws/**/*",), (DRAWN,)),
    "basis": Target(("basis.safetensors",), (f"{DRAWN} --subspace {ITSELF}",)),
    "draw written": Target(("drawn/0/basin_draw.json",), (COLLECT,)),
    "scores of a draw": Target(("drawn/1/scores.csv", "base.csv"), (COLLECT,)),
    "weights of a draw": Target(("drawn/1/model.safetensors", "drawn/0/config.json"), (COLLECT,)),
    "envelope": Target(("envelope.json",), ("verify records/point.json --signature {} --key key.pub",)),
    "public key": Target(("key.pub",), ("verify records/point.json --signature envelope.json --key {}",)),
    "private key": Target(("key.pem",), ("sign records/point.json --key {} -o out.json",)),
    "command line": Target((), (
        f"{CHECK} --confidence 0.9 --device cpu --seed 3",
        "plan --max-drop 0.1 --true-lost 0.01 --power 0.9 --evidence point",
        "verify records/point.json --base base --checkpoint tuned --benchmark b.jsonl --replay 1",
        "compare records/point.json records/point.json --fail-under score=-0.1 --confidence 0.9",
        "report records/point.json -t markdown -o more",
        "tokens base -o out/tokens.json",
        "show-items base -b b.jsonl -n 2",
        "cover base --family segment:tuned --range 0,1 -b b.jsonl -n 150 --windows 2 --chosen 0.5 --max-drop 0.5",
        "draw base --sigma 0.02 --draw 0 -n 2 --grid 0.02 --seed 1 -o out",
        f"{COLLECT} --metric score --chance 0.1 --cluster cluster",
        SCORES.format(".csv", "score") + " --chance 0.1 --cluster cluster",
        "verify records/point.json --signature envelope.json --key key.pub",
        "sign records/point.json --key key.pem -o out.json",
        "audit tuned --base base -b b.jsonl --max-drop 0.5 --seed random -o out",
        "basin base -b b.jsonl --grid 0.003,0.03 --max-drop 0.3 -n 20 -o out/basin.json",
        "gate tuned --base base -b b.jsonl --sigma 0.003 --at-least 0.3 --p1 0.9 --output out/gate.json",
        "measure base -b b.jsonl --sigma 0.03 -n 20 --grid 0.03 --max-drop 0.5 -o out/m.json",
        "import-task own.yaml@2 -o out/own.jsonl --metric acc",
    )),
    "ini": Target((), ("pytest",)),
    "marker": Target((), ("pytest",)),
}  # fmt: skip
"""What is damaged, by name."""
if importlib.util.find_spec("lm_eval") is None:
    del TARGETS["task.yaml"]


@functools.cache
def world() -> Path:
    """Make the world once for this process, which is then ready to be copied for each case: all is imported."""
    typer.main.get_command = functools.cache(typer.main.get_command)  # the same objects, built once and not per case
    importlib.metadata.version = functools.cache(importlib.metadata.version)
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CERTIFY_DRAWS_DIR": "../draws", "HF_HUB_OFFLINE": "1"}
    folder = Path(tempfile.mkdtemp(prefix="hostile-")) / "w"
    folder.mkdir()
    with contextlib.chdir(folder):
        make_world(folder, run)
        for command in dict.fromkeys(word for target in TARGETS.values() for word in target.commands):
            if command != "pytest":  # some are refused: what they import is what counts
                run(command.format("records/point.json", dir="base").split())
        write_gate(folder, dict(INI), dict(MARKER))
        run_pytest(PYTEST)
        for name in ("out", "out.json", "more", "certs", "cache", "pytest.toml", "test_gate.py"):
            shutil.rmtree(folder / name, ignore_errors=True) or (folder / name).unlink(missing_ok=True)
    gc.collect()
    gc.freeze()  # what was made until here is never looked through again, so copies share it
    return folder


def one(target: str, seed: int) -> tuple[str, str]:
    """Run one case; return what came of it, and the details if it broke the rule."""
    return in_a_folder(functools.partial(prepared, random.Random(f"{target} {seed}"), target))


def in_a_folder(prepare: Callable[[Path], list[str]]) -> tuple[str, str]:
    """Judge the command that ``prepare`` returns, in the folder that it filled."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "w"
        folder.mkdir()
        with contextlib.chdir(folder):
            return judged(prepare(folder), folder)


def prepared(rng: random.Random, target: str, folder: Path) -> list[str]:
    """Lay the world out with one thing damaged, and return the command that reads it."""
    damaged, command = None, rng.choice(TARGETS[target].commands)
    if TARGETS[target].files:
        found = sorted(p for pattern in TARGETS[target].files for p in world().glob(pattern)
                       if p.is_file() and p.suffix not in (".lock", ".owner"))  # fmt: skip
        damaged = rng.choice(found).relative_to(world())
    lay_out(folder, damaged)
    if target in ("ini", "marker"):
        damage_gate(rng, folder, target)
        return PYTEST
    if damaged is None:
        return damage_words(rng, command.split())
    damage_file(rng, folder / damaged)
    where = damaged.parent if damaged.parts[0] in ("base", "tuned") else Path("base")
    return command.format(damaged, dir=where).split()


def lay_out(folder: Path, damaged: Path | None) -> None:
    """Link to the world from a folder; what is to be damaged, and the draws, are the folder's own."""
    own = {"draws"} | ({damaged.parts[0]} if damaged else set())
    for each in world().iterdir():
        if each.name not in own:
            (folder / each.name).symlink_to(each)
        elif each.is_dir():
            shutil.copytree(each, folder / each.name, copy_function=os.link)
        else:
            os.link(each, folder / each.name)


def damage_words(rng: random.Random, command: list[str]) -> list[str]:
    """Return a command line with one odd value, or two; now and then an odd word in the place of an option."""
    given = [i for i in range(1, len(command)) if not command[i].startswith("-")]
    for _ in range(rng.choice((1, 1, 2))):
        command[rng.choice(given) if rng.randrange(8) else rng.randrange(1, len(command))] = rng.choice(WORDS)
    return command


PYTEST = ["pytest", "-p", "no:cacheprovider", "-p", "pytest_basin.plugin", "--rootdir", ".", "."]
INI: dict[str, Any] = {
    "basin_base": "base", "basin_checkpoint": "tuned", "basin_max_drop": 0.5, "basin_benchmark": ["b.jsonl"],
    "basin_confidence": 0.9, "basin_items": "fixed", "basin_cert_dir": "certs", "basin_undecided": "fail",
    "basin_device": "cpu", "basin_cache_dir": "cache",
}  # fmt: skip
MARKER: dict[str, Any] = {"max_drop": 0.5, "confidence": 0.9, "evidence": "point", "benchmarks": ["b"]}


def damage_gate(rng: random.Random, folder: Path, target: str) -> None:
    """Write a gated project with one odd value in its ini file or its marker."""
    values, ini, marker = [*VALUES[:16], *WORDS], dict(INI), dict(MARKER)
    if target == "ini":
        ini[rng.choice([*ini, "basin_what", "basin_measurement", "basin_sigma", "basin_scores"])] = rng.choice(values)
    else:
        marker[rng.choice([*marker, "what", "draws", "min_retention", "cluster"])] = rng.choice(values)
    write_gate(folder, ini, marker)


def write_gate(folder: Path, ini: dict[str, Any], marker: dict[str, Any]) -> None:
    """Write a project with one gate."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in ini.items() if value is not None]
    text = "[pytest]\n" + "\n".join(lines)
    (folder / "pytest.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    arguments = ", ".join(f"{key}={value!r}" for key, value in marker.items())
    (folder / "test_gate.py").write_text(
        f"import pytest\n\n@pytest.mark.basin({arguments})\ndef test_kept(basin_bound):\n"
        "    assert basin_bound <= basin_bound.required\n",
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip


def judged(command: list[str], folder: Path) -> tuple[str, str]:
    """Run a command and hold what it did against the rule."""
    before = _files(folder)
    code, out, err, more = in_a_copy(command)
    said = f"{command}: exit {code}\n{out[-500:]}{err[-2000:]}"
    if code is None:
        return "hang", f"{command}: {SECONDS} s of the processor, or {PATIENCE} s of waiting"
    if more > MEMORY:
        return "memory", said
    if code < 0:
        return "crash", said
    if command[0] == "pytest":
        wrong = "INTERNALERROR" in out + err or "Traceback" in err or code not in (0, 1, 2, 4)
        return ("traceback", said) if wrong else (ACCEPTED if code == 0 else REFUSED, "")
    lines = [line for line in err.splitlines() if not line.startswith(("certify: warning: ", "estimate: "))]
    if code not in range(5) or "Traceback" in err:
        return "traceback", said
    if len(lines) > 1 or (code == 2) > len(lines) or (code in (0, 1, 3) and lines):
        return "not one line", said
    if any(len(line) > LONGEST for line in lines):
        return "too long a line", said
    new = _files(folder) - before
    if any(path.name.startswith(".part-") for path in new) or (code in (2, 4) and new):
        return "left behind", f"{said}\n{sorted(map(str, new))}"
    return (ACCEPTED if code in (0, 1, 3) else REFUSED), ""


def _files(folder: Path) -> set[Path]:
    return {Path(where) / name for where, _, names in os.walk(folder) for name in names}


def in_a_copy(command: list[str]) -> tuple[int | None, str, str, int]:
    """Run a command in a copy of this process.

    Returns its exit code (None: stopped for its time, negative: a signal), output, and the bytes that it needed beside
    what it began with.
    """
    ends = [os.memfd_create("said") for _ in range(2)]
    child = os.fork()
    if child == 0:
        code = 70
        try:
            for fd in (1, 2):
                os.dup2(ends[1], fd)  # what a library prints past Python, to either, is no word of ours
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            gc.disable()
            code, out, err = run_pytest(command) if command[0] == "pytest" else run(command)
            for end, text in zip(ends, (out, err), strict=True):
                os.write(end, text.encode(errors="surrogateescape"))
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            os._exit(code)
    watched = os.pidfd_open(child)
    if not select.select([watched], [], [], PATIENCE)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(watched)
    _, status, used = os.wait4(child, 0)
    out, err = map(_content, ends)
    code = os.waitstatus_to_exitcode(status)
    stopped = code in (-signal.SIGXCPU, -signal.SIGKILL)
    began = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return None if stopped else code, out, err, used.ru_maxrss * 1024 - began


def _content(fd: int) -> str:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run certify in this process; return its exit code and what it printed."""
    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, output.out.file, warnings.showwarning)
    sys.argv, output.out.file = ["certify", *arguments], out
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            certify()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv, output.out.file, warnings.showwarning = before
    return int(code), out.getvalue(), err.getvalue()


def run_pytest(command: list[str]) -> tuple[int, str, str]:
    """Run pytest in this process; return its exit status and what it printed."""
    import pytest

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = pytest.main(command[1:])
    return int(code), out.getvalue(), err.getvalue()


