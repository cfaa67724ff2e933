"""What engine A cannot do is refused by name, before or during the first pass; nothing is silently wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tr
from architectures import LAYOUTS, SEED, VOCABULARY, decoder, gpt2, law_of, tokens
from torch import nn

from certify.errors import ActivationRefused
from certify.noise.activation import ActivationEngine, Layout, refusals
from certify.noise.activation.forwards import FORWARDS
from certify.noise.activation.handlers import RULES
from certify.records import WeightNoise

REAL = torch.ones(2, 12, dtype=torch.bool)


def opened(model: nn.Module, law: WeightNoise | None = None) -> ActivationEngine:
    return ActivationEngine(model, law or law_of(model), SEED.integer)


class Small(nn.Module):
    """Logits of a linear map of embeddings; tests add what must be refused."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, VOCABULARY)
        for name, module in modules.items():
            self.add_module(name, module)
        self.eval().requires_grad_(False)

    def body(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, input_ids: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.head(self.body(self.embed(input_ids)))})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_supported_layouts_have_nothing_against_them(layout: str) -> None:
    """No reason is given for a model that passes."""
    model = LAYOUTS[layout](torch.float32)
    assert refusals(model, law_of(model)) == ()


def test_experts_are_refused_by_name() -> None:
    """Tokens that a router sends to experts are not all of a group's tokens."""
    with pytest.raises(ActivationRefused, match=r"mlp\.experts \(MixtralExperts\) routes tokens to experts") as refused:
        opened(decoder("Mixtral", num_local_experts=4))
    assert any("MixtralTopKRouter" in reason for reason in refused.value.reasons)
    assert str(refused.value).endswith("use the explicit engine")


def test_recurrent_layers_are_refused_by_name() -> None:
    """A state space model owns tensors that no rule explains."""
    config = tr.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=VOCABULARY, state_size=4)
    model = tr.MambaForCausalLM(config).eval()
    with pytest.raises(ActivationRefused, match=r"mixer \(MambaMixer\) is of a type without a rule, and owns A_log, D"):
        opened(model)


def test_multihead_attention_is_refused_by_name() -> None:
    """Its weights never pass through a module's forward."""
    with pytest.raises(ActivationRefused, match=r"attention \(MultiheadAttention\) reads its projection's weights"):
        opened(Small(attention=nn.MultiheadAttention(16, 2)))


def test_quantised_weights_are_refused_by_name() -> None:
    """An integer weight cannot take Gaussian noise."""
    model = Small()
    model.head.weight = nn.Parameter(torch.zeros(VOCABULARY, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ActivationRefused, match=r"'head\.weight' is torch\.int8: quantised or packed weights"):
        opened(model)


def test_sixteen_bits_are_refused_with_the_way_out() -> None:
    """One line, however many tensors: computing in bf16 is not proven, and float32 has to be declared."""
    model = gpt2(torch.bfloat16)
    (reason,) = refusals(model, law_of(model))
    assert reason.startswith("40 of 40 tensors are torch.bfloat16, e.g. 'transformer.wte.weight', so the model")
    assert "has to be declared: name a recipe with dtype = float32" in reason
    with pytest.raises(ActivationRefused, match="computes in 16 bits"):
        opened(model)


def test_frozen_tensors_of_sixteen_bits_are_refused_too() -> None:
    """Activations would pass through them, whatever the noised tensors are."""
    model = decoder("Llama")
    model.model.layers[0].mlp.half()
    law = law_of(model, {"*norm*": 0.05})
    assert any(r.startswith("3 of 30 tensors are torch.float16") for r in refusals(model, law))


def test_training_mode_is_refused() -> None:
    """Dropout would be on."""
    with pytest.raises(ActivationRefused, match="is in training mode, where dropout is on"):
        opened(gpt2().train())


class Subclass(nn.Linear):
    """A linear layer that may do anything."""


def test_a_subclass_is_refused() -> None:
    """Rules hold for exact types: LoRA, quantised and parametrised layers are subclasses, too."""
    with pytest.raises(
        ActivationRefused, match=r"extra \(Subclass\) is of a type without a rule, and owns bias, weight"
    ):
        opened(Small(extra=Subclass(16, 16)))
    model = Small(extra=nn.Linear(16, 16))
    nn.utils.parametrizations.weight_norm(model.extra)
    with pytest.raises(ActivationRefused, match=r"extra.* is of a type without a rule"):
        opened(model)


def test_a_class_that_borrows_a_name_is_refused() -> None:
    """A type is known by identity, not by what it calls itself."""
    fake = type("Linear", (nn.Linear,), {"__module__": "torch.nn.modules.linear", "__qualname__": "Linear"})
    with pytest.raises(ActivationRefused, match=r"extra \(Linear\) is of a type without a rule"):
        opened(Small(extra=fake(16, 16)))


def test_tampered_modules_are_refused() -> None:
    """A forward of its own, hooks already there, extra tensors, renormalised rows, two-dimensional norms."""
    model = Small()
    model.head.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ActivationRefused, match="head has a forward of its own"):
        opened(model)
    model = Small()
    model.head.register_forward_hook(lambda *_: None)
    with pytest.raises(ActivationRefused, match="head has forward hooks already"):
        opened(model)
    model = Small()
    model.head.extra = nn.Parameter(torch.zeros(2), requires_grad=False)
    with pytest.raises(ActivationRefused, match=r"head \(Linear\) owns extra, which its type does not explain"):
        opened(model)
    with pytest.raises(ActivationRefused, match="renorm renormalises its own rows"):
        opened(Small(renorm=nn.Embedding(4, 16, max_norm=1.0)))
    with pytest.raises(ActivationRefused, match="wide normalises over more than one dimension"):
        opened(Small(wide=nn.LayerNorm((4, 16))))


