"""A square root of each group's Gram matrix: what turns one row of noise per token into noise on the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from certify.noise.activation.layout import Packing

JITTER = 1e-14  # of the largest diagonal entry: repeated tokens stay equal to 1.5e-7, and no factorisation failed


class FactorError(ArithmeticError):
    """A finite Gram matrix did not factor."""


@dataclass(frozen=True)
class Factor:
    """``root`` (groups, tokens, width) with root root^T = x x^T in each group, ``ranks`` its columns per group."""

    x: torch.Tensor
    root: torch.Tensor
    ranks: tuple[int, ...]
    packing: Packing


def factor(x: torch.Tensor, packing: Packing) -> Factor:
    """Factor packed inputs (groups, tokens, d), zero rows below each group's own count.

    A group with fewer tokens than inputs gets the Cholesky factor of its Gram matrix; one with more gets x
    itself, and its noise is then the weight noise. The group's own count decides, never the padded one, so a
    draw does not depend on its company. A group whose inputs are not finite gets NaN: it has no answer.

    Raises:
        FactorError: a Gram matrix that is finite did not factor.
    """
    d = x.shape[-1]
    narrow = [g for g, count in enumerate(packing.counts) if count < d]
    ranks = tuple(min(count, d) for count in packing.counts)
    if not narrow:
        return Factor(x, x, ranks, packing)
    if len(narrow) == len(packing.counts):
        return Factor(x, root(x), ranks, packing)
    most = max(packing.counts[g] for g in narrow)
    mixed = x.new_zeros(*x.shape[:2], d)
    mixed.copy_(x)
    mixed[narrow] = 0
    mixed[narrow, :most, :most] = root(x[narrow, :most])
    return Factor(x, mixed, ranks, packing)


def root(x: torch.Tensor) -> torch.Tensor:
    """Return the lower triangular L with non-negative diagonal and L L^T = x x^T, in x's dtype.

    Gram matrix and factor are float64: a float32 factor has variance errors of 2e-4 and tells identical tokens
    apart by 1.5e-3.
    """
    wide = x.double()
    gram = wide @ wide.transpose(1, 2)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal.add_((JITTER * diagonal.amax(-1, keepdim=True)).clamp_min(1e-300))  # all-zero inputs factor, too
    lower, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        finite = gram.isfinite().all(-1).all(-1)
        if bool((failed.bool() & finite).any()):
            raise FactorError("a Gram matrix of finite inputs is not positive definite in float64")
        lower[~finite] = torch.nan
    out: torch.Tensor = lower.to(x.dtype)
    return out
