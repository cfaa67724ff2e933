"""What does it cost to put one draw of noise in place, against the usual ways of doing it in torch?

Run `python benchmarks/noise.py` for a table, add `--json FILE` for a record with machine data. Every method gets one
warm-up, then all take turns, so that a busy machine slows all of them. Figures are medians of processor time, which
with one thread is wall time less what other processes took; the record has wall time too. No forward pass: beside one,
the ratios shrink with the number of items that share a draw. The torch methods draw float32 normals that end at 5.77
sigma; `fused strict` and `numpy strict` draw the float64 normals that certificates use, on their lattice.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import torch
from torch import nn

from certify.noise import NormalStream, weight_noise
from certify.noise.explicit import ExplicitEngine
from certify.noise.law import lattice_pitch
from certify.noise.perturbation import WeightPerturbation

SIGMA = 1e-3
MODELS = {"5M": (256, 6, 1024, 256), "124M": (768, 12, 50257, 1024)}  # width, layers, vocabulary, positions
TARGETS = {"fused fast": 1.3, "fused strict": 3.2}  # ns per parameter, one thread
RATIOS = {  # (baseline, ours): at least this many times faster at 124M
    ("flat torch normal_", "fused fast"): 3.0,
    ("deepcopy + add_", "fused fast"): 4.5,
    ("MeZO style", "fused fast"): 12.0,
    ("torch float64 + lattice, flat", "fused strict"): 5.0,
}


def model_of(size):
    """Parameters with the shapes of a GPT-2 layout (head tied, so not listed), float32, without a forward pass."""
    width, layers, vocabulary, positions = MODELS[size]
    block = {
        "ln_1": [(width,), (width,)],
        "qkv": [(width, 3 * width), (3 * width,)],
        "out": [(width, width), (width,)],
        "ln_2": [(width,), (width,)],
        "up": [(width, 4 * width), (4 * width,)],
        "down": [(4 * width, width), (width,)],
    }
    shapes = {"wte": (vocabulary, width), "wpe": (positions, width), "ln_f_0": (width,), "ln_f_1": (width,)}
    shapes |= {f"{layer:02}_{n}_{i}": s for layer in range(layers) for n, ss in block.items() for i, s in enumerate(ss)}
    torch.manual_seed(0)
    model = nn.Module()
    for name, shape in shapes.items():
        model.register_parameter(name, nn.Parameter(torch.randn(shape) * 0.02, requires_grad=False))
    return model


# Each method: given a model, return what puts draw i in place, and what closes the method (or None).


def fused(model, sampler):
    """This project's explicit engine; `fast` has no certificate."""
    law = weight_noise({n: p.numel() for n, p in model.named_parameters()}, SIGMA)
    engine = ExplicitEngine(model, WeightPerturbation(law, 1, 12, "pilot/E", sampler=sampler))
    engine.__enter__()
    return engine.at, lambda: engine.__exit__(None, None, None)


def numpy_strict(model):
    """The readable text of the strict sampler, 16 chunks at a time."""
    stream, pitch = NormalStream(1, "pilot/E"), lattice_pitch(SIGMA, 12)
    base = {n: p.data for n, p in model.named_parameters()}
    work = {n: torch.empty_like(b) for n, b in base.items()}

    def draw(i):
        for tensor, name in enumerate(sorted(base)):
            b, w = base[name].view(-1), work[name].view(-1)
            for start in range(0, b.numel(), 16 * 2048):
                end = min(start + 16 * 2048, b.numel())
                z = stream.normals(i, tensor, end - start, start)
                noise = torch.from_numpy(np.rint(SIGMA * z / pitch) * pitch)
                w[start:end] = (b[start:end].double() + noise).float()

    return draw, None


def deepcopy_add(model):
    """A fresh copy of the model for each draw."""

    def draw(i):
        copied = copy.deepcopy(model)
        for p in copied.parameters():
            p.add_(torch.randn_like(p) * SIGMA)

    return draw, None


