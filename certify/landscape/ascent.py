"""The worst case: projected gradient ascent on the surrogate, over directions of norm sqrt(d), at one radius.

An attack. It succeeds, by showing one direction that breaks the capability, or it fails; a failed attack proves
nothing, and neither says anything between or beyond.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from certify.errors import CertifyWarning, InvalidPlan
from certify.landscape.directions import ATTACK, gaussian, norm_of
from certify.landscape.record import Ascent, WorstCase
from certify.landscape.surrogate import gradient_of
from certify.measuring import Run
from certify.measuring.sealed_lines import sealed, unsealed
from certify.noise.walk import Span, Walk, stored
from certify.records import digest
from certify.statistics import ranges
from certify.writing import whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from certify.landscape.surrogate import Surrogate
    from certify.landscape.terrain import Terrain

STEPS, RESTARTS = 30, 3
FIRST_STEP = 1.0  # in units of sqrt(d): the first step may turn the direction by 45 degrees, later ones ever less
NO_SURROGATE = (
    "the worst case needs a loss with a gradient, and the answers of this benchmark are not scored by likelihood; "
    "leave the case out"
)
SEAL = "ascent"  # the key under which a kept direction holds its ascent and its own digest
Vector = dict[str, torch.Tensor]


def worst_case(
    terrain: Terrain, radius: float, *, steps: int = STEPS, restarts: int = RESTARTS, run: Run | None = None
) -> tuple[WorstCase, Vector]:
    """Return the direction with the largest surrogate loss at base + radius * v that the ascent found, and its record.

    Each restart begins at a random direction. A step adds the normalised gradient, times a length that falls
    linearly to 0, and projects back to norm sqrt(d). The best of all steps of all restarts is kept.

    Raises:
        InvalidPlan: the benchmark has no surrogate with a gradient.
    """
    if terrain.surrogate is None:
        raise InvalidPlan(NO_SURROGATE)
    ranges.positive("radius", radius)
    ranges.count("steps", steps)
    run, ascents, highest, vector = run or Run(), [], -math.inf, Vector()
    for draw in range(ranges.count("restarts", restarts)):
        ascent, end = _kept(terrain, radius, steps, draw, run, terrain.surrogate)
        ascents.append(ascent)
        if not vector or (ascent.best is not None and ascent.best > highest):
            vector, highest = end, -math.inf if ascent.best is None else ascent.best
    record = WorstCase(
        seed=terrain.seed,
        stream=ATTACK,
        radius=radius,
        steps=steps,
        ascents=tuple(ascents),
        digest=_digest(vector),
    )
    return record, vector


def _ascend(
    terrain: Terrain, surrogate: Surrogate, radius: float, v: Vector, draw: int, track: Iterable[int], steps: int
) -> tuple[Ascent, Vector]:
    """Walk uphill from ``v``, which is changed in place; return the losses and the best direction on the way."""
    norm = math.sqrt(terrain.dimension)
    _scale(v, norm)
    start = best = None
    kept = {name: z.clone() for name, z in v.items()}
    with Walk(terrain.model, Span(terrain.sizes, stored(v))) as walk:
        for step in track:
            loss, gradient = gradient_of(surrogate, walk.at((radius,)))
            size = norm_of(gradient)
            if not (math.isfinite(loss) and math.isfinite(size)):
                break  # the logits overflowed: there is no uphill any more
            start = loss if step == 0 else start
            if best is None or loss > best:
                best = loss
                for name, z in v.items():
                    kept[name].copy_(z)
            if size == 0.0:
                break
            length = FIRST_STEP * norm * (1 - step / steps)
            for name, z in v.items():
                z.add_(gradient[name].to(z.dtype), alpha=length / size)
            _scale(v, norm)
    return Ascent(draw=draw, start=start, best=best), kept


def _scale(v: Vector, norm: float) -> None:
    """Project to the sphere: give ``v`` its norm, in place."""
    factor = norm / norm_of(v)
    for z in v.values():
        z.mul_(factor)


def _kept(
    terrain: Terrain, radius: float, steps: int, draw: int, run: Run, surrogate: Surrogate
) -> tuple[Ascent, Vector]:
    """Ascend once, or read what an earlier run of the very same ascent kept among the finished draws."""
    identity = {**terrain.identity, "design": "ascent", "surrogate": surrogate.name, "step": FIRST_STEP}
    file = _file(run, {**identity, "radius": radius, "steps": steps, "draw": draw})
    if file is not None and file.exists() and (kept := _read(file, terrain)) is not None:
        return kept
    track = run.track(range(steps), f"worst case, restart {draw + 1}")
    ascent, vector = _ascend(terrain, surrogate, radius, gaussian(terrain, ATTACK, draw), draw, track, steps)
    if file is not None:
        _write(file, ascent, vector)
    return ascent, vector


def _file(run: Run, identity: dict[str, Any]) -> Path | None:
    if run.ledgers is None:
        return None
    return run.ledgers / f"ascent.{digest(identity).removeprefix('sha256:')[:32]}.safetensors"


def _write(file: Path, ascent: Ascent, vector: Vector) -> None:
    from safetensors.torch import save_file

    tensors = {name: z.cpu().contiguous() for name, z in vector.items()}
    seal = sealed([ascent.model_dump(mode="json"), _digest(vector)]).decode()
    with whole(file) as aside:
        save_file(tensors, aside, metadata={SEAL: seal})


def _read(file: Path, terrain: Terrain) -> tuple[Ascent, Vector] | None:
    """Return a kept ascent; None, with a warning, if one bit of it is not what was kept: it is then walked again."""
    from safetensors import SafetensorError, safe_open

    devices = {name: p.device for name, p in terrain.model.named_parameters()}
    try:
        with safe_open(file, framework="pt") as f:
            seal = unsealed(f.metadata()[SEAL].encode())
            vector = {name: f.get_tensor(name).to(device) for name, device in devices.items()}
        if seal is not None and seal[1] == _digest(vector):
            return Ascent.model_validate(seal[0]), vector
    except (SafetensorError, OSError, KeyError, TypeError):
        pass
    warnings.warn(f"{file}: damaged: this ascent is walked again", CertifyWarning, stacklevel=2)
    return None


def _digest(vector: Vector) -> str:
    whole = hashlib.sha256()
    for name in sorted(vector):
        whole.update(json.dumps([name, list(vector[name].shape)]).encode())
        whole.update(vector[name].contiguous().view(-1).view(torch.uint8).cpu().numpy().data)
    return "sha256:" + whole.hexdigest()
