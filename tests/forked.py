"""``certify`` in a process of its own that need not import torch again: a copy of this one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from certify.__main__ import main
from certify.cli import output


def certify(
    *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a command as ``python -m certify`` would; ``before`` is called in its process first."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads, from Python 3.12 on: the child uses none of them
        child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(out_end, 1)
            os.dup2(err_end, 2)
            code = _run([*map(str, words)], cwd, env or {}, before)
        finally:
            os._exit(code)
    for end in (out_end, err_end):
        os.close(end)
    with ThreadPoolExecutor(2) as readers:
        said = list(readers.map(_read, (out, err)))
    _, status = os.waitpid(child, 0)
    return subprocess.CompletedProcess([*words], os.waitstatus_to_exitcode(status), *said)


def _read(pipe: int) -> str:
    with open(pipe, encoding="utf-8") as file:
        return file.read()


def _run(words: list[str], cwd: Path | None, env: Mapping[str, str], before: Callable[[], object] | None) -> int:
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
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
