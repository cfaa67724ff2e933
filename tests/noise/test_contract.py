"""Every engine and backend is held to the contract, and broken engines are caught by it."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import contract
import pytest
import torch
from contract import SEED, EngineContract, law_of, odd, run, seen
from torch import nn

from certify.errors import CertifyWarning, CheckpointChanged, InvalidInput
from certify.noise import ReferenceEngine, noised, weight_noise
from certify.noise.backend import _checked
from certify.noise.contract import Backend, Noise, Place, Write, check_backend
from certify.noise.cpu import CpuBackend
from certify.noise.engine import Engine
from certify.noise.explicit import ExplicitEngine
from certify.noise.perturbation import WeightPerturbation
from certify.noise.scratch import ScratchEngine
from certify.noise.tensor_ops import TensorBackend
from certify.records import Seed, WeightNoise


class TestNumba(EngineContract):
    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        return noised(model, law, Seed(value=f"{seed:064x}"))


class TestScratch(EngineContract):
    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        return noised(model, law, Seed(value=f"{seed:064x}"), scratch=True)


class TestTensorOperations(EngineContract):
    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        return ExplicitEngine(model, WeightPerturbation(law, seed, 12, backend=TensorBackend()))


class TestReference(EngineContract):
    def make(self, model: nn.Module, law: WeightNoise, seed: int) -> Engine:
        return ReferenceEngine(model, law, seed)


ENGINES = [TestNumba, TestScratch, TestTensorOperations, TestReference]


def test_the_list_of_engines_is_complete() -> None:
    """A contract that nobody inherits tests nothing."""
    assert len(ENGINES) >= 4
    assert set(ENGINES) == set(EngineContract.__subclasses__())
    assert all(e.make is not EngineContract.make for e in ENGINES)


class Broken:
    """The shape of an engine that edits the model in place."""

    def __init__(self, model: nn.Module, law: WeightNoise, seed: int) -> None:
        self.model, self.law, self.seed = model, law, seed
        self.base = {n: p.detach().clone() for n, p in model.named_parameters()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name, p in self.model.named_parameters():
            p.data.copy_(self.base[name])

    def at(self, draw: int) -> nn.Module:
        weights = ReferenceEngine(self.model, self.law, self.seed).weights(draw)
        for name, p in self.model.named_parameters():
            p.data.copy_(weights[name])
        return self.model


class AddThenSubtract(Broken):
    noise: dict[str, torch.Tensor] | None = None

    def _shift(self, sign: int) -> None:
        for name, p in self.model.named_parameters():
            p.data.add_(self.noise[name], alpha=sign)

    def at(self, draw: int) -> nn.Module:
        self.__exit__(None, None, None)
        g = torch.Generator().manual_seed(draw)
        self.noise = {n: (0.05 * torch.randn(p.shape, generator=g)).to(p) for n, p in self.model.named_parameters()}
        self._shift(1)
        return self.model

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.noise is not None:
            self._shift(-1)
            self.noise = None


class OneGeneratorForEachTensor(Broken):
    def at(self, draw: int) -> nn.Module:
        for name, p in self.model.named_parameters():
            g = torch.Generator().manual_seed(draw)
            p.data.copy_(self.base[name] + self.law.sigma[name] * torch.randn(p.shape, generator=g))
        return self.model


class TiesTwice(Broken):
    """Unties the head and gives it noise of its own."""

    def at(self, draw: int) -> nn.Module:
        model = super().at(draw)
        head = model.head if hasattr(model, "head") else model.lm_head
        head.weight = nn.Parameter(head.weight.detach() + 0.05, requires_grad=False)
        return model

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class ForgetsTheLastChunk(CpuBackend):
    """Leaves NaN where it did not write."""

    def noise(self, jobs: list[tuple[Place, Noise]]) -> Write:
        def cut(place: Place, noise: Noise) -> tuple[Place, Noise]:
            end = max(1, (place.work.numel() - 1) // noise.chunk * noise.chunk)
            return Place(place.name, place.base[:end], place.work[:end]), noise

        return super().noise([cut(*job) for job in jobs])


class TestBrokenEnginesAreCaught:
    """Negative controls: each check can fail, and fails for the mistake it is there for."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_adding_and_subtracting(self, dtype: torch.dtype) -> None:
        """The base's bytes do not come back."""
        with pytest.raises(AssertionError):
            contract.check_restored(AddThenSubtract, dtype, None)

    def test_one_generator_for_each_tensor(self) -> None:
        """Same-shaped tensors get the same noise: correlation 1."""
        with pytest.raises(AssertionError, match="correlation"):
            contract.check_law(OneGeneratorForEachTensor)

    def test_ties_noised_twice(self) -> None:
        """A head with noise of its own is no longer the embedding."""
        with pytest.raises(AssertionError, match="noised on its own"):
            contract.check_bits(TiesTwice, torch.float32)

    def test_weights_left_unwritten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Work storage starts as NaN, so a chunk that nobody writes differs from the reference."""
        monkeypatch.setattr("certify.noise.perturbation.check_backend", lambda *a: None)

        def make(model: nn.Module, law: WeightNoise, seed: int) -> Engine:
            return ExplicitEngine(model, WeightPerturbation(law, seed, 12, backend=ForgetsTheLastChunk()))

        with pytest.raises(AssertionError):
            contract.check_bits(make, torch.float32)

    def test_a_backend_that_leaves_weights_unwritten_is_refused_at_first_use(self) -> None:
        """The check of bits comes before any draw."""
        model = odd()
        engine = ExplicitEngine(model, WeightPerturbation(law_of(model), SEED, 12, backend=ForgetsTheLastChunk()))
        with pytest.raises(InvalidInput, match=r"backend 'numba' on cpu, sampler strict, .* element 8192 is nan"):
            engine.__enter__()

    def test_an_engine_that_keeps_the_reference_engines_promises_passes(self) -> None:
        """Control of the controls: in-place writing of the right bits is not what the bit check objects to."""
        contract.check_bits(Broken, torch.float32)


@pytest.fixture(params=[False, True], ids=["flat", "scratch"])
def scratch(request: pytest.FixtureRequest) -> Iterator[bool]:
    return request.param


def engine_of(model: nn.Module, scratch: bool, sigma: float = 0.05) -> Engine:
    return noised(model, law_of(model, sigma), Seed(value="0" * 64), scratch=scratch)


class Counting(nn.Module):
    """A forward that changes a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.inner(x)


