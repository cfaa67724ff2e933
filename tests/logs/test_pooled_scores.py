"""Tasks of two models' logs judged as one: the weighted mean that a pool's file declares, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from forked import certify

from certify.errors import CertifyError, InvalidInput, InvalidPlan
from certify.evidence import Requirement
from certify.logs import Paired, pair, pool, read_logs, together
from certify.verify import differences

LOGS = Path(__file__).parent / "of_lm_eval"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of two models, as lm-eval wrote them, and each once more as another task, with other documents."""
    folder = tmp_path_factory.mktemp("suite")
    for model in ("base", "benign"):
        shutil.copytree(LOGS / model, folder / model)
        (file,) = (folder / model).glob("samples_*.jsonl")
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            line["doc"] = {"verse": line["doc_id"]}
            line["acc"] *= model == "base" or line["doc_id"] > 6  # the two tasks lose differently
        again = file.with_name(file.name.replace("prose", "verse"))
        again.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "suite.toml").write_text('[pool]\nprose = 3\nverse = 1\n')
    return folder


def tasks(folder: Path, *models: str) -> list[Paired]:
    """Every task of two models' logs, in acc."""
    return [pair(*both, ["acc"]) for both in together(*(read_logs(folder / model) for model in models))]


def test_a_pool_weighs_its_tasks(suite: Path) -> None:
    """The mean drop is that of the tasks, weighted by hand; the record verifies, and a changed weight does not."""
    each = {found.benchmark.name: found.scores for found in tasks(suite, "base", "benign")}
    drops = {name: sum(s.base) / s.m - sum(s.checkpoint) / s.m for name, s in each.items()}  # type: ignore[arg-type]
    record = pool(tasks(suite, "base", "benign"), suite / "suite.toml").judge(Requirement(limit=0.2), 0.05)
    assert record.shown().interval.value == pytest.approx(0.75 * drops["prose"] + 0.25 * drops["verse"])
    assert (record.benchmark.name, record.checkpoint.task, record.benchmark.items) == ("suite", "suite", 200)
    assert differences(record) == []
    other = record.evidence.model_dump() | {"scores": record.evidence.scores.model_dump() | {"pool": None}}
    lied = record.model_copy(update={"evidence": type(record.evidence).model_validate(other)})
    assert "evidence.scores.pool: is not the pool of the benchmark suite" in differences(lied)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pool]\nprose = 1\nvers = 1\n", r"hold no task called vers; they hold prose, verse"),
        ("[pool]\nprose = 1\n", r"\[pool\]"),
        ("[pool]\nprose = 1\nverse = -1\n", "greater than 0"),
        ("[pool]\nprose = 1\nverse = 1e-9\n", "less than a millionth"),
        ("[pool\n", "not readable TOML"),
    ],
)
def test_what_is_no_pool_of_these_logs(suite: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(CertifyError, match=rf"mine\.toml: .*{said}"):
        pool(tasks(suite, "base", "benign"), file)


def test_tasks_of_several_models_are_no_pool(suite: Path) -> None:
    """A good model's easy task must not lift another model's mean."""
    (prose, verse), (full,) = tasks(suite, "base", "benign"), [
        pair(*both, ["acc"]) for both in together(read_logs(LOGS / "base"), read_logs(LOGS / "full"))
    ]  # fmt: skip
    assert prose.benchmark.name == full.benchmark.name == "prose"
    with pytest.raises(InvalidInput, match=r"suite\.toml: its tasks are of several models, .*full.*benign"):
        pool([full, verse], suite / "suite.toml")


def test_too_few_items_for_the_limit_are_refused(suite: Path) -> None:
    with pytest.raises(InvalidPlan, match="cannot pass on suite, the weighted mean of 3/4 of prose"):
        pool(tasks(suite, "base", "benign"), suite / "suite.toml").judge(Requirement(limit=0.01), 0.05)


def test_from_the_command_line_and_back(suite: Path, tmp_path: Path) -> None:
    """`-b suite.toml` is the pool of the logs' tasks; `verify` holds the record against the logs."""
    scores = ["--scores", "base", "--scores-of", "benign", "--metric", "acc", "--max-drop", "0.2"]
    done = certify("check", *scores, "-b", "suite.toml", "-o", tmp_path, cwd=suite)
    assert done.returncode in (0, 1, 3), done.stderr
    (file,) = tmp_path.glob("*.json")
    held = certify("verify", file, "--base", "base", "--checkpoint", "benign", cwd=suite)
    assert held.returncode == 0, held.stdout + held.stderr
    wrong = certify("verify", file, "--base", "benign", cwd=suite)
    assert (wrong.returncode, "benign: holds no samples_prose_" in wrong.stderr) == (2, True)
    changed = shutil.copytree(suite / "base", tmp_path / "changed")
    with next(changed.glob("samples_verse_*")).open("a") as log:
        log.write("\n")
    other = certify("verify", file, "--base", changed, cwd=suite)
    assert (other.returncode, "is not the log that was read" in other.stdout + other.stderr) == (4, True)
    items = certify("check", *scores, "-b", "prose.jsonl", cwd=suite)
    assert (items.returncode, items.stderr.count("\n")) == (2, 1)
    assert "--benchmark prose.jsonl: the items are in the logs; name a pool" in items.stderr
