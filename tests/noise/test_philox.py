"""The noise streams: known answers, purity, accuracy and law."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certify.errors import InvalidInput
from certify.noise import philox
from certify.noise.philox import CHUNK, LANE, NormalStream, check_known_answers, noise_key, strict_pair


def words(*values: int) -> list[np.ndarray]:
    return [np.array([v], dtype=np.uint64) for v in values]


def test_generator_gives_the_published_known_answer() -> None:
    """Philox4x32-10 of zero counter and zero key is the published vector."""
    out = philox.philox(*words(0, 0, 0, 0), (0, 0))
    assert [hex(int(w[0])) for w in out] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_key_is_the_contracts() -> None:
    """Seed 7, stream E gives the key that the noise contract prints."""
    assert [hex(k) for k in noise_key(7, "E")] == ["0x45fdc89a", "0xf3c0b350"]


def test_first_normals_are_the_contracts() -> None:
    """The four published normals come out, and another value would be refused."""
    check_known_answers()


@pytest.mark.parametrize(
    ("draw", "tensor", "expected"),
    [
        (0, 0, "05ff951adcb57fcf5e740ae81f81da22b4f3138a6b2458e3b142d7037e96dd95"),
        (3, 5, "e8f73fad64ef08c8bfb29d68309d802a03e2a2f3ec1d609cc26b4029a440cead"),
    ],
)
def test_four_thousand_normals_keep_every_bit(draw: int, tensor: int, expected: str) -> None:
    """A few known answers miss a change that moves one normal in eight by its last bit; a digest of many does not."""
    found = NormalStream(7, "E").normals(draw, tensor, 4096)
    assert hashlib.sha256(found.astype("<f8").tobytes()).hexdigest() == expected
    nudged = found.copy()
    nudged[1000] = np.nextafter(nudged[1000], np.inf)
    assert hashlib.sha256(nudged.astype("<f8").tobytes()).hexdigest() != expected


def test_a_machine_with_other_arithmetic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one bit of a known answer differs, drawing is refused with both values named."""
    monkeypatch.setitem(philox.KNOWN_ANSWERS, 0, "0x1.86744199a4401p-4")
    with pytest.raises(InvalidInput, match=r"element 0 is 0x1\.86744199a4400p-4"):
        check_known_answers.__wrapped__()


@given(st.integers(0, 3 * CHUNK), st.integers(1, 2 * CHUNK))
def test_any_window_of_a_tensor_has_the_same_bits(start: int, size: int) -> None:
    """An element's normal does not depend on where the request begins or ends."""
    stream = NormalStream(3, "E")
    whole = stream.normals(1, 2, 5 * CHUNK)
    assert np.array_equal(stream.normals(1, 2, size, start), whole[start : start + size])


def test_every_part_of_the_address_matters() -> None:
    """Seed, stream, draw and tensor each give other normals: nothing is re-used."""
    reference = NormalStream(3, "E").normals(1, 2, LANE)
    others = [
        NormalStream(4, "E").normals(1, 2, LANE),
        NormalStream(3 + (1 << 32), "E").normals(1, 2, LANE),  # a 32-bit seed would collide here
        NormalStream(3, "S").normals(1, 2, LANE),
        NormalStream(3, "pilot/E").normals(1, 2, LANE),
        NormalStream(3, "E").normals(0, 2, LANE),
        NormalStream(3, "E").normals(1, 3, LANE),
        NormalStream(3, "E").normals(1, 2, LANE, LANE),
    ]
    for other in others:
        assert abs(np.corrcoef(reference, other)[0, 1]) < 6 / np.sqrt(LANE)


def test_global_generators_are_left_alone() -> None:
    """Drawing touches neither numpy's nor torch's global state."""
    before = (np.random.get_state()[1].tobytes(), torch.get_rng_state())
    NormalStream(0, "E").normals(0, 0, 5000)
    assert np.random.get_state()[1].tobytes() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_relative_error_is_within_the_contract() -> None:
    """Against extended precision no normal is off by more than 16 * 2^-53 of its size."""
    rng = np.random.default_rng(0)
    w = rng.integers(0, 1 << 32, (4, 100_000), dtype=np.uint64)
    w[:, 0] = (0, 0, 0, 0)  # the far end of the tail
    a, b = ((w[i + 1] << np.uint64(32) | w[i]) >> np.uint64(11) for i in (0, 2))
    ld = np.longdouble
    quarter = ((b + np.uint64(1 << 50)) >> np.uint64(51)).astype(np.int64)
    angle = (b.astype(np.int64) - (quarter << 51)).astype(ld) * (ld(2) ** -50 * np.arctan(ld(1)))
    sign = np.where((quarter + 1) & 2, -1, 1)
    exact = np.sqrt(-2 * np.log((a.astype(ld) + 1) * ld(2) ** -53)) * np.where(
        quarter & 1, np.sin(angle), np.cos(angle)
    )
    got = strict_pair(*w)[0]
    error = np.abs((got - exact * sign) / exact) * ld(2) ** 53
    assert float(error.max()) <= 16
    assert got[0] == pytest.approx(8.5716, abs=1e-4)  # sqrt(2 * 53 * ln 2): no shorter tail


def z_scores(x: np.ndarray) -> dict[str, float]:
    """Moments of a sample as z-scores under N(0, 1)."""
    n = len(x)
    return {
        "mean": x.mean() * n**0.5,
        "variance": (x.var() - 1) * (n / 2) ** 0.5,
        "skewness": (x**3).mean() * (n / 15) ** 0.5,
        "kurtosis": ((x**4).mean() - 3) * (n / 96) ** 0.5,
        "tail": ((np.abs(x) > 3).mean() - 0.0026998) / (0.0026998 * 0.9973 / n) ** 0.5,
    }


# Five two-sided z-tests at a family-wise false-alarm budget of 1e-6: each at 2e-7, |z| <= 5.20.
CRITICAL = 5.20


def test_normals_have_the_moments_of_a_gaussian() -> None:
    """A million normals pass five moment tests with a false-alarm budget of 1e-6 (seeded)."""
    z = z_scores(NormalStream(11, "E").normals(0, 0, 1 << 20))
    assert all(abs(v) <= CRITICAL for v in z.values()), z


def test_the_moment_test_rejects_a_short_tail() -> None:
    """The same test catches normals cut at 3.33 sigma, as a bfloat16 generator makes them."""
    x = NormalStream(11, "E").normals(0, 0, 1 << 20)
    cut = np.clip(x, -3.33, 3.33)
    assert any(abs(v) > CRITICAL for v in z_scores(cut).values())


@pytest.mark.parametrize("seed", [-1, 1 << 256])
def test_a_seed_outside_256_bits_is_refused(seed: int) -> None:
    """The seed's range is checked."""
    with pytest.raises(InvalidInput, match="seed must be in"):
        noise_key(seed, "E")
