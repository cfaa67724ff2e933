"""Walks show a model at chosen points with the explicit engine's guarantees."""

from __future__ import annotations

from typing import Literal

import contract
import numpy as np
import pytest
import torch
from torch import nn

from certify.errors import CheckpointChanged
from certify.noise import NormalStream
from certify.noise.contract import Place
from certify.noise.cpu import CpuBackend
from certify.noise.explicit import ExplicitEngine
from certify.noise.law import lattice_pitch, weight_noise
from certify.noise.perturbation import WeightPerturbation
from certify.noise.tensor_ops import TensorBackend
from certify.noise.walk import Normals, Span, Walk, stored, towards

SEED, STREAM = 2**190 + 5, "landscape/E"


def sizes(model: nn.Module) -> dict[str, int]:
    return {name: p.numel() for name, p in model.named_parameters()}


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    """The same bits, so that zeros of either sign differ."""
    view = {name: contract.BITS[t.itemsize] for name, t in one.items()}
    return all(torch.equal(one[n].contiguous().view(v), two[n].contiguous().view(v)) for n, v in view.items())


def tuned(model: contract.Odd, dtype: torch.dtype) -> contract.Odd:
    """A checkpoint that moved every tensor, some by much and some by little."""
    other = contract.odd(dtype)
    generator = torch.Generator().manual_seed(5)
    for i, p in enumerate(other.parameters()):
        p.data.add_((10.0 ** (1 - i)) * torch.randn(p.shape, generator=generator).to(dtype))
    return other


@pytest.mark.parametrize("dtype", contract.DTYPES)
class TestNormals:
    """base + a z, as the engine draws it."""

    def test_at_a_lie_the_bits_of_the_engine_s_draw_of_sigma_a(self, dtype: torch.dtype) -> None:
        model = contract.odd(dtype)
        for a in (0.3, 0.011):
            law = weight_noise(sizes(model), a)
            with ExplicitEngine(model, WeightPerturbation(law, SEED, 12, STREAM)) as engine:
                expected = weights(engine.at(3))
            with Walk(model, Normals(sizes(model), SEED, STREAM)) as walk:
                assert equal(weights(walk.at((3, a))), expected)
                assert not equal(weights(walk.at((4, a))), expected)

    def test_at_minus_a_lies_the_base_minus_the_noise(self, dtype: torch.dtype) -> None:
        """Against the numpy text of the generator; for one tensor whose elements are in order."""
        model, a = contract.odd(dtype), 0.3
        base = weights(model)["table.weight"]
        rank = sorted(sizes(model)).index("table.weight")
        z = NormalStream(SEED, STREAM).normals(3, rank, base.numel())
        pitch = lattice_pitch(a, 12)
        noise = torch.from_numpy(np.rint(a * z / pitch) * pitch).view(base.shape)
        with Walk(model, Normals(sizes(model), SEED, STREAM)) as walk:
            for sign in (1, -1):
                total = base.double() + sign * noise
                rounded = (total if dtype == torch.float64 else total.float()).to(dtype)
                assert torch.equal(weights(walk.at((3, sign * a)))["table.weight"], rounded)

    def test_every_backend_writes_the_same_bits_on_either_side(self, dtype: torch.dtype) -> None:
        """The fused kernels and the tensor operations, for +a and -a."""
        base = torch.linspace(-0.05, 0.05, 5000, dtype=torch.float64).to(dtype)
        law = weight_noise({"w": 5000}, 0.02)
        signs: tuple[Literal[1, -1], ...] = (1, -1)
        for sign in signs:
            shown = []
            for backend in (CpuBackend(), TensorBackend()):
                place = Place("w", base, torch.zeros_like(base))
                WeightPerturbation(law, SEED, 12, STREAM, backend=backend, sign=sign).writer([place])(1)
                shown.append(place.work)
            assert torch.equal(*shown)
            assert not torch.equal(shown[0], base)

    def test_at_zero_lies_the_base(self, dtype: torch.dtype) -> None:
        model = contract.odd(dtype)
        before = weights(model)
        with Walk(model, Normals(sizes(model), SEED, STREAM)) as walk:
            walk.at((0, 0.5))
            assert equal(weights(walk.at((0, 0.0))), before)


