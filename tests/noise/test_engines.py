"""Engines: every one equals the float64 reference bit for bit and leaves the base as it was."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
from torch import nn

from certify.checkpoints import open_checkpoint
from certify.errors import CheckpointChanged, InvalidInput
from certify.noise import ReferenceEngine, noised, weight_noise
from certify.noise.engine import Engine
from certify.records import Seed, WeightNoise

SEED = Seed(value=f"{12345:064x}")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def law_of(model: nn.Module, sigma: float = 0.05) -> WeightNoise:
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, sigma)


def state(model: nn.Module) -> dict[str, tuple[int, bytes, bool]]:
    """Address, bytes and gradient flag of every parameter and buffer."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        n: (t.data_ptr(), t.detach().contiguous().view(torch.uint8).numpy().tobytes(), t.requires_grad)
        for n, t in tensors.items()
    }


def weights(engine: Engine, model: nn.Module, draw: int) -> dict[str, torch.Tensor]:
    engine.at(draw)
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_explicit_equals_the_reference_bit_for_bit(dtype: torch.dtype) -> None:
    """Same law, seed and draw give the same bytes in every storage dtype."""
    model = models.llama().to(dtype)
    expected = ReferenceEngine(model, law_of(model), SEED.integer).weights(5)
    with noised(model, law_of(model), SEED) as engine:
        assert same(weights(engine, model, 5), expected)


def test_adding_and_subtracting_would_be_caught() -> None:
    """Negative control: the popular way of undoing noise does not give the base's bytes back."""
    model = models.llama().to(torch.bfloat16)
    weight = model.get_parameter("model.norm.weight").clone()
    noise = (0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))).to(torch.bfloat16)
    assert not torch.equal((weight + noise) - noise, weight)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_base_is_bit_identical_after_a_run(dtype: torch.dtype) -> None:
    """Storage addresses, bytes and flags of all parameters and buffers are what they were."""
    model = models.llama().to(dtype)
    before = state(model)
    with noised(model, law_of(model), SEED) as engine:
        for draw in range(3):
            engine.at(draw)
        assert state(model) != before
    assert state(model) == before


def test_the_base_is_bit_identical_after_an_exception() -> None:
    """An error in the middle of a run restores the base, and is not masked."""
    model = models.llama()
    before = state(model)
    with pytest.raises(KeyError, match="in the middle"), noised(model, law_of(model), SEED) as engine:
        engine.at(0)
        raise KeyError("in the middle")
    assert state(model) == before


def test_a_draw_does_not_depend_on_what_came_before() -> None:
    """Draws i, k, i give the same bytes for i."""
    model = models.llama()
    with noised(model, law_of(model), SEED) as engine:
        first = weights(engine, model, 2)
        other = weights(engine, model, 9)
        assert not same(first, other)
        assert same(weights(engine, model, 2), first)


def test_tied_tensors_get_one_noise() -> None:
    """Embedding and head stay one tensor under noise."""
    model = models.llama(tied=True)
    with noised(model, law_of(model), SEED) as engine:
        engine.at(0)
        assert model.lm_head.weight is model.model.embed_tokens.weight
    untied = models.llama(tied=False)
    assert len(law_of(untied).sigma) == len(law_of(model).sigma) + 1


def test_frozen_tensors_do_not_move() -> None:
    """A tensor with sigma 0 keeps its storage; the others keep the noise they have in the full law."""
    model = models.llama()
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    partial = weight_noise(sizes, {"*mlp*": 0.05})
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    with noised(model, law_of(model), SEED) as engine:
        full = weights(engine, model, 1)
    with noised(model, partial, SEED) as engine:
        some = weights(engine, model, 1)
    for name in sizes:
        assert torch.equal(some[name], full[name] if "mlp" in name else base[name]), name


def test_noise_has_the_declared_size_in_every_tensor() -> None:
    """Per-tensor sigma: the sum of squares over sigma^2 is chi-square; budget 1e-6 over the tensors."""
    model = models.llama(hidden=64)
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    law = law_of(model, 0.05)
    with noised(model, law, SEED) as engine:
        moved = weights(engine, model, 0)
    for name, tensor in moved.items():
        d = tensor.numel()
        square = float(((tensor.double() - base[name].double()) / 0.05).square().sum())
        # Wilson-Hilferty z for chi-square; two-sided 1e-6/len < 2e-8 each: |z| <= 5.7
        z = ((square / d) ** (1 / 3) - (1 - 2 / (9 * d))) / (2 / (9 * d)) ** 0.5
        assert abs(z) <= 5.7, (name, z)


def test_a_forward_that_changes_a_buffer_voids_the_run() -> None:
    """Scores from a model that changes its own state are not evidence, and the error says so."""
    model = nn.Linear(4, 4).requires_grad_(False)
    model.register_buffer("counter", torch.zeros(1))
    with pytest.raises(CheckpointChanged, match="the scores drawn are void"), noised(model, law_of(model), SEED) as e:
        e.at(0)
        model.counter += 1


def test_a_base_written_through_another_alias_voids_the_run() -> None:
    """Whoever writes the base's own storage during a run is noticed."""
    model = nn.Linear(4, 4).requires_grad_(False)
    alias = model.weight.data
    with pytest.raises(CheckpointChanged), noised(model, law_of(model), SEED) as engine:
        engine.at(0)
        alias[0, 0] += 1


def test_integer_weights_are_refused_by_name() -> None:
    """Quantised weights cannot take noise; the error names the tensor and two ways out."""
    model = nn.Linear(4, 4).requires_grad_(False)
    law = law_of(model)
    model.weight = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(InvalidInput, match=r"'weight' is torch\.int8.*dequantise.*adapter"):
        noised(model, law, SEED)


def test_a_law_of_another_model_is_refused() -> None:
    """Tensors that the model does not have are named."""
    with pytest.raises(InvalidInput, match="does not have"):
        noised(nn.Linear(2, 2), weight_noise({"gone": 3}, 1.0), SEED)


def test_a_closed_engine_draws_nothing() -> None:
    """Outside its block an engine refuses, instead of writing into the base."""
    model = nn.Linear(2, 2)
    with pytest.raises(InvalidInput, match="context manager"):
        noised(model, law_of(model), SEED).at(0)


def test_the_pilot_has_noise_of_its_own() -> None:
    """Pilot draws and certifying draws of one seed differ."""
    model = models.llama()
    with noised(model, law_of(model), SEED, pilot=True) as engine:
        pilot = weights(engine, model, 0)
    with noised(model, law_of(model), SEED) as engine:
        assert not same(weights(engine, model, 0), pilot)


def test_identity_of_a_folder_equals_identity_after_a_run(tmp_path: Path) -> None:
    """A model saved after a run has the digest that it had before."""
    model = models.llama()
    before = open_checkpoint(models.save_folder(tmp_path / "before", model)).identity
    with noised(model, law_of(model), SEED) as engine:
        engine.at(0)
    after = open_checkpoint(models.save_folder(tmp_path / "after", model)).identity
    assert (after.weights, after.companions) == (before.weights, before.companions)
