"""The cost model of a measurement, and its check against a measured small case: `python benchmarks/scale.py`.

Time per draw = bytes moved / bandwidth (or normals / rate, whichever is larger) + items * tokens * 2 * parameters /
flops. Every rate is printed with the figure that it gives; the rates of this machine are measured, those of the
accelerator are read from the record of `benchmarks/gpu.py`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

GIB = 2.0**30
RECORD = Path(__file__).with_name("results") / "gpu.json"


@dataclass(frozen=True)
class Machine:
    """Rates: bytes/s of memory, normals/s of the strict sampler, flop/s of the forward pass."""

    name: str
    bandwidth: float
    normals: float
    flops: float


@dataclass(frozen=True)
class Job:
    """What one draw asks for."""

    name: str
    parameters: float
    bytes_each: float
    items: int
    tokens: int


def noise_seconds(job: Job, machine: Machine) -> float:
    """Read the base, write the copy (two passes over the weights), or draw the normals: the slower one counts."""
    return max(2 * job.bytes_each * job.parameters / machine.bandwidth, job.parameters / machine.normals)


def forward_seconds(job: Job, machine: Machine) -> float:
    """Two floating point operations for each parameter and token."""
    return 2 * job.parameters * job.tokens * job.items / machine.flops


def row(job: Job, machine: Machine, draws: int, processes: int = 1) -> dict[str, float | str]:
    """Return the prediction for one job on one machine."""
    noise, forward = noise_seconds(job, machine), forward_seconds(job, machine)
    return {
        "job": job.name,
        "machine": machine.name,
        "memory_gib": 2 * job.bytes_each * job.parameters / GIB,
        "noise_s": noise,
        "forward_s": forward,
        "noise_share": noise / (noise + forward),
        "hours": draws * (noise + forward) / 3600 / processes,
    }


def evidence(job: Job, machine: Machine) -> dict[str, tuple[str, float]]:
    """Return for each kind of evidence what runs, and its seconds: one device at a time, without loading.

    An item alone takes at least one pass over the weights, however few its tokens are.
    """
    noise, forward = noise_seconds(job, machine), forward_seconds(job, machine)
    weights = job.parameters * job.bytes_each / machine.bandwidth
    alone = max(weights, forward / job.items)
    return {
        "point; an audit at most": ("2 F", 2 * forward),
        "position": ("4 F", 4 * forward + 3 * 3 * weights),
        "a measurement for it: five sigmas": ("5 x items x (N + f)", 5 * job.items * (noise + alone)),
        "smoothed, 200 draws": ("400 x (N + F)", 400 * (noise + forward)),
        "a table of 1,000 draws for distance": ("1,000 x (N + F)", 1000 * (noise + forward)),
    }


def evidence_table(jobs: tuple[Job, ...], machine: Machine) -> list[str]:
    """Return the Markdown table of what each kind of evidence takes."""
    columns = [evidence(job, machine) for job in jobs]
    lines = [f"| evidence | what runs | {' | '.join(job.name for job in jobs)} |", f"|---|---|{'---|' * len(jobs)}"]
    for kind, (runs, _) in columns[0].items():
        lines.append(f"| {kind} | {runs} | {' | '.join(spelled(column[kind][1]) for column in columns)} |")
    return lines


def spelled(seconds: float) -> str:
    """Return a time with two digits, in the unit that suits it."""
    unit, size = next((u, s) for u, s in (("h", 3600), ("min", 60), ("s", 1)) if seconds >= s or u == "s")
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


def this_machine(folder: Path, benchmark: Path) -> tuple[Machine, Job, float]:
    """Measure this machine's rates on the demo's base, and the time of a whole draw to check the model against."""
    import numpy as np
    import torch

    from certify import Base
    from certify.noise import noised
    from certify.records import derive_seed

    torch.set_num_threads(1)
    base = Base.open(folder, benchmark)
    law = base.weight_law(0.05)
    seed = derive_seed("benchmark", law, base.scorer.identity, base.checkpoint.identity)
    identity = base.scorer.identity
    tokens = sum(len(c.ids) - 1 for c in base.scorer.continuations) / identity.items  # type: ignore[attr-defined]

    def fastest(action, repeats: int = 15) -> float:  # type: ignore[no-untyped-def]
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            action()
            best = min(best, time.perf_counter() - start)
        return best

    source, target = np.zeros(1 << 24, np.float32), np.zeros(1 << 24, np.float32)
    copy = fastest(lambda: np.copyto(target, source))
    with noised(base.model, law, seed, pilot=True) as engine:
        noise = fastest(lambda: engine.at(0))
        forward = fastest(lambda: base.scorer.score(base.model))
        whole = fastest(lambda: base.scorer.score(engine.at(1)))
    d = base.checkpoint.identity.parameters
    flops = 2 * d * tokens * identity.items / forward
    machine = Machine("this machine, 1 thread", 2 * source.nbytes / copy, d / noise, flops)
    return machine, Job("demo base, 300 items", d, 4, identity.items, round(tokens)), whole


def recorded_accelerator() -> Machine:
    """Return the rates of the recorded device: its copy, 7 billion strict normals, its fastest plain bf16 forward."""
    figures = json.loads(RECORD.read_text(encoding="utf-8"))
    normals = 7e9 / figures["draws"]["7 B, bf16, strict"]["seconds"]
    flops = max(
        2 * pair["parameters"] * pair["tokens"] * pair["plain_items_per_second"]
        for pair in figures["pairs"]
        if pair["dtype"] == "torch.bfloat16"
    )
    return Machine(f"one {figures['device']}", figures["copy_bytes_per_second"], normals, flops)


JOBS = (
    Job("0.5 B, bf16, 1000 items x 256 tokens", 0.5e9, 2, 1000, 256),
    Job("7 B, bf16, 1000 items x 256 tokens", 7e9, 2, 1000, 256),
    Job("70 B, bf16, 1000 items x 256 tokens", 70e9, 2, 1000, 256),
    Job("70 B, bf16, 300 items x 64 tokens", 70e9, 2, 300, 64),
)


def main() -> None:
    """Print the table, and write it with the machine's data if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--evidence", action="store_true", help="print what each kind takes at 70 B, and end")
    arguments = parser.parse_args()
    if arguments.evidence:
        print("\n".join(evidence_table(JOBS[2:], recorded_accelerator())))
        return
    from certify.demo import DATA

    machine, job, whole = this_machine(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    accelerator = recorded_accelerator()
    predicted = noise_seconds(job, machine) + forward_seconds(job, machine)
    rows = [row(job, machine, 1000), *(row(j, accelerator, 1000) for j in JOBS)]
    for r in rows:
        print(
            f"{r['job']:40} {r['machine']:26} {r['memory_gib']:8.2f} GiB  noise {1e3 * float(r['noise_s']):9.2f} ms  "
            f"forward {1e3 * float(r['forward_s']):10.1f} ms  noise share {100 * float(r['noise_share']):5.2f} %  "
            f"1000 draws {r['hours']:8.3f} h"
        )
    print(f"check: one draw on this machine predicted {1e3 * predicted:.1f} ms, measured {1e3 * whole:.1f} ms")
    if arguments.json:
        figures = {
            "machine": platform.processor() or platform.machine(),
            "rates": asdict(machine),
            "predicted_s": predicted,
            "measured_s": whole,
            "rows": rows,
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
