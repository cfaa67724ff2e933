"""Mean claims: scores of pairs, the guard around every decision, audits, and agreement with the explicit engine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from architectures import SEED, VOCABULARY, decoder, gpt2, law_of

from certify.benchmarks import open_benchmark
from certify.benchmarks.batches import Batch, Batching, Continuation
from certify.errors import ActivationRefused, InvalidInput
from certify.noise import noised
from certify.noise.activation import ActivationPairs, Question, questions
from certify.noise.activation.questions import margins, sheet
from certify.records import Seed

TOK = models.tokenizer()
CPU = torch.device("cpu")
TREE = Batching("prefix tree", 8192, shortest=1)


def own_answers(model: torch.nn.Module, count: int, seed: int = 5) -> list[Question]:
    """Exact-match items of several lengths that the base answers rightly, with the lead it happens to have."""
    generator, found = torch.Generator().manual_seed(seed), []
    for i in range(count):
        ids = torch.randint(0, VOCABULARY, (1, 4 + i % 7), generator=generator)
        with torch.no_grad():
            answer = int(model(ids).logits[0, -1].argmax())
        found.append(Question((Continuation(i, (*ids[0].tolist(), answer), ids.shape[1], 1),), None))
    return found


def choices(count: int, seed: int = 6) -> list[Question]:
    """Multiple-choice items: continuations of one to three tokens after a shared prompt."""
    generator, found = torch.Generator().manual_seed(seed), []
    for i in range(count):
        prompt = torch.randint(0, VOCABULARY, (5 + i % 4,), generator=generator).tolist()
        ends = [torch.randint(0, VOCABULARY, (1 + k,), generator=generator).tolist() for k in range(3)]
        rows = tuple(Continuation(i, (*prompt, *end), len(prompt), len(end)) for end in ends)
        found.append(Question(rows, i % 3, length_normalised=True))
    return found


def benchmark(folder: Path, kind: str) -> Path:
    prompts = [f"{i}+{j}=" * (1 + (i + j) % 3) for i in range(5) for j in range(4)]
    items: list[dict[str, object]] = [{"prompt": p, "target": "12"[: 1 + i % 2]} for i, p in enumerate(prompts)]
    if kind != "exact":
        items = [{"prompt": p, "choices": ["1", "22", "a b", "+"], "answer": i % 4} for i, p in enumerate(prompts)]
    path = models.write_jsonl(folder / f"{kind}.jsonl", items)
    if kind == "normalised":
        path.with_suffix(".toml").write_text("length_normalised = true\n")
    return path


@pytest.mark.parametrize("kind", ["exact", "choice", "normalised"])
def test_decisions_are_those_of_the_benchmark_scorer(tmp_path: Path, kind: str) -> None:
    """Without noise, the sign of every margin is the score that the benchmark's own scorer gives."""
    found = set()
    for seed in range(6):
        model = models.llama(seed=seed)
        opened = open_benchmark(benchmark(tmp_path, kind))
        scorer = opened.encode(TOK)
        asked = questions(opened.items, scorer.continuations, opened.length_normalised)
        page = sheet(model, range(len(asked)), [[q] for q in asked], CPU)
        with torch.no_grad():
            logits = page.layout.scored(model.lm_head, lambda: model(**page.inputs).logits)  # noqa: B023
            got = [float(m > 0) for m in margins(page, logits)]
        assert got == scorer.score(model)
        found.update(got)
    assert found == {0.0, 1.0}


@pytest.mark.parametrize("budget", [1, 60, 100_000])
@pytest.mark.parametrize("kind", ["exact", "choices"])
def test_scores_do_not_depend_on_the_batch_plan(kind: str, budget: int) -> None:
    """One draw a batch, a few, or all at once: the same scores, margins equal up to rounding."""
    model = gpt2()
    items = own_answers(model, 12) if kind == "exact" else choices(12)
    whole = ActivationPairs(model, law_of(model, 0.1), SEED, items)
    parts = ActivationPairs(model, law_of(model, 0.1), SEED, items, tokens_per_batch=budget)
    table = whole.one_pass()
    assert sorted(e for batch in parts.plan(table) for e in batch) == list(range(12))
    a, b = whole.score(table), parts.score(table)
    assert a.scores == b.scores and set(a.scores) == {0.0, 1.0}
    assert max(abs(x - y) for x, y in zip(a.margins, b.margins, strict=True)) < 1e-5


