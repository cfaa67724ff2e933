"""Draws for a model that vLLM serves: its workers stream base + noise, tensor by tensor, into the layout they have.

vLLM's own loader takes whole tensors, and cuts and fuses them. So a draw is the same function of seed, stream, draw,
tensor and element under any layout, by the code that the explicit engine runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch

from certify.checkpoints.bits import examined, same_bits
from certify.checkpoints.checkpoint import TORCH_NAMES, digest_of_weights
from certify.checkpoints.served import Served
from certify.errors import CheckpointError
from certify.noise.held import check_draw, place, unmoved, warn_if_still
from certify.noise.perturbation import WeightPerturbation
from certify.noise.walk import Span, towards
from certify.records import Seed, WeightNoise

NAMES = {getattr(torch, torch_name): name for name, torch_name in TORCH_NAMES.items()}


class StreamingEngine:
    """Shows a served model at base + draw i; nothing is put back, since a served model brings its own weights.

    Guarantee: the weights that a worker is given are, bit for bit, those of :class:`ExplicitEngine` for the draw.
    """

    def __init__(self, model: Served, law: WeightNoise, seed: Seed, lattice_bits: int, stream: str) -> None:
        self._model, self._fresh = model, True
        self._noise = {
            "law": law.model_dump(mode="json"), "seed": seed.value, "lattice_bits": lattice_bits, "stream": stream
        }  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def at(self, draw: int) -> Served:
        """Return the model under draw ``draw``; the first one asked for is compared between the workers.

        Raises:
            InvalidInput: ``draw`` is not in [0, 2^32).
            CheckpointChanged: the workers were given different weights.
        """
        check_draw(draw)
        shown = self._model.under(**self._noise, draw=draw)
        if self._fresh:
            _, moving, still = shown.identified()
            warn_if_still(still, moving)
            self._fresh = False
        return shown


class Worker:
    """What vLLM's worker class is given beside its own methods, in the process where it runs."""

    def show_weights(self, point: dict[str, Any], identify: bool) -> list[Any]:
        """Put the weights of a point into this worker's part of the model.

        With ``identify`` return the digest of what was given, how many numbers noise was put on, and how many of them
        stood still; everything is then also seen to be taken.

        Raises:
            CheckpointError: vLLM left some parameter without a value.
        """
        this: Any = self
        model, device = this.model_runner.get_model(), this.device
        seen: list[Any] | None = [] if identify else None
        moved = [0, 0]
        if identify:
            _void(model)
        this.reload_weights(weights_iterator=_stream(point, device, seen, moved))
        if seen is not None and (left := _left_void(model)):
            raise CheckpointError(f"vLLM took no weights for {left[0]!r} ({len(left)} such parameters)")
        _pack_again(model)
        if seen is None:
            return []
        return [digest_of_weights(seen), *moved]


def _stream(
    point: Mapping[str, Any], device: torch.device, seen: list[Any] | None, moved: list[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what each tensor is called in its file, and its values at the point; note them in ``seen``, if it is."""
    noise = _perturbation(point)
    places, fraction = point.get("towards", ([], 0.0))
    other = {name: (stored, file) for name, stored, file in places}
    dtype = getattr(torch, point["dtype"])
    with ExitStack() as files:
        for name, stored, file in point["places"]:
            as_stored = _read(files, stored, file)
            base = as_stored.to(device, dtype)
            if dtype != as_stored.dtype and not same_bits(base.to(as_stored.dtype), as_stored.to(device)):
                raise CheckpointError(f"{file}: tensor {stored!r} is not exact in {dtype}: cast it yourself")
            shown, as_seen = base, as_stored
            if noise is not None and name in noise.names:
                shown = as_seen = torch.empty_like(base)
                noise.writer([place(name, base, shown)])(point["noise"]["draw"])
                if seen is not None:
                    moved[:] = moved[0] + base.numel(), moved[1] + unmoved(base.reshape(-1), shown.view(-1))
            elif other:
                shown = as_seen = torch.empty_like(base)
                theirs = {name: _read(files, *other[name]).to(device, dtype)}
                Span([name], towards(theirs)).writer([place(name, base, shown)])([fraction])
            if seen is not None:
                seen.append((name, NAMES[as_seen.dtype], as_seen.shape, examined(as_seen)[0]))
            yield stored, shown


def _read(files: ExitStack, stored: str, file: str) -> torch.Tensor:
    from safetensors import safe_open

    opened = files.enter_context(safe_open(file, framework="pt"))
    tensor: torch.Tensor = opened.get_tensor(stored)
    return tensor


def _perturbation(point: Mapping[str, Any]) -> WeightPerturbation | None:
    noise = point.get("noise")
    if noise is None:
        return None
    law = WeightNoise.model_validate(noise["law"])
    return WeightPerturbation(law, int(noise["seed"], 16), noise["lattice_bits"], noise["stream"])


def _void(model: torch.nn.Module) -> None:
    """Make every parameter NaN: one that is not written again gives no score instead of a wrong one."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data.fill_(float("nan"))


def _left_void(model: torch.nn.Module) -> list[str]:
    """Return the names of parameters that hold NaN; rows that pad a worker's part of the vocabulary are made 0."""
    modules: Any = model.modules()
    for module in modules:
        if (part := getattr(module, "shard_indices", None)) is not None:
            module.weight.data[part.num_org_elements :] = 0.0
    named = model.named_parameters()
    return [name for name, p in named if p.is_floating_point() and p.numel() and bool(p.isnan().any())]


def _pack_again(model: torch.nn.Module) -> None:
    """Let heads that are tied to the embedding take its new weights.

    Loading them again leaves a head alone that has no weights of its own, and on a CPU it computes with a packed copy.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)
