"""What does one pair (one draw, one item) cost: the two engines against the plain forward and the usual ways in torch?

Run `python benchmarks/pairs.py` for a table, `--models 5M --tokens 8 32` for a part of it, `--json FILE` for a record
with machine data. Per model and T all methods take turns, after one warm-up each, so that a busy machine slows all of
them; medians of the repeats, in milliseconds per pair, logits at the last position, float32:

- plain: the ordinary model, one batched forward without noise. The floor; it scores nothing under noise.
- activation: the activation engine, the same batch, each item under its own draw. Strict normals.
- explicit, explicit fast: one draw written by the explicit engine, one item (m = 1); `fast` has no certificate.
- flat torch, pristine + randn, deepcopy, load_state_dict, MeZO style: one draw by torch, one item (m = 1). Float32
  normals that end at 5.77 sigma.

With m items per draw all but the first two cost less per pair (not per effective pair), and their ratio to the
activation engine falls: at m = 16 explicit noise is already a small share. Memory is the peak resident memory of one
batch (one pair where m = 1) above what was there before, each method in a process of its own.
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

from certify.noise import weight_noise
from certify.noise.activation import ActivationEngine, Layout
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import WeightPerturbation
from certify.records import Seed

SIGMA = 1e-2
SEED = Seed(value=f"{1:064x}")
BATCH = {"5M": {8: 64, 32: 32, 128: 8}, "124M": {8: 64, 32: 16, 128: 4}}
RATIOS = {  # (slow, fast): at least this ratio at each T, 124M; targets, not gates
    ("deepcopy", "explicit fast"): {8: 4.5, 32: 3.8, 128: 2.6},
    ("explicit fast", "activation"): {8: 5.0, 32: 2.4, 128: 1.0},
    ("plain", "activation"): {8: 1 / 1.25, 32: 1 / 1.3, 128: 1 / 1.6},
}


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
    nodes = torch.arange(rows), torch.full((rows,), tokens - 1)
    return Layout.even(range(rows), 1, torch.ones(rows, tokens, dtype=torch.bool), nodes)


def with_activation(model, rows, tokens):
    """One batch, every row under its own draw."""
    with ActivationEngine(model, law_of(model), SEED.integer) as engine:
        engine.logits(layout_of(rows, tokens), input_ids=inputs_of(model, rows, tokens)["input_ids"], use_cache=False)


# Each way of writing weights: given a model, return what shows draw i (a module) and what puts the base back.


def with_explicit(model, sampler):
    """This project's engine, from streams of the pilot, where the fast sampler is allowed."""
    engine = ExplicitEngine(model, WeightPerturbation(law_of(model), SEED.integer, 12, "pilot/E", sampler=sampler))
    return engine.__enter__().at, lambda: None


def with_flat(model):
    """All parameters are views of one work buffer: normals into it, then the flat base added."""
    parameters = list(model.parameters())
    base = torch.cat([p.data.view(-1) for p in parameters])
    work = torch.empty_like(base)
    for p, view in zip(parameters, work.split([p.numel() for p in parameters]), strict=True):
        p.data = view.view(p.shape)

    def show(draw):
        work.normal_(0.0, SIGMA).add_(base)
        return model

    return show, lambda: None


def with_pristine(model):
    """A pristine copy of each tensor, and one addition into the parameter."""
    base = [p.data.clone() for p in model.parameters()]

    def show(draw):
        for b, p in zip(base, model.parameters(), strict=True):
            torch.add(b, torch.randn_like(b), alpha=SIGMA, out=p.data)
        return model

    return show, lambda: None


def with_deepcopy(model):
    """A fresh copy of the model for each draw."""

    def show(draw):
        moved = copy.deepcopy(model)
        for p in moved.parameters():
            p.add_(torch.randn_like(p) * SIGMA)
        return moved

    return show, lambda: None


def with_load(model):
    """Add in place, then load the pristine state dict."""
    pristine = {n: t.clone() for n, t in model.state_dict().items()}

    def show(draw):
        for p in model.parameters():
            p.add_(torch.randn_like(p) * SIGMA)
        return model

    return show, lambda: model.load_state_dict(pristine)


def with_mezo(model):
    """Add, and afterwards regenerate from the seed and subtract: the base drifts with every draw."""
    drawn = [0]

    def shift(scale):
        torch.manual_seed(drawn[0])
        for p in model.parameters():
            p.add_(torch.normal(0.0, 1.0, size=p.size(), dtype=p.dtype), alpha=scale)

    def show(draw):
        drawn[0] = draw
        shift(SIGMA)
        return model

    return show, lambda: shift(-SIGMA)


