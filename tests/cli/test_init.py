"""`certify init`: the repository that it writes gates, and it writes nothing over anything."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import forked
import pytest
from typer.testing import CliRunner

from certify.benchmarks import open_benchmark
from certify.cli.app import app
from certify.demo import DATA
from certify.errors import CertifyError

ITEMS = [json.loads(line) for line in (DATA / "benchmarks" / "addition.jsonl").read_text().splitlines()]


def table(file: Path, columns: dict[str, str], n: int = 100) -> Path:
    """The demo's items as a CSV of other columns."""
    with file.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(columns)
        writer.writerows([item[field] for field in columns.values()] for item in ITEMS[:n])
    return file


def init(folder: Path, items: Path, *more: str, checkpoint: Path | str = DATA / "checkpoints" / "benign") -> Any:
    """Run the command; what it refuses is raised."""
    words = ["init", str(folder), "--base", str(DATA / "base"), "--checkpoint", str(checkpoint), "--items", str(items)]
    return CliRunner().invoke(app, [*words, *more], standalone_mode=False)


def refusal(*words: Any, **how: Any) -> str:
    """What is said of a line that writes nothing."""
    done = init(*words, **how)
    assert isinstance(done.exception, CertifyError), done.output
    return str(done.exception)


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command of the README, with the modules of this checkout."""
    program, *words = shlex.split(command, comments=True)
    words = [str(found) for word in words for found in (sorted(folder.glob(word)) if "*" in word else [word])]
    env = {"CERTIFY_DRAWS_DIR": str(folder / ".draws")}
    return {"certify": forked.certify, "pytest": forked.run_pytest}[program](*words, cwd=folder, env=env)


def test_the_repository_is_green_for_a_good_checkpoint_and_its_readme_runs(tmp_path: Path) -> None:
    """Every command of the README but the installation, in its order, which are those that the command ends with."""
    said = init(tmp_path / "gates", table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})).output
    (block,) = re.findall(r"```console\n(.*?)```", (tmp_path / "gates" / "README.md").read_text(), re.DOTALL)
    assert "how the items are to be asked" in (tmp_path / "gates" / "README.md").read_text().replace("\n", " ")
    install, *commands = block.splitlines()
    assert install == "pip install './pytest-basin[models]'"
    assert [line.strip() for line in said.partition("next:")[2].splitlines()[2:]] == commands
    assert len(commands) == 5
    for command in commands:
        done = shell(tmp_path / "gates", command)
        assert done.returncode == 0, (command, done.stdout + done.stderr)
        assert "certified" in done.stdout or not command.startswith("pytest  ")


def test_the_repository_is_red_for_a_checkpoint_that_lost_the_skill(tmp_path: Path) -> None:
    """The same files with another checkpoint."""
    items = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})
    init(tmp_path / "gates", items, checkpoint=DATA / "checkpoints" / "adversarial")
    done = shell(tmp_path / "gates", "pytest")
    assert done.returncode == 1
    assert "REFUTED" in done.stdout


def test_paths_lead_from_the_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was named from here is named from there; what was named absolutely stays."""
    (tmp_path / "models").symlink_to(DATA)
    items = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})
    monkeypatch.chdir(tmp_path)
    words = ["init", "new/gates", "--base", "models/base", "--checkpoint", f"{DATA}/checkpoints/full"]
    CliRunner().invoke(app, [*words, "--items", str(items)], catch_exceptions=False)
    settings = (tmp_path / "new" / "gates" / "pytest.toml").read_text()
    assert 'basin_base = "../../models/base"' in settings
    assert f'basin_checkpoint = "{DATA}/checkpoints/full"' in settings


@pytest.mark.parametrize(
    ("columns", "prompt", "target"),
    [
        ({"prompt": "prompt", "target": "target"}, "{}", "{}"),
        ({"Question": "prompt", "Answer": "target"}, "Question: {}\nAnswer:", " {}"),
        ({"instruction": "prompt", "output": "target"}, "Question: {}\nAnswer:", " {}"),
        ({"prompt": "prompt", "completion": "target"}, "{}", " {}"),
    ],
)
def test_columns_of_common_names_become_items(
    tmp_path: Path, columns: dict[str, str], prompt: str, target: str
) -> None:
    """As the settings beside them say, which can be changed."""
    assert init(tmp_path / "g", table(tmp_path / "sums.csv", columns)).exception is None
    first = open_benchmark(tmp_path / "g" / "benchmarks" / "sums.csv").items[0]
    assert first.prompt == prompt.format(ITEMS[0]["prompt"])
    assert first.targets == (target.format(ITEMS[0]["target"]),) if hasattr(first, "targets") else True


def test_choices_in_a_list_in_a_field_or_in_columns_become_items(tmp_path: Path) -> None:
    """As most public files have them."""
    shapes: dict[str, list[dict[str, Any]]] = {
        "list": [{"question": f"Q{i}", "choices": ["a", "b", f"{i}x"], "answer": i % 3} for i in range(80)],
        "field": [
            {"question": f"Q{i}", "choices": {"text": ["yes", "no"], "label": ["A", "B"]}, "answerKey": "AB"[i % 2]}
            for i in range(80)
        ],
        "columns": [{"question": f"Q{i}", "A": "yes", "B": "no", "answer": "AB"[i % 2]} for i in range(80)],
    }
    for name, rows in shapes.items():
        items = tmp_path / f"{name}.jsonl"
        items.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert init(tmp_path / name, items).exception is None, name
        assert len(open_benchmark(tmp_path / name / "benchmarks" / items.name).items) == 80


