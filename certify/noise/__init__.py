"""Weight noise: laws, counter-based streams, and the engines that put draws into a model."""

from certify.noise.engine import Engine, noised
from certify.noise.explicit import ExplicitEngine
from certify.noise.law import weight_noise
from certify.noise.philox import NormalStream
from certify.noise.reference import ReferenceEngine
from certify.noise.subspace import Subspace, open_subspace

__all__ = [
    "Engine",
    "ExplicitEngine",
    "NormalStream",
    "ReferenceEngine",
    "Subspace",
    "noised",
    "open_subspace",
    "weight_noise",
]
