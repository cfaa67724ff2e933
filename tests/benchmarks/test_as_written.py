"""Asked as written: the model sees what the file says; what cannot be asked is refused with its number."""

from __future__ import annotations

import json
from pathlib import Path

import models
import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

from certify.benchmarks import JsonlBenchmark, ModelLimits, open_benchmark
from certify.benchmarks.scoring import LikelihoodScorer
from certify.errors import BenchmarkError, CertifyWarning

TOK = models.tokenizer()
WORDS = ["<s>", "</s>", "<unk>", "<|end|>", "▁", "▁a", "a", "b", "▁b", "c", "=", "1", "2", "."]


def sentencepiece(*, adds: bool = True, unknown: bool = True) -> PreTrainedTokenizerFast:
    """A BPE with a dummy space before every text, BOS in front and EOS behind, as Llama's or T5's."""
    core = Tokenizer(
        kinds.BPE({w: i for i, w in enumerate(WORDS)}, [("▁", "a"), ("▁", "b")], unk_token="<unk>" if unknown else None)
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    if adds:
        core.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>",
                                   unk_token="<unk>" if unknown else None,
                                   additional_special_tokens=["<|end|>"])  # fmt: skip


def bench(folder: Path, items: list[dict[str, object]], toml: str = "") -> JsonlBenchmark:
    (folder / "b.toml").write_text(toml)
    return open_benchmark(models.write_jsonl(folder / "b.jsonl", items))


def ids(folder: Path, prompt: str, target: str, tokenizer: PreTrainedTokenizerFast, toml: str = "") -> list[list[str]]:
    """What the model is asked, split at the border."""
    scorer = bench(folder, [{"prompt": prompt, "target": target}], toml).encode(tokenizer)
    assert isinstance(scorer, LikelihoodScorer)
    (only,) = scorer.continuations
    parts = only.ids[: only.start], only.ids[only.start :]
    return [tokenizer.convert_ids_to_tokens(list(part)) for part in parts]


@pytest.mark.parametrize(
    ("prompt", "target", "expected"),
    [
        ("a", "b", [["<s>", "▁a"], ["b"]]),
        ("a", " b", [["<s>", "▁a"], ["▁b"]]),
        ("a ", "b", [["<s>", "▁a", "▁"], ["b"]]),  # the border stays, though "▁b" is one token
        ("a  ", " b", [["<s>", "▁a", "▁", "▁"], ["▁b"]]),
        ("a=", "1", [["<s>", "▁a", "="], ["1"]]),
        ("<s>a", "b", [["<s>", "a"], ["b"]]),  # BOS once, where it was written
        ("a</s>", "b", [["<s>", "▁a", "</s>"], ["b"]]),  # a written EOS stays
        ("a", "b</s>", [["<s>", "▁a"], ["b", "</s>"]]),
        ("a<|end|>", "b<|end|>", [["<s>", "▁a", "<|end|>"], ["b", "<|end|>"]]),
    ],
)
def test_nothing_moves_across_the_border(tmp_path: Path, prompt: str, target: str, expected: list[list[str]]) -> None:
    """The prompt's own tokens, then the target's, in the spelling that reads as written; BOS once, EOS as written."""
    found = ids(tmp_path, prompt, target, sentencepiece())
    if prompt.startswith("<s>") or "</s>" in prompt or "<|end|>" in prompt:
        found = [[t.replace("▁", "") if t in ("▁a", "▁b") else t for t in part if t != "▁"] for part in found]
        expected = [[t.replace("▁", "") for t in part] for part in expected]
    assert found == expected


def test_lm_evals_convention_is_asked_for_by_name(tmp_path: Path) -> None:
    """Space at the border goes to the answer; digest and scoring say so, and only then."""
    assert ids(tmp_path, "a ", "b", sentencepiece(), 'boundary = "lm-eval"') == [["<s>", "▁a"], ["▁b"]]
    items = [{"prompt": "a ", "target": "b"}]
    plain, moved = bench(tmp_path, items), bench(tmp_path, items, 'boundary = "lm-eval"')
    assert plain.digest != moved.digest
    names = [each.encode(sentencepiece()).identity.scoring for each in (plain, moved)]
    assert names == ["exact match, greedy, teacher-forced", "exact match, greedy, teacher-forced, lm-eval boundary"]
    with pytest.raises(BenchmarkError, match="boundary: Input should be 'written' or 'lm-eval'"):
        bench(tmp_path, items, 'boundary = "harness"')


