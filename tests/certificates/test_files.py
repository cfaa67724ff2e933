"""Certificates and measurements as files: complete, frozen, recomputable, and loud when changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from world import World

from certify.documents import read_document, read_measurement
from certify.errors import CertificateMismatch, CertifyError, InvalidInput, UnsupportedSchema
from certify.evidence import KINDS
from certify.records import digest
from certify.verify import differences
from certify.writing import write_whole


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """Give a forged record the digest that fits it, as a careful forger would."""
    body = {k: v for k, v in value.items() if k != "digest"}
    return {**body, "digest": digest(body)}


def write(path: Path, value: dict[str, Any]) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_survives_the_file_and_recomputes(world: World, tmp_path: Path, kind: str) -> None:
    """Written, read and recomputed: the same record, and nothing differs."""
    certificate = world.certificates[kind]
    read = read_document(certificate.to_json(tmp_path / "c.json"))
    assert read == certificate
    assert differences(read) == []


def test_a_measurement_survives_the_file_and_recomputes(world: World, tmp_path: Path) -> None:
    """So does a measurement."""
    path = world.measurement.to_json(tmp_path / "m.json")
    assert read_measurement(path) == world.measurement
    assert differences(read_document(path)) == []


def test_a_certificate_names_everything_that_shaped_it(world: World) -> None:
    """Digests, law, engine, seed, counts, alpha, requirement, versions, claim and limits are in the file."""
    value = json.loads(world.certificates["smoothed"].to_text())
    assert {"schema", "version", "base", "checkpoint", "benchmark", "requirement", "alpha", "environment"} <= set(value)
    assert {"law", "engine", "seed", "base", "checkpoint"} <= set(value["evidence"])
    assert {"torch", "transformers", "pytest-basin"} <= set(value["environment"]["packages"])
    assert value["judgement"]["claim"]
    assert value["judgement"]["limits"]
    assert len(value["evidence"]["base"]["scores"]) == 40


FORGERIES = {
    "point": [
        (("judgement", "upper"), 0.0, "judgement.upper: recorded 0.0, recomputed"),
        (("judgement", "verdict"), "refuted", "judgement.verdict: recorded 'refuted', recomputed 'certified'"),
        (("judgement", "claim"), "All is well.", "judgement.claim: recorded 'All is well.'"),
        (("evidence", "scores", "checkpoint", 3), 0.0, "judgement."),
        (("requirement", "limit"), 0.9, "judgement.need"),
    ],
    "smoothed": [
        (("evidence", "checkpoint", "scores", 0), 0.5, "judgement."),
        (("evidence", "seed", "value"), "0" * 64, "evidence.seed: recorded 0000000000000000..."),
        (("evidence", "law", "sigma", "model.norm.weight"), 0.5, "evidence.seed"),
        (("checkpoint", "weights"), "sha256:" + "1" * 64, "evidence.seed"),
    ],
    "distance": [
        (("alpha",), 0.01, "alpha: recorded 0.01, the draws declared 0.05"),
        (("evidence", "displacement", "norms", "model.norm.weight"), 0.0, "judgement.quantities.r"),
        (("base", "weights"), "sha256:" + "1" * 64, "evidence.draws.seed"),
    ],
    "audit": [
        (("evidence", "checkpoint", 3), 0.0, "items were scored, but drop at most 0.1"),
        (("evidence", "base", 3), 0.0, "judgement."),
        (("evidence", "seed", "value"), "0" * 64, "evidence.seed: recorded 0000000000000000..."),
        (("evidence", "until", "limit"), 0.02, "items were scored, but drop at most 0.02 is not decided yet"),
        (("evidence", "seed_drawn"), True, "judgement.claim"),
        (("checkpoint", "weights"), "sha256:" + "1" * 64, "evidence.seed"),
        (("benchmark", "items"), 99, "100 item scores, the benchmark has 99 items"),
        (("alpha",), 0.01, "is not decided yet"),
    ],
    "position": [
        (("evidence", "displacement", "delta_norm"), 0.0, "judgement.quantities.alpha_star"),
        (("evidence", "basin", "levels", 0, "seed", "value"), "0" * 64, "evidence.basin.levels.0.seed"),
        (("benchmark", "items"), 99, "100 item scores, the benchmark has 99 items"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [(kind, *forgery) for kind, forgeries in FORGERIES.items() for forgery in forgeries],
    ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else None,
)
def test_a_forgery_with_a_fitting_digest_is_found(
    world: World, tmp_path: Path, kind: str, path: tuple[Any, ...], value: Any, message: str
) -> None:
    """Whoever changes a number and reseals the file is caught by recomputation, which names what differs."""
    whole = json.loads(world.certificates[kind].to_text())
    place = whole
    for step in path[:-1]:
        place = place[step]
    assert place[path[-1]] != value
    place[path[-1]] = value
    found = differences(read_document(write(tmp_path / "c.json", sealed(whole))))
    assert any(line.startswith(message) or message in line for line in found), found
    assert not any(line.startswith("digest") for line in found)


def test_a_change_without_resealing_is_named_by_the_digest(world: World, tmp_path: Path) -> None:
    """The digest notices what no bound depends on."""
    whole = json.loads(world.certificates["point"].to_text())
    whole["environment"]["python"] = "2.7"
    (line,) = differences(read_document(write(tmp_path / "c.json", whole)))
    assert line.startswith("digest: recorded sha256:")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"version": 3}, UnsupportedSchema, "version is 3; this release reads versions up to 2: upgrade"),
        ({"schema": "other"}, UnsupportedSchema, "schema is 'other', expected one of"),
        ({"alpha": 1.5}, CertificateMismatch, "alpha: Input should be less than 1"),
        ({"surprise": 1}, CertificateMismatch, "surprise: Extra inputs are not permitted"),
        ({"digest": "sha256:12"}, CertificateMismatch, "digest"),
    ],
)
def test_a_file_that_is_no_certificate_is_one_clear_error(
    world: World, tmp_path: Path, change: dict[str, Any], error: type[CertifyError], message: str
) -> None:
    """Unknown versions, schemas and fields are named; newer files are not guessed at."""
    whole = {**json.loads(world.certificates["point"].to_text()), **change}
    with pytest.raises(error, match=message):
        read_document(write(tmp_path / "c.json", whole))


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_torn_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """Half a file, another JSON type or nothing at all."""
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CertifyError, match=r"c\.json"):
        read_document(tmp_path / "c.json")


def test_a_certificate_is_no_measurement(world: World, tmp_path: Path) -> None:
    """Handing over the wrong one of the two files says which is needed."""
    path = world.certificates["point"].to_json(tmp_path / "c.json")
    with pytest.raises(CertificateMismatch, match="a measurement is needed"):
        read_measurement(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees the old file or the new one; a disk that fails leaves nothing beside it."""
    path = write_whole(tmp_path / "c.json", "old")

    def full(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match=r"c\.json: cannot be written: disk full; finished draws are kept"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


VERIFY = (
    "import sys; from certify.__main__ import main; sys.argv[1:] = ['verify', {path!r}]\ntry: main()\nfinally: {end}"
)
NO_TORCH = "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules), sorted(sys.modules)"


def test_verify_imports_no_torch(world: World, tmp_path: Path) -> None:
    """A certificate is verified in a fresh interpreter without torch ever being imported."""
    path = str(world.certificates["distance"].to_json(tmp_path / "c.json"))
    done = subprocess.run(
        [sys.executable, "-c", VERIFY.format(path=path, end=NO_TORCH)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("VALID")


def test_the_purity_test_can_fail(world: World, tmp_path: Path) -> None:
    """The same check does fail when torch is imported."""
    path = str(world.certificates["distance"].to_json(tmp_path / "c.json"))
    script = "import torch\n" + VERIFY.format(path=path, end=NO_TORCH)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "AssertionError" in done.stderr


def test_the_same_run_gives_the_same_certificate(world: World) -> None:
    """Measured again from the same files, every number and seed is the same."""
    from certify.evidence import Requirement
    from certify.measuring import Base, PlannedDraws, check, measure_base

    base = Base.open(world.base, world.benchmark)
    again = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-4), 60)], grid=(1e-4, 1e-3))
    assert again == world.measurement
    asked = {"kinds": tuple(KINDS), "requirement": Requirement(limit=0.1), "measurement": again, "draws": 40}
    fresh = check(base, world.checkpoint, **asked)
    assert {c.evidence.kind: c for c in fresh} == world.certificates


def test_another_user_seed_draws_other_noise_and_is_shown(world: World) -> None:
    """The user's seed is part of the record and changes every draw's seed."""
    from certify.measuring import Base, PlannedDraws, measure_base

    base = Base.open(world.base, world.benchmark)
    other = measure_base(base, planned=[PlannedDraws(base.weight_law(1e-4), 5)], grid=(1e-4,), user_seed=7)
    assert other.draws[0].seed.user_seed == 7
    assert other.draws[0].seed.value != world.measurement.draws[0].seed.value
