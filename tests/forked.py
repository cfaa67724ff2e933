"""``certify`` and ``pytest`` in a process of its own that need not import torch again: a copy of this one."""

from __future__ import annotations

import importlib
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import models  # noqa: F401  # torch and transformers, once for all children
import pytest

from certify.__main__ import main
from certify.cli import output


@dataclass
class Child:
    """A command that runs; its process, and where it speaks."""

    words: tuple[object, ...]
    pid: int
    ends: tuple[int, int]

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Read what it says until it ends."""
        with ThreadPoolExecutor(2) as readers:
            said = list(readers.map(_read, self.ends))
        _, status = os.waitpid(self.pid, 0)
        return subprocess.CompletedProcess([*self.words], os.waitstatus_to_exitcode(status), *said)


def start(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None, program: Callable[[], object] = main,
) -> Child:  # fmt: skip
    """Start a command as ``python -m certify`` would; ``before`` is called in its process first."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads, from Python 3.12 on: the child uses none of them
        pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(out_end, 1)
            os.dup2(err_end, 2)
            code = _run([*map(str, words)], cwd, env or {}, before, program)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT  # what a shell says of an interrupt that nobody caught
        finally:
            os._exit(code)
    for end in (out_end, err_end):
        os.close(end)
    return Child(words, pid, (out, err))


def certify(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a command as ``python -m certify`` would; ``before`` is called in its process first."""
    return start(*words, cwd=cwd, env=env, before=before).finish()


def certify_of(
    package: Path, *words: object, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Likewise with the package that lies in a folder, instead of this one."""

    def program() -> None:
        importlib.import_module("certify.__main__").main()

    return start(*words, cwd=cwd, env=env, before=lambda: _only(package), program=program).finish()


def run_pytest(
    *words: object, cwd: Path, env: Mapping[str, str] | None = None, package: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run tests as ``python -m pytest`` would, and as if no tests ran already."""

    def forget() -> None:
        for name in [name for name in os.environ if name.startswith(("PYTEST", "COV_"))]:
            del os.environ[name]
        for name in [name for name in sys.modules if name == "conftest" or name.startswith("test_")]:
            del sys.modules[name]
        if package is not None:
            _only(package)
        sys.path.insert(0, str(cwd))

    return start(*words, cwd=cwd, env=env, before=forget, program=_tests).finish()


def _only(package: Path) -> None:
    """Forget the package that this process was given, so that the one in a folder is imported instead."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("certify", "pytest_basin")]:
        del sys.modules[name]
    sys.path.insert(0, str(package))


def _tests() -> None:
    sys.exit(pytest.main(sys.argv[1:]))


def _read(pipe: int) -> str:
    with open(pipe, encoding="utf-8") as file:
        return file.read()


def _run(
    words: list[str], cwd: Path | None, env: Mapping[str, str], before: Callable[[], object] | None,
    program: Callable[[], object],
) -> int:  # fmt: skip
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), write_through=True) for fd in (1, 2))
    output.out.file = sys.stdout  # what pytest captures is not this process's
    os.environ.update(env)
    if "COLUMNS" in env:
        output.out.width = int(env["COLUMNS"])
    warnings.resetwarnings()
    if cwd is not None:
        os.chdir(cwd)
    if before is not None:
        before()
    sys.argv = ["certify", *words]
    try:
        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