def test_likelihood_and_generation_ask_the_same(tmp_path: Path) -> None:
    """An exact match is right exactly where greedy decoding after the same prompt writes the target's ids."""
    model, right, wrong = models.llama(), 0, 0
    for i in range(40):
        prompt, target = f"{i // 10}{i % 10}+ ", "12a+0"[i % 5]
        item = [{"prompt": prompt, "target": target}]
        likelihood = bench(tmp_path, item).encode(TOK)
        generated = bench(tmp_path, item, "[generation]\nmax_new_tokens = 1").encode(TOK)
        (score,) = likelihood.score(model)
        assert isinstance(likelihood, LikelihoodScorer)
        c = likelihood.continuations[0]
        assert list(c.ids[: c.start]) == generated._prompts[0]  # type: ignore[attr-defined]
        with torch.inference_mode():
            wrote = model.generate(torch.tensor([c.ids[: c.start]]), max_new_tokens=1, do_sample=False)[0, c.start :]
        assert score == float(wrote.tolist() == list(c.ids[c.start :]))
        assert generated.score(model) == [score]
        right, wrong = right + (score == 1.0), wrong + (score == 0.0)
    assert right and wrong


LIMITS = ModelLimits(positions=8, vocabulary=len(TOK))
TWO = {"prompt": "1+1=", "choices": ["2", "3"], "answer": 0}


