"""Tasks of lm-eval without lm-eval: how they are named, and what a file that was imported says of scoring."""

from __future__ import annotations

import sys
from pathlib import Path

import models
import pytest

from certify.benchmarks import open_benchmark
from certify.benchmarks.items import ExactMatchItem, TaskScoring
from certify.benchmarks.lm_eval_scoring import filtered, judge_by
from certify.benchmarks.lm_eval_tasks import task_name
from certify.errors import BenchmarkError

NUMBERS = {"function": "regex", "regex_pattern": r"(-?[0-9]{2,})|(-?[0-9]+)", "group_select": -1}
PARITY = {"function": "map", "mapping_dict": {"1": "odd", "3": "odd"}}
LETTER = {"function": "multi_choice_regex", "regex_pattern": r"\([A-D]\)", "group_select": -1, "ignore_case": True}


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("lm-eval:arc_easy", "arc_easy"),
        ("lm-eval:arc_easy@5", "arc_easy@5"),
        ("lm-eval:at@home/tasks/ours.yaml@2", "ours@2"),
        ("lm-eval:gsm8k@5?metric=exact_match,strict-match&cluster=topic", "gsm8k@5-exact_match,strict-match"),
    ],
)
def test_what_a_task_is_called(asked: str, name: str) -> None:
    """Different for each score of one task, which two gates may ask for."""
    assert task_name(asked) == name


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("lm-eval:arc_easy", r"^arc_easy: tasks are made by lm-eval: pip install 'pytest-basin\[lm-eval\]'$"),
        ("lm-eval:arc_easy@five", r"^arc_easy@five: expected TASK@NUMBER, .* got 'five'$"),
        ("lm-eval:arc_easy?shots=5", r"the option 'shots' is none of metric, cluster, chat$"),
        ("lm-eval:arc_easy?chat=1", r"chat is yes or no, got '1'$"),
        ("lm-eval:", r"names no task"),
    ],
)
def test_what_is_said_without_lm_eval(monkeypatch: pytest.MonkeyPatch, asked: str, message: str) -> None:
    """One line, also where the extra is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(Path(asked))


@pytest.mark.parametrize(
    ("step", "text", "answer"),
    [
        (NUMBERS, "first 7, then 42 and 9", "9"),
        (NUMBERS, "none", "[invalid]"),
        ({**NUMBERS, "fallback": " "}, "none", " "),
        ({**NUMBERS, "regex_pattern": "(x?)(y?)", "fallback": " "}, "none", ""),
        ({"function": "regex", "regex_pattern": r"answer is (\w*)"}, "the answer is  so", ""),
        ({"function": "regex", "regex_pattern": "[0-9]+ ", "group_select": 1}, "1 22 ", "22"),
        ({"function": "remove_whitespace"}, " a b\n", "a b"),
        ({"function": "lowercase"}, "Aé", "aé"),
        ({"function": "uppercase"}, "aß", "ASS"),
        (PARITY, "3", "odd"),
        (PARITY, "4", None),
        ({**PARITY, "default_value": "even"}, "4", "even"),
        ({"function": "take_first_k", "k": 4}, "a", "a"),
        ({"function": "majority_vote"}, "a", "a"),
        (LETTER, "(A) or (B)", "(B)"),
        (LETTER, "it is A NEWT.", "(C)"),  # the longer of two choices that fit
        (LETTER, "a new, then", "[invalid]"),
        ({**LETTER, "ignore_punctuation": True}, "a new, then «a, Newt»", "(C)"),  # the later of two alike
        ({**LETTER, "regexes_to_ignore": ("t$",)}, "it is a New thing", "(C)"),
        ({**LETTER, "ignore_case": False, "regexes_to_ignore": ("t$",)}, "it is a New thing", "[invalid]"),
        (LETTER, "answer:  D", "(D)"),
        (LETTER, "answer:  E", "[invalid]"),
        ({**LETTER, "group_select": 1}, "(A)", "[invalid]"),
    ],
)
def test_filters(step: dict[str, object], text: str, answer: str | None) -> None:
    """As lm-eval's of the same names, to which the lane with lm-eval holds them."""
    scoring = TaskScoring.model_validate({"filters": [step, step] if "k" in step else [step]})
    assert filtered(scoring, text, ["an eft", "a, Newt", "a newt ", "a  toad"]) == answer


