"""Items as people have them: other formats, columns of other names, answers named in other ways."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import models
import pytest
import torch

from certify.benchmarks import ExactMatchItem, MultipleChoiceItem, open_benchmark
from certify.benchmarks.items import REFUSAL, Generation
from certify.benchmarks.judges import judge_of, number
from certify.errors import BenchmarkError
from certify.noise.activation.questions import margins, questions, sheet

ARC = [
    {"id": "a", "question": "1+1?", "choices": {"text": ["2", "3"], "label": ["A", "B"]}, "answerKey": "A"},
    {"id": "b", "question": "1+2?", "choices": {"text": ["2", "3"], "label": ["1", "2"]}, "answerKey": "2"},
]
ARC_FIELDS = """
[fields]
prompt = "Q: {question}\\nA:"
choices = " {choices.text[]}"
labels = "{choices.label[]}"
answer = "{answerKey}"
id = "{id}"
"""


def written(path: Path, rows: str, settings: str = "") -> Path:
    path.write_text(rows, encoding="utf-8", newline="")
    if settings:
        path.with_suffix(".toml").write_text(settings, encoding="utf-8")
    return path


def test_templates_and_labels(tmp_path: Path) -> None:
    """As ARC has them: choices inside a field, answers by label, letters and digits mixed."""
    found = open_benchmark(written(tmp_path / "arc.json", json.dumps(ARC), ARC_FIELDS))
    assert found.items == (
        MultipleChoiceItem(prompt="Q: 1+1?\nA:", choices=(" 2", " 3"), answer=0, id="a"),
        MultipleChoiceItem(prompt="Q: 1+2?\nA:", choices=(" 2", " 3"), answer=1, id="b"),
    )


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "tsv", "parquet", "folder"])
def test_the_same_items_are_one_benchmark(tmp_path: Path, form: str) -> None:
    """The digest is of the items, whatever file they come from; a quoted cell may hold commas and lines."""
    rows = [{"prompt": "a, b\nc:", "target": " x"}, {"prompt": 'say "d":', "target": " y"}]
    expected = open_benchmark(models.write_jsonl(tmp_path / "first.jsonl", rows)).digest
    path = tmp_path / f"items.{form}"
    if form == "folder":
        pytest.importorskip("datasets").Dataset.from_list(rows).save_to_disk(path)
    elif form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    elif form in ("csv", "tsv"):
        import csv

        with path.open("w", encoding="utf-8-sig", newline="") as f:
            out = csv.DictWriter(f, list(rows[0]), delimiter="," if form == "csv" else "\t")
            out.writeheader()
            out.writerows(rows)
    else:
        path.write_text(json.dumps(rows) if form == "json" else "\n".join(map(json.dumps, rows)))
    assert open_benchmark(path).digest == expected


def test_a_folder_of_splits_is_refused_by_name(tmp_path: Path) -> None:
    """Which of them is meant is not guessed."""
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{"prompt": "a", "target": "b"}])
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(tmp_path / "d")
    with pytest.raises(BenchmarkError, match="holds the splits 'train', 'test'; name the folder of one"):
        open_benchmark(tmp_path / "d")
    assert len(open_benchmark(tmp_path / "d" / "test").items) == 1


CHOICE = '[fields]\nprompt = "{q}"\nchoices = ["{a}", "{b}", "{c}"]\nanswer = "{key}"\n'


@pytest.mark.parametrize(
    ("keys", "more", "answers"),
    [
        ("A C", "", [0, 2]),
        ("0 2", "", [0, 2]),
        ("red blue", "", [0, 2]),
        ("1 3", 'answer_is = "number"', [0, 2]),
        ("c a", "", [2, 0]),
    ],
)
def test_answers_by_index_letter_number_text(tmp_path: Path, keys: str, more: str, answers: list[int]) -> None:
    """The one reading that fits every row."""
    one, two = keys.split()
    rows = f"q,a,b,c,key\nfirst,red,green,blue,{one}\nsecond,red,green,blue,{two}\n"
    found = open_benchmark(written(tmp_path / "b.csv", rows, CHOICE + more))
    assert [item.answer for item in found.items if isinstance(item, MultipleChoiceItem)] == answers


FIELDS = '[fields]\nprompt = "{q}"\ntarget = "{t}"\n'


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ("q,a,b,c,key\nx,1,2,3,1\n", CHOICE, r"b\.csv:2: the answer '1' names one choice by index and another by text"),
        ("q,a,b,c,key\nx,r,g,b,A\ny,r,g,b,1\n", CHOICE, r":3: the answer '1' is no index or letter or text of its 3"),
        ("q,a,b,c,key\nx,r,g,b,0\n", CHOICE + 'answer_is = "number"', r":2: the answer '0' is no number of its 3"),
        ("q,u\nx,y\n", FIELDS, r"b\.csv:2: \[fields\] asks for 't'; there are q, u"),
        ("q,t\nx\n", FIELDS, r"b\.csv:2: 1 cells, where line 1 names 2 columns"),
        ("q,q\nx,y\n", FIELDS, r"b\.csv:1: the column 'q' is there twice"),
        ('q,t\n"x,y\n', FIELDS, r"b\.csv:2: not readable as CSV"),
        ("q,t\nx,y\nx,y\n", FIELDS, r"b\.csv:3: the same item as line 2"),
        ("q,t\nx,y\n", '[fields]\nprompt = "{q"\ntarget = "t"', r"fields\.prompt: .*a brace without its other half"),
        ("q,t\nx,y\n", '[fields]\nprompt = "{q}"', r"fields: .*give prompt with target, or prompt with choices"),
        ("q,t\nx,y\n", '[fields]\nprompt = "{q[]}"\ntarget = "{t}"', r":2: .*asks for each of 'q\[\]' where one text"),
        ("q,t\nx,y\n", '[fields]\nprompt = "{q}"\ntarget = "{t[]}"', r":2: .*each of 't\[\]', which is a str"),
        ("q,t\n", FIELDS, r"b\.csv: holds no items"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, rows: str, settings: str, message: str) -> None:
    """File, line, value, rule."""
    with pytest.raises(BenchmarkError, match=message) as raised:
        open_benchmark(written(tmp_path / "b.csv", rows, settings))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [({"t": None}, r"row 1: 't' is None, which is no text"), ({"t": [1]}, r"'t' is \[1\]"), ([1], "row 1: got a JSON")],
)
def test_values_that_are_no_text(tmp_path: Path, value: Any, message: str) -> None:
    """A missing value is not asked as the word None."""
    row = {"q": "x", **value} if isinstance(value, dict) else value
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(written(tmp_path / "b.json", json.dumps([row]), FIELDS))


@pytest.mark.parametrize("content", [b"PAR1 and no more", b""])
def test_damaged_parquet_is_one_line(tmp_path: Path, content: bytes) -> None:
    """A library's exception is not the user's."""
    pytest.importorskip("pyarrow")
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"b\.parquet: not readable as Parquet"):
        open_benchmark(tmp_path / "b.parquet")


def test_accepted_targets(tmp_path: Path) -> None:
    """Repeated ones count once, and one alone is the item that it always was."""
    rows = [{"q": "x", "t": ["a", "a"]}, {"q": "y", "t": ["a", "b"]}]
    found = open_benchmark(written(tmp_path / "b.json", json.dumps(rows), FIELDS.replace("{t}", "{t[]}")))
    assert found.items == (ExactMatchItem(prompt="x", target="a"), ExactMatchItem(prompt="y", target=("a", "b")))
    assert found.encode(models.tokenizer()).identity.scoring.startswith("exact match, any of several targets")


def test_any_of_several_targets_is_right(tmp_path: Path) -> None:
    """Exactly where one of them alone would be; by likelihood, in activation space as in weights."""
    model, prompts = models.llama(), ["1+1=", "a b", "22+", "c", "0="]
    own = models.own_answers(model, 5)
    prompts = [item["prompt"] for item in own]
    first, second = [item["target"] for item in own], ["b a b"] * 5
    alone = [{"prompt": p, "target": t} for p, t in zip(prompts, first, strict=True)]
    both = [{"prompt": p, "target": [s, t]} for p, s, t in zip(prompts, second, first, strict=True)]
    wrong = [{"prompt": p, "target": [s, "c c c"]} for p, s in zip(prompts, second, strict=True)]

    def scores(rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
        benchmark = open_benchmark(models.write_jsonl(tmp_path / "t.jsonl", rows))
        scorer = benchmark.encode(models.tokenizer())
        asked = questions(benchmark.items, scorer.continuations)
        page = sheet(model, [0], [asked], torch.device("cpu"))
        with torch.inference_mode():
            found = margins(page, page.layout.scored(model.lm_head, lambda: model(**page.inputs).logits))
        return scorer.score(model), [float(margin > 0) for margin in found]

    assert scores(alone) == scores(both) == ([1.0] * 5, [1.0] * 5)
    assert scores(wrong) == ([0.0] * 5, [0.0] * 5)


def test_perplexity_is_a_grade_on_a_declared_range(tmp_path: Path) -> None:
    """The mean of -ln p of a target's tokens, by hand, on a straight line; a range of another benchmark is another."""
    rows = [{"prompt": "1+1=", "target": "2 2"}, {"prompt": "a b", "target": "c"}]
    path = models.write_jsonl(tmp_path / "p.jsonl", rows)
    path.with_suffix(".toml").write_text("[perplexity]\nbest = 1.0\nworst = 9.0\n")
    benchmark, model = open_benchmark(path), models.llama()
    scorer = benchmark.encode(models.tokenizer())
    by_hand = []
    for continuation in scorer.continuations:
        with torch.inference_mode():
            logits = model(torch.tensor([continuation.ids])).logits[0].log_softmax(-1)
        places = range(continuation.start, len(continuation.ids))
        surprise = -sum(float(logits[i - 1, continuation.ids[i]]) for i in places) / len(places)
        by_hand.append((9.0 - surprise) / 8.0)
    assert scorer.score(model) == pytest.approx(by_hand, abs=1e-5)
    assert 0.0 < min(by_hand) < max(by_hand) < 1.0
    assert scorer.identity.graded
    path.with_suffix(".toml").write_text("[perplexity]\nbest = 1.0\nworst = 9.5\n")
    assert open_benchmark(path).digest != benchmark.digest
    for table, problem in (("best = 3\nworst = 3", "best 3 must be below worst 3"), ("best = 1", "worst")):
        path.with_suffix(".toml").write_text(f"[perplexity]\n{table}\n")
        with pytest.raises(BenchmarkError, match=problem):
            open_benchmark(path)


