"""Hostile input for every file that certify reads and every value that it is given: made at random from a seed.

Each case damages one thing of a small valid run and gives it to the command line, in a process of its own. What must
be: an exit code of 0 to 4; one line on stderr for bad input, none beside a verdict (estimates and warnings apart); at
most `SECONDS` and `MEMORY` more; and no file left behind where nothing was decided. `python benchmarks/fuzz.py --cases
100000` runs any number.
"""

from __future__ import annotations

import contextlib
import copy
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
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certify.__main__ import main as certify
from certify.demo import DATA

SECONDS, MEMORY, LONGEST = 20, 1 << 30, 620
ACCEPTED, REFUSED = "accepted", "clear error"
MODEL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
RECORDS = ("point", "position", "distance", "measurement", "gate", "basin", "scores", "audit")
RECIPES = ("merge.toml", "merge.yaml")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
LOGS = {
    "samples": "tuned/samples_b_2026-01-01T00-00-00.000000.jsonl",
    "results": "tuned/results_2026-01-01T00-00-00.000000.json",
    "inspect": "tuned.json",
    "table": "tuned.csv",
}
"""Scores that another tool made: what is damaged, in the folder ``logs``."""
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3.5, -0.0, 1e-320, 1e308, 10**12, -(10**12), 2**63, "", " ", "x", "x" * 70_000,
    "\x00", "\x1b[31mred", "a\nb", "::error::x", "\ud800", "../../etc/passwd", "/dev/zero", [], {}, [[]], [None],
    {"": None}, ["a"] * 3000, {"a": {"a": {"a": {}}}}, "NaN", "1e400", "sha256:" + "0" * 64, "(a+)+$",
    "float8_e4m3fn", "llama", "gpt2",
]  # fmt: skip
RAW = ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000, "[" * 5000, "{", "}", '"', "\\", "\x00", "//", ",,", "'a'",
       "-", "01"]  # fmt: skip
TOKENS = b"\x00\xff\n\r{}[]\",:\\0123456789eE-+.truefalsn\xe2\x80\xa8"
WORDS = ["", "0", "-1", "1", "0.5", "nan", "inf", "1e400", "1e-400", "9" * 400, "x", "a\nb", "\udc80", "/", ".", "..",
         "/dev/null", "/dev/full", "x" * 5000, "hf://a/b", "hf://", "random", "auto", "cuda:7", "meta", "-", "--", "=",
         "[]", "0,0", "0.1,0.1", "1:2", "ü", "%s", "{}"]  # fmt: skip


@dataclass
class World:
    """A small valid run in a folder: base, checkpoint, benchmark, records, and the command that reads each."""

    folder: Path
    records: dict[str, Path] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The base's folder."""
        return self.folder / "base"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's folder."""
        return self.folder / "tuned"

    @property
    def benchmark(self) -> Path:
        """Twenty items."""
        return self.folder / "b.jsonl"

    def point(self, checkpoint: Path | None = None) -> list[str]:
        """The command that reads the models and the items."""
        named = [str(checkpoint or self.checkpoint), "--base", str(self.base), "-b", str(self.benchmark)]
        return ["check", *named, "--require", "point", "--max-drop", "0.5", "-o", str(self.folder / "out")]

    def brought(self, log: str) -> list[str]:
        """The command that reads scores made elsewhere."""
        tuned = LOGS[log].partition("/")[0]
        named = [str(self.folder / "logs" / name) for name in (tuned.replace("tuned", "base"), tuned)]
        more = ["--metric", "score" if log == "table" else "acc", "--max-drop", "0.5", "-o", str(self.folder / "out")]
        return ["check", "--scores", named[0], "--scores-of", named[1], *more]

    def drawn(self, basis: Path | None = None) -> list[str]:
        """The command that reads finished draws, or a subspace."""
        more = ["--require", "smoothed", "--sigma", "0.003", "-n", "20", "--draws-dir", str(self.folder / "draws")]
        more += ["--subspace", str(basis)] if basis else []
        return [*self.point()[:-6], *more, "--max-drop", "0.9", "-o", str(self.folder / "out")]


