"""Triton kernels without a GPU: their arithmetic under the interpreter, their machine code from the compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed: its kernels were neither interpreted nor compiled")

HERE = Path(__file__).parent
COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from certify.noise import triton_kernels
name, fusion = sys.argv[1], sys.argv[2] == "fused"
kernel, pointers = getattr(triton_kernels, name), {"work": "*fp32", "base": "*fp32", "out": "*fp32", "scales": "*fp64"}
signature = {n: pointers.get(n, "*i64" if n == "runs" else "i64") for n in kernel.arg_names}
constants = {n: False for n in signature if n == "brain"}
source = ASTSource(fn=kernel, signature=signature | dict.fromkeys(constants, "constexpr"), constexprs=constants)
target = GPUTarget("cuda", 90, 32)
print(triton.compile(source, target=target, options={"enable_fp_fusion": fusion}).asm["ptx"])
"""


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_kernels_keep_the_contract_under_the_interpreter() -> None:
    """In a process where Triton interprets. Restoring is the flat engine's, whatever writes, and is tested there."""
    tests = [str(HERE / "interpreted.py"), "-k", "not its_own_again"]
    out = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], TRITON_INTERPRET="1")
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None
    assert int(passed.group(1)) >= 15


@pytest.mark.parametrize("kernel", ["perturb_strict", "perturb_fast", "strict_normals"])
def test_compiled_kernels_fuse_no_multiplication_with_an_addition(kernel: str, tmp_path: Path) -> None:
    """PTX for compute capability 9.0: no fma, no approximate root or quotient. With fusion on there are hundreds."""
    folder = str(tmp_path)
    ptx = run(["-c", COMPILE, kernel, "separate"], TRITON_CACHE_DIR=folder)
    assert re.search(r"\b(fma|mad)\.(rn\.)?f(32|64)", ptx) is None
    assert re.search(r"\b(div|sqrt|rsqrt|rcp|ex2|lg2|sin|cos)\.(approx|full)", ptx) is None
    assert re.search(r"\b(mul|add|sub)\.(rn\.)?ftz", ptx) is None
    if kernel == "perturb_fast":
        return
    fused = run(["-c", COMPILE, kernel, "fused"], TRITON_CACHE_DIR=folder)
    assert len(re.findall(r"\bfma\.rn\.f(32|64)", fused)) > 100
