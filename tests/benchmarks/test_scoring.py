"""Scoring: equal to the plain, slow way of computing the same thing."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
from torch import nn

from certify.benchmarks import batches, open_benchmark
from certify.errors import BenchmarkError, InvalidInput

TOK = models.tokenizer()
PROMPTS = [f"{i}+{j}=" * (1 + (i + j) % 3) for i in range(5) for j in range(4)]


def exact(tmp_path: Path) -> Path:
    return models.write_jsonl(
        tmp_path / "e.jsonl", [{"prompt": p, "target": "12"[: 1 + i % 2]} for i, p in enumerate(sorted(set(PROMPTS)))]
    )


def choices(tmp_path: Path, **settings: object) -> Path:
    items = [
        {"prompt": p, "choices": ["1", "22", "a b", "+"], "answer": i % 4} for i, p in enumerate(sorted(set(PROMPTS)))
    ]
    path = models.write_jsonl(tmp_path / "c.jsonl", items)
    path.with_suffix(".toml").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
    return path


def log_probabilities(model: nn.Module, text: str) -> torch.Tensor:
    ids = torch.tensor([TOK(text)["input_ids"]])
    with torch.inference_mode():
        return model(ids).logits[0].log_softmax(-1)


def test_exact_match_is_greedy_decoding(tmp_path: Path) -> None:
    """One teacher-forced pass gives what token-by-token greedy decoding gives."""
    found = set()
    for seed in range(6):
        model = models.llama(seed=seed)
        benchmark = open_benchmark(exact(tmp_path))
        expected = []
        for item in benchmark.items:
            ids, target = TOK(item.prompt)["input_ids"], TOK(item.target)["input_ids"]
            for _ in target:
                with torch.inference_mode():
                    ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
            expected.append(float(ids[-len(target) :] == target))
        assert benchmark.encode(TOK).score(model) == expected
        found.update(expected)
    assert found == {0.0, 1.0}  # both outcomes occurred, so the comparison had something to say


@pytest.mark.parametrize("normalised", ["true", "false"])
def test_multiple_choice_is_the_highest_likelihood(tmp_path: Path, normalised: str) -> None:
    """Batched sums equal sums over single forward passes; normalisation divides by characters."""
    model = models.llama(seed=3)
    benchmark = open_benchmark(choices(tmp_path, length_normalised=normalised))
    expected = []
    for item in benchmark.items:
        values = []
        for choice in item.choices:
            ids = TOK(item.prompt + choice)["input_ids"]
            table = log_probabilities(model, item.prompt + choice)
            start = len(TOK(item.prompt)["input_ids"])
            total = sum(float(table[t - 1, ids[t]]) for t in range(start, len(ids)))
            values.append(total / (len(choice) if normalised == "true" else 1))
        expected.append(float(max(range(4), key=values.__getitem__) == item.answer))
    assert benchmark.encode(TOK).score(model) == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_scores_do_not_depend_on_the_batch_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    """One item a batch, a few, or all at once: the same scores."""
    model = models.llama(seed=3)
    expected = open_benchmark(choices(tmp_path)).encode(TOK).score(model)
    monkeypatch.setattr(batches, "_tokens", lambda model, device: budget)
    assert open_benchmark(choices(tmp_path)).encode(TOK).score(model) == expected


def test_listed_items_come_in_the_order_of_the_list(tmp_path: Path) -> None:
    """Scoring some items gives their entries of the full table."""
    model = models.llama(seed=3)
    scorer = open_benchmark(choices(tmp_path)).encode(TOK)
    table = scorer.score(model)
    assert scorer.score(model, [7, 2, 11]) == [table[7], table[2], table[11]]


class Constant(nn.Module):
    """A model whose logits are all one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.eval()

    def forward(self, input_ids: torch.Tensor, **kwargs: object):  # type: ignore[no-untyped-def]
        logits = torch.full((*input_ids.shape, len(models.CHARACTERS) + 2), self.value)
        return type("Output", (), {"logits": logits})


def test_a_tie_is_wrong(tmp_path: Path) -> None:
    """A model that prefers nothing is right nowhere."""
    assert set(open_benchmark(exact(tmp_path)).encode(TOK).score(Constant(0.0))) == {0.0}
    two = [{"prompt": "1+1=", "choices": ["1", "2"], "answer": 0}]
    path = models.write_jsonl(tmp_path / "two.jsonl", two)
    assert open_benchmark(path).encode(TOK).score(Constant(0.0)) == [0.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_answer_is_neither_right_nor_wrong_yet(tmp_path: Path, value: float) -> None:
    """NaN logits (and infinities that become NaN) give NaN: what it counts as, the requirement decides."""
    for path in (exact(tmp_path), choices(tmp_path)):
        scores = open_benchmark(path).encode(TOK).score(Constant(value))
        assert all(score != score for score in scores) or set(scores) == {0.0}
    assert all(s != s for s in open_benchmark(exact(tmp_path)).encode(TOK).score(Constant(float("nan"))))


def test_training_mode_and_autocast_are_refused(tmp_path: Path) -> None:
    """Either would score another function than the certified one; the module or the device is named."""
    model, scorer = models.llama(), open_benchmark(exact(tmp_path)).encode(TOK)
    model.model.layers[1].train()
    with pytest.raises(InvalidInput, match=r"model\.layers\.1 is in training mode.*call model\.eval\(\)"):
        scorer.score(model)
    model.eval()
    with torch.autocast("cpu"), pytest.raises(InvalidInput, match="autocast is on for cpu"):
        scorer.score(model)
    assert scorer.score(model, [0])


def test_the_token_digest_depends_on_the_tokenizer(tmp_path: Path) -> None:
    """Another vocabulary gives other token ids, and the identity says so."""
    benchmark = open_benchmark(exact(tmp_path))
    other = models.tokenizer()
    other.add_tokens(["0+"])
    ours, theirs = benchmark.encode(TOK).identity, benchmark.encode(other).identity
    assert ours.digest == theirs.digest
    assert ours.tokens != theirs.tokens


def test_an_answer_without_tokens_is_refused(tmp_path: Path) -> None:
    """An item that cannot be scored is named, rather than scored as right."""
    path = models.write_jsonl(tmp_path / "x.jsonl", [{"prompt": "", "target": "2"}])
    with pytest.raises(BenchmarkError):
        open_benchmark(path)


def test_a_token_across_the_border_is_not_scored(tmp_path: Path) -> None:
    """Where prompt and answer would merge into one token, they are encoded one by one."""
    path = models.write_jsonl(tmp_path / "x.jsonl", [{"prompt": "1+1=", "target": "2"}])
    merging = models.tokenizer()
    merging.add_tokens(["=2"])
    assert merging("1+1=2")["input_ids"][-1] == len(models.CHARACTERS) + 2
    plain, careful = (open_benchmark(path).encode(t).identity.tokens for t in (TOK, merging))
    assert plain == careful
