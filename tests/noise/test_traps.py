"""Traps that engines of this kind have fallen into, each shown, and each avoided."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from certify import compiling
from certify.errors import InvalidInput
from certify.noise import NormalStream, noised, weight_noise
from certify.noise import kernels as k
from certify.noise.backend import backend_for
from certify.noise.contract import Noise, Place, moved
from certify.noise.cpu import CpuBackend
from certify.noise.fast import fast_pair
from certify.noise.perturbation import WeightPerturbation
from certify.noise.philox import noise_key, strict_pair
from certify.noise.tensor_ops import _square_root
from certify.records import ExplicitIdentity, Seed


def test_torch_keeps_32_bits_of_a_seed_and_the_stream_256() -> None:
    """5 and 5 + 2^32 are one seed to torch's CPU generator and two to a stream, up to the last bit."""
    torch_draws = [torch.randn(8, generator=torch.Generator().manual_seed(s)) for s in (5, 5 + (1 << 32))]
    assert torch.equal(*torch_draws)
    streams = [NormalStream(s, "E").normals(0, 0, 8) for s in (5, 5 + (1 << 32), 5 + (1 << 255))]
    assert not np.array_equal(streams[0], streams[1])
    assert not np.array_equal(streams[0], streams[2])


def test_torch_is_not_prefix_stable_and_the_stream_is() -> None:
    """The first 15 of 16 normals are other normals than 15 on their own, in torch."""
    a, b = (torch.randn(n, generator=torch.Generator().manual_seed(0)) for n in (15, 16))
    assert not torch.equal(a, b[:15])
    stream = NormalStream(0, "E")
    assert np.array_equal(stream.normals(0, 0, 15), stream.normals(0, 0, 16)[:15])


@pytest.mark.parametrize("sampler", ["strict", "fast"])
def test_tensors_of_one_shape_get_their_own_noise(sampler: str) -> None:
    """A generator seeded anew for each tensor gives equal shapes equal noise."""
    stream = NormalStream(0, "E", sampler)
    left, right = (stream.normals(0, tensor, 100_000).astype(float) for tensor in (0, 1))
    assert abs((left * right).sum()) / 100_000**0.5 < 5.46  # z-test at 5e-8


def test_tails_are_not_cut_short() -> None:
    """float32 uniforms of 24 bits end at 5.77 sigma, a clamp at 1e-7 at 5.68; the samplers reach 8.57 and 6.76."""
    zeros = np.zeros(1, dtype=np.uint64)
    assert strict_pair(zeros, zeros, zeros, zeros)[0][0] == pytest.approx(8.5716, abs=1e-4)
    assert fast_pair(zeros, zeros)[0][0] == pytest.approx(6.7637, abs=1e-4)


