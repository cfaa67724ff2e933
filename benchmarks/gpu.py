"""Both engines on an accelerator: `python benchmarks/gpu.py --json benchmarks/results/gpu.json`.

First the bits: a backend that differs from the numpy text in one element is refused, and a draw at the demo's base has
the same digest on the device and on the CPU. Then copy bandwidth (the floor: every draw reads the base and writes the
copy once), the time of one draw for 0.5 and 7 billion bf16 weights with both samplers, as a multiple of that floor, and
the pairs (one draw, one item) per second against the plain forward: of the explicit engine in bf16 with 1 and 64 items
per draw, and of both engines in float32 with a draw for each item, since activation space computes in no 16-bit type.
Last the product: the demo's benchmarks scored and one gate, on the device and on the CPU, with the answers that differ.
A few minutes. Refuses to run without an accelerator: there is nothing to measure.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from certify.certificate import GateRecord
from certify.demo import DATA
from certify.measuring import Base
from certify.noise import NormalStream, noised, weight_noise
from certify.noise.activation import ActivationEngine, Layout
from certify.noise.backend import backend_for
from certify.noise.contract import Noise, Place
from certify.noise.law import lattice_pitch
from certify.noise.philox import noise_key
from certify.records import Seed, WeightNoise

SIGMA = 1e-3
SEED = Seed(value=f"{7:064x}")
SIZES = {"0.5 B": 500_000_000, "7 B": 7_000_000_000}
BENCHMARKS = ("addition", "prose")
GATE = ("--sigma", "0.03", "--min-retention", "0.95", "--p1", "0.98", "--confidence", "0.99")
REPEATS = 7


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median time of ``action``, all its work on the device included, after one run that warms up."""
    action()
    times = []
    for _ in range(repeats):
        _settled()
        start = time.perf_counter()
        action()
        _settled()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _settled() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def copy_bandwidth(device: torch.device) -> float:
    """Return bytes per second of a device-to-device copy, reads and writes counted."""
    source = torch.zeros(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def draw_time(device: torch.device, size: int, sampler: str, bandwidth: float) -> dict[str, Any]:
    """Return the time of one draw over ``size`` bf16 weights, and its multiple of the copy floor."""
    base = torch.zeros(size, dtype=torch.bfloat16, device=device)
    place = Place("weights", base, torch.empty_like(base))
    noise = Noise(noise_key(7, "E", sampler), 0, SIGMA, lattice_pitch(SIGMA, 12), sampler)  # type: ignore[arg-type]
    backend = backend_for(device, torch.bfloat16, sampler)  # type: ignore[arg-type]
    write = backend.noise([(place, noise)])
    taken, floor = seconds(lambda: write(3)), 4 * size / bandwidth
    return {"backend": backend.name, "seconds": taken, "floor_seconds": floor, "times_floor": taken / floor}


def llama(device: torch.device, dtype: torch.dtype, **size: int) -> LlamaForCausalLM:
    """Return a random Llama of half a billion weights, unless another size is asked for."""
    standard = {
        "hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 16,
        "num_key_value_heads": 8, "vocab_size": 32_000,
    }  # fmt: skip
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**{**standard, **size}))
    return model.to(dtype).eval().requires_grad_(False)


def inputs_of(model: LlamaForCausalLM, rows: int, tokens: int) -> dict[str, Any]:
    """Return a batch of random items whose last position is scored."""
    ids = torch.randint(0, model.config.vocab_size, (rows, tokens), device=model.device)
    kept = torch.tensor([tokens - 1], device=model.device)
    return {"input_ids": ids, "logits_to_keep": kept, "use_cache": False}


def explicit_pairs(model: LlamaForCausalLM, tokens: int, items: int) -> dict[str, Any]:
    """Return pairs per second of the explicit engine and of the plain forward, ``items`` per draw."""
    batch, draws = inputs_of(model, items, tokens), iter(range(1 << 30))
    plain = seconds(lambda: model(**batch))
    with noised(model, law_of(model), SEED) as engine:
        whole = seconds(lambda: engine.at(next(draws))(**batch))
    return {
        "engine": "explicit", "parameters": model.num_parameters(), "dtype": str(model.dtype), "tokens": tokens,
        "items_per_draw": items, "batch": items, "plain_items_per_second": items / plain,
        "pairs_per_second": items / whole, "noise_share": 1 - plain / whole,
    }  # fmt: skip


def activation_pairs(model: LlamaForCausalLM, tokens: int, rows: int) -> dict[str, Any]:
    """Return pairs per second of the activation engine, a draw for each of ``rows`` items in one batch."""
    batch = inputs_of(model, rows, tokens)
    real = torch.ones(rows, tokens, dtype=torch.bool, device=model.device)
    layout = Layout.even(range(rows), 1, real, real[:, -1:])
    plain = seconds(lambda: model(**batch))
    with ActivationEngine(model, law_of(model), SEED.integer) as engine:
        whole = seconds(lambda: engine.run(layout, **batch), repeats=3)
    return {
        "engine": "activation", "parameters": model.num_parameters(), "dtype": str(model.dtype), "tokens": tokens,
        "items_per_draw": 1, "batch": rows, "plain_items_per_second": rows / plain,
        "pairs_per_second": rows / whole, "noise_share": 1 - plain / whole,
    }  # fmt: skip


