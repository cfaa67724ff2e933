"""What does one pair (one draw, one item) cost in activation space, against the ways that write weights?

Run `python benchmarks/activation.py` for a table, `--models 5M --tokens 8 32` for a part of it, `--json FILE` for a
record with machine data. Per model and T, four methods take turns, after one warm-up each, so that a busy machine
slows all of them; medians of the repeats, in milliseconds per pair, logits at the last position, float32:

- plain: the ordinary model, one batched forward without noise. The floor; it scores nothing under noise.
- activation: engine A, the same batch, each item under its own draw. Strict normals.
- explicit: one draw written by the explicit engine (strict normals on the lattice), one item, m = 1.
- deepcopy: copy.deepcopy(model), p.add_(torch.randn_like(p) * sigma), one item, m = 1. Float32 normals that end at
  5.77 sigma, the popular way.

With m items per draw the last two cost less per pair (not per effective pair) and their ratio to A falls: at m = 16
explicit noise is already a small share. Memory: peak resident memory of one batch of 64 above what was there before.
"""

import argparse
import copy
import json
import multiprocessing
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import transformers

from certify.noise import noised, weight_noise
from certify.noise.activation import ActivationEngine, Layout
from certify.records import Seed

SIGMA = 1e-2
SEED = Seed(value=f"{1:064x}")
BATCH = {"5M": {8: 64, 32: 32, 128: 8}, "124M": {8: 64, 32: 16, 128: 4}}
TARGETS = {("activation", "plain", "124M", 32): 1.3}  # at most this ratio; a target, not a gate


def model_of(size):
    """A random model in evaluation mode: GPT-2's 124M layout, or a Llama of 5.4M weights."""
    torch.manual_seed(0)
    if size == "124M":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    else:
        config = transformers.LlamaConfig(
            hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4,
            vocab_size=2048,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    return model.eval().requires_grad_(False)


def law_of(model):
    """Noise on every weight."""
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, SIGMA)


def inputs_of(model, rows, tokens):
    """A batch of random items whose last position is scored."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.vocab_size, (rows, tokens), generator=generator)
    return {"input_ids": ids, "use_cache": False, "logits_to_keep": torch.tensor([tokens - 1])}


def layout_of(rows, tokens):
    """One draw for each row."""
    return Layout.even(
        range(rows), 1, torch.ones(rows, tokens, dtype=torch.bool), torch.ones(rows, 1, dtype=torch.bool)
    )


def with_activation(model, rows, tokens):
    """One batch, every row under its own draw."""
    with ActivationEngine(model, law_of(model), SEED.integer) as engine:
        engine.run(layout_of(rows, tokens), **inputs_of(model, rows, tokens))


def with_deepcopy(model, tokens):
    """One pair, the popular way."""
    moved = copy.deepcopy(model)
    for parameter in moved.parameters():
        parameter.add_(torch.randn_like(parameter) * SIGMA)
    moved(**inputs_of(model, 1, tokens))


def pair_times(size, tokens, repeats):
    """Median milliseconds per pair of each method."""
    rows, model = BATCH[size][tokens], model_of(size)
    written, draws = model_of(size), iter(range(1 << 30))
    batch, single = inputs_of(model, rows, tokens), inputs_of(model, 1, tokens)
    with noised(written, law_of(written), SEED) as explicit:
        methods = {
            "plain": (lambda: model(**batch), rows),
            "activation": (lambda: with_activation(model, rows, tokens), rows),
            "explicit": (lambda: explicit.at(next(draws))(**single), 1),
            "deepcopy": (lambda: with_deepcopy(model, tokens), 1),
        }
        times = {name: [] for name in methods}
        for turn in range(repeats + 1):
            for name, (call, pairs) in methods.items():
                start = time.perf_counter()
                call()
                if turn:
                    times[name].append((time.perf_counter() - start) / pairs * 1e3)
    return {name: statistics.median(own) for name, own in times.items()}


def peak(size, tokens, rows, noisy):
    """Peak resident megabytes of one batch above what was resident before; None where the kernel does not tell."""
    model, status = model_of(size), Path("/proc/self/status")
    torch.set_num_threads(1)
    with torch.no_grad():
        with_activation(model_of("5M"), 1, 8)  # what is compiled or loaded once is no memory of the method
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
            before = resident(status, "VmRSS")
            with_activation(model, rows, tokens) if noisy else model(**inputs_of(model, rows, tokens))
            return resident(status, "VmHWM") - before
        except (OSError, StopIteration):
            return None


def resident(status, field):
    """A field of the process's status, in megabytes."""
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def memory(size, tokens, rows=64):
    """Extra memory of one batch, plain and with noise, each in a fresh process, beside the size of the weights."""
    weights = sum(p.numel() * p.element_size() for p in model_of(size).parameters()) / 2**20
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as fresh:
        plain, noisy = (fresh.submit(peak, size, tokens, rows, kind).result() for kind in (False, True))
    return {"batch": rows, "tokens": tokens, "weights_mb": weights, "plain_mb": plain, "activation_mb": noisy}


def machine():
    """What the times depend on."""
    cpu = next((x.split(":")[1].strip() for x in cpu_lines() if x.startswith("model name")), platform.processor())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "system": platform.system(),
        "processor": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def cpu_lines():
    """The processor as the kernel describes it, if it does."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def measure(models, tokens, repeats):
    """Yield one result for each model and T."""
    for size in models:
        for t in tokens:
            yield {
                "model": size, "tokens": t, "batch": BATCH[size][t], "items_per_draw": 1, "dtype": "float32",
                "sampler": "strict", "repeats": repeats, "ms_per_pair": pair_times(size, t, repeats),
            }  # fmt: skip


def show(result):
    """One line of the table."""
    ms = result["ms_per_pair"]
    print(
        f"{result['model']:>5} {result['tokens']:4} {result['batch']:5} "
        + " ".join(f"{ms[name]:10.2f}" for name in ("plain", "activation", "explicit", "deepcopy"))
        + f"   A/plain {ms['activation'] / ms['plain']:4.2f}   explicit/A {ms['explicit'] / ms['activation']:5.2f}"
        + f"   deepcopy/A {ms['deepcopy'] / ms['activation']:5.1f}"
    )
    for (name, other, size, t), limit in TARGETS.items():
        if (size, t) == (result["model"], result["tokens"]):
            print(f"{'':17}target {name}/{other} <= {limit}: {'met' if ms[name] / ms[other] <= limit else 'MISSED'}")


def main():
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description="Time one pair in activation space.")
    parser.add_argument("--models", nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--tokens", nargs="+", type=int, choices=(8, 32, 128), default=[8, 32, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    results = []
    with torch.no_grad():
        occupied = [{"model": size, **memory(size, 32)} for size in asked.models]
        for entry in occupied:
            print(", ".join(f"{k} {v:.0f}" if isinstance(v, float) else f"{k} {v}" for k, v in entry.items()))
        print("model    T batch      plain activation   explicit   deepcopy   (ms per pair, m = 1)")
        for result in measure(asked.models, asked.tokens, asked.repeats):
            show(result)
            results.append(result)
    if asked.json:
        record = {"machine": machine(), "sigma": SIGMA, "memory": occupied, "results": results}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