def test_batches_stay_within_both_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded tokens and logits are both bounded; items of similar length share a batch."""
    items = choices(20)
    scorer = ActivationPairs(gpt2(), law_of(gpt2()), SEED, items, tokens_per_batch=200)
    plan = scorer.plan(scorer.one_pass())
    width = [max(len(c.ids) for c in item.continuations) - 1 for item in items]
    assert all(sum(3 for _ in batch) * max(width[e] for e in batch) <= 200 for batch in plan)
    widths = [width[e] for batch in plan for e in batch]
    assert widths == sorted(widths)
    monkeypatch.setattr("certify.noise.activation.pairs.LOGITS_ON_A_PROCESSOR", 6 * VOCABULARY)
    assert all(len(batch) == 1 for batch in scorer.plan(scorer.one_pass()))


def plain_margins(model: torch.nn.Module, items: list[Question], batching: Batching) -> torch.Tensor:
    """Margins without noise, all items in one batch."""
    page = sheet(model, range(len(items)), [[item] for item in items], CPU, batching)
    with torch.no_grad():
        logits = page.layout.scored(model.lm_head, lambda: model(**page.inputs).logits)
    return torch.tensor(margins(page, logits))


@pytest.mark.parametrize("model", [gpt2(), decoder("Llama", tied=True)], ids=["gpt2", "llama"])
def test_choices_that_share_a_row_are_exact(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item's choices in one tree: fewer tokens, the margins of rows of their own, and the oracle agrees."""
    items, law = choices(12), law_of(model, 0.1)
    shared, rows = (ActivationPairs(model, law, SEED, items, batching=each) for each in (TREE, None))
    table = shared.one_pass()
    assert shared.padded(table, range(12)) < 0.6 * rows.padded(table, range(12))
    assert shared.exactness.exact and shared.audit(table, 4).passed
    assert (shared.identity.batching, rows.identity.batching) == ("prefix tree", "")
    apart = plain_margins(model, items, Batching("", 1))
    assert torch.allclose(plain_margins(model, items, TREE), apart, atol=1e-5)
    monkeypatch.setattr(Batch, "inputs", lambda batch, dtype: {"input_ids": batch.ids, "use_cache": False})
    assert not torch.allclose(plain_margins(model, items, TREE), apart, atol=1e-3)  # without mask and positions


def test_several_items_share_their_draw() -> None:
    """With sigma large, items under one draw agree more than items under different draws."""
    model = gpt2(d=32, layers=2)
    asked = own_answers(model, 1) * 2  # the same item twice
    scorer = ActivationPairs(model, law_of(model, 0.2), SEED, asked)
    together = scorer.score([(i, (0, 1)) for i in range(60)]).margins
    assert max(abs(a - b) for a, b in zip(together[::2], together[1::2], strict=True)) < 1e-5
    apart = scorer.score([(i, (i % 2,)) for i in range(120)]).margins
    assert max(abs(a - b) for a, b in zip(apart[::2], apart[1::2], strict=True)) > 0.1