def test_an_answer_that_no_key_is_stays_wrong() -> None:
    """Whatever comes after the map; lm-eval stops at one."""
    scoring = TaskScoring.model_validate({"filters": [PARITY, {"function": "regex", "fallback": "odd"}]})
    assert filtered(scoring, "4") is None


def test_a_vote_among_equal_answers_is_said_to_be_one() -> None:
    """A majority of repeats would be another claim."""
    words = judge_by(TaskScoring.model_validate({"filters": [{"function": "majority_vote"}]})).words
    assert words.endswith("through majority_vote of one answer in place of its repeats")


@pytest.mark.parametrize(
    ("ignored", "answer", "right"),
    [
        ({}, "42", True),
        ({}, " 42", False),
        ({"ignore_case": True}, "FORTY", True),
        ({"ignore_punctuation": True}, "4,2.", True),
        ({"ignore_numbers": True}, "forty7", True),
        ({"regexes_to_ignore": (",", r"\$")}, "$4,2", True),
        ({"regexes_to_ignore": (",",)}, "$4,2", False),
    ],
)
def test_exact_match_and_what_it_ignores(ignored: dict[str, object], answer: str, right: bool) -> None:
    """Of answer and targets alike; any of several targets will do, and space counts."""
    judge = judge_by(TaskScoring.model_validate(ignored))
    item = ExactMatchItem(prompt="a", target="b")
    assert judge.score(answer, ["42", "forty"], item) == float(right)
    assert not judge.graded


def written(folder: Path, settings: str) -> Path:
    rows = [{"prompt": "a ", "target": " b"}, {"prompt": "b ", "target": "a"}]
    file = models.write_jsonl(folder / "items.jsonl", rows)
    file.with_suffix(".toml").write_text(settings, encoding="utf-8")
    return file


GENERATION = "[generation]\nmax_new_tokens = 4\n"
SOURCE = '[task]\nname = "t"\nversion = "1.0"\nconfig = "sha256:0"\ndocuments = "sha256:1"\n'