def add_load(model):
    """Add in place, then load the pristine state dict."""
    pristine = {n: t.clone() for n, t in model.state_dict().items()}

    def draw(i):
        for p in model.parameters():
            p.add_(torch.randn_like(p) * SIGMA)
        model.load_state_dict(pristine)

    return draw, None


def mezo(model):
    """Add, regenerate from the seed, subtract: the base drifts with every draw."""

    def shift(i, scale):
        torch.manual_seed(i)
        for p in model.parameters():
            p.add_(torch.normal(0.0, 1.0, size=p.size(), dtype=p.dtype), alpha=scale)

    def draw(i):
        shift(i, SIGMA)
        shift(i, -SIGMA)

    return draw, None


def pristine_randn(model):
    """A pristine copy of each tensor, and one addition into the parameter."""
    base = [p.data.clone() for p in model.parameters()]

    def draw(i):
        for b, p in zip(base, model.parameters(), strict=True):
            torch.add(b, torch.randn_like(b), alpha=SIGMA, out=p.data)

    return draw, None


def flat_torch(model):
    """One flat base, one flat work buffer, two torch calls."""
    base = torch.cat([p.data.view(-1) for p in model.parameters()])
    work = torch.empty_like(base)
    return lambda i: work.normal_(0.0, SIGMA).add_(base), None


def flat_lattice(model):
    """Float64 normals on the lattice with torch: the precision of `strict`, without its seeds and its tail."""
    base = torch.cat([p.data.view(-1) for p in model.parameters()])
    work, pitch = torch.empty_like(base), lattice_pitch(SIGMA, 12)
    wide = torch.empty_like(base, dtype=torch.float64)
    return lambda i: work.copy_(wide.normal_(0.0, SIGMA).div_(pitch).round_().mul_(pitch).add_(base)), None


METHODS = {
    "fused fast": lambda model: fused(model, "fast"),
    "fused strict": lambda model: fused(model, "strict"),
    "numpy strict": numpy_strict,
    "deepcopy + add_": deepcopy_add,
    "add_, then load_state_dict": add_load,
    "MeZO style": mezo,
    "pristine copy + randn": pristine_randn,
    "flat torch normal_": flat_torch,
    "torch float64 + lattice, flat": flat_lattice,
}


def times(size, repeats):
    """(wall, processor) seconds of every draw of every method, taking turns, each on a model of its own."""
    draws, closers = {}, []
    for name, method in METHODS.items():
        draws[name], close = method(model_of(size))
        closers.append(close)
        draws[name](0)
    taken = {name: [] for name in METHODS}
    for i in range(1, repeats + 1):
        for name, draw in draws.items():
            wall, busy = time.perf_counter(), time.process_time()
            draw(i)
            taken[name].append((time.perf_counter() - wall, time.process_time() - busy))
    for close in filter(None, closers):
        close()
    return taken


