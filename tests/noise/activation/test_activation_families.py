"""Every family in one contract: exact in activation space by oracle and explicit engine, or refused by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from architectures import SEED, examined, law_of, tokens
from families import FAMILIES, REFUSED, in_the_table
from torch import nn
from torch.nn import functional
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.muse_spark.modeling_muse_spark import (
    MuseSparkTextCenteredRMSNorm,
    MuseSparkTextInputScaledRMSNorm,
)
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen4_exp.modeling_qwen4_exp import Qwen4ExpTextRMSNorm

from certify.errors import ActivationRefused
from certify.noise import noised
from certify.noise.activation import ActivationEngine, Layout, refusals
from certify.noise.activation.forwards import FORWARDS, forward_of
from certify.noise.activation.handlers import RULES, Rule, rule_of

families = pytest.mark.parametrize("family", FAMILIES)
LENGTH = 16  # beyond the windows


@families
def test_every_family_is_a_weight_draw(family: str) -> None:
    """Coupling, Gram identity and noise are rounding, two items of unequal length to a draw, and the noise is felt."""
    model = FAMILIES[family]()
    assert refusals(model, law_of(model)) == ()
    found = examined(model, items=2, length=LENGTH, step=1)
    assert found.exact, found
    assert found.effect > 0.1


def both_engines(model: nn.Module, law: Any) -> float:
    """The largest difference of logits between the engines, which both draw vectors from stream E."""
    ids, draws = tokens(3, LENGTH), [5, 0, 9]
    layout = Layout.even(draws, 1, torch.ones_like(ids, dtype=torch.bool))
    with ActivationEngine(model, law, SEED.integer) as engine:
        ours = engine.run(layout, input_ids=ids, use_cache=False).logits
    with noised(model, law, SEED, lattice_bits=20) as engine, torch.no_grad():
        theirs = [engine.at(draw)(input_ids=ids[g : g + 1], use_cache=False).logits for g, draw in enumerate(draws)]
    clean = model(input_ids=ids, use_cache=False).logits
    assert (ours - clean).abs().amax((1, 2)).min() > 0.1
    return (ours - torch.cat(theirs)).abs().max().item()


def drawn_alike(model: Any) -> Any:
    """Noise on gains, shifts, biases, and on an embedding that is not tied: what both engines take from stream E."""
    rows = model.get_input_embeddings().weight if not model.config.tie_word_embeddings else None
    return law_of(model, {name: 0.1 for name, p in model.named_parameters() if p.ndim == 1 or p is rows})


@families
def test_draws_of_gains_biases_and_rows_are_the_explicit_engines(family: str) -> None:
    """The very same draw: seed, number and logits."""
    model = FAMILIES[family]()
    assert both_engines(model, drawn_alike(model)) < 2e-5


def gains(model: nn.Module) -> set[str]:
    """The rules by which a model's norms are known."""
    known = {name for name, rule in RULES.items() if rule.kind == "norm"}
    kinds = {type(module) for module in model.modules() if list(module.parameters(recurse=False))}
    return {forward_of(kind) or f"{kind.__module__}.{kind.__qualname__}" for kind in kinds} & known


def times_the_gain(rule: Rule) -> Rule:
    """The sibling that scales the noise on w by what it takes for the gain: 1 + w for w, and Gemma's 1 + w for w."""

    def apply(site: Any, now: Any, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        before, weight = out.clone(), site.module.weight
        other = weight if "Gemma" in type(site.module).__name__ else 1 + weight
        return before + other * (rule.apply(site, now, x, out) - before)

    return Rule("norm", apply, rule.leaves)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "OLMo"])  # whose norms have no gain