ITEM = ExactMatchItem(prompt="x", target="42")


@pytest.mark.parametrize(
    ("judge", "tolerance", "answer", "is_right"),
    [
        ("exact", 0, "42", True), ("exact", 0, "42.0", False), ("exact", 0, "forty", True),
        ("contains", 0, "it is 42.", True), ("contains", 0, "4 2", False),
        ("number", 0, "42.0", True), ("number", 0, "$42", True), ("number", 0, "42.1", False),
        ("number", 0.1, "42.1", True), ("number", 0.1, "42.10000000000000001", False), ("number", 0, "nan", False),
        ("number", 0, "4.2e1", True), ("regex", 0, "so: forty-one", True), ("regex", 0, "for ty", False),
    ],
)  # fmt: skip
def test_judges(judge: Any, tolerance: float, answer: str, is_right: bool) -> None:
    """Numbers are compared exactly: 42.1 lies within 0.1 of 42, though no float says so."""
    generation = Generation(max_new_tokens=5, judge=judge, tolerance=tolerance)
    targets = ("42",) if judge == "number" else ("42", "forty")
    assert judge_of(generation).score(answer, targets, ITEM) == float(is_right)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234", 1234), ("1,23", None), ("-7", -7), ("$1,000.50", 1000.5), ("3.", 3), ("1e999999", None), ("٣", None)],
)
def test_numbers(text: str, value: float | None) -> None:
    """Commas between thousands only, ASCII digits, bounded exponents."""
    assert number(text) == value


