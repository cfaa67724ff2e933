"""Engine A is exact: the oracle's three numbers on every supported layout, and controls that it must reject."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import LAYOUTS, SEED, VOCABULARY, decoder, examined, gpt2, law_of, tokens
from torch.nn import functional

from certify.noise.activation import ActivationEngine, Layout, examine, handlers
from certify.noise.activation import factor as factoring
from certify.noise.activation.handlers import RULES, Rule
from certify.noise.activation.normals import GroupNormals
from certify.noise.activation.one_pass import Site
from certify.noise.philox import NormalStream

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@DTYPES
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_a_weight_draw(layout: str, dtype: torch.dtype) -> None:
    """The logits are those of the ordinary model under weights that have the law, up to rounding."""
    found = examined(LAYOUTS[layout](dtype))
    exactly = layout == "gpt2" and dtype == torch.float64  # RMSNorm classes compute in float32, whatever the model
    assert found.coupling <= (1e-6 if exactly else 1e-5), found
    assert found.gram <= (1e-6 if dtype == torch.float64 else 1e-5)
    assert found.noise <= (1e-12 if dtype == torch.float64 else 1e-5)
    assert found.effect > 0.1
    assert found.exact


@DTYPES
@pytest.mark.parametrize("layout", ["gpt2", "llama", "gemma"])
@pytest.mark.parametrize(
    ("items", "length", "step"),
    [(2, 24, 0), (2, 24, 3), (4, 24, 2), (1, 80, 0), (1, 70, 5), (2, 40, 4)],
    ids=["2 items", "2 items padded", "4 items padded", "more tokens than inputs", "both kinds of factor", "together"],
)
def test_groups_padding_and_long_items_are_exact(
    layout: str, dtype: torch.dtype, items: int, length: int, step: int
) -> None:
    """Several items per draw, unequal lengths, and tokens beyond a layer's inputs change nothing."""
    found = examined(LAYOUTS[layout](dtype), items=items, length=length, step=step)
    assert found.coupling <= 1e-5
    assert found.gram <= (1e-6 if dtype == torch.float64 else 1e-5)
    assert found.exact


def test_kept_logits_are_exact() -> None:
    """A head that reads some places only shows the noise of those."""
    for model in (gpt2(torch.float64), decoder("Llama", torch.float64, tied=True)):
        nodes = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([7, 23, 20, 7, 20, 23])
        layout = Layout.even(range(3), 1, torch.ones(3, 24, dtype=torch.bool), nodes)
        engine = ActivationEngine(model, law_of(model), SEED.integer)
        found = examine(engine, layout, input_ids=tokens(3, 24), use_cache=False)
        assert found.exact
        assert found.coupling <= 1e-6


def test_frozen_tensors_stay_at_the_base() -> None:
    """Noise on some tensors only, experts left alone: still exact, routing included."""
    model = decoder("Mixtral", num_local_experts=4)
    law = law_of(model, {"*self_attn*": 0.05})
    layout = Layout.even(range(2), 1, torch.ones(2, 24, dtype=torch.bool))
    found = examine(ActivationEngine(model, law, SEED.integer), layout, input_ids=tokens(2, 24), use_cache=False)
    assert found.exact and found.effect > 0.01


def test_normals_are_those_of_the_streams() -> None:
    """Vectors and rows are stream E's, projected noise stream A's: element row * width + column, rounded once."""
    like = torch.zeros((), dtype=torch.float32)
    normals = GroupNormals(7, "pilot/", (3, 9), like)
    weights, projected = NormalStream(7, "pilot/E"), NormalStream(7, "pilot/A")
    got = normals.projected(4, (5, 3), 1000)
    assert got.shape == (2, 5, 1000) and not got[1, 3:].any()
    for g, (draw, rank) in enumerate([(3, 5), (9, 3)]):
        expected = torch.from_numpy(projected.normals(draw, 4, rank * 1000)).float().view(rank, 1000)
        assert torch.equal(got[g, :rank], expected)
        whole = torch.from_numpy(weights.normals(draw, 6, 90 * 100)).float()
        assert torch.equal(normals.vectors(6, 9000)[g], whole)
        ids = [0, 1, 2, 40, 41, 89]
        assert torch.equal(normals.rows(g, 6, ids, 100), whole.view(90, 100)[ids])


def independent_tokens(x: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(x.norm(dim=-1))


def unshared_ids(site: Site, now: Any, ids: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Each place has a row of its own, whatever its id."""
    packing = now.layout.tokens
    fresh = torch.arange(packing.shape[1]) + VOCABULARY
    rows = [now.normals.rows(g, site.weight.tensor, fresh.tolist(), out.shape[-1]) for g in range(len(packing.counts))]
    own = ids.expand(packing.shape)
    now.rows_shown[site.weight.tensor] = ([own[g] for g in range(len(rows))], rows)
    return packing.add(out.expand(*packing.shape, -1).contiguous(), torch.stack(rows), site.weight.sigma)


def one_noise_for_all_tensors(self: GroupNormals, tensor: int, ranks: Any, width: int) -> torch.Tensor:
    return honest(self, 0, ranks, width)


honest = GroupNormals.projected
CONTROLS = {
    # what is broken: (which of coupling, gram, noise must exceed 1e-2; which are blind)
    "tokens": ("gram", "coupling"),
    "ids": ("coupling", "gram"),
    "untied": ("coupling", "gram"),
    "one noise": ("noise", "coupling"),
}


@pytest.mark.parametrize("broken", CONTROLS)
def test_broken_engines_are_rejected(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of being wrong shows in the number that is there for it, and no one number shows all."""
    if broken == "tokens":
        monkeypatch.setattr(factoring, "root", independent_tokens)
    elif broken == "ids":
        monkeypatch.setitem(RULES, "torch.nn.modules.sparse.Embedding", Rule("rows", unshared_ids, ("weight",)))
    elif broken == "untied":
        monkeypatch.setattr(handlers, "_show_known_rows", lambda *_: None)
    else:
        monkeypatch.setattr(GroupNormals, "projected", one_noise_for_all_tensors)
    found = examined(gpt2(torch.float64))
    caught, blind = CONTROLS[broken]
    assert getattr(found, caught) > 1e-2, found
    assert getattr(found, blind) < 1e-6, found
    assert not found.exact


def test_a_weight_read_behind_its_module_is_rejected() -> None:
    """A second read outside the module's forward has no hook; the coupling sees it."""
    model = decoder("Llama", torch.float64)
    mlp = model.model.layers[0].mlp
    plain = mlp.forward
    mlp.forward = lambda x: plain(x) + functional.linear(x, mlp.down_proj.weight.T[:64])  # a read without a call
    found = examined(model)
    assert not found.coupling <= 1e-2  # NaN: outside of its module's forward no weight is there to be read
    assert not found.exact