@pytest.mark.parametrize("dtype", contract.DTYPES)
class TestSpan:
    """base + sum of a_i v_i, in float64, rounded once."""

    def test_at_one_lies_the_checkpoint_itself(self, dtype: torch.dtype) -> None:
        """Not nearly: bit for bit."""
        model = contract.odd(dtype)
        other = tuned(model, dtype)
        with Walk(model, Span(sizes(model), towards(dict(other.named_parameters())))) as walk:
            assert equal(weights(walk.at((1.0,))), weights(other))
            assert not equal(weights(walk.at((0.999,))), weights(other))

    def test_one_rounding(self, dtype: torch.dtype) -> None:
        """Two vectors at once are the float64 sum, whatever the slabs; two steps of rounding are not."""
        model = contract.odd(dtype)
        base, other = weights(model), weights(tuned(model, dtype))
        generator = torch.Generator().manual_seed(6)
        vector = {name: torch.randn(p.shape, generator=generator) for name, p in base.items()}
        with Walk(model, Span(base, towards(other), stored(vector))) as walk:
            shown = weights(walk.at((0.3, -0.7)))
        for name, p in base.items():
            wide = p.double()
            total = wide + (0.3 * (other[name].double() - wide) + -0.7 * vector[name].double())
            assert torch.equal(shown[name], (total if dtype == torch.float64 else total.float()).to(dtype))

    def test_a_walk_there_and_back_leaves_nothing(self, dtype: torch.dtype) -> None:
        """Points do not depend on those before them; accumulated steps would (the broken sibling shows it)."""
        model = contract.odd(dtype)
        other = tuned(model, dtype)
        vector = dict(other.named_parameters())
        with Walk(model, Span(sizes(model), towards(vector))) as walk:
            first = weights(walk.at((0.1,)))
            for f in (0.7, -3.0, 0.2):
                walk.at((f,))
            assert equal(weights(walk.at((0.1,))), first)
        stepped = {name: p.clone() for name, p in weights(model).items()}
        for _ in range(20):
            for name, p in stepped.items():
                p += (0.05 * (vector[name] - weights(model)[name])).to(dtype)
        assert not equal(stepped, weights(other))


class TestRestoring:
    """The model is its own again."""

    @pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
    def test_same_storage_and_bytes(self, error: type[BaseException] | None) -> None:
        model = contract.odd()
        before, places = weights(model), [p.data_ptr() for p in model.parameters()]
        flags = [p.requires_grad for p in model.parameters()]
        try:
            with Walk(model, Normals(sizes(model), SEED, STREAM)) as walk:
                walk.at((0, 1.0))
                if error is not None:
                    raise error
        except (RuntimeError, KeyboardInterrupt):
            pass
        assert equal(weights(model), before)
        assert [p.data_ptr() for p in model.parameters()] == places
        assert [p.requires_grad for p in model.parameters()] == flags

    def test_a_base_that_was_written_meanwhile_voids_the_walk(self) -> None:
        model = contract.odd()
        storage = model.table.weight.data
        with (
            pytest.raises(CheckpointChanged, match="void"),
            Walk(model, Normals(sizes(model), SEED, STREAM)) as walk,
        ):
            walk.at((0, 1.0))
            storage[0, 0] += 1.0

    def test_global_randomness_is_untouched(self) -> None:
        model = contract.odd()
        state = torch.random.get_rng_state()
        with Walk(model, Normals(sizes(model), SEED, STREAM)) as walk:
            walk.at((0, 1.0))
        assert torch.equal(torch.random.get_rng_state(), state)
