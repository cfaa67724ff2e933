"""Engine A's logits have the explicit engine's law: two-sample tests over functionals, with siblings that must fail.

Each test compares eight functionals of the logits and rejects where one p-value of the Kolmogorov-Smirnov test is
below 1e-6 / 8: a false alarm has probability at most 1e-6. The explicit arm has other draws (another seed) on the
lattice, whose pitch is sigma / 4096 at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from architectures import SEED, decoder, gpt2, law_of, tokens
from scipy import stats
from test_activation_oracle import independent_tokens, unshared_ids

from certify.noise import noised
from certify.noise.activation import ActivationEngine, Layout, handlers
from certify.noise.activation import factor as factoring
from certify.noise.activation.handlers import RULES, Rule
from certify.records import Seed

SIGMA, BUDGET = 0.15, 1e-6
MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: gpt2(d=32, layers=2),
    "llama": lambda: decoder("Llama", d=32, layers=2),
    "qwen2": lambda: decoder("Qwen2", d=32, layers=2, tied=True),
}


def explicit(model: Any, ids: torch.Tensor, n: int) -> torch.Tensor:
    with noised(model, law_of(model, SIGMA), Seed(value=f"{4711:064x}")) as engine, torch.no_grad():
        return torch.cat([engine.at(i)(input_ids=ids, use_cache=False).logits for i in range(n)])


def activation(model: Any, ids: torch.Tensor, n: int, step: int = 250) -> torch.Tensor:
    found = []
    with ActivationEngine(model, law_of(model, SIGMA), SEED.integer) as engine:
        for first in range(0, n, step):
            draws = range(first, min(first + step, n))
            layout = Layout.even(draws, 1, torch.ones(len(draws), ids.shape[1], dtype=torch.bool))
            found.append(engine.run(layout, input_ids=ids.expand(len(draws), -1), use_cache=False).logits)
    return torch.cat(found)


def functionals(logits: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """A marginal, the logit of the token just read (sees ties), repeated tokens, two positions, likelihoods, ..."""
    logits = logits.double()
    log_p = logits[:, :-1].log_softmax(-1)
    return {
        "marginal": logits[:, -1, 7],
        "token just read": logits[:, -1, ids[0, -1]],
        "repeated tokens": (logits[:, 5] - logits[:, 2]).square().sum(-1),
        "two positions": logits[:, 3, 8] * logits[:, 8, 8],
        "likelihood": log_p.gather(2, ids[:, 1:].expand(len(logits), -1)[..., None])[..., 0].sum(1),
        "entropy": -(log_p[:, -1].exp() * log_p[:, -1]).sum(-1),
        "largest": logits.amax((1, 2)),
        "same token, neighbours": logits[:, 6, 4] * logits[:, 7, 4],
    }


def p_values(a: torch.Tensor, b: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
    first, second = functionals(a, ids), functionals(b, ids)
    return {k: float(stats.ks_2samp(first[k].numpy(), second[k].numpy(), method="asymp").pvalue) for k in first}


def break_engine(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    if broken == "tokens":
        monkeypatch.setattr(factoring, "root", independent_tokens)
    elif broken == "ids":
        monkeypatch.setitem(RULES, "torch.nn.modules.sparse.Embedding", Rule("rows", unshared_ids, ("weight",)))
    else:
        monkeypatch.setattr(handlers, "_show_known_rows", lambda *_: None)


def compare(names: Sequence[str], n: int) -> None:
    for name in names:
        model, ids = MODELS[name](), tokens(1, 12)
        p = p_values(explicit(model, ids, n), activation(model, ids, n), ids)
        assert min(p.values()) > BUDGET / len(p), (name, n, p)


def test_logits_have_the_law_of_the_explicit_engine() -> None:
    """Eight functionals of GPT-2's logits, 1500 draws an arm, and broken siblings are told apart by the same test."""
    model, ids, n = MODELS["gpt2"](), tokens(1, 12), 1500
    reference = explicit(model, ids, n)
    p = p_values(reference, activation(model, ids, n), ids)
    assert min(p.values()) > BUDGET / len(p), p
    for broken in ("tokens", "ids", "untied"):
        with pytest.MonkeyPatch.context() as patch:
            break_engine(patch, broken)
            p = p_values(reference, activation(model, ids, n), ids)
        assert min(p.values()) < BUDGET / len(p), (broken, p)


def test_rotary_models_have_the_law_of_the_explicit_engine() -> None:
    """The same for a Llama with an untied head."""
    compare(["llama"], 800)


@pytest.mark.statistical
@pytest.mark.parametrize("name", MODELS)
def test_logits_have_the_law_of_the_explicit_engine_closely(name: str) -> None:
    """20,000 draws an arm."""
    compare([name], 20_000)
