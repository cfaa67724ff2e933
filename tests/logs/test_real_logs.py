"""Logs of Inspect and LightEval as those tools write them. Runs where they are installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from certify.errors import InvalidInput
from certify.logs import pair, read_logs, together

HERE = Path(__file__).parent
pytestmark = pytest.mark.filterwarnings("default")  # the tools' warnings are theirs


def inspect_run(folder: Path, wrong: int, fails: tuple[int, ...] = (), **settings: Any) -> Path:
    """Run Inspect on thirty sums, the first ``wrong`` of which are answered wrong; every fourth in a second epoch."""
    inspect_ai = pytest.importorskip("inspect_ai")
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import includes, match
    from inspect_ai.solver import solver

    @solver  # type: ignore[untyped-decorator]
    def canned() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            i = int(state.sample_id)
            if i in fails:
                raise RuntimeError("no server")
            right = i >= wrong and not (state.epoch == 2 and i % 4 == 0)
            state.output = ModelOutput.from_content("none/none", str(2 * i) if right else "no")
            return state

        return solve

    samples = [Sample(input=f"{i}+{i}=", target=str(2 * i), id=i) for i in range(30)]
    task = inspect_ai.Task(dataset=samples, solver=[canned()], scorer=[match(numeric=True), includes()], name="sums")
    inspect_ai.eval(task, model="none/none", log_dir=str(folder), display="none", **settings)
    return folder


def inspected(base: Path, tuned: Path, metric: str = "match") -> Any:
    (logs,) = together(read_logs(base), read_logs(tuned))
    return pair(*logs, [metric])


@pytest.mark.parametrize("form", ["eval", "json"])
def test_inspect(tmp_path: Path, form: str) -> None:
    """Both forms of a log give the scores that Inspect's own accuracy counts."""
    paired = inspected(*(inspect_run(tmp_path / name, wrong, log_format=form)
                         for name, wrong in (("base", 5), ("tuned", 7))))  # fmt: skip
    assert (paired.scores.lost, paired.scores.gained, sum(paired.scores.base)) == (2, 0, 25)
    assert paired.benchmark.name == "sums"
    assert paired.base.version == pytest.importorskip("inspect_ai").__version__


def test_other_inputs_and_settings_are_said(tmp_path: Path) -> None:
    """The same items asked otherwise pair, and the record says so."""
    base = inspect_run(tmp_path / "base", 5, log_format="json")
    tuned = inspect_run(tmp_path / "tuned", 7, log_format="json", temperature=1.0)
    assert "settings of generation differs" in inspected(base, tuned).differences


def test_epochs_are_means_and_failures_are_missing(tmp_path: Path) -> None:
    """An item that failed has no answer, which counts against the claim; a run that stopped is refused."""
    base = inspect_run(tmp_path / "base", 0, log_format="json", epochs=2)
    (log,) = read_logs(base).values()
    assert [log.score(str(i), "match") for i in (3, 4)] == [1.0, 0.5]
    with pytest.raises(InvalidInput, match="name different items"):  # one epoch is another measurement
        inspected(base, inspect_run(tmp_path / "one", 0, log_format="json"))
    failed = inspect_run(tmp_path / "failed", 0, (20,), log_format="json", fail_on_error=False)
    (log,) = read_logs(failed).values()
    assert log.score("20", "match") is None
    with pytest.raises(InvalidInput, match=r"its run ended as 'error'"):
        read_logs(inspect_run(tmp_path / "stopped", 0, (20,), log_format="json"))
    (log,) = read_logs(inspect_run(tmp_path / "some", 0, log_format="json", limit=10)).values()
    assert log.notes == ("the log holds 10 items of 30: a limit was set",)


def test_lighteval(tmp_path: Path) -> None:
    """Details that LightEval 0.13.0 wrote of two shipped models, 100 items of ``prose`` and a task of our own.

    Kept under names without ``|``, which not every system can write. It ran with two calls to newer libraries mended
    (``HfApi.list_models`` of huggingface_hub 2.4, an ``xxhash`` that takes bytes alone). Its results say .88 and .84.
    """
    pytest.importorskip("pyarrow")
    for name in ("base", "full"):
        folder = tmp_path / name / "details" / "me" / name / "2026-11-28T03-47-19.560391"
        folder.mkdir(parents=True)
        file = folder / "details_prose|0_2026-11-28T03-47-19.560391.parquet"
        shutil.copy(HERE / "of_lighteval" / f"{name}.parquet", file)
    paired = inspected(tmp_path / "base", tmp_path / "full", "acc")
    assert (paired.scores.lost, paired.scores.gained, paired.benchmark.chance) == (4, 0, 0.25)
    assert (paired.checkpoint.name, paired.benchmark.scoring) == ("me/full", "acc of lighteval, task prose|0, 0-shot")
    assert [sum(map(float, scores)) for scores in (paired.scores.base, paired.scores.checkpoint)] == [88.0, 84.0]