def make_world(folder: Path) -> World:
    """Copy two models and twenty items of the demo, and make one record of each kind."""
    world = World(folder)
    shutil.copytree(DATA / "base", world.base)
    shutil.copytree(DATA / "checkpoints" / "benign", world.checkpoint)
    lines = (DATA / "benchmarks" / "addition.jsonl").read_text().splitlines(keepends=True)
    world.benchmark.write_text("".join(lines[:20]))
    world.benchmark.with_suffix(".toml").write_text('description = "sums"\nchance = 0.1\n')
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    made, base, items = folder / "records", str(world.base), str(world.benchmark)
    measured, drawn = str(made / "measurement.json"), ["--draws-dir", str(folder / "draws")]
    commands = [
        ["measure", base, "-b", items, "--sigma", "0.03", "-n", "150", "--grid", "0.003,0.03", "-o", measured, *drawn],
        [*world.point()[:-2], "-o", str(made), "--measurement", measured, "--also", "position,distance", *drawn],
        ["gate", str(world.checkpoint), "--base", base, "-b", items, "--sigma", "0.003", "--at-least", "0.3", "--p1",
         "0.9", "--output", str(made / "gate.json"), *drawn],
        ["basin", base, "-b", items, "--grid", "0.003,0.03", "--max-drop", "0.3", "-o", str(made / "basin.json"),
         *drawn],
        ["audit", str(world.checkpoint), "--base", base, "-b", items, "--max-drop", "0.5", "-o", str(made), *drawn],
    ]  # fmt: skip
    shutil.copy(DATA / "subspace" / "basis.safetensors", folder / "basis.safetensors")
    for who, right in (("base", 20), ("tuned", 18)):
        write_logs(folder / "logs", who, right)
    write_recipes(folder)
    write_adapter(folder / "adapter", world.base)
    commands += [[*world.brought(log)[:-1], str(folder / "brought")] for log in LOGS]
    for command in [*commands, world.drawn()]:
        code, _, error = run(command)
        assert code in (0, 1, 3), (command, code, error)
    for path in sorted(made.glob("*.json")):
        world.records[path.stem.split(".")[-1]] = path
    world.records["scores"] = min((folder / "brought").glob("*.json"))
    return world


def write_logs(folder: Path, who: str, right: int) -> None:
    """Write twenty items as lm-eval, as Inspect and as a table, the first ``right`` of them answered right."""
    (folder / who).mkdir(parents=True)
    marks = [float(i < right) for i in range(20)]
    samples = [{"doc_id": i, "doc": {"q": str(i)}, "target": "1", "arguments": {"gen_args_0": {"arg_0": str(i)}},
                "resps": [["1"]], "filtered_resps": ["1"], "filter": "none", "metrics": ["acc"], "doc_hash": "x",
                "acc": mark} for i, mark in enumerate(marks)]  # fmt: skip
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    (folder / who / Path(LOGS["samples"]).name).write_text(text)
    results = {"results": {"b": {"acc,none": 0.9}}, "n-shot": {"b": 0}, "versions": {"b": 1}, "lm_eval_version": "0.4",
               "n-samples": {"b": {"original": 20, "effective": 20}}, "model_name": who}  # fmt: skip
    (folder / who / Path(LOGS["results"]).name).write_text(json.dumps(results))
    inspected: dict[str, Any] = {"version": 2, "status": "success", "samples": [
        {"id": i, "epoch": 1, "target": "1", "scores": {"acc": {"value": "C" if mark else "I"}}}
        for i, mark in enumerate(marks)]}  # fmt: skip
    inspected["eval"] = {"task": "b", "model": who, "dataset": {"samples": 20}, "task_args": {"x": 1}}
    (folder / f"{who}.json").write_text(json.dumps(inspected))
    (folder / f"{who}.csv").write_text("id,score\n" + "".join(f"{i},{mark}\n" for i, mark in enumerate(marks)))


def write_recipes(folder: Path) -> None:
    """Write a merge of base and checkpoint, as TOML and as YAML."""
    (folder / "merge.toml").write_text(
        'merge_method = "ties"\nbase_model = "base"\n\n[[models]]\nmodel = "tuned"\n'
        "parameters = { weight = 0.5, density = 0.5 }\n"
    )
    (folder / "merge.yaml").write_text(
        "merge_method: task_arithmetic\nbase_model: base\nmodels:\n- model: tuned\n  parameters:\n    weight:\n"
        "    - {filter: mlp, value: [0, 1]}\n    - 0.5\n"
    )