def test_storage_in_16_bits_is_rounded_through_float32() -> None:
    """1 + 2^-8 + 2^-40 is nearest to 1.0078 in bfloat16, but 1.0 by way of float32: the contract, as torch has it."""
    total = torch.tensor([1 + 2**-8 + 2**-40], dtype=torch.float64)
    assert total.to(torch.bfloat16).item() == 1.0
    assert total.to(torch.float32).to(torch.bfloat16).item() == 1.0
    out, base = np.empty(1, np.uint16), torch.ones(1, dtype=torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    k.combine_half(out, base, np.ones((1, 1), np.float32), np.array([2**-8 + 2**-40]), True)
    assert torch.from_numpy(out.view(np.int16)).view(torch.bfloat16).item() == 1.0


def floats() -> torch.Tensor:
    """A million float32 bit patterns, every 16-bit float, and the points halfway between and next to halfway."""
    rng = np.random.default_rng(0)
    patterns = [rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint64).astype(np.uint32)]
    for dtype in (torch.float16, torch.bfloat16):
        every = torch.arange(1 << 16).to(torch.int32).to(torch.int16).view(dtype)
        exact = every[every.isfinite()].float().sort().values
        halfway = ((exact[1:].double() + exact[:-1].double()) / 2).float()
        patterns += [x.numpy().view(np.uint32) for x in (exact, halfway)]
        patterns += [p + d for p in patterns[-1:] for d in (np.uint32(1), np.uint32(0xFFFFFFFF))]
    return torch.from_numpy(np.concatenate(patterns).view(np.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_kernels_round_to_16_bits_as_torch_does(dtype: torch.dtype) -> None:
    """Normal, subnormal, halfway, overflowing and infinite values; NaN stays NaN (torch itself has two of them)."""
    x = floats()
    out = np.empty(x.numel(), np.uint16)
    k.narrow(out, x.numpy(), dtype == torch.bfloat16)
    got, expected = torch.from_numpy(out.view(np.int16)), x.to(dtype).view(torch.int16)
    nan = x.isnan()
    assert torch.equal(got[~nan], expected[~nan])
    assert got[nan].view(dtype).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_kernels_read_16_bits_as_torch_does(dtype: torch.dtype) -> None:
    """All 65,536 values."""
    bits = torch.arange(1 << 16).to(torch.int32).to(torch.int16)
    out = np.empty(1 << 16, np.float32)
    k.widen(out, bits.numpy().view(np.uint16), dtype == torch.bfloat16)
    expected = bits.view(dtype).float()
    got, numbers = torch.from_numpy(out), ~expected.isnan()
    assert torch.equal(got.view(torch.int32)[numbers], expected.view(torch.int32)[numbers])
    assert got[~numbers].isnan().all()


def test_torchs_square_root_is_not_the_nearest_and_the_backends_is() -> None:
    """Where torch's CPU build uses MKL, its roots miss the nearest float64 now and then; the corrected ones never."""
    x = np.random.default_rng(0).random(200_000) * 75
    assert np.array_equal(_square_root(torch.from_numpy(x)).numpy(), np.sqrt(x))


@pytest.fixture
def flushed() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("flushed")
def test_a_process_that_flushes_subnormals_is_refused() -> None:
    """Small weights would become zero without any noise."""
    with pytest.raises(InvalidInput, match="flushed to zero"):
        backend_for(torch.device("cpu"), torch.float32)


def test_subnormal_weights_and_signed_zeros_keep_their_bits() -> None:
    """Tiny base values pass through the float64 sum as IEEE says."""
    base = torch.tensor([1e-40, -1e-44, 0.0, -0.0, 3e38])
    noise = Noise(noise_key(0, "E"), 0, 1e-39, 2.0**-142)
    place = Place("x", base, torch.full_like(base, float("nan")))
    CpuBackend().noise([(place, noise)])(0)
    expected = moved(base, NormalStream(0, "E").normals(0, 0, 5), noise)
    assert torch.equal(place.work.view(torch.int32), expected.view(torch.int32))


def test_the_fast_sampler_is_refused_where_certificates_draw() -> None:
    """No eta bounds it: neither a certificate's stream nor a certificate's record accepts it."""
    law = weight_noise({"weight": 4}, 0.1)
    with pytest.raises(InvalidInput, match=r"fast sampler has no eta.*pilot/, landscape/"):
        WeightPerturbation(law, 0, 12, "E", sampler="fast")
    with pytest.raises(ValueError, match="strict"):
        ExplicitIdentity(sampler="fast", device="cpu", tokens_per_batch=1)
    with pytest.raises(InvalidInput, match="sampler must be one of strict, fast, got 'quick'"):
        NormalStream(0, "E", "quick")


def test_a_sigma_beyond_float64_is_refused() -> None:
    """The kernels multiply by the inverse of the pitch, which must be exact."""
    with pytest.raises(InvalidInput, match="outside what float64 noise can carry"):
        noised(nn.Linear(1, 1), weight_noise({"weight": 1, "bias": 1}, 1e-300), Seed(value="0" * 64))


def test_kernels_compile_without_a_folder_to_cache_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only installation without a home still draws; it compiles in every process."""
    real = compiling._njit

    def refuse(function: object, cache: bool = False, **settings: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **settings)

    monkeypatch.setattr(compiling, "_njit", refuse)
    assert compiling.compiled(lambda x: x + 1)(1) == 2


def test_importing_the_library_does_not_import_numba() -> None:
    """numba takes half a second: only an open engine needs it."""
    code = "import sys, certify, certify.noise, certify.measuring; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
