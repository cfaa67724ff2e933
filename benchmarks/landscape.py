"""How long does a 1-D landscape take, and how does it differ from `loss-landscapes`, the usual package?

    pip install --no-deps loss-landscapes==3.0.6        # pure Python; nothing else here needs it
    python benchmarks/landscape.py [--json FILE]

21 points along 5 directions through the demo's base, 300 items of addition, one thread. Both evaluate the very same
function of the weights. They take turns within one run, so a busy machine slows both; figures are medians, and the
ratio is theirs over ours. Both are bound by the forward pass: a ratio near 1 is all there is to be had. What differs
is what comes out, so the second half runs the package's promises and prints what it finds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certify.demo import DATA
from certify.landscape.directions import most_case
from certify.landscape.grid import even
from certify.landscape.slices import slice_along
from certify.landscape.terrain import Terrain
from certify.measuring import Base

POINTS, DIRECTIONS, SPAN = 21, 5, 0.3


def ours(terrain: Terrain) -> None:
    """Both sides of the base, which is looked at once: 101 evaluations."""
    slice_along(terrain, most_case(terrain, DIRECTIONS), even(SPAN, POINTS), refine=0)


def theirs(package: Any, terrain: Terrain) -> None:
    """One side of the base, without the base: 105 evaluations. Only a deep copy leaves the model where it was."""
    for _ in range(DIRECTIONS):
        package.random_line(
            terrain.model, lambda wrapper: terrain.look(wrapper.modules[0]).score, steps=POINTS, deepcopy_model=True
        )


def interleaved(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, dict[str, float]]:
    """Median wall and processor seconds of each, after one warm-up, taking turns."""
    for run in runs.values():
        run()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {
        name: {part: statistics.median(each[i] for each in taken) for i, part in enumerate(("wall", "processor"))}
        for name, taken in seconds.items()
    }


def timings(package: Any, repeats: int) -> dict[str, Any]:
    """Seconds and ratios for the score alone (one forward pass a point), and for score and likelihood (two)."""
    base = Base.open(DATA / "base", DATA / "benchmarks" / "addition.jsonl")
    out = {}
    for name, terrain in (
        ("score", replace(Terrain.of(base), surrogate=None)),
        ("score and likelihood", Terrain.of(base)),
    ):
        runs = {"ours": lambda t=terrain: ours(t), "loss-landscapes": lambda t=terrain: theirs(package, t)}
        taken = interleaved(runs, repeats)
        ratios = {part: taken["loss-landscapes"][part] / taken["ours"][part] for part in ("wall", "processor")}
        out[name] = {**taken, "ratio": ratios}
    return out


def differences(package: Any) -> dict[str, Any]:
    """Run the package on small models and note what it does; every number is found here, none is quoted."""
    from loss_landscapes.model_interface.model_parameters import ModelParameters, rand_u_like

    torch.manual_seed(0)
    inputs, wanted = torch.randn(10, 5), torch.randn(10, 4)

    def metric(wrapper: Any) -> float:
        return float(nn.functional.mse_loss(wrapper.forward(inputs), wanted))

    found: dict[str, Any] = {}
    wide = ModelParameters([p.detach() for p in nn.Linear(100, 100, bias=False).parameters()])
    one, two = (torch.cat([t.flatten() for t in rand_u_like(wide)]) for _ in range(2))
    found["smallest and largest entry of a direction"] = [float(one.min()), float(one.max())]
    found["cosine of two directions"] = float(torch.cosine_similarity(one, two, dim=0))

    biased = nn.Linear(5, 4)
    start = ModelParameters([p.detach() for p in biased.parameters()])
    direction = rand_u_like(start)
    direction.filter_normalize_(start)
    found["a bias's direction is the bias itself, made positive"] = bool(
        torch.allclose(direction[1], biased.bias.detach().abs())
    )
    nn.init.zeros_(biased.bias)
    try:
        package.random_line(biased, metric, steps=5)
        found["zero biases"] = "works"
    except ZeroDivisionError as error:
        found["zero biases"] = f"ZeroDivisionError: {error}"

    model = nn.Linear(5, 4, bias=False)
    before = model.weight.detach().clone()
    at_base = metric(package.model_interface.model_wrapper.wrap_model(model))
    values = package.random_line(model, metric, distance=1, steps=5)
    found["the base is among the points"] = bool(abs(values - at_base).min() < 1e-6)
    found["model moved afterwards, relative"] = float((model.weight.detach() - before).norm() / before.norm())
    found["requires_grad afterwards"] = model.weight.requires_grad
    found["end of the line, relative, for distance 0.1, 1, 10"] = [_end(package, metric, d) for d in (0.1, 1.0, 10.0)]

    found["weights that end elsewhere in 20 steps than in 1, float32, bfloat16"] = [
        _drift(package, dtype) for dtype in (torch.float32, torch.bfloat16)
    ]

    state = torch.random.get_rng_state()
    package.random_line(model, metric, steps=2, deepcopy_model=True)
    found["draws from the global generator"] = not torch.equal(state, torch.random.get_rng_state())
    return found


def _end(package: Any, metric: Callable[[Any], float], distance: float) -> float:
    model = nn.Linear(5, 4, bias=False)
    before = model.weight.detach().clone()
    package.random_line(model, metric, distance=distance, steps=5)
    return float((model.weight.detach() - before).norm() / before.norm())


def _drift(package: Any, dtype: torch.dtype) -> float:
    """Share of weights at the end of one and the same line that depend on how many steps led there."""
    ends = []
    for steps in (1, 20):
        torch.manual_seed(1)
        model = nn.Linear(100, 100, bias=False, dtype=dtype)
        package.random_line(model, lambda _: 0.0, distance=10, steps=steps, normalization=None)
        ends.append(model.weight.detach())
    return float((ends[0] != ends[1]).double().mean())


def main() -> None:
    """Print timings and differences, and write them with the machine's data if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    try:
        import loss_landscapes as package
    except ModuleNotFoundError:
        raise SystemExit("install it first: pip install --no-deps loss-landscapes==3.0.6") from None

    torch.set_num_threads(1)
    taken = timings(package, arguments.repeats)
    for name, each in taken.items():
        print(
            f"{name:22} ours {each['ours']['processor']:.2f} s, loss-landscapes "
            f"{each['loss-landscapes']['processor']:.2f} s of processor time; ratio {each['ratio']['processor']:.2f} "
            f"(wall {each['ratio']['wall']:.2f})"
        )
    found = differences(package)
    for name, value in found.items():
        shown = [float(f"{v:.3g}") for v in value] if isinstance(value, list) else value
        print(f"{name}: {shown:.3g}" if isinstance(shown, float) else f"{name}: {shown}")
    if arguments.json:
        record = {
            "machine": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "loss-landscapes": "3.0.6",
            "points": POINTS,
            "directions": DIRECTIONS,
            "repeats": arguments.repeats,
            "timings": taken,
            "differences": found,
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
