"""Is the activation engine exact on this model? Measured, not believed: coupling, Gram identity, noise.

1. *Coupling.* From what each layer was shown (its inputs X and noise N) complete one weight draw
   eps^T = X^+ N + (I - X^+ X) Z with fresh Z, run the ordinary model at base + sigma eps, compare logits.
2. *Gram identity.* |L L^T - X X^T| relative to |X X^T|, in float64.
3. *Noise.* N is L times fresh normals of stream A, element by element.

Together they give the exact law. Coupling alone does not: with full row rank any noise, also noise that is
independent between tokens, is realised by some eps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.noise.activation.engine import ActivationEngine
from certify.noise.activation.factor import Factor
from certify.noise.activation.handlers import rule_of
from certify.noise.activation.layout import Layout
from certify.noise.activation.one_pass import Recorder, Site
from certify.noise.activation.refusals import head_of
from certify.noise.contract import Place, Write
from certify.noise.philox import NormalStream
from certify.noise.scratch import ScratchEngine

OUTPUTS = 4096  # of a matrix that are completed at a time
RANK = 1e-6  # singular values below this share of the largest are rounding: float32 inputs hold no more


SeenRows = dict[int, list[list[int]]]  # for each embedding's tensor, the rows that each group reads


@dataclass(frozen=True)
class Exactness:
    """How far one batch was from the ordinary model; all maxima. ``logit`` is the largest logit's size."""

    coupling: float
    gram: float
    noise: float
    effect: float
    logit: float
    dtype: torch.dtype

    @property
    def limit(self) -> float:
        """The allowed coupling error: 1e-5, and for logits beyond 1 as much relative to them."""
        return 1e-5 * max(1.0, self.logit)

    @property
    def exact(self) -> bool:
        """Whether all three are within rounding. A NaN is not."""
        rounding = 1e-6 if self.dtype == torch.float64 else 1e-5
        return self.coupling <= self.limit and self.gram <= rounding and self.noise <= rounding and self.effect > 0

    def describe(self) -> str:
        """Return the numbers in words."""
        return (
            f"logits differ from the ordinary model's by {self.coupling:.1e} (limit {self.limit:.1e}), Gram matrices "
            f"by {self.gram:.1e}, noise from its stream by {self.noise:.1e}; noise moves logits by {self.effect:.1e}"
        )


TRUSTED = Exactness(coupling=0.0, gram=0.0, noise=0.0, effect=1.0, logit=0.0, dtype=torch.float32)
"""In the place of a proof, for pilots that choose work: nothing of them enters a claim."""


@dataclass(frozen=True)
class Shown:
    """What one matrix was shown in each group: inputs, their root, noise; cut to the group's real rows."""

    site: Site
    x: list[torch.Tensor]
    root: list[torch.Tensor]
    noise: list[torch.Tensor]


def examine(engine: ActivationEngine, layout: Layout, z_seed: int = 0, **inputs: Any) -> Exactness:
    """Run one batch in activation space and every group of it as an ordinary model; return how they differ.

    The engine must be closed. ``inputs`` are the model's; those with one entry per row are cut to a group's rows.
    Memory: the largest module's weights once more, in the model's dtype.
    """
    shown: dict[int, Shown] = {}
    head = head_of(engine.model)
    with engine:
        noised = engine.logits(layout, _recorder(shown), **inputs)
    with torch.inference_mode(False), torch.no_grad():
        clean, seen = _clean_pass(engine, layout, inputs)
        gaps = []
        with ScratchEngine(engine.model, _Completion(engine, layout, shown, seen, z_seed)) as completed:
            for g in range(len(layout.draws)):
                rows, places, own = layout.of_group(g)
                model, asked = completed.at(g), _of_rows(inputs, rows, len(layout.group))
                ordinary = own.scored(head, lambda: model(**asked).logits)  # noqa: B023
                gaps.append((ordinary - noised[places]).abs().max().item())
    groups = [(s, g) for s in shown.values() for g in range(len(layout.draws))]
    return Exactness(
        coupling=_worst(gaps),
        gram=_worst(_gram(s.x[g], s.root[g]) for s, g in groups),
        noise=_worst(_off_stream(engine, layout.draws[g], g, s, seen) for s, g in groups),
        effect=(noised - clean).pow(2).mean().sqrt().item(),
        logit=noised.abs().max().item(),
        dtype=noised.dtype,
    )


def _worst(values: Iterable[float]) -> float:
    """Return the largest value; NaN if there is one, which plain ``max`` may lose."""
    return float(np.max([0.0, *values]))


def _recorder(shown: dict[int, Shown]) -> Recorder:
    """Return what writes down each matrix's inputs, root and noise, by tensor."""

    def record(site: Site, found: Factor, noise: torch.Tensor) -> None:
        sizes = list(enumerate(zip(found.packing.counts, found.ranks, strict=True)))
        shown[site.weight.tensor] = Shown(
            site,
            x=[found.x[g, :n].clone() for g, (n, _) in sizes],
            root=[found.root[g, :n, :rank].clone() for g, (n, rank) in sizes],
            noise=[noise[g, :n].clone() for g, (n, _) in sizes],
        )

    return record


