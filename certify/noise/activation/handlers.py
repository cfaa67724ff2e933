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

from certify.noise.activation.one_pass import Leaf, Pass, Site

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
        found = now.factor(site, x)
        noise = torch.bmm(found.root, now.normals.projected(site.weight.tensor, found.ranks, out.shape[-1]))
        if site.tied:
            _show_known_rows(noise, found.x, *now.rows_shown[site.weight.tensor])
        now.record(site, found, noise)
        out = found.packing.add(out, noise, site.weight.sigma)
    return _add_vector(site.bias, now, out)


def _show_known_rows(noise: torch.Tensor, x: torch.Tensor, ids: list[torch.Tensor], rows: list[torch.Tensor]) -> None:
    """Give a tied head's rows the noise they already showed as embeddings: column v becomes x z_v."""
    for g, (seen, z) in enumerate(zip(ids, rows, strict=True)):
        noise[g, :, seen] = x[g] @ z.T


def _add_vector(leaf: Leaf, now: Pass, out: torch.Tensor) -> torch.Tensor:
    """Add sigma b, one vector b for each group."""
    if leaf.sigma == 0:
        return out
    return out.add_(now.by_row(now.normals.vectors(leaf.tensor, out.shape[-1]), out), alpha=leaf.sigma)


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
    weight, scale = module.get_parameter("weight"), module.get_buffer("embed_scale")
    return float(scale.to(weight.dtype))


def norm(unit: Unit) -> Apply:
    """Return the rule of a normalisation: out += sigma (unit(x) a + b), vectors a and b for each group."""

    def apply(site: Site, now: Pass, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        if site.weight.sigma > 0:
            gain = now.by_row(now.normals.vectors(site.weight.tensor, out.shape[-1]), out)
            out = out.addcmul_(unit(site.module, x).to(out.dtype), gain, value=site.weight.sigma)
        return _add_vector(site.bias, now, out)

    return apply


def _layer_norm(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    shape: tuple[int, ...] = module.normalized_shape  # type: ignore[assignment]  # nn.Module hides attributes' types
    return functional.layer_norm(x, shape, eps=module.eps)  # type: ignore[arg-type]


def _rms(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Normalise in float32 as the transformers classes do, whatever the model's dtype."""
    eps: float = getattr(module, "variance_epsilon", None) or module.eps  # type: ignore[assignment]
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)


_HF = "transformers.models"
_MATRIX = Rule("matrix", matrix, ("weight", "bias"))
_ROWS = Rule("rows", _lookup(scaled=False), ("weight",))
_SCALED_ROWS = Rule("rows", _lookup(scaled=True), ("weight",))
_RMS = Rule("norm", norm(_rms), ("weight",))

# Exact types, by where they are defined: a subclass may do anything. Gemma's gain is 1 + w, which leaves the
# noise on w as it is; its token embedding multiplies rows by embed_scale.
RULES: dict[str, Rule] = {
    "torch.nn.modules.linear.Linear": _MATRIX,
    "transformers.pytorch_utils.Conv1D": _MATRIX,
    "torch.nn.modules.sparse.Embedding": _ROWS,
    f"{_HF}.gemma.modeling_gemma.GemmaTextScaledWordEmbedding": _SCALED_ROWS,
    f"{_HF}.gemma2.modeling_gemma2.Gemma2TextScaledWordEmbedding": _SCALED_ROWS,
    "torch.nn.modules.normalization.LayerNorm": Rule("norm", norm(_layer_norm), ("weight", "bias")),
    f"{_HF}.llama.modeling_llama.LlamaRMSNorm": _RMS,
    f"{_HF}.qwen2.modeling_qwen2.Qwen2RMSNorm": _RMS,
    f"{_HF}.qwen3.modeling_qwen3.Qwen3RMSNorm": _RMS,
    f"{_HF}.mistral.modeling_mistral.MistralRMSNorm": _RMS,
    f"{_HF}.gemma.modeling_gemma.GemmaRMSNorm": _RMS,
    f"{_HF}.gemma2.modeling_gemma2.Gemma2RMSNorm": _RMS,
}


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule for exactly this module's type, or None; a class that only borrows the name has none."""
    kind = type(module)
    here = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    return RULES.get(f"{kind.__module__}.{kind.__qualname__}") if here is kind else None