def test_identity_covers_how_answers_are_scored_and_which_task_it_is(tmp_path: Path) -> None:
    """Every setting changes the digest, and its absence leaves the digest of a file of old."""
    settings = [
        GENERATION,
        GENERATION + '[generation.lm_eval]\n',
        GENERATION + '[generation.lm_eval]\nignore_case = true\n',
        GENERATION + '[generation.lm_eval]\nfilters = [{ function = "lowercase" }]\n',
        *(GENERATION + f'[generation.lm_eval]\nfilters = [{{ function = "map"{more} }}]\n'
          for more in ("", ', mapping_dict = { a = "b" }', ', mapping_dict = { "a b" = "b" }, default_value = "c"')),
        GENERATION + '[generation.lm_eval]\nfilters = [{ function = "majority_vote" }]\n',
        GENERATION + '[generation.lm_eval]\nfilters = [{ function = "take_first_k", k = 2 }]\n',
        GENERATION + 'stop = ["a", "b"]\n',
        GENERATION + 'stop = ["b", "a"]\n',
        GENERATION + SOURCE,
        GENERATION + SOURCE.replace("1.0", "2.0"),
        GENERATION + SOURCE.replace("sha256:1", "sha256:2"),
    ]
    digests = [open_benchmark(written(tmp_path, text)).digest for text in settings]
    assert len({*digests}) == len(settings)
    assert digests[0] == "sha256:fe7261e7d658a21fe596e198bd51bae25baf5efb883df5e99ee6e16e5b9563db"
    assert digests[3] == "sha256:db2326410e166a02f369b3ed3e651dbf3ddccb26e86c8412b373787dd08812e4"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (GENERATION + 'pattern = "a+"\n[generation.lm_eval]\n', "give no pattern and no judge beside it"),
        (GENERATION + '[generation.lm_eval]\nregexes_to_ignore = ["("]\n', "no regular expression"),
        (GENERATION + '[generation.lm_eval]\nfilters = [{ function = "regex_pos" }]\n', "'regex_pos'"),
        (GENERATION + '[generation.lm_eval]\nfilters = [{ function = "majority_vote", k = 2 }]\n', "takes no k"),
        (GENERATION + '[generation.lm_eval]\nfilters = [{ function = "take_first_k" }]\n', "takes k, a number of"),
        (GENERATION + '[generation.lm_eval]\nfilters = [{ function = "map", mapping_dict = { a = 1 } }]\n', "got 1"),
        (
            GENERATION + '[generation.lm_eval]\nfilters = [{ function = "multi_choice_regex" }]\n',
            r'item 1: the filter multi_choice_regex looks for its choices, give it "lettered": \[...\]',
        ),
        (
            GENERATION + '[generation.lm_eval]\nfilters = [{ function = "lowercase", fallback = "a" }]\n',
            "lowercase takes no fallback",
        ),
        ('delimiter = " "\n', "a delimiter is left out of lengths, and goes with length_normalised"),
    ],
)
def test_settings_that_contradict_themselves(tmp_path: Path, settings: str, message: str) -> None:
    """In one line that names the file."""
    with pytest.raises(BenchmarkError, match=message) as caught:
        open_benchmark(written(tmp_path, settings))
    assert "\n" not in str(caught.value)
    assert "items." in str(caught.value)


LETTERED = GENERATION + '[generation.lm_eval]\nfilters = [{ function = "multi_choice_regex" }]\n'


def test_the_choices_that_a_filter_looks_for_are_part_of_an_item(tmp_path: Path) -> None:
    """And of its identity; at most the letters that there are."""
    found = {}
    for lettered in (["x", "y"], ["y", "x"], ["x"] * 27):
        rows = [{"prompt": "a ", "target": "(B)", "lettered": lettered}]
        file = models.write_jsonl(tmp_path / "items.jsonl", rows)
        file.with_suffix(".toml").write_text(LETTERED, encoding="utf-8")
        if len(lettered) > 26:
            with pytest.raises(BenchmarkError, match=r"items.jsonl:1: lettered: .* at most 26 items"):
                open_benchmark(file)
            continue
        found[open_benchmark(file).digest] = open_benchmark(file).items[0]
    assert [item.lettered for item in found.values() if isinstance(item, ExactMatchItem)] == [("x", "y"), ("y", "x")]


def test_a_delimiter_is_before_every_choice(tmp_path: Path) -> None:
    """Else a length would be wrong by that much, unseen."""
    items = models.write_jsonl(tmp_path / "items.jsonl", [{"prompt": "a", "choices": [" a", "b"], "answer": 0}])
    items.with_suffix(".toml").write_text('length_normalised = true\ndelimiter = " "\n', encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"item 1: the choice 'b' does not begin with the delimiter ' '"):
        open_benchmark(items)


def test_a_target_that_is_ignored_away_is_refused(tmp_path: Path) -> None:
    """Every empty answer would be right."""
    from certify.checkpoints import load_tokenizer, open_checkpoint
    from certify.demo import DATA

    items = models.write_jsonl(tmp_path / "items.jsonl", [{"prompt": "1+1=", "target": "2"}])
    settings = GENERATION + "[generation.lm_eval]\nignore_numbers = true\n"
    items.with_suffix(".toml").write_text(settings, encoding="utf-8")
    with pytest.raises(BenchmarkError, match="item 1: nothing is left of the target '2'"):
        open_benchmark(items).encode(load_tokenizer(open_checkpoint(DATA / "base")))
