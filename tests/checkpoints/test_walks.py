"""Weights walked on several threads: digests, norms and errors are those of one thread, and of plain arithmetic."""

from __future__ import annotations

import hashlib
import math
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import models
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from certify.checkpoints import Checkpoint, difference, open_checkpoint
from certify.checkpoints.bits import bits_of, examined, not_finite
from certify.checkpoints.norms import LANES, ROUNDING, plain_norm
from certify.checkpoints.threads import ROOM, in_threads
from certify.errors import CheckpointError

MODULE = sys.modules["certify.checkpoints.difference"]  # the package has a function of that name
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SIZES = (0, 1, LANES - 1, LANES, 3 * LANES + 7, (1 << 17) + 3)


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pair(folder: Path, dtype: torch.dtype) -> tuple[Path, Path]:
    """Two files of tensors of many sizes, some of which did not move."""
    generator, files = torch.Generator().manual_seed(5), []
    start = {f"t{i}": 0.02 * torch.randn(size, generator=generator) for i, size in enumerate(SIZES)}
    start |= {"frozen": torch.randn(1000, generator=generator)}
    for name, moved in (("base", 0.0), ("tuned", 1e-2)):
        weights = {n: (t + moved * (n != "frozen") * torch.randn(t.shape, generator=generator)).to(dtype)
                   for n, t in start.items()}  # fmt: skip
        files.append(folder / f"{name}.safetensors")
        save_file(weights, files[-1])
    return files[0], files[1]


