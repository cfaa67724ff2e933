"""``certify audit``: verdicts with their exit codes, a record that verifies and is shown, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.documents import Certificate, read_document
from certify.evidence import AuditEvidence

Certify = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of two benchmarks, a copy, and a wreck."""
    where = tmp_path_factory.mktemp("audit")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 200))
    models.write_jsonl(where / "other.jsonl", models.own_answers(model, 100))
    return where


def asked(checkpoint: str, *more: str, benchmark: str = "own.jsonl") -> tuple[str, ...]:
    return ("audit", checkpoint, "--base", "base", "-b", benchmark, *more)


def kept(folder: Path) -> list[Certificate]:
    found = [read_document(file) for file in sorted(folder.glob("*.json"))]
    assert all(isinstance(each, Certificate) and isinstance(each.evidence, AuditEvidence) for each in found)
    return [each for each in found if isinstance(each, Certificate)]


def test_a_good_checkpoint_is_certified_and_its_record_lives_on(certify: Certify, tmp_path: Path) -> None:
    """Exit 0; verify, show and every report take the file, and the page draws the running evidence."""
    code, out, _ = certify(*asked("same", "-o", str(tmp_path / "c")))
    assert code == 0
    assert "CERTIFIED" in out
    assert re.search(r"drop on exactly these 200 items of own is below 0\.050 \(\d\d of 200 items scored", out)
    (file,) = map(str, (tmp_path / "c").glob("*.json"))
    assert file.endswith(".own.audit.json")
    code, out, _ = certify("verify", file, "--base", "base", "--checkpoint", "same", "--benchmark", "own.jsonl",
                           "--replay", "1")  # fmt: skip
    assert code == 0
    assert re.search(r"Repeated at the checkpoint, with the same result: the checkpoint on the \d\d items", out)
    assert "Repeated at the base, with the same scores: every item without noise." in out
    assert "log evidence needed: 2.99573" in certify("show", file)[1]
    page = certify("report", file, "-t", "html")[1]
    assert re.search(r'<polyline class="met" points="0,[\d.]+ ', page)
    assert "E = 20 decides" in page
    row = json.loads(certify("report", file, "-t", "json")[1])["gates"][0]
    assert row["running"][0][0] == 1
    assert row["running"][-1][0] == row["n"]


def test_a_bad_checkpoint_is_refuted(certify: Certify, tmp_path: Path) -> None:
    """Exit 1, after a handful of items."""
    code, out, _ = certify(*asked("wreck", "--min-retention", "0.9", "-o", str(tmp_path / "c")))
    assert code == 1
    assert "REFUTED" in out
    (found,) = kept(tmp_path / "c")
    assert isinstance(found.evidence, AuditEvidence) and found.evidence.n < 30


def test_each_benchmark_is_a_gate_of_its_own(certify: Certify, tmp_path: Path) -> None:
    """Two certificates, and the worse verdict is the exit code."""
    code, out, _ = certify(*asked("same", "-b", "other.jsonl", "-o", str(tmp_path / "c")))
    assert code == 0
    assert "same[own]" in out and "same[other]" in out
    assert [each.benchmark.name for each in kept(tmp_path / "c")] == ["other", "own"]


def test_a_seed_that_is_drawn_is_recorded_as_drawn(certify: Certify, tmp_path: Path) -> None:
    """And repeated as one that was known: then nobody drew it."""
    code, out, _ = certify(*asked("same", "--seed", "random", "-o", str(tmp_path / "c")))
    assert code == 0
    (number,) = re.findall(r"user seed (\d+), drawn at random", out)
    assert "in the order of a seed drawn when the gate ran" in out
    (found,) = kept(tmp_path / "c")
    assert isinstance(found.evidence, AuditEvidence)
    assert found.evidence.seed_drawn and found.evidence.seed.user_seed == int(number)
    code, out, _ = certify(*asked("same", "--seed", number))
    assert "in the order of a seed known beforehand" in out
    assert "attempt" not in out
    _, out, err = certify(*asked("same", "--seed", "5"))
    assert "is attempt 2: another seed was tried before" in out + err


def test_it_is_evidence_of_check_too(certify: Certify) -> None:
    """Beside others, with one row for all."""
    code, out, _ = certify("check", "same", "--base", "base", "-b", "own.jsonl", "--require", "audit,point")
    assert code == 0
    assert "audit" in out and "point" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "same", "--base", "base", "-b", "own.jsonl", "--require", "audit", "--items", "population"),
         "audit evidence speaks of exactly these items, not of a population: use point evidence"),
        (asked("same", "--max-drop", "0.1", "--min-retention", "0.9"), "give one of max_drop, min_retention"),
        (asked("same", "-b", "own.jsonl"), "--benchmark: the same items are named twice"),
        (asked("same", "--seed", "dice"), "--seed dice: must be a whole number"),
        (asked("absent"), "absent"),
    ],
    ids=["population", "two limits", "twice", "seed", "absent"],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line_and_exit_2(certify: Certify, arguments: tuple[str, ...], said: str) -> None:
    """Nothing is scored, nothing written."""
    code, _, err = certify(*arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