def test_a_decision_within_the_guard_is_no_answer() -> None:
    """It counts against the claim either way, and is reported; more than 1 % of a pilot's refuse the engine."""
    model = gpt2()
    scorer = ActivationPairs(model, law_of(model, 0.1), SEED, own_answers(model, 40))
    table = [(i, (i % 40,)) for i in range(200)]
    plain = scorer.score(table)
    assert plain.guarded == 0 and plain.guard == max(1e-4, 100 * scorer.exactness.coupling)
    assert "0 of 200 decisions lay within it" in plain.describe()
    smallest = sorted(abs(m) for m in plain.margins)
    scorer.guard = smallest[1]
    guarded = scorer.score(table)
    assert guarded.guarded == 2 and guarded.guarded_share == 0.01
    guarded.require_clear()
    assert [i for i, s in enumerate(guarded.scores) if s is None] == [
        i for i, m in enumerate(plain.margins) if abs(m) <= smallest[1]
    ]
    scorer.guard = smallest[2]
    many = scorer.score(table)
    assert many.guarded == 3
    with pytest.raises(ActivationRefused, match=r"3 of 200 decisions \(1\.5%, limit 1%\) lie within the margin guard"):
        many.require_clear()


def test_the_guard_grows_with_the_tokens_that_a_margin_adds_up() -> None:
    """Sums of more than 25 log-likelihoods add up as many errors; a smallest lead does not."""
    long = Continuation(0, tuple(range(60)), 10, 50)
    assert Question((long, long), 0).guard_factor == 2.0
    assert Question((long,), None).guard_factor == 1.0
    assert choices(1)[0].guard_factor == 1.0


def test_no_answer_stays_no_answer() -> None:
    """NaN logits give None for their own item, and leave its neighbours alone."""
    model = decoder("Llama")
    items = own_answers(model, 8)
    law = law_of(model, 0.05)
    expected = ActivationPairs(model, law, SEED, items)
    before = expected.score(expected.one_pass()).scores
    used = {t for q in items for t in q.continuations[0].ids[:-1]}
    poisoned = next(t for t in items[3].continuations[0].ids if sum(t in q.continuations[0].ids for q in items) == 1)
    assert poisoned in used
    model.model.embed_tokens.weight[poisoned] = torch.nan
    after = expected.score(expected.one_pass()).scores
    assert after[3] is None
    assert [s for i, s in enumerate(after) if i != 3] == [s for i, s in enumerate(before) if i != 3]


def test_an_audit_reruns_draws_as_ordinary_models() -> None:
    """The largest logit difference is rounding, for both kinds of items and several items per draw."""
    for model, items in ((gpt2(), choices(9)), (decoder("Llama"), own_answers(decoder("Llama"), 9))):
        scorer = ActivationPairs(model, law_of(model), SEED, items)
        for found in (scorer.audit(scorer.one_pass(), 4), scorer.audit([(0, (0, 1, 2)), (5, (3, 4))], 2)):
            assert 0 < found.difference <= 1e-5 <= found.limit and found.passed
        with pytest.raises(InvalidInput, match="k must be in 1 to 9"):
            scorer.audit(scorer.one_pass(), 10)


def test_a_difference_that_is_no_rounding_fails_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tied head whose rows forget what they showed as embeddings is found by the ordinary model."""
    model = gpt2()
    scorer = ActivationPairs(model, law_of(model), SEED, choices(6))
    monkeypatch.setattr("certify.noise.activation.handlers._show_known_rows", lambda *_: None)
    found = scorer.audit(scorer.one_pass(), 3)
    assert found.difference > 1e-2 and not found.passed


def test_a_model_that_the_oracle_rejects_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is scored on a model where the engine is not exact; the numbers are in the message."""
    monkeypatch.setattr("certify.noise.activation.handlers._show_known_rows", lambda *_: None)
    with pytest.raises(ActivationRefused, match="the oracle rejects this model: logits differ"):
        ActivationPairs(gpt2(), law_of(gpt2()), SEED, choices(4))