def test_old_digests_stay() -> None:
    """A judge that was never declared is no part of a digest."""
    assert Generation(max_new_tokens=5).asked == {"max_new_tokens": 5, "stop": "", "pattern": None}


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [("I\u2019m sorry, but I can't help.", True), ("As an AI, I cannot.", True), ("Serves as an aid.", False)],
)
def test_refusals_are_told_by_phrases(answer: str, refuses: bool) -> None:
    """Either may be wanted; silence is neither; phrases of one's own take the place of the list."""
    judge = judge_of(Generation(max_new_tokens=5, judge="refusal"))
    assert [judge.score(answer, (t,), ITEM) for t in REFUSAL] == [float(refuses), float(not refuses)]
    assert [judge.score("", (t,), ITEM) for t in REFUSAL] == [0.0, 0.0]
    assert "a heuristic" in judge.words
    own = judge_of(Generation(max_new_tokens=5, judge="refusal", phrases=("Nope",)))
    assert own.score("nope.", ("refuse",), ITEM) == 1.0
    assert own.words != judge.words


def test_a_function_of_ones_own_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes grades, and the record names its file's digest; what it raises or returns is said in one line."""
    source = tmp_path / "our_judge.py"
    source.write_text(
        "def overlap(answer, item):\n    return len(set(answer) & set(item.target)) / len(set(item.target))\n"
        "def broken(answer, item):\n    return item.missing\ndef far(answer, item):\n    return 2\nword = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    judge = judge_of(Generation(max_new_tokens=5, judge="our_judge:overlap"))
    assert (judge.graded, judge.score("4", ("42",), ITEM)) == (True, 0.5)
    assert hashlib.sha256(source.read_bytes()).hexdigest()[:12] in judge.words
    for name, problem in (("broken", "AttributeError"), ("far", "returned 2, and a score lies from 0 to 1")):
        with pytest.raises(BenchmarkError, match=rf"judge = 'our_judge:{name}': .*{problem}"):
            judge_of(Generation(max_new_tokens=5, judge=f"our_judge:{name}")).score("4", ("42",), ITEM)
    for name, problem in (("none", "has no attribute"), ("word", "is no function")):
        with pytest.raises(BenchmarkError, match=problem):
            judge_of(Generation(max_new_tokens=5, judge=f"our_judge:{name}"))
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(BenchmarkError, match="SystemExit"):  # 0 would be the code of certified
        judge_of(Generation(max_new_tokens=5, judge="leaves:score"))
    with pytest.raises(BenchmarkError, match=r"cannot be imported .ModuleNotFoundError.*PYTHONPATH"):
        judge_of(Generation(max_new_tokens=5, judge="no_such_module:score"))


def test_graded_answers_go_through_a_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark says that it is graded, so that its bounds are those of grades."""
    (tmp_path / "half_judge.py").write_text("def half(answer, item):\n    return 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = [{"q": f"{i}+1=", "t": "a"} for i in range(3)]
    settings = f'{FIELDS}[generation]\nmax_new_tokens = 2\njudge = "half_judge:half"\n'
    scorer = open_benchmark(written(tmp_path / "b.json", json.dumps(rows), settings)).encode(models.tokenizer())
    assert scorer.identity.graded
    assert scorer.score(models.llama()) == [0.5] * 3


@pytest.mark.parametrize(
    ("table", "target", "problem"),
    [('judge = "glob"', "a", "must be one of exact, contains, number, regex, refusal, or module:function"),
     ('judge = "refusal"', "a", "is none of refuse, answer"),
     ('judge = "regex"', "(a", "is no pattern"),
     ('judge = "exact"\nphrases = ["no"]', "a", "phrases go with")],
)  # fmt: skip
def test_judges_that_cannot_be_meant(tmp_path: Path, table: str, target: str, problem: str) -> None:
    """One line, before any model is asked."""
    settings = f"{FIELDS}[generation]\nmax_new_tokens = 2\n{table}\n"
    with pytest.raises(BenchmarkError, match=problem):
        open_benchmark(written(tmp_path / "b.json", json.dumps([{"q": "x", "t": target}]), settings)).encode(
            models.tokenizer()
        )