def write_adapter(folder: Path, base: Path) -> None:
    """Write a small LoRA of the base, as PEFT names its tensors."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": 2,
              "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none", "fan_in_fan_out": False}  # fmt: skip
    (folder / ADAPTER[0]).write_text(json.dumps(config))
    tensors, generator = {}, torch.Generator().manual_seed(0)
    for layer in range(2):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora"
        tensors[f"{stem}_A.weight"] = torch.randn(2, 64, generator=generator) / 100
        tensors[f"{stem}_B.weight"] = torch.randn(64, 2, generator=generator) / 100
    save_file(tensors, folder / ADAPTER[1], metadata={"format": "pt"})


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run certify in this process; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    from certify.cli import output

    before, sys.argv = sys.argv, ["certify", *arguments]
    file, output.out.file = output.out.file, out
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            certify()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv, output.out.file = before, file
    return code, out.getvalue(), err.getvalue()


def run_pytest(command: list[str]) -> tuple[int, str, str]:
    """Run pytest in this process; return its exit status and what it printed."""
    import pytest

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = pytest.main(command[1:])
    return int(code), out.getvalue(), err.getvalue()


def in_a_child(command: list[str]) -> tuple[int | None, str, str, int]:
    """Run a command in a process of its own; return exit code (None: killed for its time), output and peak memory."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reads)
            found: Any = run_pytest(command) if command[0] == "pytest" else run(command)
        except BaseException as error:
            found = (70, "", f"{type(error).__name__}: {error}")
        with os.fdopen(writes, "w", errors="surrogateescape") as pipe:
            json.dump([found[0], found[1][-500:], found[2][-3000:]], pipe)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, errors="surrogateescape") as pipe:
        ready, _, _ = select.select([pipe], [], [], SECONDS)
        text = pipe.read() if ready else ""
    if not text:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    if not text:
        return (None if not ready else 70), "", f"ended by status {status}", used.ru_maxrss
    code, out, err = json.loads(text)
    return code, out, err, used.ru_maxrss