def test_rows_that_branch_are_proven_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a short item and a long one whose choices share too little to branch, too."""
    batching = Batching("prefix tree", 8192, shortest=6)

    def question(shared: list[int], ends: list[list[int]]) -> Question:
        return Question(tuple(Continuation(0, (*shared, *end), len(shared), len(end)) for end in ends), 0)

    straight = [question([5], [[k, *rest] for k in (6, 7)]) for rest in ([1, 2], [4] * 20)]
    branching = question([1, 2, 3, 4, 5, 6, 7, 8], [[9, 1], [1, 2]])
    examined = list[Batch]()
    real = ActivationPairs._sheet

    def noting(pairs: ActivationPairs, table: Any, entries: Any) -> Any:
        found = real(pairs, table, entries)
        examined.append(found.batch)
        return found

    monkeypatch.setattr(ActivationPairs, "_sheet", noting)
    for items, trees in (([straight[0], branching, straight[1]], True), (straight, False)):
        examined.clear()
        ActivationPairs(gpt2(), law_of(gpt2()), SEED, items, batching=batching)
        assert (examined[0].ends is not None) == trees


def test_tables_that_spend_a_draw_twice_are_refused() -> None:
    """A later item of a spent draw would need conditioning on what the draw has shown."""
    model = gpt2(d=32, layers=1)
    scorer = ActivationPairs(model, law_of(model), SEED, choices(4))
    for table, message in (
        ([(1, (0,)), (1, (1,))], "lists each draw once"),
        ([], "lists each draw once"),
        ([(1, ())], "draw 1 needs items in 0 to 3"),
        ([(1, (4,))], "draw 1 needs items in 0 to 3"),
        ([(1 << 32, (0,))], r"a draw must be in \[0, 2\^32\)"),
    ):
        with pytest.raises(InvalidInput, match=message):
            scorer.score(table)
    with pytest.raises(InvalidInput, match="no items"):
        ActivationPairs(model, law_of(model), SEED, [])


def test_pilot_draws_are_other_draws() -> None:
    """A pilot spends nothing of the certification's streams."""
    model = gpt2(d=32, layers=1)
    items = choices(4)
    found = [ActivationPairs(model, law_of(model), SEED, items, pilot=pilot) for pilot in (False, True)]
    assert found[0].score([(0, (0,))]).margins != found[1].score([(0, (0,))]).margins


def accuracies(n: int, sigma_a: float = 0.05) -> tuple[int, int]:
    """Right answers among n pairs by engine A and by the explicit engine, under different seeds."""
    model = decoder("Llama", d=32, layers=2, tied=True)
    items = own_answers(model, 16)
    pairs = ActivationPairs(model, law_of(model, sigma_a), SEED, items)
    table = [(i, (i % 16,)) for i in range(n)]
    here = sum(s or 0.0 for s in pairs.score(table).scores)
    there = 0
    with noised(model, law_of(model, 0.05), Seed(value=f"{99:064x}")) as engine, torch.no_grad():
        for i in range(n):
            q = items[i % 16].continuations[0]
            logits = engine.at(i)(torch.tensor([q.ids[:-1]]), use_cache=False).logits[0, -1]
            there += int(logits.argmax()) == q.ids[-1]
    return int(here), there


def z_of(here: int, there: int, n: int) -> float:
    """Two-sample z of proportions (items equally often in both, so the pooled variance is an upper bound)."""
    p = (here + there) / (2 * n)
    return (here - there) / math.sqrt(2 * n * p * (1 - p))


def test_expected_accuracy_agrees_with_the_explicit_engine() -> None:
    """|z| <= 4.9: exceeded with probability 1e-6 if both engines draw from one law; another sigma is noticed."""
    n = 1200
    here, there = accuracies(n)
    assert 0.2 < there / n < 0.95
    assert abs(z_of(here, there, n)) <= 4.9, (here, there)
    assert abs(z_of(accuracies(n, sigma_a=0.04)[0], there, n)) > 4.9


@pytest.mark.statistical
def test_expected_accuracy_agrees_with_the_explicit_engine_closely() -> None:
    """The same with 30,000 pairs an arm: a difference of .02 would show."""
    n = 30_000
    here, there = accuracies(n)
    assert abs(z_of(here, there, n)) <= 4.9, (here, there)
