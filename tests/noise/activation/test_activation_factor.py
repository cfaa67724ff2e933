"""Square roots of Gram matrices, and where a group's real tokens lie."""

from __future__ import annotations

import pytest
import torch
from architectures import SEED, gpt2, law_of, right_padded, tokens

from certify.benchmarks.batches import Continuation, Row
from certify.errors import ActivationRefused, InvalidInput
from certify.noise.activation import ActivationEngine, Layout
from certify.noise.activation.factor import factor, root
from certify.noise.activation.layout import Packing, same_prefix
from certify.noise.activation.normals import GroupNormals
from certify.noise.activation.one_pass import Pass


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gram_error(x: torch.Tensor, lower: torch.Tensor) -> float:
    gram = x.double() @ x.double().transpose(1, 2)
    return float((lower.double() @ lower.double().transpose(1, 2) - gram).abs().max() / gram.abs().max())


def test_root_is_triangular_with_a_non_negative_diagonal() -> None:
    """One root of many, so that a draw is a function of its inputs."""
    lower = root(normal(3, 8, 32))
    assert torch.equal(lower, lower.tril()) and bool((lower.diagonal(dim1=1, dim2=2) >= 0).all())
    assert gram_error(normal(3, 8, 32), lower) < 1e-6


def test_repeated_tokens_outliers_and_zeros_factor() -> None:
    """Rank deficiency is harmless: equal tokens stay equal to 1.5e-7 of their size."""
    x = normal(2, 24, 64)
    x[:, 7] = x[:, 3]
    x[:, 8] = x[:, 3]
    x[:, :, 5] *= 1000  # an outlier channel, as trained models have
    lower = root(x)
    assert gram_error(x, lower) < 1e-6
    assert float((lower[:, 7] - lower[:, 3]).abs().max() / lower.abs().max()) < 3e-7
    assert float(root(torch.zeros(1, 4, 8)).abs().max()) == 0.0


def test_a_float32_factor_is_worse() -> None:
    """Why the factor is float64: identical tokens would differ by orders of magnitude more."""
    x = normal(1, 24, 64)
    x[:, 7] = x[:, 3]
    gram = x @ x.transpose(1, 2)
    gram.diagonal(dim1=1, dim2=2).add_(1e-6 * gram.abs().max())  # less jitter fails
    single, double = torch.linalg.cholesky(gram), root(x)
    gaps = [float((lower[0, 7] - lower[0, 3]).abs().max() / lower.abs().max()) for lower in (single, double)]
    assert gaps[0] > 1000 * gaps[1], gaps


def test_a_group_without_numbers_has_no_answer_and_spares_the_others() -> None:
    """NaN inputs give NaN noise in their own group only."""
    x = normal(3, 8, 32)
    x[1, 2, 3] = torch.nan
    lower = root(x)
    assert bool(lower[1].isnan().all()) and not bool(lower[[0, 2]].isnan().any())


