"""A draw does not depend on its company, and the model is its own again after any run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import LAYOUTS, SEED, VOCABULARY, decoder, gpt2, law_of, phi, tokens
from torch import nn

from certify.errors import InvalidInput
from certify.noise.activation import ActivationEngine, Layout

BUILDS = {"gpt2": gpt2, "llama": lambda: decoder("Llama"), "gemma": lambda: decoder("Gemma", tied=True), "phi": phi}
builds = pytest.mark.parametrize("build", BUILDS)


def logits(model: nn.Module, draws: list[int], ids: torch.Tensor, items: int = 1, **more: Any) -> torch.Tensor:
    real = more.pop("real", torch.ones_like(ids, dtype=torch.bool))
    with ActivationEngine(model, law_of(model), SEED.integer) as engine:
        out: torch.Tensor = engine.run(Layout.even(draws, items, real), input_ids=ids, use_cache=False, **more).logits
    return out


@builds
def test_a_draw_alone_is_the_same_draw_in_a_batch(build: str) -> None:
    """Bit for bit, one item or several per draw."""
    model, ids = BUILDS[build](), tokens(16, 20)
    full = logits(model, list(range(16)), ids)
    for g in (0, 7, 15):
        assert torch.equal(full[g], logits(model, [g], ids[g : g + 1])[0])
    pairs = logits(model, list(range(8)), ids, items=2)
    assert torch.equal(pairs[6:8], logits(model, [3], ids[6:8], items=2))
    assert not torch.equal(full[7], logits(model, [6], ids[7:8])[0])


@builds
def test_padding_on_either_side_changes_nothing(build: str) -> None:
    """Left or right padded, an item in company has the logits it has alone, up to rounding."""
    model, ids = BUILDS[build](), tokens(2, 20)
    if build == "phi":
        ids = distinct(2, 20)
    alone = logits(model, [7], ids[:1, :12])[0]
    right = torch.ones(2, 20, dtype=torch.bool)
    right[0, 12:] = False
    left, shifted = right.flip(1), torch.stack([ids[0].roll(8), ids[1]])
    positions = torch.stack([(torch.arange(20) - 8).clamp_min(0), torch.arange(20)])
    on_the_right = logits(model, [7, 3], ids, real=right)[0, :12]
    on_the_left = logits(model, [7, 3], shifted, real=left, attention_mask=left.long(), position_ids=positions)[0, 8:]
    assert float((on_the_right - alone).abs().max()) < 5e-6
    assert float((on_the_left - alone).abs().max()) < 5e-6


def distinct(rows: int, length: int) -> torch.Tensor:
    """Rows without repeated ids.

    Phi's second MLP matrix reads a function of the token alone in the first layer, so repeated tokens reach it equal
    up to the rounding of another batch shape. The direction of that difference is any: the realisation of the
    draw then depends on the batch (7e-4 here), its law does not.
    """
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randperm(VOCABULARY, generator=generator)[:length] for _ in range(rows)])


@builds
def test_padding_of_several_items_changes_nothing(build: str) -> None:
    """The same with two items per draw: their rows of noise are numbered by real tokens, not by places."""
    model, ids = BUILDS[build](), tokens(2, 20)
    real = torch.ones(2, 20, dtype=torch.bool)
    real[:, 12:] = False
    tight = logits(model, [7], ids[:, :12], items=2)
    loose = logits(model, [7], ids, items=2, real=real)[:, :12]
    assert float((loose - tight).abs().max()) < 5e-6


def test_padded_ids_do_not_count_as_seen() -> None:
    """Padding counted as real would give a tied head other noise: the mask matters."""
    model, ids = gpt2(), tokens(1, 20)
    real = torch.ones(1, 20, dtype=torch.bool)
    real[0, 12:] = False
    alone, careless = logits(model, [7], ids[:, :12])[0], logits(model, [7], ids)[0, :12]
    assert float((careless - alone).abs().max()) > 1e-3
    assert float((logits(model, [7], ids, real=real)[0, :12] - alone).abs().max()) < 5e-6


def test_long_and_short_items_share_a_batch() -> None:
    """A batch in which some groups have more tokens than a layer has inputs gives each group its own logits."""
    model, ids = decoder("Llama"), tokens(3, 80)
    real = torch.arange(80) < torch.tensor([80, 64, 20])[:, None]
    together = logits(model, [4, 5, 6], ids, real=real)
    for g, length in enumerate((80, 64, 20)):
        alone = logits(model, [4 + g], ids[g : g + 1, :length])[0]
        assert float((together[g, :length] - alone).abs().max()) < 5e-6


def test_shared_positions_get_each_draws_noise() -> None:
    """Positions given once for all rows, as models do by default, are those given row by row."""
    model, ids = gpt2(), tokens(4, 20)
    by_row = logits(model, [0, 1, 2, 3], ids, position_ids=torch.arange(20).expand(4, 20))
    assert torch.equal(logits(model, [0, 1, 2, 3], ids), by_row)


def test_inference_mode_around_a_run_changes_nothing() -> None:
    """Factors are known by version counters, which inference tensors lack."""
    model, ids = decoder("Llama"), tokens(2, 20)
    expected = logits(model, [0, 1], ids)
    with torch.inference_mode():
        assert torch.equal(logits(model, [0, 1], ids), expected)


def state(model: nn.Module) -> Any:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return (
        {n: (t.data_ptr(), t.numpy(force=True).tobytes(), t.requires_grad, t._version) for n, t in tensors.items()},
        [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_model_is_its_own_again(layout: str) -> None:
    """Addresses, bytes, versions, hooks, modes and the global generator are untouched, also after an error."""
    model = LAYOUTS[layout](torch.float32)
    before, clean = state(model), model(input_ids=tokens(2, 12)).logits
    logits(model, [0, 1], tokens(2, 12))
    assert state(model) == before
    with pytest.raises(KeyError, match="in the middle"), ActivationEngine(model, law_of(model), 1) as engine:
        engine.run(Layout.even([0, 1], 1, torch.ones(2, 12, dtype=torch.bool)), input_ids=tokens(2, 12))
        raise KeyError("in the middle")
    assert state(model) == before
    assert torch.equal(model(input_ids=tokens(2, 12)).logits, clean)


def test_an_error_inside_a_layer_removes_the_hooks() -> None:
    """Also when the pass itself fails; the next run is a fresh one."""
    model = gpt2()
    before = state(model)
    layout = Layout.even([0], 1, torch.ones(1, 12, dtype=torch.bool))
    engine = ActivationEngine(model, law_of(model), 1)
    with pytest.raises(IndexError), engine:
        engine.run(layout, input_ids=torch.full((1, 12), 10_000))
    assert state(model) == before
    with engine:
        assert engine.run(layout, input_ids=tokens(1, 12)).logits.isfinite().all()
    with pytest.raises(InvalidInput, match="the engine is closed"):
        engine.run(layout, input_ids=tokens(1, 12))


def test_another_seed_or_stream_is_another_draw() -> None:
    """Same seed, same logits; any other seed or prefix gives others."""
    model, ids = decoder("Llama"), tokens(1, 12)
    layout = Layout.even([0], 1, torch.ones(1, 12, dtype=torch.bool))
    found = []
    for seed, prefix in ((1, ""), (1, ""), (2, ""), (1, "pilot/")):
        with ActivationEngine(model, law_of(model), seed, prefix) as engine:
            found.append(engine.run(layout, input_ids=ids).logits)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2]) and not torch.equal(found[0], found[3])