def test_settings_beside_the_items_are_taken_as_they_are(tmp_path: Path) -> None:
    """Who has said how items are asked is not asked again."""
    items = table(tmp_path / "sums.csv", {"frage": "prompt", "antwort": "target"})
    settings = '[fields]\nprompt = "{frage}"\ntarget = "{antwort}"\n'
    items.with_suffix(".toml").write_text(settings)
    assert init(tmp_path / "g", items).exception is None
    assert (tmp_path / "g" / "benchmarks" / "sums.toml").read_text() == settings


def test_what_cannot_become_a_gate_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    """One line each: columns that say nothing, too few items, a model that is not there, the base for a checkpoint."""
    good = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})
    unknown = table(tmp_path / "frage.csv", {"frage": "prompt", "antwort": "target"})
    few = table(tmp_path / "few.csv", {"prompt": "prompt", "target": "target"}, 40)
    folder = tmp_path / "gates"
    assert "which of its columns ('frage', 'antwort') is the prompt" in refusal(folder, unknown)
    assert "59" in refusal(folder, few)
    assert "sums.csv?)" in refusal(folder, tmp_path / "sumz.csv")
    assert "did you mean" in refusal(folder, good, checkpoint=DATA / "checkpoints" / "bening")
    assert "hf://org/name@revision" in refusal(folder, good, checkpoint="hf://org/name")
    assert "a gate on the base itself shows nothing" in refusal(folder, good, checkpoint=DATA / "base")
    assert "no ordinary file" in refusal(folder, tmp_path)
    assert not folder.exists()


def test_nothing_is_written_over_anything(tmp_path: Path) -> None:
    """Not its own files either; the ones that were there stay, and no other is added."""
    items = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates" / "README.md").write_text("mine")
    assert "README.md exists" in refusal(tmp_path / "gates", items)
    assert [path.name for path in (tmp_path / "gates").rglob("*")] == ["README.md"]
    assert init(tmp_path / "other", items).exception is None
    assert "exists" in refusal(tmp_path / "other", items)


def test_a_disk_that_fills_up_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before the file that failed is removed, so that the command can be run again."""
    items = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    done = init(tmp_path / "gates", items)
    assert "No space left" in str(done.exception)
    assert [path for path in (tmp_path / "gates").rglob("*") if path.is_file()] == []


def test_items_that_lie_in_their_place_stay_there(tmp_path: Path) -> None:
    """Who begins with a folder of benchmarks need not move it."""
    (tmp_path / "benchmarks").mkdir()
    items = table(tmp_path / "benchmarks" / "sums.csv", {"prompt": "prompt", "target": "target"})
    before = items.read_bytes()
    assert init(tmp_path, items).exception is None
    assert items.read_bytes() == before
    assert (tmp_path / "pytest.toml").is_file()


def test_names_with_signs_stay_names(tmp_path: Path) -> None:
    """Quotes, spaces and braces in a file's name break neither settings, nor test, nor what is typed."""
    items = table(tmp_path / "it's \"{{ 1 }}\" $x.csv", {"prompt": "prompt", "target": "target"})
    assert init(tmp_path / "g", items).exception is None
    import tomllib

    settings = tomllib.loads((tmp_path / "g" / "pytest.toml").read_text())
    assert settings["pytest"]["basin_benchmark"] == [f"benchmarks/{items.name}"]
    compile((tmp_path / "g" / "tests" / "test_release.py").read_text(), "test", "exec")


def test_the_workflow_installs_from_a_checkout_and_is_yaml(tmp_path: Path) -> None:
    """Nothing is on an index yet."""
    yaml = pytest.importorskip("yaml")
    init(tmp_path / "g", table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"}))
    text = (tmp_path / "g" / ".github" / "workflows" / "release-gate.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    assert [step["run"] for step in steps if "pip install" in step.get("run", "")] == [
        "pip install torch --index-url https://download.pytorch.org/whl/cpu\npip install './pytest-basin[models]'\n"
    ]


@pytest.mark.parametrize(("adapter", "extra"), [(True, "adapters"), (False, "models")])
def test_the_workflow_installs_what_the_checkpoint_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: bool, extra: str
) -> None:
    """An adapter is read by a library of its own."""
    monkeypatch.setattr("certify.cli.init._refuse_models", lambda *_: None)  # which would read it by that library
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ("adapter_config.json" if adapter else "config.json")).write_text("{}")
    items = table(tmp_path / "sums.csv", {"prompt": "prompt", "target": "target"})
    init(tmp_path / "g", items, checkpoint=tmp_path / "out")
    for name in ("README.md", ".github/workflows/release-gate.yml"):
        assert f"pip install './pytest-basin[{extra}]'" in (tmp_path / "g" / name).read_text()