def exact(x: torch.Tensor, y: torch.Tensor) -> Fraction:
    """The square of the norm of y - x, in fractions."""
    return sum(((Fraction(b) - Fraction(a)) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True)), Fraction(0))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_and_either_kernel_gives_the_same_bits(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms to the last digit, whether digests are taken on the way or not; digests are SHA-256 of the bytes."""
    files, found, digests = pair(tmp_path, dtype), set(), set()
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        for from_size in (0, 1 << 40):  # all compiled, none compiled
            monkeypatch.setattr(MODULE, "COMPILED_FROM", from_size)
            for identify in (False, True):
                base, tuned = (open_checkpoint(file) for file in files)
                found.add(difference(base, tuned, identify=identify).model_dump_json())
                assert set(tuned.digests) == (set(tuned.tensors) if identify else set())
                _ = base.identity, tuned.identity
                digests.add((*sorted(base.digests.items()), *sorted(tuned.digests.items())))
    assert len(found) == 1
    (digest,) = digests
    both = (open_checkpoint(file) for file in files)
    plain = [(n, hashlib.sha256(bytes(bits_of(c.read(n)))).hexdigest()) for c in both for n in sorted(c.tensors)]
    assert list(digest) == plain


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_are_the_exact_ones_rounded_up(dtype: torch.dtype, tmp_path: Path) -> None:
    """Never below the exact norm, above it by at most 2e-9; and what did not move is at 0."""
    base, tuned = (open_checkpoint(file) for file in pair(tmp_path, dtype))
    for name, norm in difference(base, tuned).norms.items():
        x, y = base.read(name), tuned.read(name)
        if x.numel() > 10_000:  # a sum of squares in one rounding each is near enough, and quicker than fractions
            assert math.sqrt(math.fsum((y.double() - x.double()).square().tolist())) <= norm
            continue
        square = exact(x, y)
        assert square <= Fraction(norm) ** 2 <= square * Fraction(1 + 2e-9) ** 2
        assert (norm == 0.0) == (name in ("frozen", "t0"))


def test_a_sum_in_the_tensors_own_dtype_fails_that() -> None:
    """The negative control: squares added in float32 are off by more than norms are rounded up, ours by far less."""
    generator = torch.Generator().manual_seed(5)
    x, y = (torch.randn(1 << 14, generator=generator) for _ in range(2))
    total = np.float32(0)
    for square in ((y - x) ** 2).numpy():
        total += square
    assert abs(Fraction(float(total)) / exact(x, y) - 1) > Fraction(ROUNDING) - 1
    plain = plain_norm(x.numpy(), y.numpy(), compiled=True)
    assert plain is not None
    assert abs(Fraction(plain) ** 2 / exact(x, y) - 1) < Fraction(1, 10**12)


@pytest.mark.parametrize("compiled", [False, True])
def test_squares_outside_a_floats_range_are_not_summed_plainly(compiled: bool) -> None:
    """Too small, too large, infinite or NaN: the careful walk takes them."""
    for value in (0.0, 1e-200, 1e200, math.inf, math.nan):
        assert plain_norm(np.zeros(3), np.array([0.0, value, 0.0]), compiled=compiled) is None
    assert plain_norm(np.zeros(3), np.array([3.0, 0.0, -4.0]), compiled=compiled) == 5.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_counted_by_its_bits(dtype: torch.dtype) -> None:
    """Infinities and NaNs of either sign, and the largest number that is none of them."""
    largest = torch.finfo(dtype).max
    clean = torch.tensor([largest, -largest, 0.0, -0.0, torch.finfo(dtype).smallest_normal], dtype=dtype)
    assert examined(clean)[1] == not_finite(clean) == 0
    for wrong in (math.inf, -math.inf, math.nan, -math.nan):
        spoilt = torch.cat([clean, torch.tensor([wrong], dtype=dtype), clean])
        assert examined(spoilt)[1] == not_finite(spoilt) == 1
    assert not_finite(torch.tensor([-1], dtype=torch.int16)) == 0  # the bits of a NaN, in a dtype that holds none


@pytest.mark.usefixtures("threads")
def test_of_several_wrong_tensors_the_first_is_named(tmp_path: Path) -> None:
    """By name, whichever thread comes first; and nothing is remembered of a tensor that is refused."""
    base, _ = pair(tmp_path, torch.float32)
    tensors = {name: open_checkpoint(base).read(name) for name in open_checkpoint(base).tensors}
    for name in ("t2", "t5"):
        tensors[name][-1] = math.nan
    save_file(tensors, tmp_path / "broken.safetensors")
    for count in (1, 4):
        torch.set_num_threads(count)
        for identify in (False, True):
            opened = open_checkpoint(tmp_path / "broken.safetensors")
            with pytest.raises(CheckpointError, match=r"1 of the 511 numbers of tensor 't2' are NaN"):
                difference(open_checkpoint(base), opened, identify=identify)
            assert not {"t2", "t5"} & set(opened.digests)
            with pytest.raises(CheckpointError, match=r"1 of the 511 numbers of tensor 't2' are NaN"):
                _ = opened.identity


def test_one_pass_reads_a_checkpoint_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashed while it is compared, its identity reads nothing more; without that it reads everything again."""
    source = models.save_folder(tmp_path / "base", models.llama())
    moved = models.variant(source, tmp_path / "moved", lambda t: t["model.norm.weight"].add_(1))
    read: list[str] = []
    real = Checkpoint.read_stored

    def counted(self: Checkpoint, name: str) -> torch.Tensor:
        if self.path == moved:
            read.append(name)
        return real(self, name)

    monkeypatch.setattr(Checkpoint, "read_stored", counted)
    expected = open_checkpoint(moved).identity
    for identify, times in ((True, 1), (False, 2)):
        read.clear()
        opened = open_checkpoint(moved)
        difference(open_checkpoint(source), opened, identify=identify)
        assert opened.identity == expected
        assert {read.count(name) for name in opened.tensors} == {times}


def test_what_is_hashed_is_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes after the walk gives neither another digest nor another distance: both are of one read."""
    base, tuned = pair(tmp_path, torch.float32)
    before, there = open_checkpoint(tuned).identity.weights, open_checkpoint(tuned)
    norms = difference(open_checkpoint(base), there, identify=True).norms
    save_file({n: open_checkpoint(base).read(n) for n in there.tensors}, tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").replace(tuned)
    assert there.identity.weights == before
    assert difference(open_checkpoint(base), open_checkpoint(tuned)).delta_norm == 0.0 < norms["t5"]
    assert open_checkpoint(tuned).identity.weights != before


@pytest.mark.usefixtures("threads")
def test_memory_in_flight_is_bounded() -> None:
    """Never more than the largest piece and ROOM for each thread, and yet several at a time."""
    torch.set_num_threads(4)
    sizes = {i: size * ROOM for i, size in enumerate((9, 3, 3, 3, 2, 1, 1, 1, 0))}
    lock, held, peaks, most = threading.Lock(), [0, 0], [0], [0]

    def work(i: int) -> int:
        with lock:
            held[0] += sizes[i]
            held[1] += 1
            peaks[0], most[0] = max(peaks[0], held[0]), max(most[0], held[1])
        threading.Event().wait(0.02)
        with lock:
            held[0] -= sizes[i]
            held[1] -= 1
        return i * i

    assert in_threads(work, sizes) == {i: i * i for i in sizes}
    assert peaks[0] <= 13 * ROOM < sum(sorted(sizes.values())[-4:])  # four of the largest at once would be too many
    assert 1 < most[0] <= 4
