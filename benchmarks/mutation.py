"""Would the tests notice? Changes one thing in the code at a time, and runs the tests that execute that line.

    python benchmarks/mutation.py --sample 300 --seed 0 --json benchmarks/results/mutation.json

Needs pytest-cov. First the default suite runs once under coverage, so that it is known which test executes which
line (about 40 minutes on two cores; `--lines FOLDER` keeps the result). Then `sample` mutants are drawn at random from
all of `TARGETS`; each is written into a clone of the working tree's HEAD, never into the tree. The fastest tests that
execute the line run, 25 seconds worth at most, until one fails; four times that long counts as caught (a loop that
never ends). Survivors are printed: give each a test, or a reason in docs/threat-model.md.
"""

import argparse
import ast
import copy
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "statistics": ["certify/statistics"],
    "evidence": ["certify/evidence", "certify/joint.py"],
    "records": [f"certify/{name}.py" for name in ("records", "certificate", "parsing", "text", "writing")],
    "verify": ["certify/verify.py", "certify/cli/verify.py", "certify/measuring/replay.py"],
    "measuring": ["certify/measuring"],
    "checkpoints": ["certify/checkpoints"],
    "benchmarks": ["certify/benchmarks"],
    "plugin": ["pytest_basin"],
}  # fmt: skip
FIRST, SECONDS = 25, 25  # tests that run first, and how long those that run take together

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "round_down": "round_up", "round_up": "round_down",
         "floor_to": "ceil_to", "ceil_to": "floor_to", "up": "down", "down": "up"}  # fmt: skip


PATHS = {"folder", "path", "root", "directory", "rootpath", "parent"}


@dataclass(frozen=True)
class Mutant:
    """One change: the text of the file with it, and where it lies."""

    group: str
    file: str
    lines: range
    what: str
    text: str

    def __str__(self) -> str:
        """Return file, line and change."""
        return f"{self.file}:{self.lines.start}  {self.what}"


_ACTS = ast.Raise | ast.AugAssign | ast.Call


def changes(node):
    """Yield what else could stand in the place of a node: a replacement for each way to be wrong."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield ast.Compare(node.left, [SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not _is_text(node):
        yield ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(SWAPS[type(node.op)](), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield ast.Name(NAMES[node.id], ast.Load())
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.stmt) and isinstance(
        getattr(node, "value", None) if isinstance(node, ast.Expr) else node, _ACTS
    ):
        yield ast.Pass()


def _is_text(node):
    """Whether an operator joins texts or paths: with another one it raises, which any test would notice."""
    paths = isinstance(node.op, ast.Div) and ast.unparse(node.left).rpartition(".")[2] in PATHS
    texts = (n for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return paths or next(texts, None) is not None


def mutants():
    """Yield every mutant of the targets; annotations, docstrings, messages and `TYPE_CHECKING` blocks have none."""
    seen = set()
    for group, places in reversed(TARGETS.items()):  # what is named twice counts for its narrower group
        for file in sorted(f for p in places for f in ([ROOT / p] if p.endswith(".py") else (ROOT / p).rglob("*.py"))):
            if file in seen:
                continue
            seen.add(file)
            source = file.read_text()
            tree = ast.parse(source)
            for statement, path, node in _places(tree):
                for i, other in enumerate(changes(node)):
                    lines = range(statement.lineno, statement.end_lineno + 1)
                    what = f"{_short(node)}  ->  {_short(other)}"
                    yield Mutant(group, str(file.relative_to(ROOT)), lines, what, (source, path, i))


def _places(tree):
    """Yield (statement, path, node) of everything that runs; a path leads from the tree to the node."""

    def walk(node, path, statement):
        if isinstance(node, _BLOCKS):
            statement = ast.copy_location(ast.Pass(), node)  # its head only; what is inside has statements of its own
            statement.end_lineno = max(node.lineno, node.body[0].lineno - 1)
        elif isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            statement = node
        if statement is not None and isinstance(node, ast.expr | ast.stmt):
            yield statement, path, node
        for field, value in ast.iter_fields(node):
            if _says_nothing(node, field):
                continue
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST):
                    yield from walk(child, (*path, (field, i if isinstance(value, list) else None)), statement)

    yield from walk(tree, (), None)


_BLOCKS = ast.If | ast.For | ast.While | ast.With | ast.Try
_DECLARES = ast.FunctionDef | ast.ClassDef | ast.AnnAssign | ast.arg


def _says_nothing(node, field):
    """Whether what a field holds is a declaration, a text or a message: nothing that computes."""
    if isinstance(node, _DECLARES):
        return field in ("annotation", "returns", "decorator_list", "type_params", "args")
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.JoinedStr | ast.Raise) or (
        isinstance(node, ast.Subscript) and "Annotated" in ast.dump(node.value)
    )


def _short(node):
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:67] + "..."


def changed(source, path, choice):
    """Return the source with the node at ``path`` replaced; every other line keeps its place."""
    tree = ast.parse(source)
    node = tree
    for field, i in path:
        parent, place = node, (field, i)
        node = getattr(node, field) if i is None else getattr(node, field)[i]
    other = list(changes(copy.deepcopy(node)))[choice]
    text = ast.unparse(ast.fix_missing_locations(ast.copy_location(other, node)))
    if isinstance(other, ast.expr):
        text = f"({text})" if not isinstance(parent, ast.keyword | ast.JoinedStr) or place else text
    lines = source.encode().split(b"\n")
    start = sum(len(line) + 1 for line in lines[: node.lineno - 1]) + node.col_offset
    end = sum(len(line) + 1 for line in lines[: node.end_lineno - 1]) + node.end_col_offset
    raw = source.encode()
    return (raw[:start] + text.encode() + raw[end:]).decode()


def executed(folder):
    """Return {file: {line: tests}} and {test: seconds} of one run of the default suite under coverage."""
    from coverage import CoverageData

    data = CoverageData(str(folder / ".coverage"))
    data.read()
    lines = {}
    for file in data.measured_files():
        name = re.sub(r"^.*?((?:certify|pytest_basin)/)", r"\1", file)
        contexts = data.contexts_by_lineno(file)
        lines[name] = {n: {t.rpartition("|")[0] for t in tests} - {""} for n, tests in contexts.items()}
    seconds = Counter()
    for match in re.finditer(r"^([\d.]+)s (?:call|setup)\s+(\S.*)$", (folder / "log").read_text(), re.M):
        seconds[match[2]] += float(match[1])
    return lines, seconds


def record_lines(folder):
    """Run the default suite once under coverage, with a context for each test."""
    tree = clone(folder / "tree")
    (folder / "rc").write_text("[run]\nsource = certify,pytest_basin\n")
    under = ["--cov", "--cov-context=test", "--cov-report=", f"--cov-config={folder / 'rc'}"]
    quietly = ["-q", "-p", "no:cacheprovider", "-n", "2", "--durations=0", "--durations-min=0"]
    setting = environment(tree) | {"COVERAGE_FILE": str(folder / ".coverage")}
    with (folder / "log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *quietly, *under], cwd=tree, stdout=log, env=setting, check=True
        )


def clone(folder):
    """Clone the project's HEAD and return where."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def environment(tree):
    """Return an environment in which the clone is what is imported, on one thread."""
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def tests_of(mutant, lines, seconds):
    """Return the fastest tests that execute the mutant's line; of a line that runs at import, its module's."""
    known = lines.get(mutant.file, {})
    found = {t for n in mutant.lines for t in known.get(n, ())} or {t for tests in known.values() for t in tests}
    ordered, total = sorted(found, key=lambda t: (seconds[t], t)), 0.0
    for i, test in enumerate(ordered):
        total += seconds[test]
        if i and total > SECONDS:
            return ordered[:i]
    return ordered


