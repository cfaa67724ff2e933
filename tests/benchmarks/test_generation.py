"""Generated answers: decoded as one would by hand, cut out by rule, the same in any batch."""

from __future__ import annotations

import time
from pathlib import Path

import models
import pytest
import torch

from certify.benchmarks import generation, open_benchmark
from certify.errors import BenchmarkError
from certify.noise import noised, weight_noise
from certify.records import Seed

TOK = models.tokenizer()
PROMPTS = ["1+1=", "22+3=", "0=", "a b c", "9+9+9+9="]


def by_hand(model: torch.nn.Module, prompt: str, tokens: int) -> str:
    """Greedy decoding of one prompt, alone, without a cache."""
    ids = TOK(prompt)["input_ids"]
    start = len(ids)
    for _ in range(tokens):
        with torch.inference_mode():
            ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] == TOK.eos_token_id:
            break
    return TOK.decode(ids[start:], skip_special_tokens=True)


def bench(tmp_path: Path, items: list[dict[str, object]], table: str) -> Path:
    path = models.write_jsonl(tmp_path / "g.jsonl", items)
    path.with_suffix(".toml").write_text(f"[generation]\n{table}\n")
    return path


def model_for(seed: int) -> torch.nn.Module:
    model = models.llama(seed=seed)
    model.generation_config.eos_token_id = TOK.eos_token_id
    return model


@pytest.mark.parametrize("rows", [1, 2, 64])
def test_answers_are_those_of_decoding_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Batched, padded and cached decoding writes what one writes token by token; wrong targets score 0."""
    monkeypatch.setattr(generation, "ROWS_PER_BATCH", rows)
    model = model_for(1)
    written = [by_hand(model, p, 4) for p in PROMPTS]
    targets = [w.strip() if i % 2 else "cba cba" for i, w in enumerate(written)]
    items = [{"prompt": p, "target": t} for p, t in zip(PROMPTS, targets, strict=True) if t]
    scorer = open_benchmark(bench(tmp_path, items, "max_new_tokens = 4")).encode(TOK)
    assert scorer.score(model) == [float(item["target"] != "cba cba") for item in items]
    assert scorer.score(model, [1]) == [1.0]


@pytest.mark.parametrize(
    ("table", "text", "answer"),
    [
        ("max_new_tokens = 8", " 42 \n", "42"),
        ('max_new_tokens = 8\nstop = "#"', "42#43", "42"),
        (r"max_new_tokens = 8" + "\npattern = '-?[0-9]+'", "so 4 and 2 make 42.", "42"),
        (r"max_new_tokens = 8" + "\npattern = 'is ([0-9]+)'", "it is 41, no, it is 42!", "42"),
        (r"max_new_tokens = 8" + "\npattern = 'is ([0-9]+)'", "who knows", None),
    ],
)
def test_the_answer_is_cut_out_by_rule(tmp_path: Path, table: str, text: str, answer: str | None) -> None:
    """Up to the stop, then the last match of the pattern; no match is no answer."""
    scorer = open_benchmark(bench(tmp_path, [{"prompt": "1", "target": "2"}], table)).encode(TOK)
    assert scorer.answer(0, text) == answer


def test_settings_are_part_of_the_benchmark(tmp_path: Path) -> None:
    """Another length or pattern is another benchmark."""
    items = [{"prompt": "1", "target": "2"}]
    digests = {open_benchmark(bench(tmp_path, items, f"max_new_tokens = {n}")).digest for n in (1, 2)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("items", "table", "message"),
    [
        ([{"prompt": "1", "target": "2"}], "max_new_tokens = 0", "max_new_tokens"),
        ([{"prompt": "1", "target": "2"}], "max_new_tokens = 1\npattern = '('", "not a regular expression"),
        ([{"prompt": "1", "choices": ["1", "2"], "answer": 0}], "max_new_tokens = 1", "for items with a target"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, items: list[dict[str, object]], table: str, message: str) -> None:
    """The TOML file, the field and the rule."""
    with pytest.raises(BenchmarkError, match=rf"g\.toml.*{message}"):
        open_benchmark(bench(tmp_path, items, table))


def test_generation_runs_under_noise_and_leaves_the_base_alone(tmp_path: Path) -> None:
    """All items of a draw are decoded under the same noised weights, and the next draw answers anew."""
    model = model_for(2)
    items = [{"prompt": p, "target": by_hand(model, p, 3).strip() or "x"} for p in PROMPTS]
    scorer = open_benchmark(bench(tmp_path, items, "max_new_tokens = 3")).encode(TOK)
    before = scorer.score(model)
    law = weight_noise({n: p.numel() for n, p in model.named_parameters()}, 0.5)
    with noised(model, law, Seed(value="1" * 64)) as engine:
        noisy = [scorer.score(engine.at(i)) for i in (0, 1, 0)]
        expected = [float((by_hand(engine.at(0), i["prompt"], 3).strip() or None) == i["target"]) for i in items]
    assert noisy[0] == noisy[2] == expected
    assert noisy[0] != before
    assert scorer.score(model) == before


def test_a_pattern_that_never_ends_is_refused_in_time(tmp_path: Path) -> None:
    """Ways to match double with each character; the line says which pattern and why."""
    scorer = open_benchmark(
        bench(tmp_path, [{"prompt": "1=", "target": "1"}], "max_new_tokens = 4\npattern = '(1|11)+[2]'")
    ).encode(TOK)
    start = time.monotonic()
    with pytest.raises(BenchmarkError, match=r"the pattern '\(1\|11\)\+\[2\]' takes more than 2 s on an answer of 60"):
        scorer.answer(0, "1" * 60)
    assert time.monotonic() - start < 10
    assert scorer.answer(0, "112") == "1"