def _of_rows(inputs: dict[str, Any], rows: torch.Tensor, batch: int) -> dict[str, Any]:
    """Return a group's own rows of every input that has rows."""
    return {
        k: v[rows] if isinstance(v, torch.Tensor) and v.ndim >= 2 and len(v) == batch else v for k, v in inputs.items()
    }


def _clean_pass(engine: ActivationEngine, layout: Layout, inputs: dict[str, Any]) -> tuple[torch.Tensor, SeenRows]:
    """Return the base's logits, and which rows of each embedding every group reads: the engine is not asked."""
    seen: SeenRows = {}

    def watch(tensor: int) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> None:
            ids = args[0].expand(layout.real.shape)
            mine = [(layout.group == g)[:, None] & layout.real for g in range(len(layout.draws))]
            seen[tensor] = [ids[places].unique().tolist() for places in mine]

        return hook

    embeddings = [site for site in engine.sites if (rule := rule_of(site.module)) and rule.kind == "rows"]
    handles = [site.module.register_forward_hook(watch(site.weight.tensor)) for site in embeddings]
    try:
        return layout.scored(head_of(engine.model), lambda: engine.model(**inputs).logits), seen
    finally:
        for handle in handles:
            handle.remove()


class _Completion:
    """Base + sigma eps with one eps that fits what a group was shown, as what an engine writes: group g is draw g."""

    def __init__(
        self, engine: ActivationEngine, layout: Layout, shown: dict[int, Shown], seen: SeenRows, z_seed: int
    ) -> None:
        self.names = tuple(name for name in sorted(engine.law.sigma) if engine.law.sigma[name] > 0)
        self._ids = {name: i for i, name in enumerate(sorted(engine.law.sigma))}
        self._engine, self._layout, self._shown, self._seen, self._z_seed = engine, layout, shown, seen, z_seed

    def writer(self, places: Sequence[Place]) -> Write:
        """Return what writes the completed weights of a group."""

        def write(g: int) -> None:
            for place in places:
                self._complete(place, g)

        return write

    def _complete(self, place: Place, g: int) -> None:
        engine, tensor, draw = self._engine, self._ids[place.name], self._layout.draws[g]
        shape, sigma = engine.model.get_parameter(place.name).shape, engine.law.sigma[place.name]
        base, work = place.base.view(shape), place.work.view(shape)
        stream = NormalStream(engine.seed, engine.prefix + "E")
        if len(shape) == 1:
            _move(work, base, sigma, torch.from_numpy(stream.normals(draw, tensor, shape[0])))
            return
        rows = self._seen[tensor][g] if tensor in self._seen else []
        own = base[rows]  # before anything is written: the two may be one storage
        generator = torch.Generator().manual_seed(self._z_seed + g + (tensor << 16))
        _complete_matrix(work, base, sigma, self._shown.get(tensor), g, generator)
        for v, row in zip(rows, own, strict=True):
            _move(work[v], row, sigma, torch.from_numpy(stream.normals(draw, tensor, shape[1], v * shape[1])))


def _complete_matrix(
    work: torch.Tensor, base: torch.Tensor, sigma: float, shown: Shown | None, g: int, generator: torch.Generator
) -> None:
    """Complete one matrix: fixed by (X, N) on the span of X, fresh off it; wholly fresh if it was not multiplied.

    Made in parts, each for some of its outputs, so that nothing in float64 is of its size.
    """
    if shown is not None:
        x, noise = shown.x[g].double().cpu(), shown.noise[g].double().cpu()
        u, s, v = torch.linalg.svd(x, full_matrices=False)
        keep = s > RANK * s[0]
        v, fixed = v[keep], noise.T @ (u[:, keep] / s[keep])
        if type(shown.site.module).__name__ == "Conv1D":  # inputs come first
            work, base = work.T, base.T
    for start in range(0, len(base), OUTPUTS):
        part = slice(start, start + OUTPUTS)
        eps = torch.randn(base[part].shape, generator=generator).double()
        if shown is not None:
            eps.addmm_(fixed[part] - eps @ v.T, v)
        _move(work[part], base[part], sigma, eps)


def _move(work: torch.Tensor, base: torch.Tensor, sigma: float, eps: torch.Tensor) -> None:
    work.copy_(base.double() + sigma * eps.to(base.device))


def _gram(x: torch.Tensor, root: torch.Tensor) -> float:
    """Return max|L L^T - X X^T| / max|X X^T|, in float64."""
    wide, factor = x.double(), root.double()
    gram = wide @ wide.T
    return ((factor @ factor.T - gram).abs().max() / gram.abs().max()).item()


def _off_stream(engine: ActivationEngine, draw: int, g: int, shown: Shown, seen: SeenRows) -> float:
    """Return how far the noise shown is from L times the contract's normals, relative to the largest."""
    root, noise = shown.root[g].double().cpu(), shown.noise[g].double().cpu()
    rank, width = root.shape[1], noise.shape[1]
    stream = NormalStream(engine.seed, engine.prefix + "A")
    z = torch.from_numpy(stream.normals(draw, shown.site.weight.tensor, rank * width)).view(rank, width)
    own = torch.ones(width, dtype=torch.bool)
    if shown.site.tied:  # rows that were embedded show their embedding's noise, which the coupling checks
        own[seen[shown.site.weight.tensor][g]] = False
    gap, size = (noise - root @ z)[:, own].abs(), noise.abs().max()
    return (gap.max() / size).item() if gap.numel() else 0.0
