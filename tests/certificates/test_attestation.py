"""Statements about records: their subjects are models, by digests that say no more than a record knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from point_certificates import BENCHMARK, certificate

from certify.attestation import statement
from certify.documents import DOCUMENTS, ScoresRecord, read_as
from certify.errors import UnsupportedSchema
from certify.records import BroughtScores, digest

GOLDEN = Path(__file__).parents[1] / "golden"
POINT = GOLDEN / "v2" / "split.own.point.json"


def records() -> list[Path]:
    """Every kept record."""
    found = []
    for file in sorted(GOLDEN.rglob("*.json")):
        try:
            read_as(file, DOCUMENTS)
        except UnsupportedSchema:  # a landscape
            continue
        found.append(file)
    return found


@pytest.mark.parametrize("file", records(), ids=lambda file: str(file.relative_to(GOLDEN)))
def test_a_statement_holds_its_record_whole(file: Path) -> None:
    """As it stands in the file, of any version and kind, under a type that says both."""
    said = statement(read_as(file, DOCUMENTS))
    record = json.loads(file.read_text(encoding="utf-8"))
    assert said["predicate"] == record
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == f"urn:{record['schema'].replace('/', ':')}:v{record['version']}"
    subjects = said["subject"]
    assert subjects[0]["name"] == f"base/{record['base']['name']}"
    named = 1 + ("checkpoint" in record or "cover" in file.name)
    assert len({each["name"] for each in subjects}) == len(subjects) == named
    assert all(len(value) == 64 for each in subjects for value in each["digest"].values())
    assert not any("sha256" in each["digest"] for each in subjects)


def test_a_models_digest_is_of_what_verify_compares() -> None:
    """Weights, what else computes, and the dtype: another of any is another subject, another name is not."""
    document = read_as(POINT, DOCUMENTS)
    model = document.base.model_copy(update={"computed_in": "float32"})
    document = document.model_copy(update={"base": model})
    own = statement(document)["subject"][0]
    assert own["annotations"] == {"weights": model.weights}
    expected = digest([model.weights, model.companions, model.computed_in]).removeprefix("sha256:")
    assert own["digest"] == {"basinModel": expected}
    changed = {
        "weights": "sha256:" + "9" * 64, "companions": {"config": "sha256:" + "9" * 64}, "computed_in": "float16",
        "name": "other", "spelling": {"README.md": "sha256:" + "9" * 64},
    }  # fmt: skip
    for field, value in changed.items():
        other = document.model_copy(update={"base": model.model_copy(update={field: value})})
        same = statement(other)["subject"][0]["digest"] == own["digest"]
        assert same == (field in ("name", "spelling")), field


def test_of_scores_that_were_brought_the_subjects_are_the_logs(scores: ScoresRecord) -> None:
    """Files, by the digest of their bytes."""
    base, checkpoint = statement(scores)["subject"]
    assert base == {"name": "base/base.csv", "digest": {"sha256": scores.base.digest.removeprefix("sha256:")}}
    assert checkpoint["name"] == f"checkpoint/{scores.checkpoint.file}"


@pytest.fixture
def scores() -> ScoresRecord:
    """What `certify check --scores` writes, of two tables."""

    def log(name: str) -> BroughtScores:
        return BroughtScores(name=name, tool="table", version="", task="own", task_version="", model=name,
                             file=f"{name}.csv", digest=digest(name))  # fmt: skip

    own = certificate(12)
    kept = {name: getattr(own, name) for name in ("requirement", "alpha", "evidence", "environment")}
    benchmark = BENCHMARK.model_copy(update={"tokens": None})
    return ScoresRecord.make(base=log("base"), checkpoint=log("tuned"), benchmark=benchmark, **kept)