def caught(mutant, tree, tests):
    """Whether a test fails, or does not end in time, with the mutant in ``tree``; names the first."""
    file = tree / mutant.file
    original = file.read_text()
    file.write_text(changed(*mutant.text))
    deadline = time.monotonic() + 4 * SECONDS
    try:
        for batch in (tests[:FIRST], tests[FIRST:]):
            if not batch:
                continue
            command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *batch]
            left = max(1.0, deadline - time.monotonic())
            done = subprocess.run(
                command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=left
            )
            if done.returncode != 0:
                failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
                return failed[1] if failed else f"exit {done.returncode}"
        return None
    except subprocess.TimeoutExpired:
        return "out of time" if tests else None
    finally:
        file.write_text(original)


def main():
    """Draw, run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", type=Path, help="folder with the run under coverage")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.lines or Path(temporary) / "lines").resolve()
        if not (folder / ".coverage").exists():
            record_lines(folder)
        lines, seconds = executed(folder)
        everything = list(mutants())
        sample = random.Random(asked.seed).sample(everything, min(asked.sample, len(everything)))
        trees = Queue()
        for i in range(asked.workers):
            trees.put(clone(Path(temporary) / f"tree{i}"))

        def run(mutant):
            tree = trees.get()
            try:
                by = caught(mutant, tree, tests_of(mutant, lines, seconds))
            finally:
                trees.put(tree)
            print(f"{'caught  ' if by else 'SURVIVED'}  {mutant}" + (f"  [{by}]" if by else ""), flush=True)
            where = f"{mutant.file}:{mutant.lines.start}"
            return {"group": mutant.group, "where": where, "change": mutant.what, "by": by}

        with ThreadPoolExecutor(asked.workers) as pool:
            found = list(pool.map(run, sample))
    total, kept = Counter(f["group"] for f in found), Counter(f["group"] for f in found if not f["by"])
    for group in TARGETS:
        print(f"{group:12} {total[group] - kept[group]:4} of {total[group]:4} caught")
    print(f"{'together':12} {len(found) - kept.total():4} of {len(found):4} caught; {len(everything)} mutants in all")
    if asked.json:
        record = {"seed": asked.seed, "mutants": len(everything), "sample": found}
        asked.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
