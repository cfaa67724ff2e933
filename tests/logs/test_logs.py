"""Scores that other tools made: read, paired by item, and refused where they are not of the same items asked alike.

The logs in ``of_lm_eval/`` were written by lm-eval 0.4.13 (``--log_samples``) of three shipped models, with a task of
100 items of the shipped benchmark ``prose``; nothing is left out of them but the description of the machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certify.errors import CertifyError, InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.logs import Paired, pair, read_logs, together
from certify.report.release import headlines
from certify.report.render import row_of
from certify.report.rows import told_apart
from certify.verify import differences

HERE = Path(__file__).parent / "of_lm_eval"
Change = Callable[[dict[str, Any]], None]


def of(base: Path, checkpoint: Path, *metrics: str, chance: float | None = None) -> Paired:
    """The only pair of two paths."""
    (logs,) = together(read_logs(base), read_logs(checkpoint))
    return pair(*logs, metrics, chance)


def changed(tmp_path: Path, change: Change, which: str = "benign", lines: slice = slice(None)) -> Path:
    """A copy of a run with each of its samples changed; those of ``lines`` are kept."""
    folder = tmp_path / which
    shutil.copytree(HERE / which, folder, dirs_exist_ok=True)
    (file,) = folder.glob("samples_*.jsonl")
    samples = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[lines]]
    for sample in samples:
        change(sample)
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")
    return folder


def table(path: Path, rows: list[tuple[str, object]]) -> Path:
    """A table of scores."""
    path.write_text("id,score\n" + "".join(f"{name},{score}\n" for name, score in rows), encoding="utf-8")
    return path


def test_what_lm_eval_logged_is_what_its_summary_says() -> None:
    """Scores, chance, task, version, number of examples and model are those of the run."""
    paired = of(HERE / "base", HERE / "full", "acc")
    for model, which, scores in ((paired.base, "base", paired.scores.base),
                                 (paired.checkpoint, "full", paired.scores.checkpoint)):  # fmt: skip
        (summary,) = (HERE / which).glob("results_*.json")
        said = json.loads(summary.read_text(encoding="utf-8"))
        assert sum(filter(None, scores)) / len(scores) == said["results"]["prose"]["acc,none"]
        assert (model.name, model.tool, model.version) == (which, "lm-eval", said["lm_eval_version"])
    assert paired.benchmark.model_dump(exclude={"digest"}) == {
        "name": "prose", "items": 100, "graded": False, "chance": 0.25, "tokens": None,
        "scoring": f"acc,none of lm-eval, task prose (version {paired.base.task_version}), 0-shot",
    }  # fmt: skip
    assert paired.differences == ()


def test_a_record_verifies_and_any_changed_score_does_not() -> None:
    """It says who made the scores, that nothing can be replayed, and what is taken for granted."""
    record = of(HERE / "base", HERE / "benign", "acc").judge(Requirement(limit=0.06), 0.05)
    assert record.verdict == "certified"
    assert differences(record) == []
    assert "brought, by lm-eval 0.4.13: no model was run here" in record.claim_text
    assert any("On trust" in limit for limit in record.judgement.limits)
    assert any("right or wrong, as all of these are" in limit for limit in record.judgement.limits)
    scores = record.evidence.scores
    worse = scores.model_copy(update={"checkpoint": (0.0, *scores.checkpoint[1:])})
    forged = record.model_copy(update={"evidence": record.evidence.model_copy(update={"scores": worse})})
    resealed = forged.model_copy(update={"digest": forged.own_digest()})
    assert differences(resealed)
    assert differences(record.model_copy(update={"differences": ("nothing",)}))


def test_the_order_of_lines_changes_nothing(tmp_path: Path) -> None:
    """Items pair by id."""
    turned = changed(tmp_path, lambda sample: None, lines=slice(None, None, -1))
    first, second = of(HERE / "base", HERE / "benign", "acc"), of(HERE / "base", turned, "acc")
    assert first.scores == second.scores
    assert first.benchmark == second.benchmark


def test_several_metrics_ask_for_one() -> None:
    """None is picked in silence; what stands before the comma is enough where one filter was used."""
    with pytest.raises(InvalidInput, match=r"several metrics; name one \(--metric, .*\): 'acc' or 'acc_norm'"):
        of(HERE / "base", HERE / "benign")
    with pytest.raises(InvalidInput, match="'f1' is none of its metrics"):
        of(HERE / "base", HERE / "benign", "f1")
    assert of(HERE / "base", HERE / "benign", "acc").scores == of(HERE / "base", HERE / "benign", "acc,none").scores
    assert of(HERE / "base", HERE / "benign", "acc_norm", "exact_match").benchmark.scoring.startswith("acc_norm,none")


def test_filters_of_one_item_are_metrics_of_their_own(tmp_path: Path) -> None:
    """As lm-eval writes gsm8k: each item once for each filter."""
    folder = changed(tmp_path, lambda sample: None)
    (file,) = folder.glob("samples_*.jsonl")
    again = []
    for line in file.read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        again += [sample | {"filter": "strict-match"}, sample | {"filter": "flexible", "acc": 0.0}]
    file.write_text("".join(json.dumps(sample) + "\n" for sample in again), encoding="utf-8")
    (log,) = read_logs(folder).values()
    assert len(log.items) == 100
    with pytest.raises(InvalidInput, match=r"'acc' fits several of its metrics.*: 'acc,strict-match' or"):
        log.metric(["acc"])
    assert log.score("0", log.metric(["acc,flexible"])) == 0.0


def asked_otherwise(sample: dict[str, Any]) -> None:
    sample["arguments"]["gen_args_0"]["arg_0"] = "Question: " + sample["doc"]["prompt"]


def test_other_words_are_said(tmp_path: Path) -> None:
    """The same item with another prompt, as a chat template makes it, is part of what was scored; so is a limit."""
    paired = of(HERE / "base", changed(tmp_path, asked_otherwise), "acc")
    assert paired.differences == ("100 items of 100 asked with other words",)
    record = paired.judge(Requirement(limit=0.1), 0.05)
    assert "of the two logs: 100 items of 100 asked with other words" in record.judgement.notes


def test_items_that_do_not_pair_are_listed(tmp_path: Path) -> None:
    """Ids on one side only, ids that name another item, ids that stand there twice."""
    some = changed(tmp_path / "some", lambda sample: None, lines=slice(0, 85))
    with pytest.raises(InvalidInput, match=r"15 items .* not in the other: 85, 86, .*, 94 and 5 more"):
        of(HERE / "base", some, "acc")

    def another(sample: dict[str, Any]) -> None:
        if sample["doc_id"] == 7:
            sample["doc"]["prompt"] = "?"

    other = changed(tmp_path / "other", another)
    with pytest.raises(InvalidInput, match="1 id name different items in the two: 7"):
        of(HERE / "base", other, "acc")
    twice = changed(tmp_path / "twice", lambda sample: sample.update(doc_id=3) if sample["doc_id"] == 4 else None)
    with pytest.raises(InvalidInput, match="the id 3 is there twice"):
        of(HERE / "base", twice, "acc")


def test_logs_of_other_runs_are_refused(tmp_path: Path) -> None:
    """One file twice, another task's version, another number of examples, another tool, two logs of one task."""
    with pytest.raises(InvalidInput, match="hold the same bytes"):
        of(HERE / "base", HERE / "base", "acc")
    for word, field, value in (("versions of the task", "versions", 2), ("numbers of examples", "n-shot", 5)):
        folder = changed(tmp_path / field, lambda sample: None)
        (file,) = folder.glob("results_*.json")
        summary = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(summary | {field: {"prose": value}}), encoding="utf-8")
        with pytest.raises(InvalidInput, match=f"are of different {word}"):
            of(HERE / "base", folder, "acc")
    with pytest.raises(InvalidInput, match="are of different tools: lm-eval and table"):
        of(HERE / "base", table(tmp_path / "own.csv", [("0", 1)]), "acc")
    with pytest.raises(InvalidInput, match=r"two logs of the task prose: .* name one"):
        read_logs(HERE)