def anonymous():
    """This process's own memory in bytes, without the pages of libraries, which come and go (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def peak_memory(size, method):
    """Peak extra memory over two draws, in multiples of the weights; libraries are loaded and compiled beforehand."""
    draw, close = METHODS[method](model_of("5M"))
    draw(0)
    if close:
        close()
    del draw, close
    model = model_of(size)
    weights = sum(p.numel() for p in model.parameters()) * 4
    before, peak, done = anonymous(), [0], threading.Event()

    def watch():
        while not done.wait(0.001):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    draw, _ = METHODS[method](model)
    draw(0)
    draw(1)
    done.set()
    watcher.join()
    return (peak[0] - before) / weights


def memory_in_new_processes(size, threads):
    """Peak extra memory of each method, each in a process of its own."""
    out = {}
    for method in METHODS:
        command = [sys.executable, __file__, "--threads", str(threads), "--memory", size, method]
        out[method] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return out


def first_use():
    """Seconds to open an engine and draw once on a tiny model in a new process, without and with cached kernels."""
    code = (
        "import time, torch; from torch import nn; from certify.noise import noised, weight_noise;"
        "from certify.records import Seed; m = nn.Linear(2, 2).requires_grad_(False);"
        "law = weight_noise({n: p.numel() for n, p in m.named_parameters()}, 0.1); t = time.perf_counter();"
        "e = noised(m, law, Seed(value='0' * 64)).__enter__(); e.at(0); print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", code]
        runs = [
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
            for _ in range(2)
        ]
    return {"empty kernel cache": round(float(runs[0]), 2), "full kernel cache": round(float(runs[1]), 2)}


def processor():
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def machine(threads):
    """What the times depend on."""
    return {
        "processor": processor(),
        "instruction set": llvmlite.binding.get_host_cpu_name(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load average before": [round(x, 2) for x in os.getloadavg()],
        "memory, GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
    }


def rows_of(size, repeats, threads, with_memory):
    """One row for each method."""
    parameters = sum(p.numel() for p in model_of(size).parameters())
    # At 5M the allocator's own reuse is as large as what is measured, so memory is told for the large model only.
    memory = memory_in_new_processes(size, threads) if with_memory and size == "124M" else {}
    for name, taken in times(size, repeats).items():
        wall, busy = ([s / parameters * 1e9 for s in seconds] for seconds in zip(*taken, strict=True))
        yield {
            "model": size,
            "parameters": parameters,
            "method": name,
            "ns per parameter": round(statistics.median(busy), 3),
            "fastest": round(min(busy), 3),
            "slowest": round(max(busy), 3),
            "wall ns per parameter": round(statistics.median(wall), 3),
            "peak extra memory, x weights": round(memory[name], 2) if memory else None,
        }


def measure(sizes, repeats, threads, with_memory, note):
    """The whole record."""
    started = time.perf_counter()
    record = {"machine": machine(threads), "note": note, "sigma": SIGMA, "dtype": "float32", "repeats": repeats}
    record["first use, s"] = first_use()
    record["results"] = [row for size in sizes for row in rows_of(size, repeats, threads, with_memory)]
    record["machine"]["load average after"] = [round(x, 2) for x in os.getloadavg()]
    record["seconds in all"] = round(time.perf_counter() - started)
    return record


def verdicts(record):
    """What became of the targets: they alert, they do not gate. They are stated for one thread."""
    median = {(row["model"], row["method"]): row["ns per parameter"] for row in record["results"]}
    for (size, method), value in median.items():
        if method in TARGETS:
            met = "met" if value <= TARGETS[method] else "MISSED"
            yield f"{method}, {size}: at most {TARGETS[method]} ns: {value:.2f}, {met}"
    for (slow, ours), least in RATIOS.items():
        if ("124M", slow) in median:
            ratio = median["124M", slow] / median["124M", ours]
            met = "met" if ratio >= least else "MISSED"
            yield f"{ours} against {slow}, 124M: at least {least}x: {ratio:.1f}x, {met}"


def show(record):
    """The table and the targets."""
    print(f"{'model':6} {'method':32} {'ns/parameter':>12} {'fastest':>8} {'slowest':>8} {'wall':>8} {'memory':>7}")
    for row in record["results"]:
        memory = row["peak extra memory, x weights"]
        print(
            f"{row['model']:6} {row['method']:32} {row['ns per parameter']:12.2f} {row['fastest']:8.2f} "
            f"{row['slowest']:8.2f} {row['wall ns per parameter']:8.2f} {'' if memory is None else f'{memory:.2f}x':>7}"
        )
    for line in verdicts(record):
        print(f"target: {line}")
    print(f"first use: {record['first use, s']}; machine: {record['machine']}; {record['seconds in all']} s in all")


def main():
    """Print the table, and write the record if asked."""
    parser = argparse.ArgumentParser(description="Time one draw of weight noise.")
    parser.add_argument("--json", type=Path, help="write a record with machine data to this file")
    parser.add_argument("--size", choices=MODELS, action="append", help="models to time (both, unless given)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--note", default="", help="kept in the record, e.g. whether the machine was shared")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory runs")
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "METHOD"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.memory:
        print(peak_memory(*chosen.memory))
        return
    record = measure(chosen.size or list(MODELS), chosen.repeats, chosen.threads, not chosen.no_memory, chosen.note)
    show(record)
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
