"""Draws written as folders: the explicit engine's bits, whatever the base's files look like; whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import models
import pytest
import torch
from safetensors.torch import load_file, save_file

from certify.checkpoints import load_model, open_checkpoint
from certify.documents import DRAW_FILE, read_draw
from certify.errors import CertificateMismatch, CheckpointError, InvalidInput
from certify.noise import drawn, noised
from certify.noise.drawn import write_draw

SIGMA = 0.01


def with_both_tied(source: Path, folder: Path) -> Path:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    return models.variant(source, folder, change)


def in_bfloat16(source: Path, folder: Path) -> Path:
    """But for one norm, which is stored wider and is exact all the same."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            tensors[name] = tensors[name].bfloat16()
        tensors["model.norm.weight"] = tensors["model.norm.weight"].float()

    return models.variant(source, folder, change)


def as_it_is(source: Path, folder: Path) -> Path:
    return models.variant(source, folder, lambda tensors: None)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("drawn") / "base", models.llama())


@pytest.mark.parametrize("stored", [as_it_is, models.resharded, with_both_tied, in_bfloat16])
@pytest.mark.filterwarnings("ignore:in the first draw")
def test_a_folder_has_the_bits_of_the_explicit_engine(
    base: Path, tmp_path: Path, stored: Callable[[Path, Path], Path]
) -> None:
    """One file, shards, tied names that are both stored, two dtypes; another draw of the same plan has other bits."""
    source = open_checkpoint(stored(base, tmp_path / "source"))
    found = [write_draw(source, tmp_path / str(i), SIGMA, i, draws=5) for i in (3, 4)]
    model, here = load_model(source), load_model(open_checkpoint(tmp_path / "3"))
    law, seed = found[0].law, found[0].seed
    with noised(model, law, seed) as engine:
        at = {i: {n: p.clone() for n, p in engine.at(i).named_parameters()} for i in (3, 4)}
    assert all(torch.equal(p, at[3][n]) for n, p in here.named_parameters())
    assert not any(torch.equal(p, at[4][n]) for n, p in here.named_parameters())
    assert found[0].weights != found[1].weights
    assert open_checkpoint(tmp_path / "3").identity.weights == found[0].weights == read_draw(tmp_path / "3").weights


def test_the_files_are_those_of_the_base(base: Path, tmp_path: Path) -> None:
    """Same names of files and tensors, tokenizer and config beside them."""
    source = models.resharded(base, tmp_path / "source")
    write_draw(open_checkpoint(source), tmp_path / "draw", SIGMA, 0, draws=1)
    names = {file.name for file in source.iterdir()}
    assert {file.name for file in (tmp_path / "draw").iterdir()} == names | {DRAW_FILE}
    for shard in source.glob("*.safetensors"):
        assert load_file(shard).keys() == load_file(tmp_path / "draw" / shard.name).keys()
    assert (source / "config.json").read_bytes() == (tmp_path / "draw" / "config.json").read_bytes()


def test_a_draw_is_written_as_a_whole_or_not_at_all(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks in the middle leaves nothing; what is there already stays as it is, be it empty."""
    source = open_checkpoint(base)
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidInput, match="there: exists"):
        write_draw(source, tmp_path / "there", SIGMA, 0, draws=1)
    calls = []

    def breaks(*_: object) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(drawn, "unmoved", breaks)
    with pytest.raises(KeyboardInterrupt):
        write_draw(source, tmp_path / "new", SIGMA, 0, draws=1)
    assert [file.name for file in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"draw": 5}, "numbered from 0"),
        ({"draw": -1}, "numbered from 0"),
        ({"sigma": -1.0}, "sigma must be positive"),
        ({"grid": (0.02, 0.03)}, "must be one of the planned grid"),
        ({"grid": (0.02, SIGMA)}, "must ascend"),
        ({"grid": (-1.0, SIGMA)}, "sigma must be positive"),
    ],
)
def test_what_cannot_be_drawn_is_refused(base: Path, tmp_path: Path, changed: dict[str, object], said: str) -> None:
    """In one line, before anything is written."""
    asked: dict[str, object] = {"sigma": SIGMA, "draw": 0, "draws": 5, **changed}
    with pytest.raises(InvalidInput, match=said):
        write_draw(open_checkpoint(base), tmp_path / "out", **asked)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_bases_that_no_draw_can_be_written_of(base: Path, tmp_path: Path) -> None:
    """A draw itself; weights without a config; a dtype that cannot hold what is stored."""
    write_draw(open_checkpoint(base), tmp_path / "draw", SIGMA, 0, draws=1)
    with pytest.raises(CheckpointError, match="is a draw already"):
        write_draw(open_checkpoint(tmp_path / "draw"), tmp_path / "again", SIGMA, 0, draws=1)
    with pytest.raises(CheckpointError, match="no config"):
        write_draw(open_checkpoint(base / "model.safetensors"), tmp_path / "again", SIGMA, 0, draws=1)
    wider = in_bfloat16(base, tmp_path / "wider")
    tensors = load_file(wider / "model.safetensors")
    tensors["model.norm.weight"] += 1e-5
    save_file(tensors, wider / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="cannot hold its values exactly"):
        write_draw(open_checkpoint(wider), tmp_path / "again", SIGMA, 0, draws=1)
    assert not (tmp_path / "again").exists()


def test_a_changed_manifest_is_refused(base: Path, tmp_path: Path) -> None:
    """Its digest covers which draw it is; one that is sealed anew still has to have the seed of its plan."""
    found = write_draw(open_checkpoint(base), tmp_path / "draw", SIGMA, 0, draws=2)
    file = tmp_path / "draw" / DRAW_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "draw": 1}))
    with pytest.raises(CertificateMismatch, match="the file was changed"):
        read_draw(tmp_path / "draw")
    forged = {**json.loads(found.to_text()), "draws": 3}
    file.write_text(json.dumps(forged))
    with pytest.raises(CertificateMismatch, match="the seed is not the one"):
        read_draw(tmp_path / "draw")
    file.unlink()
    with pytest.raises(InvalidInput, match="certify draw"):
        read_draw(tmp_path / "draw")
