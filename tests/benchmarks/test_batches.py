"""Prompts once: the likelihoods of one row for each continuation on every architecture, or the slow way by name."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import models
import pytest
import torch
import transformers
from families import FAMILIES, REFUSED, in_the_table
from torch import nn

from certify.benchmarks import ModelLimits, batches, open_benchmark
from certify.benchmarks.batches import Batch, Batching, Continuation, node_logits
from certify.benchmarks.scoring import LikelihoodScorer
from certify.errors import CertifyWarning
from certify.records import WAYS, Way

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))

from saved_models import ARCHITECTURES, decoder, made

TOK = models.tokenizer()
ONE_BY_ONE = Batching("", 1)
SLOW = {
    "bloom": "distinct rows: BloomForCausalLM cannot be called with a prefix tree (ValueError)",
    "mamba": "distinct rows: MambaForCausalLM cannot be called with a prefix tree (RuntimeError)",
    "mistral": "distinct rows: attention of MistralForCausalLM reaches back 8 tokens only",
}
"""What does not branch, and why: positions from a mask of two dimensions, a recurrence, a window."""


def few_shot(shared: int = 40, items: int = 6, known: int = 60) -> list[tuple[int, Continuation]]:
    """Items behind one prefix of so many tokens, four endings of 1 to 4 tokens each; the last asks one ending twice."""
    rng, found = random.Random(0), list[Continuation]()

    def some(count: int) -> list[int]:
        return [rng.randrange(3, known) for _ in range(count)]

    prefix = some(shared)
    for item in range(items):
        prompt = prefix + some(3 + 2 * item)
        found += [
            Continuation(item, (*prompt, *some(1 + (item + k) % 4)), len(prompt), 3) for k in range(4)
        ]
    return list(enumerate([*found, found[-1]]))


def likelihoods(model: Any, batching: Batching, asked: list[tuple[int, Continuation]]) -> torch.Tensor:
    """Log-likelihoods of all continuations."""
    totals = torch.zeros(len(asked), dtype=torch.float64)
    with torch.inference_mode():
        for batch in batching.batches(asked, "cpu"):
            logits = node_logits(model, batch, batching.way).float()
            value = logits[batch.at, batch.target] - logits.logsumexp(1)[batch.at]
            totals.index_add_(0, batch.owner, value.double())
    return totals


def trained(make: Callable[[], Any]) -> Any:
    """A random model whose attention matters: weights of the size that training leaves."""
    model = make()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(4)
    return model.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_the_likelihoods_of_rows_of_their_own(name: str) -> None:
    """Within 1e-5 in float32; of each architecture it is known whether it branches, and the reason if not."""
    model, asked = trained(ARCHITECTURES[name]), few_shot()
    found = Batching.of(model, asked, "cpu")
    assert str(found) == SLOW.get(name, "prefix tree")
    difference = (likelihoods(model, found, asked) - likelihoods(model, ONE_BY_ONE, asked)).abs().max()
    assert difference <= 1e-5


@pytest.mark.parametrize("family", [*FAMILIES, *REFUSED])
def test_current_families_are_scored_as_the_table_says(family: str) -> None:
    """Prompts once, or rows of their own where something forbids it, with the same likelihoods."""
    make, asked = {**FAMILIES, **REFUSED}[family], few_shot()
    model = make()
    found = Batching.of(model, asked, "cpu")
    difference = (likelihoods(model, found, asked) - likelihoods(model, ONE_BY_ONE, asked)).abs().max()
    assert difference <= 1e-5
    way = str(found).partition(":")[0]
    if "reaches back" in found.why:
        way = f"{Batching.of(make(sliding_window=64), asked, 'cpu')} within its window"
    assert way == in_the_table()[family][2]


def without_depth(batch: Batch) -> Batch:
    """Positions that go on counting where a continuation parts."""
    counting = torch.arange(batch.ids.shape[1]).clamp(max=63)[None].expand_as(batch.ids)  # models have 64 positions
    return batch if batch.depths is None else replace(batch, depths=counting)


def without_ends(batch: Batch) -> Batch:
    """A mask that shows a continuation what stands before it, others' endings included."""
    return batch if batch.ends is None else replace(batch, ends=torch.full_like(batch.ends, batch.ids.shape[1]))