def test_a_finite_gram_matrix_that_does_not_factor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the layer is named, and nothing is scored."""
    cholesky = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda gram: cholesky(gram - 2 * gram.diagonal(0, 1, 2).amax()))
    model = gpt2()
    layout = Layout.even(range(2), 1, torch.ones(2, 12, dtype=torch.bool))
    with (
        pytest.raises(ActivationRefused, match=r"inputs of transformer\.h\.0\.attn\.c_attn: a Gram matrix of finite"),
        ActivationEngine(model, law_of(model), SEED.integer) as engine,
    ):
        engine.run(layout, input_ids=tokens(2, 12))


def test_a_groups_own_count_decides_the_kind_of_factor() -> None:
    """In one batch: Cholesky below d tokens, the inputs themselves from d on, each as it would be alone."""
    real = right_padded(3, 12, 4)  # 12, 8 and 4 real tokens of dimension 8
    packing = Packing.of(torch.arange(3), 3, real)
    x = normal(3, 12, 8)
    found = factor(packing.pack(x), packing)
    assert packing.counts == (12, 8, 4) and found.ranks == (8, 8, 4)
    assert torch.equal(found.root[0], x[0]) and torch.equal(found.root[1, :8], x[1, :8])
    assert gram_error(x[2:, :4], found.root[2:, :4, :4]) < 1e-6
    assert not found.root[2, :, 4:].any()


def test_a_factor_is_shared_until_its_input_changes() -> None:
    """Layers that read the same tensor share one factor; an input written to in between is factored anew."""
    model = gpt2()
    site = ActivationEngine(model, law_of(model), 1).sites[2]
    layout = Layout.even(range(2), 1, torch.ones(2, 12, dtype=torch.bool))
    now = Pass(layout, GroupNormals(1, "", layout.draws, torch.zeros(())), None)
    x = normal(2, 12, 64)
    first = now.factor(site, x)
    assert now.factor(site, x) is first
    assert now.factor(site, x.clone()) is not first
    first = now.factor(site, x)
    x.mul_(2)
    assert torch.allclose(now.factor(site, x).root, 2 * first.root)


def test_packing_and_adding_touch_real_places_only() -> None:
    """Whatever padding holds, it neither enters a factor nor gets noise."""
    real = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    packing = Packing.of(torch.tensor([0, 0, 1]), 2, real)
    x = torch.arange(24.0).view(3, 4, 2)
    x[~real] = torch.nan
    packed = packing.pack(x)
    assert packing.counts == (5, 4)
    assert packed[0, :, 0].tolist() == [0.0, 2.0, 6.0, 10.0, 12.0]
    assert packed[1, :, 0].tolist() == [16.0, 18.0, 20.0, 22.0, 0.0]
    out = packing.add(torch.zeros(3, 4, 2), packed, 0.5)
    assert torch.equal(out[real], 0.5 * x[real]) and not out[~real].any()


def test_tokens_after_one_prompt_enter_a_factor_once() -> None:
    """Places with the same tokens before them share a packed row, also where the first of them is not kept."""
    ids = torch.tensor([[5, 6, 7, 7], [5, 6, 8, 9], [5, 6, 7, 1], [5, 6, 7, 1]])
    group, real = torch.tensor([0, 0, 0, 1]), torch.ones(4, 4, dtype=torch.bool)
    real[0, 3] = False
    asked = [Continuation(0, (*own, 0), 1, 1) for own in ids.tolist()]
    rows = [Row().with_continuation(i, each, shared=0) for i, each in enumerate(asked)]
    alike = same_prefix(group.tolist(), rows, 4)
    assert alike.tolist() == [[0, 1, 2, 3], [0, 1, 6, 7], [0, 1, 2, 11], [12, 13, 14, 15]]
    nodes = torch.tensor([1, 2, 2, 3]), torch.tensor([1, 1, 2, 1])
    layout = Layout((0, 1), group, real, nodes, alike)
    assert layout.tokens.counts == (6, 4)  # 5 6 7, 8 9, 1: six vectors; alone: four
    assert layout.head.counts == (2, 1)  # after 5 6 (kept in two rows), after 5 6 7
    places = torch.tensor([2.0, 4.0, 5.0, 6.0]).view(4, 1, 1)
    assert layout.head.pack(places)[:, :, 0].tolist() == [[2.0, 5.0], [6.0, 0.0]]
    shown = layout.head.add(torch.zeros(4, 1, 1), layout.head.pack(places), 1.0)
    assert shown[:, 0, 0].tolist() == [2, 2, 5, 6]
    with pytest.raises(InvalidInput, match="only tokens of one group can be alike"):
        Layout((0, 1), group, real, alike=torch.zeros_like(alike))


def test_groups_that_are_no_groups_are_refused() -> None:
    """A draw is spent in one group of neighbouring rows with at least one real token."""
    real = torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(InvalidInput, match="a draw's items share one group"):
        Layout((5, 5), torch.tensor([0, 0, 1]), real)
    with pytest.raises(InvalidInput, match="must be neighbours"):
        Layout((5, 6), torch.tensor([0, 1, 0]), real)
    real[2] = False
    with pytest.raises(InvalidInput, match="group 1 of the batch has no real token"):
        _ = Layout((5, 6), torch.tensor([0, 0, 1]), real).tokens
