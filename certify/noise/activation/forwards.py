"""Forwards that have a rule, written out: a class whose instructions are the same computes the same, whatever its name.

transformers copies a handful of norms and embeddings into every model under new names. A list of these names would
trust whatever the next release writes under them. Here what runs decides: the compiled instructions, their constants,
the names that they read and what these stand for, and that the class overrides nothing else. Any other text has no
rule and is refused by name, also where it differs by a rounding alone.
"""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType

import torch
from torch import nn


class _LlamaNorm(nn.Module):
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * hidden_states.to(input_dtype)


class _OlmoNorm(nn.Module):
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return (self.weight * hidden_states).to(input_dtype)


class _HeliumNorm(nn.Module):
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return (self.weight.to(torch.float32) * hidden_states).to(input_dtype)


class _GemmaNorm(nn.Module):
    weight: nn.Parameter
    eps: float

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output = self._norm(x.float())
        output = output * (1.0 + self.weight.float())
        return output.type_as(x)


class _Gemma4Norm(nn.Module):
    weight: nn.Parameter
    eps: float
    with_scale: bool

    def _norm(self, hidden_states: torch.Tensor) -> torch.Tensor:
        mean_squared = hidden_states.pow(2).mean(-1, keepdim=True) + self.eps
        return hidden_states * torch.pow(mean_squared, -0.5)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        normed_output = self._norm(hidden_states.float())
        if self.with_scale:
            normed_output = normed_output * self.weight.float()
        return normed_output.type_as(hidden_states)


class _CohereNorm(nn.Module):
    weight: nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        mean = hidden_states.mean(-1, keepdim=True)
        variance = (hidden_states - mean).pow(2).mean(-1, keepdim=True)
        hidden_states = (hidden_states - mean) * torch.rsqrt(variance + self.variance_epsilon)
        hidden_states = self.weight.to(torch.float32) * hidden_states
        return hidden_states.to(input_dtype)


class _ScaledEmbedding(nn.Embedding):
    embed_scale: torch.Tensor

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids) * self.embed_scale.to(self.weight.dtype)


class _FalconLinear(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden_states = input @ self.weight.T
        if self.bias is None:
            return hidden_states
        return hidden_states + self.bias


FORWARDS: dict[str, type[nn.Module]] = {
    "norm of Llama": _LlamaNorm,
    "norm of OLMo 2": _OlmoNorm,
    "norm of Helium": _HeliumNorm,
    "norm of Gemma": _GemmaNorm,
    "norm of Gemma 4": _Gemma4Norm,
    "norm of Cohere": _CohereNorm,
    "embedding of Gemma": _ScaledEmbedding,
    "matrix of Falcon": _FalconLinear,
}
_ANY = {"__init__", "__doc__", "__annotations__", "extra_repr", "kernel_layer_name"}  # what does not compute
_FLAGS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE
_NOWHERE = object()


def forward_of(kind: type) -> str | None:
    """Return the name of the forward in :data:`FORWARDS` that ``kind`` computes, None if it computes another one."""
    return next((name for name, known in FORWARDS.items() if _computes(kind, known)), None)


def _computes(kind: type, known: type) -> bool:
    """Whether a class has the bases and methods of a known one, and nothing else that could take part."""
    methods = {name: method for name, method in vars(known).items() if isinstance(method, FunctionType)}
    return (
        type(kind) is type
        and kind.__mro__[1:] == known.__mro__[1:]
        and vars(kind).keys() <= vars(known).keys() | _ANY
        and all(_same(method, vars(kind).get(name), kind) for name, method in methods.items())
    )


def _same(ours: FunctionType, theirs: object, kind: type) -> bool:
    """Whether a method of ``kind`` runs our instructions on what our names mean."""
    if not isinstance(theirs, FunctionType) or _instructions(ours.__code__) != _instructions(theirs.__code__):
        return False
    read = {each.argval for each in dis.get_instructions(ours.__code__) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return (
        theirs.__defaults__ is None
        and all(cell.cell_contents is kind for cell in theirs.__closure__ or ())  # what super() starts from
        and all(ours.__globals__.get(n, _NOWHERE) is theirs.__globals__.get(n, _NOWHERE) for n in read)
    )


def _instructions(code: CodeType) -> tuple[object, ...]:
    """Everything of a compiled function that decides what it computes; names of its variables do not."""
    constants = tuple((type(each), repr(each)) for each in code.co_consts)  # 1 and 1.0, 0.0 and -0.0 are told apart
    signature = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS
    return code.co_code, code.co_names, constants, code.co_freevars, code.co_exceptiontable, signature