def test_a_buffer_changed_in_forward_voids_the_run(scratch: bool) -> None:
    """Noticed when the block is left, and the weights are back all the same."""
    model = Counting()
    weight = model.inner.weight.clone()
    with pytest.raises(CheckpointChanged, match="void"), engine_of(model, scratch) as engine:
        engine.at(0)(torch.ones(4))
    assert torch.equal(model.inner.weight, weight)


def test_a_base_written_during_a_run_is_noticed_between_draws(scratch: bool) -> None:
    """The sum over the base is taken every 64 draws, before more work is wasted."""
    model = nn.Linear(4, 4).requires_grad_(False)
    alias = model.weight.data
    with pytest.raises(CheckpointChanged), engine_of(model, scratch) as engine:
        for draw in range(64):
            engine.at(draw)
            alias[0, 0] = 5.0
        pytest.fail("not reached")


def test_before_the_first_draw_weights_are_nan(scratch: bool) -> None:
    """A forward without a draw gives no score, not the base's."""
    model = odd()
    with engine_of(model, scratch):
        assert run(model).isnan().all()


class Reaching(nn.Module):
    """Reads a child's weight without calling the child, as fused attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.inner.weight)


def test_weights_read_outside_their_modules_forward_are_nan_in_scratch() -> None:
    """They cannot escape the noise unnoticed; the flat engine serves such models."""
    model = Reaching()
    with engine_of(model, True) as engine:
        assert engine.at(0)(torch.ones(4)).isnan().all()
    with engine_of(model, False) as engine:
        assert engine.at(0)(torch.ones(4)).isfinite().all()


def test_scratch_survives_an_interrupted_forward() -> None:
    """After an interrupt inside a forward the next draw has its own bits."""

    class Fragile(nn.Module):
        fail = True

        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3), requires_grad=False)
            self.inner = nn.Linear(3, 3).requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.inner(x) * self.gain
            if self.fail:
                raise KeyboardInterrupt
            return x

    model, x = Fragile(), torch.ones(3)
    with engine_of(model, True) as engine:
        with pytest.raises(KeyboardInterrupt):
            engine.at(0)(x)
        model.fail = False
        got = engine.at(1)(x)
    with engine_of(model, False) as engine:
        assert torch.equal(got, engine.at(1)(x))


def test_scratch_holds_the_largest_module_only() -> None:
    """Extra memory is that of one module, not of the model."""
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(8)]).requires_grad_(False)
    with engine_of(model, True) as engine:
        assert isinstance(engine, ScratchEngine)
        assert sum(b.numel() for b in engine._stack._buffers.values()) == 4096 + 4096  # weight, and bias's own chunk


def test_flat_work_storage_is_one_buffer_on_whole_chunks() -> None:
    """Tensors start at multiples of 4096 elements of one storage; padding stays NaN, so nobody writes there."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3)).requires_grad_(False)
    with engine_of(model, False) as engine:
        engine.at(0)
        work = [p.data for p in model.parameters()]
        assert len({w.untyped_storage().data_ptr() for w in work}) == 1
        assert all(w.storage_offset() % 4096 == 0 for w in work)
        buffer = torch.empty(0).set_(work[0].untyped_storage())
        assert int(buffer.isfinite().sum()) == sum(w.numel() for w in work)