def law_of(model: LlamaForCausalLM) -> WeightNoise:
    """Noise on every weight."""
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, SIGMA)


def all_pairs(device: torch.device, rows: int = 64, **size: int) -> Iterator[dict[str, Any]]:
    """Yield one result for each engine, dtype and design."""
    with torch.no_grad():
        narrow = llama(device, torch.bfloat16, **size)
        for tokens, items in ((16, 1), (16, rows), (256, 1), (256, rows)):
            yield explicit_pairs(narrow, tokens, items)
        del narrow
        wide = llama(device, torch.float32, **size)
        for tokens in (16, 64):  # at 256 the activation engine needs minutes a batch: the explicit engine's case
            yield explicit_pairs(wide, tokens, 1)
            yield activation_pairs(wide, tokens, rows)


def checked_bits(device: torch.device) -> dict[str, Any]:
    """Hold every sampler and dtype to the contract (refused otherwise), and one draw's digest to the CPU's."""
    backends = {
        f"{sampler}, {str(dtype).removeprefix('torch.')}": backend_for(device, dtype, sampler).name  # type: ignore[arg-type]
        for sampler in ("strict", "fast")
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
    }
    digests = {place: digest_of_draw(place) for place in ("cpu", str(device))}
    return {"backends": backends, "digests_of_draw_3": digests, "equal": len(set(digests.values())) == 1}


def digest_of_draw(device: str) -> str:
    """Return the SHA-256 of all weights of the demo's base under draw 3 of the strict sampler."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl", device)
    digest = hashlib.sha256()
    with noised(base.model, base.weight_law(SIGMA), SEED) as engine:
        for _, weight in sorted(engine.at(3).named_parameters()):
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def demo_scores(name: str, device: torch.device) -> dict[str, Any]:
    """Score one of the demo's benchmarks at the base here and on the CPU."""
    rows = {}
    for place in ("cpu", str(device)):
        base = Base.open(DATA / "base", DATA / "benchmarks" / f"{name}.jsonl", place)
        taken = seconds(lambda base=base: base.scorer.score(base.model), repeats=3)  # type: ignore[misc]
        rows[place] = (list(base.scorer.score(base.model)), taken)
    (cpu, slow), (there, fast) = rows.values()
    differ = sum(a != b for a, b in zip(cpu, there, strict=True))
    return {
        "benchmark": name, "items": len(cpu), "cpu_items_per_second": len(cpu) / slow,
        "items_per_second": len(cpu) / fast, "answers_that_differ": differ,
    }  # fmt: skip


def demo_gate(device: torch.device) -> dict[str, Any]:
    """Run one sequential gate as a user does, here and on the CPU: seconds with start and loading, draws, verdict."""
    paths = ["--base", str(DATA / "base"), "--benchmark", str(DATA / "benchmarks" / "addition.jsonl")]
    figures: dict[str, Any] = {"command": " ".join(("certify gate benign", *GATE))}
    with tempfile.TemporaryDirectory() as folder:
        for place in ("cpu", str(device)):
            file, drawn = Path(folder, f"{place}.json".replace(":", "-")), str(Path(folder, f"draws-{place}"))
            kept = ["--draws-dir", drawn, "--device", place, "--output", str(file)]
            checkpoint = str(DATA / "checkpoints" / "benign")
            command = [sys.executable, "-m", "certify", "gate", checkpoint, *paths, *GATE, *kept]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            record = GateRecord.model_validate_json(file.read_text())
            figures[place] = {"seconds": time.perf_counter() - start, "verdict": record.judgement.verdict,
                              "draws": len(record.evidence.scores)}  # fmt: skip
    return figures


def main() -> None:
    """Run everything that fits on the device, print it, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no accelerator here: not measured")
    device = torch.device("cuda")
    NormalStream(7, "E")
    bandwidth = copy_bandwidth(device)
    print(f"{torch.cuda.get_device_name()}: copy {bandwidth / 1e12:.2f} TB/s")
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "bits": checked_bits(device),
        "copy_bytes_per_second": bandwidth,
        "draws": {},
        "pairs": [],
        "scoring": [],
    }
    print(f"bits of a draw as on the CPU: {figures['bits']['equal']}, {figures['bits']['backends']}")
    for name, size in SIZES.items():
        if 4 * size > 0.9 * torch.cuda.mem_get_info()[0]:
            print(f"{name}: does not fit twice into this device's memory")
            continue
        for sampler in ("strict", "fast"):
            row = draw_time(device, size, sampler, bandwidth)
            figures["draws"][f"{name}, bf16, {sampler}"] = row
            print(f"{name}, bf16, {sampler}, {row['backend']}: {1e3 * row['seconds']:.2f} ms, "
                  f"{row['times_floor']:.2f} times the copy floor")  # fmt: skip
    for row in all_pairs(device):
        figures["pairs"].append(row)
        print(
            f"0.5 B Llama, {row['engine']}, {row['dtype']}, T = {row['tokens']}, {row['items_per_draw']} items per "
            f"draw, batch {row['batch']}: {row['pairs_per_second']:.1f} pairs/s, "
            f"plain {row['plain_items_per_second']:.1f}/s, noise share {100 * row['noise_share']:.1f} %"
        )
    for name in BENCHMARKS:
        figures["scoring"].append(demo_scores(name, device))
        print(figures["scoring"][-1])
    figures["gate"] = demo_gate(device)
    print(figures["gate"])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