@pytest.mark.parametrize("broken", [without_depth, without_ends])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "mixtral"])
def test_a_plan_that_forgets_positions_or_leaks_is_found(
    name: str, broken: Callable[[Batch], Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above, and of the trial on the model, which takes the slow way then."""
    model, asked, make = trained(ARCHITECTURES[name]), few_shot(), batches.batch_of
    monkeypatch.setattr(batches, "batch_of", lambda rows, device: broken(make(rows, device)))
    wrong = likelihoods(model, Batching("prefix tree", 512), asked) - likelihoods(model, ONE_BY_ONE, asked)
    assert wrong.abs().max() > 1e-3
    found = Batching.of(model, asked, "cpu")
    assert (found.way, found.why) == ("distinct rows", f"{type(model).__name__} gives other logits in a prefix tree")
    assert (likelihoods(model, found, asked) - likelihoods(model, ONE_BY_ONE, asked)).abs().max() <= 1e-5


def test_low_precision_is_tried_in_its_own_dtype() -> None:
    """In bfloat16 rounding alone moves logits; a leak still moves them more than that."""
    model, asked = trained(ARCHITECTURES["llama"]).bfloat16(), few_shot()
    assert str(Batching.of(model, asked, "cpu")) == "prefix tree"


def test_a_window_longer_than_the_rows_does_not_matter() -> None:
    """The window of the architecture counts only for rows that are longer."""
    asked = few_shot()
    longest = max(len(c.ids) - 1 for _, c in asked)
    for size in (longest, longest - 5):
        model = trained(decoder("Mistral", sliding_window=size))
        found = Batching.of(model, asked, "cpu")
        assert str(found) == "prefix tree"
        trees = [row for row in found.rows(asked) if row.branches]
        assert max(row.depth for row in trees) <= size
        assert (likelihoods(model, found, asked) - likelihoods(model, ONE_BY_ONE, asked)).abs().max() <= 1e-5
    assert len(trees) < len({c.item for _, c in asked})  # the long items stood alone


def test_local_attention_by_place_does_not_branch() -> None:
    """GPT-Neo's window counts places in the row, not positions."""
    make = made("GPTNeoForCausalLM", "GPTNeoConfig", hidden_size=32, num_layers=2, num_heads=4, vocab_size=64,
                attention_types=[[["global", "local"], 1]], window_size=5)  # fmt: skip
    assert Batching.of(trained(make), few_shot(), "cpu").way == "distinct rows"


def test_every_token_is_computed_once_and_every_place_asked_once() -> None:
    """Two levels: the prefix once for all items, each prompt once for its endings; identical rows fall together."""
    asked = few_shot(shared=300)
    rows = Batching("prefix tree", 512).rows(asked)
    inputs = [c.ids[:-1] for _, c in asked]
    distinct = {each[: k + 1] for each in inputs for k in range(len(each))}
    assert len(rows) == 1
    assert len(rows[0].tokens) == len(distinct)
    assert len(rows[0].asked) == len({c.ids[:p] for _, c in asked for p in range(c.start, len(c.ids))})
    flat = Batching("distinct rows", 512).rows(asked)
    assert len(flat) == len({i for i in inputs if not any(o != i and o[: len(i)] == i for o in inputs)})
    assert len(Batching("", 512).rows(asked)) == len(asked)


def test_a_wide_model_branches_from_the_first_shared_token() -> None:
    """A mask costs a narrow model more than a short prompt; the likelihoods are those of rows of their own."""
    asked, found = few_shot(shared=0, items=4, known=18), dict[int, Batching]()
    for hidden in (16, batches.WIDE):
        model = models.llama(hidden=hidden)
        found[hidden] = Batching.of(model, asked, "cpu")
        alone = likelihoods(model, ONE_BY_ONE, asked)
        assert torch.allclose(likelihoods(model, found[hidden], asked), alone, atol=1e-5 * float(alone.abs().max()))
    narrow, wide = found.values()
    assert (narrow.way, wide.way) == ("distinct rows", "prefix tree")
    tokens = [sum(len(row.tokens) for row in each.rows(asked)) for each in (narrow, wide)]
    assert tokens[1] < 0.8 * tokens[0]


def test_batches_keep_to_their_tokens_and_places_and_pad_little() -> None:
    """A row longer than the budget is a batch of its own."""
    rng = random.Random(1)
    rows = [tuple(rng.randrange(50) for _ in range(length)) for length in [*range(2, 60), 300]]
    asked = [(i, Continuation(i, ids, 1, 1)) for i, ids in enumerate(rows)]
    made_of = Batching("distinct rows", 256, places=200).batches(asked, "cpu")
    assert sorted(n for batch in made_of for n in batch.continuations) == list(range(len(asked)))
    for batch in made_of:
        count, width = batch.ids.shape
        assert count == 1 or count * width <= 256
        assert count == 1 or len(batch.row) <= 200
        lengths = [len(rows[n]) - 1 for n in batch.continuations]
        assert width <= batches.WIDER * min(lengths) or 8 * count * width <= 256 * 2
    (together,) = Batching("distinct rows", 10**6, places=10**6).batches(asked[:20], "cpu")[-1:]
    assert together.ends is None  # rows that do not branch need no mask


def choices(where: Path, count: int = 24) -> Path:
    prefix = "1+2=3 4+5=9 "
    items = [
        {"prompt": f"{prefix}{i // 10}{i % 10}+a=", "choices": ["1", "22", "2 b", "+1"], "answer": i % 4}
        for i in range(count)
    ]
    return models.write_jsonl(where / "choices.jsonl", items)


def scorer_of(path: Path, cheapest: Way = WAYS[0]) -> LikelihoodScorer:
    made_of = open_benchmark(path).encode(TOK, "cpu", ModelLimits(batching=cheapest))
    assert isinstance(made_of, LikelihoodScorer)
    return made_of


def test_all_ways_answer_alike_but_at_near_ties(tmp_path: Path) -> None:
    """Any item that two ways answer differently is one whose best choices lie within rounding of each other."""
    path, seen = choices(tmp_path), set[float]()
    for seed in range(8):
        model = models.llama(seed=seed)
        by_way = {way: scorer_of(path, way) for way in WAYS}
        assert {by_way[way].batching(model).way for way in WAYS} == set(WAYS)
        scores = {way: scorer.score(model) for way, scorer in by_way.items()}
        asked = list(enumerate(by_way[""].continuations))
        values = likelihoods(model, ONE_BY_ONE, asked).view(-1, 4).sort(1).values
        for item, answers in enumerate(zip(*scores.values(), strict=True)):
            assert len(set(answers)) == 1 or values[item, 3] - values[item, 2] < 2e-5
        subset = by_way["prefix tree"].score(model, [7, 2, 7])
        assert subset == [scores["prefix tree"][i] for i in (7, 2, 7)]
        seen |= set(scores[""])
    assert seen == {0.0, 1.0}


def test_the_way_without_a_name_is_the_plan_of_old_records(tmp_path: Path) -> None:
    """One row for every continuation, by length, in batches of 8,192 tokens, logits at common columns: bit for bit."""
    model, scorer = models.llama(seed=3), scorer_of(choices(tmp_path), "")
    batching = scorer.batching(model)
    assert (batching.way, batching.tokens) == ("", 8192)
    (batch,) = scorer._batches(batching)
    order = sorted(range(len(scorer.continuations)), key=lambda i: (len(scorer.continuations[i].ids), i))
    width = max(len(c.ids) for c in scorer.continuations) - 1
    ids = [scorer.continuations[i].ids for i in order]
    padded = [[*each[:-1], *[each[-1]] * (width + 1 - len(each))] for each in ids]
    assert batch.ids.tolist() == padded
    assert batch.continuations == order
    columns = sorted({p - 1 for c in scorer.continuations for p in range(c.start, len(c.ids))})
    with torch.inference_mode():
        kept = model(input_ids=torch.tensor(padded), logits_to_keep=torch.tensor(columns), use_cache=False).logits
        ours = node_logits(model, batch, "")
    at = torch.tensor([columns.index(c) for c in batch.column.tolist()])
    assert torch.equal(ours, kept[batch.row, at])


def test_the_trial_runs_once_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves no hook on the head."""
    scorer, model, calls, real = scorer_of(choices(tmp_path)), models.llama(), [], Batching.refusal
    monkeypatch.setattr(Batching, "refusal", lambda *args: calls.append(1) or real(*args))  # type: ignore[func-returns-value]
    scorer.score(model)
    scorer.score(model, [1])
    assert calls == [1]
    scorer.score(models.llama(seed=1))
    assert len(calls) == 2
    assert not model.lm_head._forward_pre_hooks


def test_a_module_of_ones_own_is_scored_row_by_row(tmp_path: Path) -> None:
    """Nothing is known of how it is called."""

    class Own(nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: object) -> Any:
            logits = torch.zeros(*input_ids.shape, len(models.CHARACTERS) + 2)
            return type("Output", (), {"logits": logits})

    assert scorer_of(choices(tmp_path)).batching(Own().eval()) == Batching("", 8192)


def test_halves_of_a_tree_give_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory ends a batch is planned again for each half of its continuations, down to one."""
    scorer, model = scorer_of(choices(tmp_path)), models.llama(seed=2)
    expected, forward = scorer.score(model), model.model.forward

    def limited(*args: object, **named: torch.Tensor) -> object:
        if named["input_ids"].numel() > 60:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(*args, **named)

    monkeypatch.setattr(model.model, "forward", limited)
    with pytest.warns(CertifyWarning, match=r"out of memory with \d+ rows in a batch: done in halves"):
        assert scorer.score(model) == expected


def test_rows_that_change_with_the_longest_beside_them_are_scored_alone() -> None:
    """Rope that depends on the length of a batch: short rows beside long ones are other functions, branching or not."""
    config = transformers.Phi3Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, original_max_position_embeddings=32, pad_token_id=0,
        rope_scaling={"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.Phi3ForCausalLM(config).eval()
    rng, asked = random.Random(3), list[Continuation]()
    prefix = [rng.randrange(3, 60) for _ in range(20)]
    for item in range(9):  # three that branch, all short; six that do not, short and long in turn
        alone = [rng.randrange(3, 60) for _ in range(12 if item % 2 else 60)]
        for end in range(3 if item < 3 else 1):
            prompt = prefix if item < 3 else alone
            ids = (*prompt, *(rng.randrange(3, 60) for _ in range(2 + end)))
            asked.append(Continuation(item, ids, len(prompt), 3))
    numbered = list(enumerate(asked))
    found = Batching.of(model, numbered, "cpu")
    assert (found.way, found.tokens) == ("", 1)
    assert "gives other logits in a distinct rows" in found.why
    wrong = likelihoods(model, Batching("prefix tree", 4096), numbered)
    own = likelihoods(model, ONE_BY_ONE, numbered)
    assert float((wrong - own).abs().max()) > 0.1
    assert torch.equal(likelihoods(model, found, numbered), own)
