"""Training with and without weight noise, and the scores that show what it did."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from skills import LESSONS, Item
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """One training run. `lessons` maps a lesson to its items per batch; `sigma` is the weight noise."""

    lessons: Mapping[str, int]
    steps: int
    learning_rate: float
    sigma: float
    seed: int
    warmup: int = 50
    noise_ramp: int = 1


class Classroom:
    """Draws batches: encoded items, with the loss on the answer (on all characters for prose)."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, held_out: frozenset[str]) -> None:
        self.ids = tokenizer.get_vocab()
        self.bos, self.pad = tokenizer.bos_token_id, tokenizer.pad_token_id
        self.held_out = held_out

    def batch(self, lessons: Mapping[str, int], rng: random.Random) -> tuple[Tensor, Tensor]:
        """Token ids and labels of items drawn for training."""
        return self.encoded(
            [
                (LESSONS[name].training_item(rng, self.held_out), LESSONS[name].whole_text)
                for name, count in lessons.items()
                for _ in range(count)
            ]
        )

    def encoded(self, drawn: Sequence[tuple[Item, bool]]) -> tuple[Tensor, Tensor]:
        """Token ids and labels, both `(items, tokens)`, padded on the right; each item goes with its `whole_text`."""
        width = 1 + max(len(item.prompt + item.answer) for item, _ in drawn)
        inputs = torch.full((len(drawn), width), self.pad)
        labels = torch.full((len(drawn), width), IGNORED)
        for row, (item, whole_text) in enumerate(drawn):
            ids = torch.tensor([self.bos, *(self.ids[c] for c in item.prompt + item.answer)])
            first = 1 if whole_text else 1 + len(item.prompt)
            inputs[row, : len(ids)] = ids
            labels[row, first : len(ids)] = ids[first:]
        return inputs, labels


def trained_parameters(model: LlamaForCausalLM) -> Weights:
    """Every parameter by name, a tied one once."""
    return dict(model.named_parameters())


def copy_of(model: LlamaForCausalLM) -> Weights:
    """The weights as they are now."""
    return {name: p.detach().clone() for name, p in trained_parameters(model).items()}


@torch.no_grad()
def load(model: LlamaForCausalLM, weights: Weights) -> None:
    """Overwrite the model's parameters."""
    for name, parameter in trained_parameters(model).items():
        parameter.copy_(weights[name])


@contextmanager
def noised(model: LlamaForCausalLM, sigma: float, generator: torch.Generator) -> Iterator[None]:
    """The model at theta + sigma z; afterwards theta again, by copy, so not one bit differs."""
    theta = copy_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=sigma)
    try:
        yield
    finally:
        load(model, theta)


def loss_on(model: LlamaForCausalLM, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the labelled tokens. Right padding needs no mask under causal attention."""
    logits = model(input_ids=inputs, use_cache=False).logits
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine to one hundredth."""
    progress = step / recipe.steps
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
    return cosine * min(1.0, (step + 1) / recipe.warmup)


def train(model: LlamaForCausalLM, classroom: Classroom, recipe: Recipe) -> None:
    """Adam on the noise-averaged loss: the gradient is taken at theta + sigma z, the step at theta."""
    rng = random.Random(recipe.seed)
    noise = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, recipe))
    for step in range(recipe.steps):
        inputs, labels = classroom.batch(recipe.lessons, rng)
        optimizer.zero_grad()
        with noised(model, recipe.sigma * min(1.0, (step + 1) / recipe.noise_ramp), noise):
            loss_on(model, inputs, labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


class Exam:
    """A benchmark encoded once. `score` follows the JSONL's meaning: exact match or best likelihood."""

    def __init__(self, items: Sequence[Item], tokenizer: PreTrainedTokenizerFast) -> None:
        ids, bos = tokenizer.get_vocab(), tokenizer.bos_token_id
        self.options = [item.choices or (item.answer,) for item in items]
        self.answers = torch.tensor([o.index(i.answer) for o, i in zip(self.options, items, strict=True)])
        rows = [(i.prompt, o) for i, options in zip(items, self.options, strict=True) for o in options]
        width = len(rows[0][0] + rows[0][1])
        assert all(len(p + o) == width and len(o) == len(rows[0][1]) for p, o in rows), "equal lengths"
        self.inputs = torch.tensor([[bos, *(ids[c] for c in p + o)] for p, o in rows])
        self.first = 1 + len(rows[0][0])

    def score(self, model: LlamaForCausalLM) -> float:
        """Share of items answered correctly; a tie counts as wrong."""
        return self.judged(model)[0]

    @torch.no_grad()
    def judged(self, model: LlamaForCausalLM) -> tuple[float, float]:
        """The score, and the negative log-likelihood of the right answers: nats for each answer, mean over items."""
        logits = model(input_ids=self.inputs, use_cache=False).logits[:, self.first - 1 : -1]
        targets = self.inputs[:, self.first :]
        log_p = logits.log_softmax(-1).gather(-1, targets[..., None]).sum((1, 2)).view(len(self.answers), -1)
        right = log_p.gather(1, self.answers[:, None])
        if len(self.inputs) == len(self.answers):
            correct = (logits.argmax(-1) == targets).all(1)
        else:
            correct = (log_p >= right).sum(1) == 1
        return correct.double().mean().item(), -right.double().mean().item()


def scores_under_noise(model: LlamaForCausalLM, exam: Exam, sigma: float, draws: int, seed: int) -> Tensor:
    """Scores at theta + sigma z, shape `(draws,)`, noise on all weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for _ in range(draws):
        with noised(model, sigma, generator):
            scores.append(exam.score(model))
    return torch.tensor(scores, dtype=torch.float64)
