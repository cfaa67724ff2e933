"""One rule per module type: what independent weight noise does to the outputs of that type, exactly.

The theorem behind the rule for matrices: let E have iid N(0, 1) entries, independent of the inputs X of all
real tokens of one draw. If L L^T = X X^T and G has iid N(0, 1) entries, then X (W + sigma E)^T and
X W^T + sigma L G have the same joint law (``docs/activation.md``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from certify.errors import ActivationRefused
from certify.noise.activation.forwards import forward_of
from certify.noise.activation.one_pass import Pass, Site

Apply = Callable[[Site, Pass, torch.Tensor, torch.Tensor], torch.Tensor]
Unit = Callable[[nn.Module, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Rule:
    """How a module type shows the noise on its tensors; ``leaves`` are all the tensors that the rule explains."""

    kind: Literal["matrix", "rows", "norm"]
    apply: Apply
    leaves: tuple[str, ...]


def matrix(site: Site, now: Pass, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Linear and Conv1D: out += sigma L G, plus one bias vector for each group."""
    if site.weight.sigma > 0:
        shape = out.shape
        x, out = (each if each.ndim == 3 else each.reshape(len(each), *each.shape[-2:]) for each in (x, out))
        found = now.factor(site, x)
        noise = torch.bmm(found.root, now.normals.projected(site.weight.tensor, found.ranks, out.shape[-1]))
        if site.tied:
            _show_known_rows(noise, found.x, *now.rows_shown[site.weight.tensor])
        now.record(site, found, noise)
        out = found.packing.add(out, noise, site.weight.sigma).view(shape)
    return _add_bias(site, now, out)


def _show_known_rows(noise: torch.Tensor, x: torch.Tensor, ids: list[torch.Tensor], rows: list[torch.Tensor]) -> None:
    """Give a tied head's rows the noise they already showed as embeddings: column v becomes x z_v."""
    for g, (seen, z) in enumerate(zip(ids, rows, strict=True)):
        noise[g, :, seen] = x[g] @ z.T


def _add_bias(site: Site, now: Pass, out: torch.Tensor) -> torch.Tensor:
    """Add sigma b, one vector b for each group."""
    if site.bias.sigma == 0:
        return out
    vectors = now.normals.vectors(site.bias.tensor, out.shape[-1])
    return out.add_(now.by_row(site, vectors, out), alpha=site.bias.sigma)


def _lookup(scaled: bool) -> Apply:
    """Return the rule of an embedding: row v shows z_v wherever v occurs among the real tokens of a group."""

    def apply(site: Site, now: Pass, ids: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        packing = now.layout.tokens
        if len(ids) == 1 < packing.shape[0]:  # positions come once for all rows, but rows of another draw differ
            ids, out = ids.expand(packing.shape), out.expand(*packing.shape, -1).contiguous()
        packed = packing.pack(ids[:, :, None])[:, :, 0]
        noise = out.new_zeros(*packed.shape, out.shape[-1])
        shown: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for g, count in enumerate(packing.counts):
            seen, where = torch.unique(packed[g, :count], return_inverse=True)
            rows = now.normals.rows(g, site.weight.tensor, seen.tolist(), out.shape[-1])
            noise[g, :count] = rows[where]
            shown[0].append(seen)
            shown[1].append(rows)
        now.rows_shown[site.weight.tensor] = shown
        return packing.add(out, noise, site.weight.sigma * (_scale(site.module) if scaled else 1.0))

    return apply


def _scale(module: nn.Module) -> float:
    """Return what Gemma's embeddings are multiplied by, rounded as its forward rounds it."""
    scale: torch.Tensor = module.embed_scale  # type: ignore[assignment]
    if scale.numel() != 1:
        raise ActivationRefused(f"{type(module).__name__} scales its rows by {scale.numel()} numbers, not by one")
    return float(scale.to(module.get_parameter("weight").dtype))


def norm(unit: Unit) -> Apply:
    """Return the rule of a normalisation: out += sigma (unit(x) a + b), vectors a and b for each group."""

    def apply(site: Site, now: Pass, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        if site.weight.sigma > 0:
            gain = now.by_row(site, now.normals.vectors(site.weight.tensor, out.shape[-1]), out)
            out = out.addcmul_(unit(site.module, x).to(out.dtype), gain, value=site.weight.sigma)
        return _add_bias(site, now, out)

    return apply


def _layer_norm(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    shape: tuple[int, ...] = module.normalized_shape  # type: ignore[assignment]  # nn.Module hides attributes' types
    return functional.layer_norm(x, shape, eps=module.eps)  # type: ignore[arg-type]


def _rms(epsilon: str) -> Unit:
    """Return a normalisation in float32, as the transformers classes do it whatever the model's dtype."""

    def unit(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + getattr(module, epsilon))

    return unit


def _centred(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Likewise, without the mean."""
    wide = x.float()
    return _rms("variance_epsilon")(module, wide - wide.mean(-1, keepdim=True))


_MATRIX = Rule("matrix", matrix, ("weight", "bias"))
_RMS = Rule("norm", norm(_rms("variance_epsilon")), ("weight",))
_GEMMA = Rule("norm", norm(_rms("eps")), ("weight",))
_LAYER_NORM = Rule("norm", norm(_layer_norm), ("weight", "bias"))

# Exact types by where they are defined (a subclass may do anything), or a forward that is known by its instructions.
# A gain of 1 + w, as Gemma's and Nemotron's, leaves the noise on w as it is.
RULES: dict[str, Rule] = {
    "torch.nn.modules.linear.Linear": _MATRIX,
    "transformers.pytorch_utils.Conv1D": _MATRIX,
    "matrix of Falcon": _MATRIX,
    "torch.nn.modules.sparse.Embedding": Rule("rows", _lookup(scaled=False), ("weight",)),
    "embedding of Gemma": Rule("rows", _lookup(scaled=True), ("weight",)),
    "torch.nn.modules.normalization.LayerNorm": _LAYER_NORM,
    "transformers.models.nemotron.modeling_nemotron.NemotronLayerNorm1P": _LAYER_NORM,
    "norm of Cohere": Rule("norm", norm(_centred), ("weight",)),
    "norm of Llama": _RMS,
    "norm of OLMo 2": _RMS,
    "norm of Helium": _RMS,
    "norm of Gemma": _GEMMA,
    "norm of Gemma 4": _GEMMA,
}


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule for exactly this module's type or forward, or None; a class that borrows a name has none."""
    kind = type(module)
    here = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return RULES[name] if here is kind and name in RULES else RULES.get(forward_of(kind) or "")
