"""CONTRIBUTING's five lines to a new kind of evidence, followed on a copy of the package, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import forked
import pytest

from certify.demo import DATA

ROOT = Path(__file__).parents[2]
ASKED = ("--base", str(DATA / "base"), "--benchmark", str(DATA / "benchmarks" / "addition.jsonl"))


def edit(file: Path, *changes: tuple[str, str]) -> None:
    """Replace texts that stand exactly once."""
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, (file.name, old)
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a kind called echo: what point evidence counts, under another name."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "certify", root / "certify", ignore=shutil.ignore_patterns("data", "__pycache__"))
    shutil.copytree(ROOT / "pytest_basin", root / "pytest_basin", ignore=shutil.ignore_patterns("__pycache__"))
    evidence = root / "certify" / "evidence"
    text = (evidence / "point.py").read_text(encoding="utf-8")
    text = text.replace("class PointEvidence", "class EchoEvidence").replace(
        'Literal["point"] = "point"', 'Literal["echo"] = "echo"'
    )
    (evidence / "echo.py").write_text(text, encoding="utf-8")
    edit(
        evidence / "__init__.py",
        ("from certify.evidence.judgement",
         "from certify.evidence.echo import EchoEvidence\nfrom certify.evidence.judgement"),
        ("    DistanceEvidence | PositionEvidence", "    EchoEvidence | DistanceEvidence | PositionEvidence"),
    )  # fmt: skip
    edit(
        root / "certify" / "measuring" / "check.py",
        ('    "point": Gathering(', '    "echo": Gathering(lambda base, asked: None, _echo),\n    "point": Gathering('),
        ("def _point(", "def _echo(candidate: Candidate, asked: Asked) -> Evidence:\n"
         "    from certify.evidence.echo import EchoEvidence\n\n"
         "    return EchoEvidence(scores=candidate.point('population').scores)\n\n\ndef _point("),
    )  # fmt: skip
    edit(root / "pytest_basin" / "markers.py", ('EVIDENCE = ("point",', 'EVIDENCE = ("echo", "point",'))
    return root


def certify(house: Path, *words: str) -> str:
    """What a command of the copy prints."""
    done = forked.certify_of(house, *words, cwd=house, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_planned_checked_verified_shown_and_reported(house: Path) -> None:
    """Every verb asks the class and none knows its name."""
    assert "echo" in certify(house, "plan", *ASKED[2:], "--evidence", "echo", "--max-drop", "0.1")
    ways = [str(DATA / "checkpoints" / "benign"), *ASKED, "--require", "echo", "--max-drop", "0.1", "--output", "out"]
    assert "CERTIFIED" in certify(house, "check", *ways).upper()
    (file,) = [str(path) for path in house.glob("out/*.json")]
    assert "VALID" in certify(house, "verify", file).upper()
    assert "drop" in certify(house, "show", file)
    assert "echo" in certify(house, "report", file)


def test_without_its_registration_it_is_no_kind() -> None:
    """The test above can fail: this package knows no echo."""
    done = forked.certify("check", DATA / "checkpoints" / "benign", *ASKED, "--require", "echo")
    assert done.returncode == 2
    assert "unknown evidence echo" in done.stderr