def damage_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Flip, cut, insert, repeat or mix bytes."""
    at = rng.randrange(len(raw) + 1)
    end = min(len(raw), at + rng.choice((1, 2, 8, 100, 5000)))
    choice = rng.randrange(7)
    if choice == 0 and raw:
        flipped = bytearray(raw)
        for _ in range(rng.choice((1, 1, 3, 20))):
            flipped[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if choice == 1:
        return raw[:at]
    if choice == 2:
        return raw[:at] + bytes(rng.choice(TOKENS) for _ in range(rng.choice((1, 3, 30)))) + raw[at:]
    if choice == 3:
        return raw[:at] + raw[end:]
    if choice == 4:
        return raw[:end] + raw[at:end] * rng.choice((1, 3, 50)) + raw[end:]
    if choice == 5:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"")) + rng.choice((raw, b"", raw[:40]))
    return raw[:at] + rng.choice(RAW).encode() + raw[end:]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(len(value), 4)):
            yield from places(value[i], (*path, i))


def damage_json(rng: random.Random, raw: bytes) -> bytes:
    """Replace, delete, double or add one thing of a JSON value; sometimes two."""
    value = json.loads(raw)
    for _ in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice([*places(value)])
        if not path:
            value = copy.deepcopy(rng.choice((value, *VALUES)))  # damaged further, it would be another value next time
            continue
        parent = value
        for step in path[:-1]:
            parent = parent[step]
        how = rng.randrange(5)
        if how == 0:
            del parent[path[-1]]
        elif how == 1 and isinstance(parent, dict):
            key = rng.choice(("x", "", "\x1b", path[-1] + "_", "transformers_weights", "quantization_config"))
            parent[key] = copy.deepcopy(rng.choice(VALUES))
        else:
            parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        if not isinstance(value, dict | list):
            break
    text = json.dumps(value)
    if rng.randrange(10) == 0 and text.startswith("{") and len(text) > 2:  # a key twice
        text = text[:-1] + ", " + text[1:]
    return text.encode(errors="surrogatepass")


def damage_safetensors(rng: random.Random, raw: bytes) -> bytes:
    """Change the header as JSON, its length, or the numbers behind it."""
    size = int.from_bytes(raw[:8], "little")
    choice = rng.randrange(4)
    if choice == 0:
        return damage_bytes(rng, raw)
    if choice == 1:
        return rng.choice((0, 1, size + 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little") + raw[8:]
    if choice == 2:
        at = rng.randrange(8 + size, len(raw) - 8)
        return raw[:at] + rng.choice((b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\xff")) + raw[at + 4 :]
    header = damage_json(rng, raw[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + raw[8 + size :]


def damage_kind(rng: random.Random, path: Path) -> None:
    """Put something that is no ordinary file, or none, in its place."""
    path.unlink()
    choice = rng.randrange(6)
    if choice == 0:
        os.mkfifo(path)
    elif choice == 1:
        path.mkdir()
    elif choice == 2:
        path.symlink_to(path)
    elif choice == 3:
        path.symlink_to(rng.choice(("/dev/zero", "/dev/null", "nowhere")))
    elif choice == 4:
        path.write_bytes(b"")


def damage_file(rng: random.Random, path: Path, sealed: bool = False) -> None:
    """Damage one file in one way that fits it; lines that are sealed are no plain JSON."""
    if rng.randrange(12) == 0:
        return damage_kind(rng, path)
    raw = path.read_bytes()
    by_format: dict[str, Callable[[random.Random, bytes], bytes]] = {
        ".json": damage_json, ".safetensors": damage_safetensors, ".jsonl": damage_lines,
    }  # fmt: skip
    damage = by_format.get(path.suffix, damage_bytes) if rng.randrange(3) and not sealed else damage_bytes
    path.unlink()
    path.write_bytes(damage(rng, raw))
    return None


def damage_lines(rng: random.Random, raw: bytes) -> bytes:
    """Damage one line of JSON as JSON."""
    lines = raw.split(b"\n")
    i = rng.randrange(len(lines) - 1)
    lines[i] = damage_json(rng, lines[i])
    return b"\n".join(lines)


def command_for(rng: random.Random, world: World, target: str, path: Path) -> list[str]:
    """Return a command that reads what was damaged."""
    if target in ("draws", "basis"):
        return world.drawn(path if target == "basis" else None)
    if target in LOGS:
        return world.brought(target)
    if target in (*RECIPES, *ADAPTER):
        return world.point(path if target in RECIPES else path.parent)
    if target in RECORDS:
        if target == "measurement" and rng.randrange(4) == 0:
            return [*world.point(), "--also", "position", "--measurement", str(path)]
        return [rng.choice(("verify", "show", "report")), str(path)]
    return world.point()


def damage_values(rng: random.Random, world: World) -> list[str]:
    """Return a command line with one odd value, or two; now and then an odd word in the place of an option."""
    point, out = str(world.records["point"]), str(world.folder / "more")
    command = rng.choice((
        [*world.point(), "--confidence", "0.9", "--device", "cpu", "--seed", "3", "--items", "fixed"],
        ["plan", "--max-drop", "0.1", "--true-lost", "0.01", "--power", "0.9", "--evidence", "point", "--chance", "0"],
        ["verify", point, "--base", str(world.base), "--checkpoint", str(world.checkpoint), "-b", str(world.benchmark),
         "--replay", "1"],
        ["compare", point, point, "--fail-under", "0.1", "--confidence", "0.9"],
        ["report", point, "--format", "markdown", "-o", out],
        ["tokens", str(world.base)],
    ))  # fmt: skip
    given = [i for i in range(1, len(command)) if not command[i].startswith("-")]
    for _ in range(rng.choice((1, 1, 2))):
        command[rng.choice(given) if rng.randrange(8) else rng.randrange(1, len(command))] = rng.choice(WORDS)
    return command


def damage_settings(rng: random.Random, world: World, target: str) -> list[str]:
    """Write a gated project with one odd value in its ini file or its marker, and return how to run it."""
    values = [*VALUES[:16], *WORDS]
    ini: dict[str, Any] = {
        "basin_base": str(world.base), "basin_checkpoint": str(world.checkpoint), "basin_max_drop": 0.5,
        "basin_benchmark": [str(world.benchmark)], "basin_confidence": 0.9, "basin_items": "population",
        "basin_cert_dir": str(world.folder / "certs"), "basin_undecided": "fail", "basin_device": "cpu",
        "basin_cache_dir": str(world.folder / "cache"),
    }  # fmt: skip
    marker: dict[str, Any] = {"max_drop": 0.5, "confidence": 0.9, "evidence": "point", "benchmarks": ["b"]}
    if target == "ini":
        ini[rng.choice([*ini, "basin_what", "basin_measurement", "basin_sigma"])] = rng.choice(values)
    else:
        marker[rng.choice([*marker, "what", "draws", "min_retention"])] = rng.choice(values)
    lines = [f"{key} = {json.dumps(value)}" for key, value in ini.items() if value is not None]
    text = "[pytest]\n" + "\n".join(lines)
    (world.folder / "pytest.toml").write_text(text, encoding="utf-8", errors="surrogateescape")
    arguments = ", ".join(f"{key}={value!r}" for key, value in marker.items())
    (world.folder / "test_gate.py").write_text(
        f"import pytest\n\n@pytest.mark.basin({arguments})\ndef test_kept(basin_bound):\n"
        "    assert basin_bound <= basin_bound.required\n",
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip
    return ["pytest", "-p", "no:cacheprovider", "--rootdir", str(world.folder), str(world.folder)]


TARGETS = (*MODEL, "b.jsonl", "b.toml", *RECORDS, *LOGS, *RECIPES, *ADAPTER, "draws", "basis", "command line", "ini",
           "marker")  # fmt: skip


def one(world: World, target: str, seed: int) -> tuple[str, str]:
    """Run one case in a fresh copy of the world; return what came of it, and the details if it broke the rule."""
    rng = random.Random(f"{target} {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "w"
        unread = shutil.ignore_patterns("out", *([] if target == "draws" else ["draws"]))
        shutil.copytree(world.folder, folder, copy_function=os.link, ignore=unread)
        case = World(folder, {kind: folder / path.relative_to(world.folder) for kind, path in world.records.items()})
        if target == "command line":
            command = damage_values(rng, case)
        elif target in ("ini", "marker"):
            command = damage_settings(rng, case, target)
        else:
            path = file_of(rng, case, target)
            damage_file(rng, path, sealed=target == "draws")
            command = command_for(rng, case, target, path)
        here = os.getcwd()
        os.chdir(folder)
        try:
            return judged(command, folder)
        finally:
            os.chdir(here)


def file_of(rng: random.Random, case: World, target: str) -> Path:
    """Return the file that is damaged; of models it is the base's or the checkpoint's, of draws any."""
    if target == "draws":
        return rng.choice(sorted(path for path in (case.folder / "draws").rglob("*") if path.suffix != ".lock"
                                 and path.is_file()))  # fmt: skip
    if target in MODEL:
        return rng.choice((case.base, case.checkpoint)) / target
    if target in LOGS:
        return case.folder / "logs" / LOGS[target]
    if target in ADAPTER:
        return case.folder / "adapter" / target
    return case.records.get(target) or case.folder / {"basis": "basis.safetensors"}.get(target, target)


def judged(command: list[str], folder: Path) -> tuple[str, str]:
    """Run a command and hold what it did against the rule."""
    before = {p for p in folder.rglob("*") if not p.is_dir()}
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    code, out, err, peak = in_a_child(command)
    if command[0] == "pytest":
        wrong = "INTERNALERROR" in out + err or "Traceback" in err or code not in (0, 1, 2, 4)
        return ("traceback", f"{command}: {code}\n{out}{err}") if wrong else (ACCEPTED if code == 0 else REFUSED, "")
    if code is None:
        return "hang", f"{command}: longer than {SECONDS} s"
    lines = [line for line in err.splitlines() if not line.startswith(("certify: warning: ", "estimate: "))]
    said = f"{command}: exit {code} in {time.monotonic() - start:.1f} s\n{out[-500:]}{err[-2000:]}"
    if code not in range(5):
        return "traceback", said
    if (code == 2 and len(lines) != 1) or (code in (0, 1, 3) and lines):
        return "not one line", said
    if code == 2 and len(lines[0]) > LONGEST:
        return "too long a line", said
    if (peak - memory) * 1024 > MEMORY:
        return "memory", said
    left = list(folder.rglob(".part-*"))
    new = {p for p in folder.rglob("*") if not p.is_dir()} - before
    if left or (code in (2, 4) and new):
        return "left behind", f"{said}\n{sorted(map(str, new))}"
    return (ACCEPTED if code in (0, 1, 3) else REFUSED), ""
