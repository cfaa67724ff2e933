"""A tiny base model, three checkpoints of it, and two benchmarks that the base answers without a mistake.

Random weights know nothing, so the capability to keep is the base's own greedy answer to each prompt.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# pytester's in-process runs forget modules that they import, and torch cannot be imported twice: load all here.
import certify.comparison
import certify.report.render  # noqa: F401
from certify import Base, PlannedDraws, check, measure_base
from certify.documents import Measurement
from pytest_basin import basin, bound, collecting, explain, fixtures, gates, hooks, plan, terminal  # noqa: F401

SPECIAL = ["<pad>", "<bos>", "<eos>"]
CHARACTERS = list("0123456789=abcd")
ITEMS, FEW = 120, 30


@dataclass(frozen=True)
class Models:
    """Folders and files that gates are pointed at. ``near`` lost a few items, ``broken`` nearly all."""

    base: Path
    same: Path
    near: Path
    broken: Path
    digits: Path
    few: Path
    measurement: Path


@pytest.fixture(scope="session", autouse=True)
def trained(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Make the models once; gather every kind of evidence once, so that everything is imported."""
    folder = tmp_path_factory.mktemp("models")
    files = Models(**{name: folder / name for name in ("base", "same", "near", "broken")},
                   digits=folder / "digits.jsonl", few=folder / "few.jsonl",
                   measurement=folder / "digits.measurement.json")  # fmt: skip
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(SPECIAL) + len(CHARACTERS), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3,
        )
    )  # fmt: skip
    items = _own_answers(model, tokenizer)
    files.digits.write_text("".join(json.dumps(item) + "\n" for item in items))
    files.few.write_text("".join(json.dumps(item) + "\n" for item in items[:FEW]))
    for target in (files.base, files.same):
        _save(model, tokenizer, target)
    _save(_noisy(model, 1.0), tokenizer, files.broken)
    _save(_slightly_noisy(model, tokenizer, items), tokenizer, files.near)
    opened = Base.open(files.base, files.digits)
    measurement = measure_base(opened, planned=[PlannedDraws(opened.weight_law(1e-4), n=120)], grid=(1e-5, 1e-4))
    measurement.to_json(files.measurement)
    _warm(opened, files.same, measurement)
    return files


def _warm(base: Base, checkpoint: Path, measurement: Measurement) -> None:
    assert len(list(check(base, checkpoint, kinds=("point", "position", "distance"), measurement=measurement))) == 3


def _tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({c: i for i, c in enumerate(SPECIAL + CHARACTERS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )  # fmt: skip


def _answers(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: list[str]) -> list[str]:
    with torch.inference_mode():
        logits = model(input_ids=tokenizer(prompts, return_tensors="pt")["input_ids"]).logits[:, -1]
    return tokenizer.convert_ids_to_tokens(logits.argmax(-1).tolist())


def _own_answers(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> list[dict[str, str]]:
    prompts = [f"{i:03d}=" for i in range(2 * ITEMS)]
    answered = zip(prompts, _answers(model, tokenizer, prompts), strict=True)
    items = [{"prompt": prompt, "target": answer} for prompt, answer in answered if answer in CHARACTERS]
    assert len(items) >= ITEMS
    return items[:ITEMS]


def _noisy(model: LlamaForCausalLM, sigma: float, seed: int = 1) -> LlamaForCausalLM:
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(sigma * torch.randn(parameter.shape, generator=generator))
    return copy


def _slightly_noisy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, items: list[dict[str, str]]
) -> LlamaForCausalLM:
    """Return a copy that lost 5 to 8 of the items: too many to pass at 0.05, too few to fail."""
    prompts = [item["prompt"] for item in items]
    for seed in range(100):
        copy = _noisy(model, 0.008, seed)
        answers = _answers(copy, tokenizer, prompts)
        if 5 <= sum(item["target"] != answer for item, answer in zip(items, answers, strict=True)) <= 8:
            return copy
    raise AssertionError("no seed gave a slightly noisy copy")


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


START = """\
[pytest]
strict = true
filterwarnings = ["default"]  # the outer run's filters reach into in-process runs
"""

GATE = """
import pytest

@pytest.mark.basin(benchmarks=["digits"])
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""


class Project:
    """A user's project: an ini file that names the base and the benchmarks, and test files."""

    def __init__(self, pytester: pytest.Pytester, files: Models) -> None:
        self.pytester, self.files = pytester, files
        self.configure()

    def configure(self, **settings: object) -> None:
        """Write the ini file; a keyword is a basin key without its prefix."""
        keys = {"base": str(self.files.base), "benchmark": [str(self.files.digits)], **settings}
        lines = [f"basin_{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
        (self.pytester.path / "pytest.toml").write_text(START + "\n".join(lines))

    def run(self, checkpoint: str | None = "same", *arguments: str, test: str = GATE) -> pytest.RunResult:
        """Run one test file against a checkpoint in this process."""
        self.pytester.makepyfile(test_gate=test)
        return self.pytester.runpytest_inprocess(*self.named(checkpoint), *arguments)

    def run_apart(self, checkpoint: str | None = "same", *arguments: str, test: str = GATE) -> pytest.RunResult:
        """Likewise in a process of its own."""
        self.pytester.makepyfile(test_gate=test)
        return self.pytester.runpytest_subprocess(*self.named(checkpoint), *arguments)

    def named(self, checkpoint: str | None) -> list[str]:
        """Return the arguments that name a checkpoint."""
        return [f"--basin-checkpoint={getattr(self.files, checkpoint)}"] if checkpoint else []


SNAPSHOTS = Path(__file__).parent / "snapshots"
CHANGING = {r"\d+\.\d s\b": "# s", r"in \d+\.\d\ds": "in #s", r"[^ ]*/models0?/(base|same|near|broken)\b": r"\1"}


@pytest.fixture
def snapshot() -> Callable[[str, Sequence[str]], None]:
    """Hold lines against a file in snapshots/, times and folders aside; UPDATE_SNAPSHOTS=1 writes them anew."""

    def check(name: str, lines: Sequence[str]) -> None:
        text = "\n".join(line.rstrip() for line in lines) + "\n"
        for pattern, word in CHANGING.items():
            text = re.sub(pattern, word, text)
        file = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("UPDATE_SNAPSHOTS"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8")

    return check


@pytest.fixture
def project(pytester: pytest.Pytester, trained: Models, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project against the tiny models. Outside CI pytest cuts long explanations: so it does here."""
    for name in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Project(pytester, trained)
