"""What the activation engine cannot do exactly, found by reading the model, and said by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from certify.noise.activation.handlers import Rule, rule_of
from certify.records import WeightNoise

COMPUTE_DTYPES = (torch.float32, torch.float64)


def refusals(model: nn.Module, law: WeightNoise) -> tuple[str, ...]:
    """Return why ``law`` on ``model`` cannot run in activation space, in words; empty when nothing speaks against it.

    What only a forward pass can show (a module read twice or never, tokens regrouped by a router) is refused
    during the pass, and weights that are read outside their module's forward by the oracle.
    """
    return (*_whole(model, law), *_ties(model, law), *_modules(model, law))


def _whole(model: nn.Module, law: WeightNoise) -> Iterator[str]:
    parameters = dict(model.named_parameters())
    if set(parameters) != set(law.sigma):
        wrong = sorted(set(parameters) ^ set(law.sigma))
        yield f"the noise law and the model name different tensors, e.g. {wrong[:3]}"
    if "_orig_mod" in dict(model.named_children()):
        yield "the model is compiled: hooks would not see its layers"
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        yield f"{training[0]} is in training mode, where dropout is on: call model.eval()"
    yield from _dtypes(parameters, law)


def _dtypes(parameters: dict[str, nn.Parameter], law: WeightNoise) -> Iterator[str]:
    """Name what is not float32 or float64; 16 bits in one line, frozen tensors as well: activations would have them."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = [name for name, parameter in parameters.items() if parameter.dtype == dtype]
        if narrow:
            yield (
                f"{len(narrow)} of {len(parameters)} tensors are {dtype}, e.g. {narrow[0]!r}, so the model computes in "
                "16 bits, which is not proven; in float32 the same weights are another function, which has to be "
                "declared: name a recipe with dtype = float32 in place of the folder (docs/activation.md)"
            )
    noised = {name: parameter.dtype for name, parameter in parameters.items() if law.sigma.get(name, 0) > 0}
    for name, dtype in noised.items():
        if dtype not in (*COMPUTE_DTYPES, torch.bfloat16, torch.float16):
            yield f"tensor {name!r} is {dtype}: quantised or packed weights cannot take noise"
    if len(set(noised.values())) > 1:
        yield "the noised tensors have different dtypes"


def _ties(model: nn.Module, law: WeightNoise) -> Iterator[str]:
    """Name every weight that two modules own, or two tensors share, other than head and token embedding."""
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    allowed = tied_weight(model)
    for name, parameter in model.named_parameters():
        if law.sigma.get(name, 0) > 0 and owners[id(parameter)] > 1:
            if parameter is allowed and owners[id(parameter)] == 2:
                continue
            yield f"tensor {name!r} has {owners[id(parameter)]} owners, and is not a head tied to its embedding"
    spans = sorted((*_span(p), n) for n, p in model.named_parameters() if p.numel() and not p.is_meta)
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end and max(law.sigma.get(first, 0), law.sigma.get(second, 0)) > 0:
            yield f"tensors {first!r} and {second!r} lie on the same memory"


def _span(parameter: nn.Parameter) -> tuple[int, int]:
    """First and last address of a tensor, whatever its strides."""
    reach = sum((size - 1) * stride for size, stride in zip(parameter.shape, parameter.stride(), strict=True))
    return parameter.data_ptr(), parameter.data_ptr() + (reach + 1) * parameter.element_size()


def tied_weight(model: nn.Module) -> nn.Parameter | None:
    """Return the weight that the output head shares with the token embedding, if it does."""
    head, embedding = head_of(model), _ask(model, "get_input_embeddings")
    if head is None or embedding is None or head is embedding:
        return None
    weight = getattr(head, "weight", None)
    return weight if isinstance(weight, nn.Parameter) and weight is getattr(embedding, "weight", None) else None


def head_of(model: nn.Module) -> nn.Module | None:
    """Return the module that turns the last hidden states into logits, if the model names one."""
    return _ask(model, "get_output_embeddings")


def _ask(model: nn.Module, method: str) -> nn.Module | None:
    found = getattr(model, method, lambda: None)
    try:
        answer = found()
    except NotImplementedError:
        return None
    return answer if isinstance(answer, nn.Module) else None


def _modules(model: nn.Module, law: WeightNoise) -> Iterator[str]:
    """Name every module that owns noised weights and is not known through and through."""
    names = {id(p): n for n, p in model.named_parameters()}
    for where, module in model.named_modules():
        leaves = {leaf: names[id(p)] for leaf, p in module.named_parameters(recurse=False)}
        if not any(law.sigma.get(name, 0) > 0 for name in leaves.values()):
            continue
        where = where or "the model itself"
        rule = rule_of(module)
        if rule is None:
            yield f"{where} ({type(module).__name__}) {_unknown(module, sorted(leaves))}"
        else:
            yield from _known(where, module, rule, leaves)


def _unknown(module: nn.Module, leaves: list[str]) -> str:
    if isinstance(module, nn.MultiheadAttention):
        return "reads its projection's weights outside any module's forward"
    kind = type(module).__name__.lower()
    if "expert" in kind or "moe" in kind or ("router" in kind and "topk" in kind):
        return f"routes tokens to experts, and owns {', '.join(leaves)}"
    return f"is of a type without a rule, and owns {', '.join(leaves)}"


def _known(where: str, module: nn.Module, rule: Rule, leaves: dict[str, str]) -> Iterator[str]:
    extra = sorted(set(leaves) - set(rule.leaves))
    if extra:
        yield f"{where} ({type(module).__name__}) owns {', '.join(extra)}, which its type does not explain"
    for name in sorted(name for name in vars(module) if callable(getattr(type(module), name, None))):
        yield f"{where} has a {name} of its own instead of its type's"
    if module._forward_hooks or module._forward_pre_hooks:
        yield f"{where} has forward hooks already"
    if getattr(module, "_compiled_call_impl", None) is not None:
        yield f"{where} is compiled"
    if rule.kind == "norm" and module.get_parameter("weight").ndim != 1:
        yield f"{where} normalises over more than one dimension"
    if getattr(module, "max_norm", None) is not None:
        yield f"{where} renormalises its own rows (max_norm)"