def test_what_is_no_log_is_named(tmp_path: Path) -> None:
    """A summary without items, an empty folder, a log that was cut, a metric that is no score, no file."""
    (summary,) = (HERE / "base").glob("results_*.json")
    with pytest.raises(InvalidInput, match="is a summary without items"):
        read_logs(summary)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no log: samples_"):
        read_logs(tmp_path / "empty")
    (source,) = (HERE / "base").glob("samples_*.jsonl")
    cut = tmp_path / source.name
    cut.write_text(source.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    with pytest.raises(InvalidInput, match=r":100: not JSON .* expected samples_"):
        read_logs(cut)
    with pytest.raises(CertifyError, match="no such file"):
        read_logs(tmp_path / "nothing.jsonl")
    far = changed(tmp_path, lambda sample: sample.update(acc=2.5))
    with pytest.raises(InvalidInput, match=r"acc,none is 2\.5; a score lies from 0 to 1"):
        of(HERE / "base", far, "acc")


def test_tables_of_ones_own(tmp_path: Path) -> None:
    """CSV or JSON lines; truth values, empty cells, grades; ids are texts, whatever wrote them."""
    names = [str(i) for i in range(100)]
    base = table(tmp_path / "base.csv", [(name, "True") for name in names])
    tuned = tmp_path / "tuned.jsonl"
    rows = [{"item": int(name), "score": None if name == "7" else float(name != "3")} for name in names]
    tuned.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paired = of(base, tuned)
    assert (paired.scores.lost, paired.scores.gained, paired.benchmark.chance) == (2, 0, 0.0)
    record = paired.judge(Requirement(limit=0.2), 0.05)
    assert "0.50 % of the answers are missing; each counts against the claim" in record.judgement.notes
    graded = table(tmp_path / "graded.csv", [(name, 0.5) for name in names])
    assert of(base, graded).scores.graded
    assert of(base, tuned, chance=0.25).benchmark.chance == 0.25
    with pytest.raises(InvalidInput, match="chance 1: must be at least 0 and below 1"):
        of(base, tuned, chance=1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("name,score\n1,1\n", "has the columns id and score; here are name, score"),
     ("id,score\n1,yes\n", "score 'yes' is no number"),
     ("id,score\n1,1\n1,0\n", "1 id stand there twice: 1"),
     ("id,score\n", "holds no items")],
)  # fmt: skip
def test_tables_that_say_something_else(tmp_path: Path, text: str, problem: str) -> None:
    """One line, with the file."""
    file = tmp_path / "own.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=f"own.csv.*{problem}"):
        read_logs(file)


