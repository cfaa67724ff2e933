"""Out of memory: batches are done in halves with the same scores, down to one row, and nothing else is caught."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch

from certify.benchmarks import open_benchmark
from certify.checkpoints import open_checkpoint
from certify.errors import CertifyWarning, InvalidInput
from certify.measuring import Base
from certify.measuring.candidate import Candidate

TOK = models.tokenizer()
ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    MemoryError,
]


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting takes a third of a second where torch is loaded, each time a batch is halved."""
    monkeypatch.setattr("certify.benchmarks.memory.gc.collect", int)


def benchmark(tmp_path: Path, kind: str) -> Path:
    """Items of one kind, of many lengths."""
    prompts = [f"{i}+{j}=" * (1 + i) for i in range(4) for j in range(3)]
    if kind == "choices":
        items = [{"prompt": p, "choices": ["1", "22", "+"], "answer": i % 3} for i, p in enumerate(prompts)]
        return models.write_jsonl(tmp_path / "c.jsonl", items)
    path = models.write_jsonl(tmp_path / "g.jsonl", [{"prompt": p, "target": "1"} for p in prompts])
    if kind == "generated":
        path.with_suffix(".toml").write_text("[generation]\nmax_new_tokens = 3\n")
    return path


@pytest.mark.parametrize("error", ERRORS, ids=["accelerator", "allocator", "python"])
@pytest.mark.parametrize("kind", ["choices", "target", "generated"])
def test_what_does_not_fit_is_done_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: Callable[[], Exception]
) -> None:
    """At most three rows fit: the same scores, said once for each batch that had to be split."""
    model = models.llama(seed=2)
    scorer = open_benchmark(benchmark(tmp_path, kind)).encode(TOK)
    expected, forward, seen = scorer.score(model), model.model.forward, list[int]()

    def limited(*args: object, **named: torch.Tensor) -> object:
        rows = named["input_ids"].shape[0]
        seen.append(rows)
        if rows > 3:
            raise error()
        return forward(*args, **named)

    monkeypatch.setattr(model.model, "forward", limited)
    with pytest.warns(CertifyWarning, match=r"out of memory with \d+ rows in a batch: done in halves"):
        assert scorer.score(model) == expected
    assert max(seen) > 3 >= min(seen)
    assert scorer.halved and min(scorer.halved) > 1


def test_the_record_says_where_memory_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same scores, another batch plan: a run that was short of memory says so, and keeps its draws under one key."""
    base = models.save_folder(tmp_path / "base", models.llama(seed=2))
    items = benchmark(tmp_path, "choices")
    plain = Candidate(Base.open(base, items), open_checkpoint(base))
    assert plain.scores and "halves" not in plain.environment.batching
    short = Candidate(Base.open(base, items), open_checkpoint(base))
    decoder, forward = short.model.model, short.model.model.forward
    assert short.environment == plain.environment  # how rows are batched was tried while there was room

    def limited(*args: object, **named: torch.Tensor) -> object:
        if named["input_ids"].shape[0] > 3:
            raise MemoryError
        return forward(*args, **named)

    monkeypatch.setattr(decoder, "forward", limited)
    with pytest.warns(CertifyWarning):
        assert short.scores == plain.scores
    added = short.environment.batching.removeprefix(plain.environment.batching)
    assert re.fullmatch(r"; memory ended with \d+ rows or more in some batches, which were done in halves", added)
    assert short.base.scored_as(short.environment.batching).cheapest == "distinct rows"


def test_one_row_that_does_not_fit_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing smaller is left to try."""
    model = models.llama(seed=2)
    scorer = open_benchmark(benchmark(tmp_path, "target")).encode(TOK)
    scorer.score(model)

    def never(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model.model, "forward", never)
    with pytest.warns(CertifyWarning), pytest.raises(InvalidInput, match="out of memory with a single row"):
        scorer.score(model)


def test_another_error_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is no shortage."""
    model = models.llama(seed=2)
    scorer = open_benchmark(benchmark(tmp_path, "target")).encode(TOK)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(model.model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        scorer.score(model)