def test_a_gain_in_the_wrong_place_is_rejected(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken sibling of both tests above: the oracle rejects it, and the explicit engine draws otherwise."""
    model = FAMILIES[family]()
    for name in gains(model):
        monkeypatch.setitem(RULES, name, times_the_gain(RULES[name]))
    found = examined(model, length=LENGTH)
    assert found.coupling > 1e-2 and not found.exact, found
    assert both_engines(model, drawn_alike(model)) > 1e-2


def test_the_table_has_every_family_with_its_engine() -> None:
    """Of a family that is drawn explicitly it names the types without a rule."""
    expected = {}
    for family, make in {**FAMILIES, **REFUSED}.items():
        model = make()
        missing = {re.search(r"\((\w+)\)", reason)[1] for reason in refusals(model, law_of(model))}  # type: ignore[index]
        engine = f"explicit: {', '.join(sorted(missing))}" if missing else "activation"
        expected[family] = [type(model).__name__, engine]
    assert {family: row[:2] for family, row in in_the_table().items()} == expected


@pytest.mark.parametrize("family", REFUSED)
def test_other_families_are_refused_by_name(family: str) -> None:
    """The module that has no rule is named, with what it owns."""
    model = REFUSED[family]()
    reasons = refusals(model, law_of(model))
    assert reasons and all(re.match(r"\S+ \(\w+\) (is of a type without a rule|routes tokens)", r) for r in reasons)


class Renamed(nn.Module):
    """Llama's norm with other names for its variables, and an __init__ of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x.dtype
        x = x.to(torch.float32)
        square = x.pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(square + self.variance_epsilon)
        return self.weight * x.to(kind)


def test_a_norm_is_known_by_what_it_computes() -> None:
    """Copies under other names have the rule, and each known forward is one that transformers has."""
    assert forward_of(Renamed) == forward_of(Phi3RMSNorm) == "norm of Llama"
    assert forward_of(Gemma3RMSNorm) == "norm of Gemma"
    met = {forward_of(type(module)) for make in FAMILIES.values() for module in make().modules()}
    assert met >= set(FORWARDS)


class AddsBefore(nn.Module):
    """The root of the sum, then epsilon."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x.dtype
        x = x.to(torch.float32)
        square = x.pow(2).mean(-1, keepdim=True)
        x = x * (torch.rsqrt(square) + self.variance_epsilon)
        return self.weight * x.to(kind)


class OtherPower(nn.Module):
    """One constant is another: the mean of cubes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x.dtype
        x = x.to(torch.float32)
        square = x.pow(3).mean(-1, keepdim=True)
        x = x * torch.rsqrt(square + self.variance_epsilon)
        return self.weight * x.to(kind)


class OtherType(nn.Module):
    """The same number of another type."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kind = x.dtype
        x = x.to(torch.float32)
        square = x.pow(2.0).mean(-1, keepdim=True)
        x = x * torch.rsqrt(square + self.variance_epsilon)
        return self.weight * x.to(kind)


class Inherited(LlamaRMSNorm):
    """A subclass, which may do anything."""


class OtherHelper(nn.Module):
    """Gemma's forward, another function under the helper's name."""

    forward = Gemma3RMSNorm.forward

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return x


class OtherCall(nn.Module):
    """Llama's forward, called otherwise."""

    forward = LlamaRMSNorm.forward

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.forward(x)


class OtherWeight(nn.Module):
    """Llama's forward, which reads something else than the parameter."""

    forward = LlamaRMSNorm.forward
    weight = property(lambda self: 2 * self._parameters["weight"])


class Lookup(nn.Module):
    """Llama's forward, where names that it does not know are made up."""

    forward = LlamaRMSNorm.forward

    def __getattr__(self, name: str) -> Any:
        return 2 * super().__getattr__(name)


def in_another_world() -> type:
    """Llama's forward where torch is something else."""
    scope: dict[str, Any] = {"torch": functional, "nn": nn}
    same = type(LlamaRMSNorm.forward)(LlamaRMSNorm.forward.__code__, scope)
    return type("OtherTorch", (nn.Module,), {"forward": same})


def with_default() -> type:
    same = type(LlamaRMSNorm.forward)(LlamaRMSNorm.forward.__code__, vars(torch), None, (None,))
    return type("WithDefault", (nn.Module,), {"forward": same})


@pytest.mark.parametrize(
    "kind",
    [AddsBefore, OtherPower, OtherType, Inherited, OtherHelper, OtherCall, OtherWeight, Lookup, in_another_world(),
     with_default(), MuseSparkTextCenteredRMSNorm, MuseSparkTextInputScaledRMSNorm, Qwen4ExpTextRMSNorm],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_a_norm_that_differs_in_one_thing_has_no_rule(kind: type) -> None:
    """An instruction, a constant, its type, a base, a helper, what surrounds the forward, what its names mean."""
    assert forward_of(kind) is None


def test_an_embedding_with_a_scale_for_each_column_is_refused() -> None:
    """Its forward is the known one, and what it multiplies by is no number."""
    model = FAMILIES["Gemma 3"]()
    model.model.embed_tokens.embed_scale = torch.linspace(1, 2, 32)
    with pytest.raises(ActivationRefused, match="Gemma3TextScaledWordEmbedding scales its rows by 32 numbers"):
        examined(model, length=LENGTH)


def test_a_known_norm_that_was_tampered_with_is_refused() -> None:
    """A helper of the instance's own replaces the type's."""
    model = FAMILIES["Gemma 3"]()
    model.model.norm._norm = lambda x: x
    assert any("model.norm has a _norm of its own" in reason for reason in refusals(model, law_of(model)))
    assert rule_of(model.model.norm) is not None
