"""Noise laws for weights: which tensors of a model get noise, and how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase

from certify.errors import InvalidInput
from certify.records import WeightNoise


def weight_noise(sizes: Mapping[str, int], sigma: float | Mapping[str, float]) -> WeightNoise:
    """Return the law that puts Gaussian noise on the tensors named in ``sizes`` (name to number of elements).

    ``sigma`` is one standard deviation for every tensor, or a mapping from name patterns (``*`` matches
    anything; the first match counts) to standard deviations: tensors that match none are frozen.

    Raises:
        InvalidInput: a sigma that is not positive and finite (0 is allowed for a pattern), or a pattern that
            matches no tensor.
    """
    patterns = dict(sigma) if isinstance(sigma, Mapping) else {"*": check_sigma(sigma)}
    for pattern, value in patterns.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(f"sigma for {pattern!r} must be finite and at least 0, got {value}")
        if not any(fnmatchcase(name, pattern) for name in sizes):
            raise InvalidInput(f"sigma pattern {pattern!r} matches no tensor, e.g. not {next(iter(sorted(sizes)))!r}")
    chosen = {
        name: next((v for pattern, v in patterns.items() if fnmatchcase(name, pattern)), 0.0) for name in sorted(sizes)
    }
    if not any(chosen.values()):
        raise InvalidInput("no tensor gets noise: at least one sigma must be positive")
    return WeightNoise(sigma=chosen, sizes=dict(sorted(sizes.items())))


def check_sigma(sigma: float) -> float:
    """Return ``sigma`` if it is a usable standard deviation.

    Raises:
        InvalidInput: it is not positive and finite.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise InvalidInput(f"sigma must be positive and finite, got {sigma}")
    return sigma


def lattice_pitch(sigma: float, lattice_bits: int) -> float:
    """Return the spacing of the lattice that noise of this sigma lies on: 2^(floor(log2 sigma) - bits)."""
    return math.ldexp(1.0, math.frexp(sigma)[1] - 1 - lattice_bits)
