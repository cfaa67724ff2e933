"""What it costs to know how far two checkpoints lie apart and what they are called: seconds and peak memory.

    python benchmarks/distance.py [megabytes of one folder, 256 unless given]

Two folders of random weights in float32, then in bfloat16, lie in the page cache. The parts take turns, on as many
threads as torch is set to use; the least seconds of the clock and of the processors are printed, and the peak memory of
each part in a process of its own (files that are mapped count as memory there). The floor is SHA-256 of every tensor of
both, the largest first. `before` is the pass as it was until then: whole tensors one after another, each walked for its
digest, for what is not finite, and for its change. `identities` and `distance` are the parts, and `both in one` is what
a check makes of the two: the base is hashed, then both are read once more, and the checkpoint is hashed meanwhile.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

REPEATS = 3
ROWS = 4096  # of a tensor of 16 MiB in float32
PARTS = ("floor", "before", "identities", "distance", "both in one")


def saved(folder: Path, megabytes: int, dtype: torch.dtype, moved: float) -> Path:
    """Write a folder's weights: one large tensor and many of ordinary size, each ``moved`` by so much of its spread."""
    weights = {}
    width = 1024 * 4 // dtype.itemsize
    for i in range(max(1, megabytes // 16 - 3)):
        rows = ROWS * 4 if i == 0 else ROWS  # an embedding
        generator = torch.Generator().manual_seed(i)
        start = 0.02 * torch.randn(rows, width, generator=generator)
        weights[f"layers.{i}.weight"] = (start + moved * torch.randn(rows, width, generator=generator)).to(dtype)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "model.safetensors"


def floor(files: list[str]) -> dict[str, object]:
    """Hash every tensor of both files on all threads."""
    from certify.checkpoints import open_checkpoint

    opened = [open_checkpoint(file) for file in files]
    jobs = sorted(((c, n) for c in opened for n in c.tensors), key=lambda job: -job[0].tensors[job[1]].size)

    def hashed(job: tuple[object, str]) -> str:
        return hashlib.sha256(job[0].read_stored(job[1]).view(torch.uint8).numpy().data).hexdigest()  # type: ignore[attr-defined]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return {"digests": sorted(pool.map(hashed, jobs))}


def before(files: list[str]) -> dict[str, object]:
    """Do everything as it was done, one tensor after another."""
    from certify.checkpoints import open_checkpoint

    base, checkpoint = (open_checkpoint(file) for file in files)
    digests, norms = [], {}
    for each in (base, checkpoint):
        for name in each.parameters:
            tensor = each.read(name)
            digests.append(hashlib.sha256(tensor.view(torch.uint8).numpy().data).hexdigest())
            assert math.isfinite(float(tensor.sum(dtype=torch.float32)))
    for name in base.parameters:
        ours, theirs = base.read(name).reshape(-1), checkpoint.read(name).reshape(-1)
        assert not torch.equal(ours, theirs)
        squares = 0.0
        for start in range(0, ours.numel(), 1 << 20):
            a, b = (t[start : start + (1 << 20)].to(torch.float64) for t in (ours, theirs))
            assert all(bool(part.isfinite().all()) for part in (a, b))
            squares += float((b - a).square().sum())
        norms[name] = math.sqrt(squares)
    return {"digests": sorted(digests), "norms": norms}


def now(part: str, files: list[str]) -> dict[str, object]:
    """Take identities, the difference, or both as `certify check` does."""
    from certify.checkpoints import difference, open_checkpoint

    base, checkpoint = (open_checkpoint(file) for file in files)
    found: dict[str, object] = {}
    if part != "distance":
        _ = base.identity
    if part != "identities":
        found["norms"] = difference(base, checkpoint, identify=part == "both in one").norms
    if part != "distance":
        _ = checkpoint.identity
        found["digests"] = sorted([*base.digests.values(), *checkpoint.digests.values()])
    return found


def run(part: str, files: list[str]) -> dict[str, object]:
    """Run one part; return its seconds and its result."""
    clock, spent = time.perf_counter(), time.process_time()
    found = {"floor": floor, "before": before}.get(part, partial(now, part))(files)
    return {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - spent, **found}


def peak_of(part: str, files: list[str]) -> float:
    """Return by how many MB a process's peak memory rises in one part, above what its imports hold (Linux)."""
    code = (
        "import re, sys; sys.path.insert(0, sys.argv[1]); import distance, certify.checkpoints.squares\n"
        "from pathlib import Path\n"
        "def memory(what):\n"
        "    return int(re.search(what + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024\n"
        "Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew\n"
        "start = memory('VmRSS'); distance.run(sys.argv[2], sys.argv[3:]); print(memory('VmHWM') - start)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), part, *files]
    return float(subprocess.run(command, capture_output=True, check=True).stdout)


def main(megabytes: int) -> None:
    """Time each part for both dtypes, check that digests and norms agree, and print the table."""
    print(f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, load "
          f"{os.getloadavg()[0]:.1f}; two folders of {megabytes} MB")  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16):
        with tempfile.TemporaryDirectory() as scratch:
            moves = (("base", 0.0), ("tuned", 1e-3))
            files = [str(saved(Path(scratch) / name, megabytes, dtype, moved)) for name, moved in moves]
            _ = run("both in one", files)  # reads the compiled kernels, once in a process
            rounds = [{part: run(part, files) for part in PARTS} for _ in range(REPEATS)]
            _agree(rounds)
            _table(str(dtype), rounds, {part: peak_of(part, files) for part in PARTS})


def processor() -> str:
    """Return the processor's name, and whether it has instructions for SHA-256, on which the ratios depend."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} ({'with' if any(' sha_ni' in line for line in lines) else 'without'} instructions for SHA-256)"


def _agree(rounds: list[dict[str, dict[str, object]]]) -> None:
    """Hold every digest to the floor's and every norm to the old pass's: never below it, and above by at most 3e-9."""
    digests, plain = rounds[0]["floor"]["digests"], rounds[0]["before"]["norms"]
    for found in rounds:
        assert all(each.get("digests", digests) == digests for each in found.values())
        for part in ("distance", "both in one"):
            assert found[part]["norms"] == rounds[0]["distance"]["norms"]
            assert all(0 <= found[part]["norms"][n] - p <= 3e-9 * p for n, p in plain.items())  # type: ignore[index, attr-defined]


def _table(title: str, rounds: list[dict[str, dict[str, object]]], peaks: dict[str, float]) -> None:
    def least(part: str, what: str) -> float:
        return min(float(found[part][what]) for found in rounds)  # type: ignore[arg-type]

    print(f"{title:16s} seconds  of floor  processor s  of floor   peak MB")
    for part in PARTS:
        clock, spent = least(part, "seconds"), least(part, "cpu")
        print(f"{part:16s} {clock:7.2f} {clock / least('floor', 'seconds'):9.2f} {spent:12.2f} "
              f"{spent / least('floor', 'cpu'):9.2f} {peaks[part]:9.0f}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 256)
