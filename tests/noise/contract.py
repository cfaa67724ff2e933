"""What every engine must do, as checks that broken engines are run against too.

A check takes ``make(model, law, seed)``, which returns a closed engine, and fails with an AssertionError. The class
:class:`EngineContract` turns all checks into tests; an engine inherits it and says how it is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext

import models
import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from certify.noise import ReferenceEngine, weight_noise
from certify.noise.engine import Engine
from certify.records import WeightNoise

Make = Callable[[nn.Module, WeightNoise, int], Engine]
SEED, DRAWN = 2**200 + 12345, 7
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Odd(nn.Module):
    """Tensors of several chunks and a short one, of one element, tied ones, a transposed one, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(101, 70)
        self.norm = nn.LayerNorm(70)
        self.turned = nn.Linear(70, 70)
        self.turned.weight.data = self.turned.weight.data.t()  # not contiguous
        self.head = nn.Linear(70, 101, bias=False)
        self.head.weight = self.table.weight
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("steps", torch.arange(5.0))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.turned(self.norm(self.table(ids)))) * self.scale


def odd(dtype: torch.dtype = torch.float32) -> Odd:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Odd().eval().requires_grad_(False).to(dtype)


class Twins(nn.Module):
    """Two large tensors of one shape, at zero: under noise of sigma 1 they are the normals themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Parameter(torch.zeros(1 << 17), requires_grad=False) for _ in range(2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.left, self.right])


def law_of(model: nn.Module, sigma: float = 0.05) -> WeightNoise:
    return weight_noise({n: p.numel() for n, p in model.named_parameters()}, sigma)


def run(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        out = model(torch.tensor([[1, 2, 3]]))
    return out if isinstance(out, torch.Tensor) else out.logits


def seen(engine: Engine, original: nn.Module, draw: int) -> dict[str, torch.Tensor]:
    """The weights that each module has inside its own forward, by name; fails if tied names differ."""
    out: dict[str, torch.Tensor] = {}

    def look(prefix: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object) -> None:
            for name, p in module._parameters.items():
                if p is not None:
                    out[prefix + name] = p.detach().clone()

        return hook

    hooks = [m.register_forward_pre_hook(look(f"{n}." if n else "")) for n, m in original.named_modules()]
    try:
        run(engine.at(draw))
    finally:
        for hook in hooks:
            hook.remove()
    return out


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {n: t.contiguous().view(BITS[t.itemsize]).numpy().tobytes() for n, t in tensors.items()}


def state(model: nn.Module) -> dict[str, object]:
    """Everything about a model that an engine must leave alone: addresses, layout, bytes, flags, modes, hooks."""
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    facts: dict[str, object] = {
        n: (id(t), t.data_ptr(), t.stride(), t.requires_grad, bits({n: t.detach()})) for n, t in tensors.items()
    }
    for name, module in model.named_modules():
        hooks = {k: tuple(v) for k, v in vars(module).items() if "hooks" in k and v is not None}
        facts[f"module {name}"] = (module.training, hooks, tuple(module._parameters))
    return facts


def generators() -> tuple[object, ...]:
    return torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes(), random.getstate()


def check_bits(make: Make, dtype: torch.dtype) -> None:
    """Every weight of every tensor has the bits of the float64 reference."""
    for model in (odd(dtype), models.llama().to(dtype)):
        law = law_of(model)
        expected = ReferenceEngine(model, law, SEED).weights(DRAWN)
        first = {id(p): n for n, p in model.named_parameters()}
        tied = {n: first[id(p)] for n, p in model.named_parameters(remove_duplicate=False) if n not in expected}
        with make(model, law, SEED) as engine:
            got = seen(engine, model, DRAWN)
        shown = bits({n: t for n, t in got.items() if n in expected})
        assert shown == bits(expected)
        assert tied, "the models have a tied head"
        for name, source in tied.items():
            assert torch.equal(got[name], expected[source]), f"{name} is noised on its own"


def check_restored(make: Make, dtype: torch.dtype, error: type[BaseException] | None) -> None:
    """The model is its own again, bit for bit, however the block is left."""
    for model in (odd(dtype), models.llama().to(dtype)):
        before, global_before = state(model), generators()
        expected = run(model)
        with pytest.raises(error) if error else nullcontext(), make(model, law_of(model), SEED) as engine:
            for draw in range(3):
                assert not torch.equal(run(engine.at(draw)), expected)
            if error is not None:
                raise error("in the middle")
        assert state(model) == before
        assert generators() == global_before
        assert torch.equal(run(model), expected)


def check_order(make: Make) -> None:
    """Draws i, k, i give the same bytes for i, and others for k; a new engine gives them again."""
    model = odd()
    with make(model, law_of(model), SEED) as engine:
        first, other, again = (bits(seen(engine, model, i)) for i in (2, 9, 2))
    with make(model, law_of(model), SEED) as engine:
        fresh = bits(seen(engine, model, 2))
    assert first == again == fresh
    assert all(first[n] != other[n] for n in first)


def check_prefix(make: Make) -> None:
    """A larger tensor begins with the noise of a smaller one: an element's noise depends on its index alone."""

    class One(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(size), requires_grad=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.weight + 0 * ids.sum()

    drawn = {}
    for size in (1, 17, 1000, 1025, 2049, 5000):
        model = One(size)
        with make(model, law_of(model), SEED) as engine:
            drawn[size] = seen(engine, model, 0)["weight"]
    for size, weight in drawn.items():
        assert torch.equal(weight, drawn[5000][:size]), size


def check_law(make: Make) -> None:
    """Two same-shaped tensors hold independent standard normals. False-alarm budget 1e-6 over all eleven tests.

    Five moments in each of two tensors and one correlation as z-tests at 5e-8 each (|z| <= 5.46), and two
    Kolmogorov-Smirnov tests at 1e-7: together 7.5e-7. Seeded, so a pass stays a pass.
    """
    model = Twins()
    with make(model, law_of(model, 1.0), SEED) as engine:
        weights = seen(engine, model, DRAWN)
    left, right = (weights[n].double().numpy() for n in ("left", "right"))
    n = len(left)
    z = {"correlation": float((left * right).sum() / n**0.5)}
    for name, x in (("left", left), ("right", right)):
        z |= {
            f"{name} mean": x.mean() * n**0.5,
            f"{name} variance": (x.var() - 1) * (n / 2) ** 0.5,
            f"{name} skewness": (x**3).mean() * (n / 15) ** 0.5,
            f"{name} kurtosis": ((x**4).mean() - 3) * (n / 96) ** 0.5,
            f"{name} tail": ((np.abs(x) > 3).mean() - 0.0026998) / (0.0026998 * 0.9973 / n) ** 0.5,
        }
    assert all(abs(v) <= 5.46 for v in z.values()), z
    p = [float(stats.kstest(x, "norm").pvalue) for x in (left, right)]
    assert min(p) > 1e-7, p


class EngineContract:
    """Inherit, define :meth:`make`, and every promise of an engine is tested."""

    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        raise NotImplementedError

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_bits_are_the_references(self, dtype: torch.dtype) -> None:
        """Same law, seed and draw: same bytes as the float64 reference, ties once, in every storage dtype."""
        check_bits(self.make, dtype)

    @pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt], ids=str)
    @pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
    def test_the_model_is_its_own_again(self, dtype: torch.dtype, error: type[BaseException] | None) -> None:
        """After a run, an error or an interrupt: storage, bytes, buffers, flags, modes, hooks, global generators."""
        check_restored(self.make, dtype, error)

    def test_a_draw_does_not_depend_on_what_came_before(self) -> None:
        """Draws i, k, i."""
        check_order(self.make)

    def test_noise_is_prefix_stable(self) -> None:
        """Sizes around lanes and chunks."""
        check_prefix(self.make)

    def test_noise_has_its_law(self) -> None:
        """Moments, Kolmogorov-Smirnov, correlation between same-shaped tensors."""
        check_law(self.make)