def test_storage_tied_by_hand_moves_together(scratch: bool) -> None:
    """Two parameter objects on one storage are one tensor: one of them carries the noise, both see it."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)).requires_grad_(False)
    model[1].weight.data = model[0].weight.data
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    with pytest.raises(InvalidInput, match="one storage, so they cannot have independent noise"):
        noised(model, weight_noise(sizes, 0.05), Seed(value="0" * 64), scratch=scratch)
    with noised(model, weight_noise(sizes, {"0.*": 0.05}), Seed(value="0" * 64), scratch=scratch) as engine:
        hook_seen: list[torch.Tensor] = []
        hooks = [m.register_forward_pre_hook(lambda m, _: hook_seen.append(m.weight.clone())) for m in model]
        engine.at(0)(torch.ones(8))
        for hook in hooks:
            hook.remove()
    assert torch.equal(*hook_seen)


def test_partly_overlapping_views_are_refused(scratch: bool) -> None:
    """Both tensors are named, and a way out."""
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)).requires_grad_(False)
    whole = torch.randn(6, 8)
    model[0].weight.data, model[1].weight.data = whole[:4], whole[2:]
    with pytest.raises(InvalidInput, match=r"'0\.weight' and '1\.weight' overlap in part.*clone"):
        engine_of(model, scratch)


def test_disjoint_views_of_one_storage_are_fine(scratch: bool) -> None:
    """Weights loaded as slices of one file share storage without sharing bytes."""
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)).requires_grad_(False)
    whole = torch.randn(8, 8)
    model[0].weight.data, model[1].weight.data = whole[:4], whole[4:]
    law = law_of(model)
    expected = ReferenceEngine(model, law, 0).weights(3)
    x = torch.ones(1, 8)
    with engine_of(model, scratch) as engine:
        first = model[0]
        engine.at(3)
        got = first(x)
    assert torch.equal(got, nn.functional.linear(x, expected["0.weight"]))


def test_noise_that_drowns_in_rounding_is_warned_about(scratch: bool) -> None:
    """bfloat16 weights near 0.02 stand still under sigma 3e-5; the share is in the message."""
    model = nn.Linear(128, 128, bias=False).requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.weight.data.normal_(0, 0.02)
    model = model.bfloat16()
    with engine_of(model, scratch, 3e-5) as engine, pytest.warns(CertifyWarning, match=r"6\d% of 16,384 .* not move"):
        engine.at(0)
    with engine_of(model.float(), scratch, 3e-5) as engine:
        engine.at(0)  # no warning: warnings are errors here


def test_a_law_of_other_sizes_is_refused(scratch: bool) -> None:
    """A tensor of another size would be noised in part."""
    model = nn.Linear(4, 4, bias=False).requires_grad_(False)
    engine = noised(model, weight_noise({"weight": 15}, 0.1), Seed(value="0" * 64), scratch=scratch)
    with pytest.raises(InvalidInput, match="'weight' has 16 elements, the noise law says 15"), engine:
        engine.at(0)(torch.ones(4))


def test_an_open_engine_is_not_opened_again(scratch: bool) -> None:
    """It would take its own work storage for the base."""
    model = nn.Linear(2, 2).requires_grad_(False)
    before = contract.state(model)
    with engine_of(model, scratch) as engine, pytest.raises(InvalidInput, match="open already"):
        engine.__enter__()
    assert contract.state(model) == before


def test_an_engine_may_be_opened_again_once_closed(scratch: bool) -> None:
    """And draws the same; on what the weights are by then."""
    model = odd()
    engine = engine_of(model, scratch)
    drawn = []
    for _ in range(2):
        with engine:
            drawn.append(contract.bits(seen(engine, model, 4)))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("draw", [-1, 1 << 32])
def test_a_draw_outside_the_counter_is_refused(scratch: bool, draw: int) -> None:
    """It would repeat the noise of another draw."""
    with engine_of(nn.Linear(2, 2).requires_grad_(False), scratch) as engine, pytest.raises(InvalidInput, match="draw"):
        engine.at(draw)


def test_threads_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of any number of threads cover every chunk once."""
    monkeypatch.setattr("certify.noise.cpu.ELEMENTS_PER_THREAD", 1000)
    model = odd()
    law = law_of(model)
    expected = ReferenceEngine(model, law, 0).weights(1)
    for threads in (2, 3, 7):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        with engine_of(model, False) as engine:
            got = seen(engine, model, 1)
        assert all(torch.equal(got[n], expected[n]) for n in expected), threads


def test_a_fast_backend_with_wrong_bits_is_passed_over_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that changes the arithmetic costs speed, not bits; and is named."""
    candidates = [ForgetsTheLastChunk(), TensorBackend()]
    monkeypatch.setattr("certify.noise.backend._candidates", lambda device: candidates)
    with pytest.warns(CertifyWarning, match=r"'numba' on cpu.*; using 'torch', which is slower"):
        assert _checked.__wrapped__("cpu", torch.float32, "strict") is candidates[1]
    candidates.pop()
    with pytest.raises(InvalidInput, match="the contract says"):
        _checked.__wrapped__("cpu", torch.float32, "strict")


BACKENDS: list[Backend] = [CpuBackend(), TensorBackend()]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("dtype", contract.DTYPES, ids=str)
def test_fast_noise_has_the_same_bits_in_every_backend(backend: Backend, dtype: torch.dtype) -> None:
    """The float32 sampler, against its numpy text."""
    check_backend(backend, torch.device("cpu"), dtype, "fast")
