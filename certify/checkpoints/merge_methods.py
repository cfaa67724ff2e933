"""How models are merged, one tensor at a time: linear, SLERP, task arithmetic, TIES.

The order of operations and the dtypes in between are those of mergekit 0.1.5, so that the bits are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from certify.errors import InvalidInput

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 20  # elements that SLERP holds in wide numbers at a time: their sums are rounded chunk by chunk
NEARLY_PARALLEL = 0.9995  # the cosine beyond which SLERP interpolates linearly
SHORTEST = 1e-8  # a norm, or a sum of weights, that counts as zero


def linear(tensors: Sequence[torch.Tensor], weights: Sequence[float], *, normalize: bool = True) -> torch.Tensor:
    """Return the weighted mean (Wortsman et al. 2022), summed in float32; with ``normalize=False`` the weighted sum.

    Raises:
        InvalidInput: weights that sum to 0 and are to be normalised.
    """
    import torch

    first = tensors[0]
    wide = torch.float64 if first.dtype == torch.float64 else torch.float32
    share = torch.tensor(weights, dtype=wide)
    if normalize and float(share.sum()) == 0.0:
        raise InvalidInput(f"the weights {', '.join(map(str, weights))} sum to 0, and normalize divides by that")
    total = torch.zeros_like(first, dtype=wide)
    for tensor, each in zip(tensors, share, strict=True):
        total.addcmul_(tensor, each.reshape((1,) * first.ndim))
    return (total / share.sum() if normalize else total).to(first.dtype)


def slerp(base: torch.Tensor, other: torch.Tensor, t: float) -> torch.Tensor:
    """Return the point ``t`` on the arc from ``base`` to ``other`` (Shoemake 1985), each tensor taken as one vector.

    Linear between tensors that are nearly parallel. Norms and angle are sums over the whole tensor in float32.
    """
    import torch

    wide = torch.float64 if base.dtype == torch.float64 else torch.float32
    a, b = (torch.split(tensor.reshape(1, -1), CHUNK, dim=1) for tensor in (base, other))
    lengths = [_length(parts, wide) for parts in (a, b)]
    cosines = [
        ((x.to(wide) / lengths[0]) * (y.to(wide) / lengths[1])).sum(dim=1, keepdim=True)
        for x, y in zip(a, b, strict=True)
    ]
    cosine, at = torch.stack(cosines).sum(dim=0).clamp(-1, 1), torch.tensor([[t]], dtype=wide)
    if abs(float(cosine)) > NEARLY_PARALLEL:
        ours, theirs = 1 - at, at
    else:
        angle = torch.acos(cosine)
        ours, theirs = torch.sin((1 - at) * angle) / torch.sin(angle), torch.sin(at * angle) / torch.sin(angle)
    made = torch.cat([(ours * x.to(wide) + theirs * y.to(wide)).to(base.dtype) for x, y in zip(a, b, strict=True)], 1)
    return made.reshape(base.shape)


def _length(parts: Sequence[torch.Tensor], wide: torch.dtype) -> torch.Tensor:
    """Return the norm of a vector that comes in parts; 1 for one that is nearly zero."""
    import torch

    norms = [torch.linalg.vector_norm(part.to(wide), dim=1, keepdim=True) for part in parts]
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return torch.where(norm > SHORTEST, norm, 1)


def task_arithmetic(
    base: torch.Tensor, others: Sequence[torch.Tensor], weights: Sequence[float], *, normalize: bool, scale: float
) -> torch.Tensor:
    """Return base + ``scale`` · Σ weight · (model - base) (Ilharco et al. 2023), in the tensors' own dtype."""
    import torch

    changes = torch.stack([other - base for other in others])
    share = torch.tensor(weights, dtype=changes.dtype).reshape(-1, *[1] * base.ndim)
    changes.mul_(share)
    total = share.sum(dim=0)
    total[total.abs() < SHORTEST] = 1
    return _moved(base, changes.sum(dim=0), total, normalize, scale)


def ties(
    base: torch.Tensor,
    others: Sequence[torch.Tensor],
    weights: Sequence[float],
    densities: Sequence[float],
    *,
    normalize: bool,
    scale: float,
) -> torch.Tensor:
    """Return the TIES merge (Yadav et al. 2023), in the tensors' own dtype.

    Of each model's change the share ``density`` of largest elements is kept; elements whose sign is not that of the
    weighted sum are left out of the mean.
    """
    import torch

    kept = [_largest(other - base, density) for other, density in zip(others, densities, strict=True)]
    changes = torch.stack(kept)
    share = torch.tensor(weights, dtype=changes.dtype).reshape(-1, *[1] * base.ndim)
    changes.mul_(share)
    elected = (changes.sum(dim=0) >= 0).to(base.dtype) * 2 - 1
    agrees = changes.sign() == elected
    total = (share * agrees).sum(dim=0)
    total[total == 0] = 1
    return _moved(base, (changes * agrees).sum(dim=0), total, normalize, scale)


def _largest(change: torch.Tensor, density: float) -> torch.Tensor:
    """Return ``change`` with all but its largest elements set to zero."""
    import torch

    if density >= 1:
        return change
    if density <= 0 or not change.numel():
        return torch.zeros_like(change)
    order = torch.argsort(change.abs().reshape(-1).float(), descending=True)
    mask = torch.zeros(change.numel(), dtype=change.dtype)
    mask[order[: max(1, int(density * change.numel()))]] = 1
    return change * mask.reshape(change.shape)


def _moved(
    base: torch.Tensor, change: torch.Tensor, total: torch.Tensor, normalize: bool, scale: float
) -> torch.Tensor:
    if normalize:
        change /= total
    if scale != 1:
        change *= scale
    return (base + change).to(base.dtype)
