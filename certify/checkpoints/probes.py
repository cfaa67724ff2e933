"""What a scorer takes for granted about a model, tried on the model at hand: no list of architectures knows it.

Two things. That the model is causal: a later token leaves earlier logits alone, so an answer cannot look at itself. And
that rows are independent: other rows, padding and the batch leave a row's logits alone, so items can be scored in
batches. A few short forwards on random tokens; what they do not touch (very long inputs) they do not show.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from certify.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import nn

LENGTH, ROWS = 24, 8
SEED = 20250517
SAME_SHAPE = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 2e-2, "float16": 4e-3}
OTHER_SHAPE = {"float64": 1e-8, "float32": 1e-3, "bfloat16": 5e-2, "float16": 2e-2}
"""What another order of summation may move, as a share of the spread of a place's logits, by dtype.

Measured on 26 architectures of two layers: at most 2e-7 (float32) and 1e-3 (float16) between inputs of one shape, 7e-7,
8e-3 (bfloat16) and 2e-3 between shapes; a bidirectional model with weights as initialised moves by 1e-3.
"""

_found: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def require_causal(model: nn.Module, where: object) -> None:
    """Refuse a model whose logits depend on later tokens.

    Raises:
        CheckpointError: naming the class and what moved.
    """
    ids = _tokens(model, 1, LENGTH)
    changed = ids.clone()
    half = LENGTH // 2
    changed[:, half:] = _tokens(model, 1, LENGTH, seed=SEED + 1)[:, half:]
    moved = _moved(_logits(model, ids)[:, :half], _logits(model, changed)[:, :half])
    if moved > SAME_SHAPE[_dtype(model)]:
        raise CheckpointError(
            f"{where}: {type(model).__name__} is not causal: a later token moves earlier logits by {moved:.2g} of "
            "their spread, so an answer would be scored by looking at it"
        )


def rows_independent(model: nn.Module) -> bool:
    """Whether a row's logits stay the same beside other rows, with padding, and in a batch of another size.

    Asked once for each model; weights that noise moves later do not change the answer's architecture.
    """
    if not hasattr(model, "get_input_embeddings"):
        return True  # a module of one's own, with its own idea of rows
    if model not in _found:
        _found[model] = _rows_independent(model)
    return _found[model]


def moves_nothing(model: nn.Module, other: nn.Module) -> bool:
    """Whether two models give a few random tokens the same logits, bit for bit."""
    ids = _tokens(model, 1, LENGTH)
    return bool((_logits(model, ids) == _logits(other, ids)).all())


def same_logits(model: nn.Module, ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether two ways of calling a model gave the same logits, shape (places, vocabulary), up to rounding."""
    dtype = _dtype(model)
    allowed = SAME_SHAPE[dtype] if dtype in ("float32", "float64") else OTHER_SHAPE[dtype]
    return _moved(ours.double().cpu(), theirs.double().cpu()) <= allowed


def _rows_independent(model: nn.Module) -> bool:
    ids = _tokens(model, ROWS, LENGTH)
    short = LENGTH // 3
    alone = _logits(model, ids[:1, :short])
    others = [ids[:, :short], ids[:1], ids, ids[:1].expand(ROWS, -1), ids[:2]]
    allowed = OTHER_SHAPE[_dtype(model)]
    return all(_moved(alone, _logits(model, batch)[:1, :short]) <= allowed for batch in others)


def _tokens(model: Any, rows: int, length: int, seed: int = SEED) -> torch.Tensor:
    import torch

    known = int(model.get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, known, (rows, length), generator=generator)
    return ids.to(model.get_input_embeddings().weight.device)


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    import torch

    cached = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, **cached).logits
    return logits.double().cpu()


def _moved(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest change of a logit, as a share of the largest spread of a place's logits.

    A place without finite logits in both (a broken model, which scoring names) counts as unchanged.
    """
    if not bool((ours.isfinite() == theirs.isfinite()).all()):
        return float("inf")
    finite = ours.isfinite().all(-1)
    if not bool(finite.any()):
        return 0.0
    ours, theirs = ours[finite], theirs[finite]
    change, spread = float((ours - theirs).abs().max()), float((ours.amax(-1) - ours.amin(-1)).max())
    return change / spread if change else 0.0


def _dtype(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
