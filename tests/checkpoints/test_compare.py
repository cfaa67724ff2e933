"""The difference of two checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path

import models
import pytest
import torch

from certify.checkpoints import difference, open_checkpoint
from certify.checkpoints.difference import companion_differences, spelling_differences
from certify.errors import CheckpointError

NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_folder(tmp_path_factory.mktemp("compare") / "base", models.llama())


def compare(base: Path, other: Path):  # type: ignore[no-untyped-def]
    return difference(open_checkpoint(base), open_checkpoint(other))


def test_norms_are_those_of_the_difference(base: Path, tmp_path: Path) -> None:
    """Each tensor's norm is the Euclidean norm of its change, rounded up by at most 2e-9."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[NORM] = tensors[NORM] + torch.tensor([3.0, 4.0] + [0.0] * 14)

    found = compare(base, models.variant(base, tmp_path / "x", change))
    moved = found.norms.pop(NORM)
    assert 5.0 <= moved <= 5.0 * (1 + 1e-6)  # float32 addition moved it by an ulp or two
    assert set(found.norms.values()) == {0.0}
    assert found.delta_norm >= moved
    assert found.dimension == open_checkpoint(base).identity.parameters


def test_the_total_is_the_root_of_the_squares(base: Path, tmp_path: Path) -> None:
    """Per-tensor shares add up to the whole."""
    other = models.save_folder(tmp_path / "other", models.llama(seed=1))
    found = compare(base, other)
    assert found.delta_norm == pytest.approx(math.sqrt(sum(n * n for n in found.norms.values())), rel=1e-8)


def test_a_checkpoint_is_at_zero_from_itself(base: Path) -> None:
    """Nothing differs from itself."""
    found = compare(base, base)
    assert (found.delta_norm, found.differences) == (0.0, ())


def test_tied_weights_count_once(base: Path, tmp_path: Path) -> None:
    """A change of the embedding counts once, also if one file spells out the tied head."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.embed_tokens.weight"] += 1
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    found = compare(base, models.variant(base, tmp_path / "x", change))
    assert "lm_head.weight" not in found.norms
    assert found.delta_norm == pytest.approx(found.norms["model.embed_tokens.weight"], rel=1e-8)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop(NORM), f"missing \\['{NORM}'\\]"),
        (lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].T.contiguous()}), "lm_head.weight"),
        (lambda t: t.update(more=torch.ones(1)), r"extra \['more'\]"),
        (lambda t: t.update({NORM: torch.ones(8)}), r"has shape \(8,\), config\.json describes \(16,\)"),
        (lambda t: t[NORM].fill_(math.nan), r"1\d* of the 16 numbers of tensor .* are NaN or infinite"),
        (lambda t: t[NORM].fill_(math.inf), r"1\d* of the 16 numbers of tensor .* are NaN or infinite"),
        (lambda t: t.update({NORM: t[NORM].to(torch.float64) + 1e-12}), "cannot hold its values exactly"),
        (lambda t: t.update({NORM: torch.ones(16, dtype=torch.int8)}), "dequantise first"),
    ],
    ids=["missing", "tied in another shape", "extra", "shape", "nan", "inf", "inexact", "quantised"],
)
def test_what_cannot_be_compared_is_named(base: Path, tmp_path: Path, edit, message: str) -> None:  # type: ignore[no-untyped-def]
    """Each obstacle is one error that names the tensor."""
    with pytest.raises(CheckpointError, match=message):
        compare(base, models.variant(base, tmp_path / "x", edit))


def test_an_exact_cast_is_compared(base: Path, tmp_path: Path) -> None:
    """The base's own values in a wider dtype are at distance zero."""

    def widen(tensors: dict[str, torch.Tensor]) -> None:
        for name in tensors:
            tensors[name] = tensors[name].to(torch.float64)

    assert compare(base, models.variant(base, tmp_path / "x", widen)).delta_norm == 0.0


def test_another_architecture_is_refused(base: Path, tmp_path: Path) -> None:
    """The field and both values are named."""
    folder = models.variant(base, tmp_path / "x", lambda t: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mistral"}))
    with pytest.raises(CheckpointError, match="another architecture than the base: model_type mistral, base llama"):
        compare(base, folder)


def test_whatever_else_differs_is_named(base: Path, tmp_path: Path) -> None:
    """Settings of generation differ where answers are generated; sampling, beams and templates act on no benchmark."""
    folder = models.variant(base, tmp_path / "x", lambda t: None)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    ours, theirs = open_checkpoint(base), open_checkpoint(folder)
    assert spelling_differences(ours, theirs) == ["chat_template.jinja: only the checkpoint has it"]
    silent = {"temperature": 0.5, "num_beams": 4, "do_sample": True}
    for settings, named in ((silent, False), ({"suppress_tokens": [3]}, True)):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, **settings}))
        theirs = open_checkpoint(folder)
        found = companion_differences(ours, theirs, generated=True)
        assert [line.partition(":")[0] for line in found] == (["generation settings differs"] if named else [])
        assert compare(base, folder).differences == ()


def test_missing_settings_of_generation_are_not_the_bases(base: Path, tmp_path: Path) -> None:
    """A folder without generation_config.json has what its config.json says: a base that suppresses tokens differs."""
    suppressing = models.variant(base, tmp_path / "base", lambda t: None)
    (suppressing / "generation_config.json").write_text('{"eos_token_id": 2, "suppress_tokens": [3, 4]}')
    bare = models.variant(base, tmp_path / "x", lambda t: None)
    (bare / "generation_config.json").unlink()
    (line,) = companion_differences(open_checkpoint(suppressing), open_checkpoint(bare), generated=True)
    assert line == "generation settings differs: suppress_tokens is not set, the base's [3, 4]"
    assert companion_differences(open_checkpoint(base), open_checkpoint(bare), generated=True) == []


def test_what_a_checkpoint_does_not_bring_is_the_bases(base: Path, tmp_path: Path) -> None:
    """A folder without tokenizer files is scored with the base's tokenizer and does not differ in it."""
    folder = models.variant(base, tmp_path / "x", lambda t: None)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert compare(base, folder).differences == ()