@pytest.fixture
def tables(tmp_path: Path) -> Callable[[str, str], Path]:
    """A table of 120 right answers for a task and a model, in the folder of the model."""

    def write(model: str, task: str) -> Path:
        (tmp_path / model).mkdir(exist_ok=True)
        right = [(f"{task}{i}", 1) for i in range(119)]
        return table(tmp_path / model / f"{task}.csv", [*right, ("last", int(model == "base"))])

    return write


def renamed(file: Path, name: str, lost: int = 0) -> Path:
    """A copy of a table under another name, without one of its points."""
    head, *rows = file.read_text(encoding="utf-8").splitlines()
    rows[lost] = rows[lost].replace(",1", ",0")
    copy = file.with_name(name)
    copy.write_text("\n".join([head, *rows]), encoding="utf-8")
    return copy


def test_tables_of_one_name_name_their_task_and_their_folders_the_models(tables: Callable[[str, str], Path]) -> None:
    """Nothing in a table says it; two of other names stay the scores of what each is called."""
    paired = of(tables("base", "arc"), tables("run2", "arc"))
    said = [paired.benchmark.name, paired.base.name, paired.checkpoint.name, paired.checkpoint.model]
    assert said == ["arc", "base", "run2", "run2"]
    unlike = of(base := tables("base", "arc"), renamed(base, "mine.csv"))
    assert [unlike.benchmark.name, unlike.base.name, unlike.checkpoint.name] == ["scores", "arc", "mine"]


def test_logs_of_several_tasks_are_of_one_checkpoint(tables: Callable[[str, str], Path]) -> None:
    """A report says one headline of a model, whatever number of logs it left; a log that names none stands alone."""
    records = [of(tables("base", task), tables(model, task)).judge(Requirement(), 0.05)
               for model, task in (("run2", "arc"), ("run2", "mmlu"), ("run3", "arc"))]  # fmt: skip
    found = headlines(*told_apart(map(row_of, records), {}))
    assert [(each.checkpoint, len(each.rows)) for each in found] == [("run2", 2), ("run3", 1)]
    base = tables("base", "arc")
    nameless = [of(base, renamed(base, name, lost)).checkpoint for name, lost in (("a.csv", 1), ("b.csv", 2))]
    assert len({each.fingerprint for each in nameless}) == 2


def test_too_few_items_are_refused_and_fixed_items_are_not(tmp_path: Path) -> None:
    """As everywhere: what no outcome could certify is said before it is judged."""
    rows = [(str(i), 1) for i in range(20)]
    paired = of(table(tmp_path / "a.csv", rows), table(tmp_path / "b.csv", [*rows[1:], rows[0]]))
    with pytest.raises(InvalidPlan, match="cannot pass with 20 items"):
        paired.judge(Requirement(), 0.05)
    assert paired.judge(Requirement(), 0.05, "fixed").verdict == "certified"


def test_a_metric_that_should_be_low_is_no_score(tmp_path: Path) -> None:
    """What lm-eval calls better when lower would be certified as it gets worse."""
    folder = changed(tmp_path, lambda sample: None)
    (file,) = folder.glob("results_*.json")
    summary = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(summary | {"higher_is_better": {"prose": {"acc": False}}, "x": float("nan")}))
    (log,) = read_logs(folder).values()
    with pytest.raises(InvalidInput, match=r"lower is better for acc,none, .* give a table of 1 - score"):
        log.metric(["acc"])
    assert log.metric(["acc_norm"]) == "acc_norm,none"


def test_repeats_of_a_likelihood_are_one_answer(tmp_path: Path) -> None:
    """lm-eval 0.4.13 lists each as often as the task's ``repeats`` say; chance stays that of four choices."""

    def repeated(sample: dict[str, Any]) -> None:
        sample["resps"] = [group * 3 for group in sample["resps"]]

    assert of(HERE / "base", changed(tmp_path, repeated), "acc").benchmark.chance == 0.25


def test_choices_that_are_asked_once_more_without_context_count_once(tmp_path: Path) -> None:
    """acc_mutual_info doubles the requests; chance stays that of four choices. Sums a hair above 1 are 1."""

    def doubled(sample: dict[str, Any]) -> None:
        again = {f"{name}_again": {**each, "arg_0": ""} for name, each in sample["arguments"].items()}
        sample["arguments"] |= again
        sample["resps"] *= 2
        sample["acc"] = sample["acc"] and 1.0000000000000002

    (log,) = read_logs(changed(tmp_path, doubled)).values()
    assert {item.choices for item in log.items.values()} == {4}
    assert {log.score(name, "acc,none") for name in log.items} == {0.0, 1.0}
