"""What the parts of one record say of each other, each rule once: a forger who changes one must change the others too.

Each function returns one line for each contradiction, naming both fields and both values. What no other field implies
(the environment, how a folder is spelled) cannot be checked here and rests on trust, or on the files themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from certify.evidence.displacement import Displacement
from certify.evidence.trials import Subject
from certify.records import NoiseLaw, WeightNoise

TOLERANCE = 1e-6
"""Relative; norms are sums in float64, and the total is rounded up by about 1e-9 of itself."""
TINY = 1e-300
"""Below it neighbouring floats are farther apart than that."""


def of_displacement(where: str, found: Displacement, law: NoiseLaw, subject: Subject) -> list[str]:
    """Hold a displacement against the models that it lies between, and its parts against their total."""
    base, checkpoint = subject.base, subject.checkpoint
    lines = []
    size = sum(law.sizes.values()) if isinstance(law, WeightNoise) else base.parameters
    if found.dimension > base.parameters or (isinstance(law, WeightNoise) and found.dimension != size):
        lines.append(
            f"{where}.dimension: recorded {found.dimension}; the law names {size} weights, the base has "
            f"{base.parameters}"
        )
    whole = math.hypot(*found.norms.values())
    if isinstance(law, WeightNoise) and not math.isclose(whole, found.delta_norm, rel_tol=TOLERANCE, abs_tol=TINY):
        lines.append(f"{where}.delta_norm: recorded {found.delta_norm!r}, the norms of the tensors give {whole!r}")
    if checkpoint is None or base.dtypes != checkpoint.dtypes:
        return lines
    moved, same = found.delta_norm > 0.0, base.weights == checkpoint.weights
    buffers = any(line.startswith("buffer ") for line in found.differences)  # in the digest, and in no norm
    if moved == same and not buffers:
        lines.append(
            f"{where}.delta_norm: recorded {found.delta_norm!r}, but the weights of base and checkpoint {_same(same)}"
        )
    return lines


def of_companions(where: str, differences: Sequence[str], subject: Subject) -> list[str]:
    """Hold what is said to differ beside the weights against the digests of what computes there."""
    assert subject.checkpoint is not None
    ours, theirs = subject.base.companions.get("config"), subject.checkpoint.companions.get("config")
    if ours is None or theirs is None:  # a single file brings no config of its own
        return []
    said = [line for line in differences if line.startswith("config differs")]
    if bool(said) == (ours != theirs):
        return []
    how = f"names {said[0]!r}" if said else "names no difference of the config"
    return [f"{where}.differences: {how}, but the recorded configs of base and checkpoint {_same(ours == theirs)}"]


def of_law(where: str, law: NoiseLaw, subject: Subject) -> list[str]:
    """Hold the sizes of the tensors that a law names against the base's parameters, which count stored buffers, too."""
    if not isinstance(law, WeightNoise) or sum(law.sizes.values()) <= subject.base.parameters:
        return []
    return [f"{where}.sizes: {sum(law.sizes.values())} in all, base.parameters is only {subject.base.parameters}"]


def of_level(where: str, sigma: float, law: NoiseLaw) -> list[str]:
    """Hold the sigma that a level is called by against its law's."""
    largest = max(law.sigma.values()) if isinstance(law, WeightNoise) else law.sigma
    return [] if sigma == largest else [f"{where}.sigma: recorded {sigma!r}, the level's law has {largest!r}"]


def of_base_score(where: str, recorded: float, score: float) -> list[str]:
    """Hold a base score that is repeated beside draws against the item scores that it is the mean of."""
    same = math.isclose(recorded, score, rel_tol=0.0, abs_tol=1e-12)
    return [] if same else [f"{where}.base_score: recorded {recorded!r}, the basin's item scores give {score!r}"]


def of_mean(where: str, mean: float, items: int, graded: bool) -> list[str]:
    """Hold a mean over items that are right or wrong against the number of items."""
    if graded or math.isclose(mean * items, round(mean * items), abs_tol=1e-6):
        return []
    return [f"{where}: {mean!r} is no mean of {items} scores that are 0 or 1"]


def _same(same: bool) -> str:
    return "are the same" if same else "differ"
