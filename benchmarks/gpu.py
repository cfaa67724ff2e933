"""The explicit engine on an accelerator: `python benchmarks/gpu.py --json benchmarks/results/gpu.json`.

Measures copy bandwidth first (the floor: every draw reads the base and writes the copy once), then the time of one draw
for 0.5 and 7 billion bf16 weights with both samplers, as a multiple of that floor, and the pairs per second of a whole
gate (draw + items) against the plain forward. Refuses to run without an accelerator: there is nothing to measure.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from certify.noise import NormalStream, noised, weight_noise
from certify.noise.backend import Noise, Place, backend_for
from certify.noise.law import lattice_pitch
from certify.noise.philox import noise_key
from certify.records import Seed

SIGMA = 1e-3
SIZES = {"0.5 B": 500_000_000, "7 B": 7_000_000_000}
REPEATS = 7


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median time of ``action`` on the device, after one run that warms up."""
    action()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        action()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


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


def pairs_per_second(device: torch.device, tokens: int, items: int) -> dict[str, Any]:
    """Return (draw, item) pairs per second of the explicit engine and of the plain forward, for a 0.5 B Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=1536, intermediate_size=4096, num_hidden_layers=16, num_attention_heads=16, num_key_value_heads=8,
        vocab_size=32_000,
    )  # fmt: skip
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval().requires_grad_(False)
    ids = torch.randint(0, config.vocab_size, (items, tokens), device=device)
    law = weight_noise({n: p.numel() for n, p in model.named_parameters()}, SIGMA)

    def forward() -> None:
        with torch.inference_mode():
            model(input_ids=ids, logits_to_keep=1, use_cache=False)

    plain = seconds(forward)
    draws = iter(range(1 << 30))
    with noised(model, law, Seed(value=f"{7:064x}")) as engine:
        whole = seconds(lambda: (engine.at(next(draws)), forward()))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": tokens,
        "items_per_draw": items,
        "plain_forward_items_per_second": items / plain,
        "explicit_pairs_per_second": items / whole,
        "noise_share": 1 - plain / whole,
    }


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
        "copy_bytes_per_second": bandwidth,
        "draws": {},
        "pairs": [],
    }
    for name, size in SIZES.items():
        if 4 * size > 0.9 * torch.cuda.mem_get_info()[0]:
            print(f"{name}: does not fit twice into this device's memory")
            continue
        for sampler in ("strict", "fast"):
            row = draw_time(device, size, sampler, bandwidth)
            figures["draws"][f"{name}, bf16, {sampler}"] = row
            print(f"{name}, bf16, {sampler}, {row['backend']}: {1e3 * row['seconds']:.2f} ms, "
                  f"{row['times_floor']:.2f} times the copy floor")  # fmt: skip
    for tokens, items in ((16, 1), (16, 64), (256, 1), (256, 64)):
        row = pairs_per_second(device, tokens, items)
        figures["pairs"].append(row)
        print(
            f"0.5 B Llama, T={tokens}, {items} items per draw: {row['explicit_pairs_per_second']:.1f} pairs/s, plain "
            f"forward {row['plain_forward_items_per_second']:.1f}/s, noise share {100 * row['noise_share']:.1f} %"
        )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