@pytest.mark.parametrize(
    ("items", "toml", "message"),
    [
        ([TWO, {**TWO, "choices": ["é", "ü"]}], "", "item 2: 'é' is only the unknown token"),
        ([{"prompt": "1", "target": "é"}], "", "item 1: 'é' is only the unknown token"),
        ([{"prompt": "1", "target": "ü"}], "[generation]\nmax_new_tokens = 1", "item 1: 'ü' is only the unknown token"),
        ([TWO, {**TWO, "choices": ["aé", "aü"]}], "", "item 2: choices 'aé' and 'aü' are the same tokens"),
        ([TWO, {**TWO, "choices": ["3", "2"], "answer": 1}], "", "items 1 and 2 are the same tokens"),
        ([TWO, {**TWO, "prompt": "é"}, {**TWO, "prompt": "ü"}], "", "items 2 and 3 are the same tokens"),
        ([{"prompt": "1+1=2+2=", "target": "4"}], "", "item 1: 9 tokens are more than the model's 8 positions"),
        ([{"prompt": "1+1=", "target": "4"}], "[generation]\nmax_new_tokens = 5",
         "item 1: 4 tokens and 5 to be generated are more than the model's 8 positions"),
        ([{"prompt": "1", "target": "1.2"}], '[generation]\nmax_new_tokens = 1\nstop = "."', "holds the stop '.'"),
        ([{"prompt": "1", "target": "2<eos>"}], "[generation]\nmax_new_tokens = 1", "holds the special token '<eos>'"),
        ([{"prompt": "1", "target": " "}], "[generation]\nmax_new_tokens = 1", "is blank: no answer"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_or_told_apart_is_refused(
    tmp_path: Path, items: list[dict[str, object]], toml: str, message: str
) -> None:
    """When the benchmark is encoded, with the item's number, in one line."""
    with pytest.raises(BenchmarkError, match=message.replace("+", r"\+")) as caught:
        bench(tmp_path, items, toml).encode(TOK, "cpu", LIMITS)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Its ids lie outside the embedding; with the model's own rows the same item is fine."""
    items = bench(tmp_path, [{"prompt": "1+1=", "target": "2"}])
    items.encode(TOK, "cpu", LIMITS)
    with pytest.raises(
        BenchmarkError, match="outside the model's embedding of 5 rows: tokenizer and model do not belong"
    ):
        items.encode(TOK, "cpu", ModelLimits(vocabulary=5))


@pytest.mark.parametrize("word", ["x", "aéb"])
def test_a_character_that_no_token_stands_for_is_named(tmp_path: Path, word: str) -> None:
    """Without an unknown token a tokenizer drops it, or fails: either way the item is named."""
    dropping = sentencepiece(unknown=False)
    core = Tokenizer(kinds.WordLevel({"a": 0, "b": 1}, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    failing = PreTrainedTokenizerFast(tokenizer_object=core)
    for tokenizer, message in ((dropping, "has no token for '[xé]'"), (failing, "cannot encode")):
        for item in ({"prompt": word, "target": "b"}, {"prompt": "a", "target": word}):
            with pytest.raises(BenchmarkError, match=f"b, item 1: the tokenizer {message}.*correct the item"):
                bench(tmp_path, [item]).encode(tokenizer)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(\\d*)", "can match nothing"),
        (r"x?", "can match nothing"),
        (r"answer: (\\d*)", "first group can match nothing"),
        (r"answer (\\d+)|result (\\d+)", "its first group takes no part in some matches"),
        (r"answer:( \\d+)?", "its first group takes no part in some matches"),
    ],
)
def test_a_pattern_that_finds_nothing_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    """When the benchmark is opened."""
    with pytest.raises(BenchmarkError, match=message):
        bench(tmp_path, [{"prompt": "1", "target": "2"}], f'[generation]\nmax_new_tokens = 1\npattern = "{pattern}"')


@pytest.mark.parametrize(
    "pattern", [r"((?:answer|result) \\d+)", r"(?:answer|result) (\\d+)", r"\\d+", r"(\\d+)(\\.\\d+)?"]
)
def test_a_pattern_that_asks_for_something_is_taken(tmp_path: Path, pattern: str) -> None:
    """The negative control."""
    bench(tmp_path, [{"prompt": "1", "target": "2"}], f'[generation]\nmax_new_tokens = 1\npattern = "{pattern}"')


@pytest.mark.parametrize("stop", ["<|end|>", "</s>", "."])
def test_a_stop_that_is_a_special_token_is_found(tmp_path: Path, stop: str) -> None:
    """What the model writes after it, a hallucinated next turn, is no part of the answer."""
    tokenizer = sentencepiece()

    class Writes(torch.nn.Module):
        generation_config = models.llama().generation_config

        def generate(self, input_ids: torch.Tensor, **_: object) -> torch.Tensor:
            wrote = tokenizer.convert_tokens_to_ids(["1", "2", stop, "a", "b"])
            return torch.cat([input_ids, torch.tensor([wrote] * len(input_ids))], 1)

    toml = f'[generation]\nmax_new_tokens = 5\nstop = "{stop}"'
    assert bench(tmp_path, [{"prompt": "a", "target": "12"}], toml).encode(tokenizer).score(Writes().eval()) == [1.0]
    without = "[generation]\nmax_new_tokens = 5"
    assert bench(tmp_path, [{"prompt": "a", "target": "12"}], without).encode(tokenizer).score(Writes().eval()) == [0.0]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "\r"])
def test_lines_end_at_line_feeds_only(tmp_path: Path, character: str) -> None:
    """Other separators are text, also raw; a BOM is read, and CRLF."""
    text = json.dumps({"prompt": "1+1=", "target": "2"}) + "\r\n" + json.dumps({"prompt": "2+1=", "target": "3"})
    if character in "\u2028\u2029\u0085":
        text = text.replace("2+1=", f"2+1={character}")
    else:
        text = text.replace("2+1=", f"2+1={json.dumps(character)[1:-1]}")
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfchance = 0.1")
    found = open_benchmark(tmp_path / "x.jsonl")
    assert [item.prompt for item in found.items] == ["1+1=", f"2+1={character}"]
    assert found.chance == 0.1


def test_fields_that_ask_nothing_are_kept_or_said_once(tmp_path: Path) -> None:
    """Identity is what is asked: with and without labels the digest is the same."""
    item = {"prompt": "1+1=", "target": "2"}
    plain = bench(tmp_path, [item])
    labelled = bench(tmp_path, [{**item, "id": "q1", "subject": "sums", "cluster": 3}])
    assert (labelled.items[0].id, labelled.items[0].subject, labelled.items[0].cluster) == ("q1", "sums", 3)
    assert labelled.digest == plain.digest
    many = [{**item, "prompt": f"1+{i}=", "note": i, "source": "x"} for i in range(3)]
    with pytest.warns(CertifyWarning, match="the fields 'note', 'source' ask nothing and are ignored") as said:
        bench(tmp_path, many)
    assert len(said) == 1
