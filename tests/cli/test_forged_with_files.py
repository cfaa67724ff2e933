"""A forger who reseals everything, caught by the files: what can be repeated is repeated, and the words say what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from world import World, make_world

from certify.__main__ import main
from certify.documents import Certificate, read_document
from certify.evidence import AuditEvidence, Requirement
from certify.verify import differences

Forge = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One small run."""
    return make_world(tmp_path_factory.mktemp("forged"))


def resealed(certificate: Certificate, forge: Forge, file: Path) -> Path:
    """Write a certificate that is consistent in itself after ``forge`` changed it."""
    value = json.loads(certificate.to_text())
    forge(value)
    forged = Certificate.model_validate(value)
    forged = forged.model_copy(update={"judgement": forged.judged_again()})
    forged = Certificate.model_validate_json(forged.model_dump_json(by_alias=True))
    forged = forged.model_copy(update={"digest": forged.own_digest()})
    assert differences(forged) == []
    return forged.to_json(file)


def verify(world: World, file: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    """Return the exit code of `certify verify` with every file named."""
    named = ["--base", world.base, "--checkpoint", world.checkpoint, "--benchmark", world.benchmark, "--replay", "3"]
    monkeypatch.setattr("sys.argv", ["certify", "verify", str(file), *map(str, named), *more])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def flip(value: dict[str, Any]) -> None:
    """The last item that the checkpoint got wrong, or right, is the other."""
    scores = value["evidence"]["scores"]["checkpoint"]
    scores[-1] = 1.0 - scores[-1]


def move_point(value: dict[str, Any]) -> None:
    """One item at a point of the segment."""
    scores = value["evidence"]["points"][1]["scores"]
    scores[0] = 1.0 - scores[0]


def shift_norms(value: dict[str, Any]) -> None:
    """Every distance a hundred times smaller, total included."""
    moved = value["evidence"]["displacement"]
    moved["norms"] = {name: norm / 100 for name, norm in moved["norms"].items()}
    moved["delta_norm"] /= 100


def flip_audited(value: dict[str, Any]) -> None:
    """The audit's first item lost, and as many more scored as it then takes."""
    scores = value["evidence"]["checkpoint"]
    scores[0] = 0.0
    while AuditEvidence.model_validate(value["evidence"]).decided_after(Requirement(limit=0.1), 0.05, 0.0) is None:
        scores.append(1.0)


def better_draws(value: dict[str, Any]) -> None:
    """The checkpoint's draws another than they were."""
    scores = value["evidence"]["checkpoint"]["scores"]
    scores[:] = [1.0 - score for score in scores]


FORGERIES: list[tuple[str, Forge, str]] = [
    ("point", flip, "1 of 100 item scores of the checkpoint differ"),
    ("position", move_point, "1 of 100 item scores of the point 0.5 differ"),
    ("position", shift_norms, "evidence.displacement.delta_norm: recorded"),
    ("distance", shift_norms, "evidence.displacement.delta_norm: recorded"),
    ("audit", flip_audited, "item scores of the checkpoint differ"),
    ("smoothed", better_draws, "at the checkpoint: recorded"),
]


@pytest.mark.parametrize(("kind", "forge", "said"), FORGERIES, ids=[f"{k}-{f.__name__}" for k, f, _ in FORGERIES])
def test_what_the_files_contradict_is_caught(
    world: World, kind: str, forge: Forge, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Consistent in itself, and refuted by the checkpoint."""
    file = resealed(world.certificates[kind], forge, tmp_path / "forged.json")
    assert verify(world, file, monkeypatch) == 4
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["point", "position", "smoothed", "distance", "audit"])
def test_what_was_repeated_and_what_rests_on_trust_is_said(
    world: World, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The honest certificate verifies, and the words name the weights."""
    file = world.certificates[kind].to_json(tmp_path / "honest.json")
    assert differences(read_document(file)) == []
    assert verify(world, file, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "Repeated at the base, with the same scores:" in out
    assert "Repeated at the checkpoint, with the same result:" in out
    assert "On trust: all other draws" in out


def test_how_the_items_are_asked_is_held_against_the_files(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chance raised in the record alone."""

    def forge(value: dict[str, Any]) -> None:
        value["benchmark"]["chance"] = 0.25

    file = resealed(world.certificates["point"], forge, tmp_path / "forged.json")
    assert verify(world, file, monkeypatch) == 4
    assert "benchmark.chance: recorded 0.25, the named files give 0.0" in capsys.readouterr().out