def test_ties_other_than_head_and_embedding_are_refused() -> None:
    """One tensor read by two modules must show one noise in both."""
    model = Small(a=nn.Linear(16, 16), b=nn.Linear(16, 16))
    model.b.weight = model.a.weight
    with pytest.raises(ActivationRefused, match=r"tensor 'a\.weight' has 2 owners"):
        opened(model)
    model = Small(a=nn.Linear(16, 16), b=nn.Linear(16, 16))
    model.b.weight = nn.Parameter(model.a.weight.data[:], requires_grad=False)
    with pytest.raises(ActivationRefused, match="lie on the same memory"):
        opened(model)
    model = Small()
    model.head.weight = model.embed.weight  # tied, but the model does not say which is its head
    with pytest.raises(ActivationRefused, match="has 2 owners"):
        opened(model)


def test_another_law_is_refused() -> None:
    """Tensor ids are ranks among the model's names, so the law must speak of this model."""
    model = Small()
    law = law_of(model)
    other = WeightNoise(sigma={**law.sigma, "ghost": 1.0}, sizes={**law.sizes, "ghost": 1})
    with pytest.raises(ActivationRefused, match=r"name different tensors, e\.g\. \['ghost'\]"):
        opened(model, other)


class Twice(Small):
    def body(self, x: torch.Tensor) -> torch.Tensor:
        return self.extra(self.extra(x))  # type: ignore[no-any-return, operator]


class Flat(Small):
    def body(self, x: torch.Tensor) -> torch.Tensor:
        return self.extra(x.reshape(-1, 16)).view(x.shape)  # type: ignore[no-any-return, operator]


def test_a_module_read_twice_or_never_is_refused_during_the_pass() -> None:
    """Each weight must be read once for each draw."""
    for kind, message in (
        (Twice, "extra was called twice"),
        (Small, "extra was never called"),
        (Flat, "extra got inp"),
    ):
        model = kind(extra=nn.Linear(16, 16))
        with pytest.raises(ActivationRefused, match=message), opened(model) as engine:
            engine.run(Layout.even(range(2), 1, REAL), input_ids=tokens(2, 12))
        assert not model.extra._forward_hooks


def test_generation_is_refused() -> None:
    """A second pass with a cache would show a draw new noise; outside a run there is none at all."""
    model = decoder("Llama")
    with opened(model) as engine:
        with pytest.raises(ActivationRefused, match="called outside the engine's run"):
            model.generate(tokens(1, 12), max_new_tokens=2)
        with pytest.raises(ActivationRefused, match="in a batch of 2 rows and 12 places"):
            engine.run(Layout.even(range(2), 1, REAL), input_ids=tokens(2, 13), use_cache=False)


def test_autocast_is_refused() -> None:
    """Layers would compute in a dtype of their own."""
    model = decoder("Llama")
    with opened(model) as engine, torch.autocast("cpu"), pytest.raises(ActivationRefused, match="autocast is on"):
        engine.run(Layout.even(range(2), 1, REAL), input_ids=tokens(2, 12))


def test_compiled_models_are_refused() -> None:
    """A compiled model reads weights where hooks do not see it."""
    model = torch.compile(Small(), backend="eager")
    with pytest.raises(ActivationRefused, match="the model is compiled"):
        opened(model, law_of(model))


def test_every_rule_names_a_class_that_exists() -> None:
    """A rule for a class that transformers no longer has would be dead weight."""
    for name in RULES.keys() - FORWARDS.keys():
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(__import__(module, fromlist=[kind]), kind), type), name