WRITERS = {
    "explicit": lambda model: with_explicit(model, "strict"),
    "explicit fast": lambda model: with_explicit(model, "fast"),
    "flat torch": with_flat,
    "pristine + randn": with_pristine,
    "deepcopy": with_deepcopy,
    "load_state_dict": with_load,
    "MeZO style": with_mezo,
}
METHODS = ("plain", "activation", *WRITERS)


def caller(method, model, tokens, rows):
    """Return what one turn of a method does, and how many pairs that is."""
    if method not in WRITERS:
        batch = inputs_of(model, rows, tokens)
        return (lambda: model(**batch)) if method == "plain" else (lambda: with_activation(model, rows, tokens)), rows
    single, draws = inputs_of(model, 1, tokens), iter(range(1 << 30))
    show, hide = WRITERS[method](model)

    def pair():
        show(next(draws))(**single)
        hide()

    return pair, 1


def pair_times(size, tokens, repeats):
    """Median milliseconds per pair of each method."""
    rows = BATCH[size][tokens]
    calls = {method: caller(method, model_of(size), tokens, rows) for method in METHODS}
    times = {method: [] for method in METHODS}
    for turn in range(repeats + 1):
        for method, (call, pairs) in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[method].append((time.perf_counter() - start) / pairs * 1e3)
    return {method: statistics.median(own) for method, own in times.items()}


def peak(size, tokens, rows, method):
    """Peak resident megabytes of one turn above the loaded model; None where the kernel does not tell."""
    torch.set_num_threads(1)
    with torch.no_grad():
        caller(method, model_of("5M"), 8, 1)[0]()  # what is compiled or loaded once is no memory of the method
        model, status = model_of(size), Path("/proc/self/status")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
            before = resident(status, "VmRSS")
            caller(method, model, tokens, rows)[0]()
            return resident(status, "VmHWM") - before
        except (OSError, StopIteration):
            return None


def resident(status, field):
    """A field of the process's status, in megabytes."""
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def memory(size, tokens, rows=64):
    """Extra memory of one turn of each method, each in a fresh process, beside the size of the weights."""
    weights = sum(p.numel() * p.element_size() for p in model_of(size).parameters()) / 2**20
    extra = {}
    for method in METHODS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as fresh:
            extra[method] = fresh.submit(peak, size, tokens, rows, method).result()
    return {"model": size, "batch": rows, "tokens": tokens, "weights_mb": weights, "extra_mb": extra}


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
                "repeats": repeats, "ms_per_pair": pair_times(size, t, repeats),
            }  # fmt: skip


def row(size, tokens, batch, figures, form):
    """One line of a table."""
    return f"{size:>5} {tokens:4} {batch:5} " + " ".join(f"{figures[name]:>{len(name)}{form}}" for name in METHODS)


def verdicts(result):
    """What became of the targets: they alert, they do not gate."""
    for (slow, fast), limits in RATIOS.items():
        if result["model"] == "124M":
            ratio, least = result["ms_per_pair"][slow] / result["ms_per_pair"][fast], limits[result["tokens"]]
            met = "met" if ratio >= least else "MISSED"
            yield f"{slow} / {fast}, 124M, T = {result['tokens']}: at least {least:.2f}: {ratio:.2f}, {met}"


def main():
    """Print the tables, and write the record if asked."""
    parser = argparse.ArgumentParser(description="Time one pair of each engine and of the usual ways in torch.")
    parser.add_argument("--models", nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--tokens", nargs="+", type=int, choices=(8, 32, 128), default=[8, 32, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    results, load = [], [round(x, 2) for x in os.getloadavg()]
    heading = "model    T batch " + " ".join(METHODS)
    with torch.no_grad():
        occupied = [memory(size, 32) for size in asked.models]
        print(f"{heading}   (MB above the loaded model)")
        for entry in occupied:
            print(row(entry["model"], 32, entry["batch"], entry["extra_mb"], ".0f"))
        print(f"{heading}   (ms per pair)")
        for result in measure(asked.models, asked.tokens, asked.repeats):
            print(row(result["model"], result["tokens"], result["batch"], result["ms_per_pair"], ".1f"), flush=True)
            results.append(result)
    for line in (line for result in results for line in verdicts(result)):
        print(f"target: {line}")
    if asked.json:
        what = {**machine(), "load average before": load, "load average after": [round(x, 2) for x in os.getloadavg()]}
        record = {"machine": what, "sigma": SIGMA, "memory": occupied, "results": results}
        asked.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
