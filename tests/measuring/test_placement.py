"""Where a model runs: placements that cannot be are named, and a device map changes no score."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import torch
from accelerate import dispatch_model

from certify.checkpoints import load_model, open_checkpoint
from certify.errors import InvalidInput
from certify.measuring import Base
from certify.noise import noised
from certify.records import derive_seed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("placement")
    model = models.llama()
    models.save_folder(where / "base", model)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 20))
    return where


def test_a_device_that_is_not_there_is_one_clear_error(folder: Path) -> None:
    """The device is named, and what torch says of it."""
    with pytest.raises(InvalidInput, match="device 'nowhere' cannot be used"):
        Base.open(folder / "base", folder / "own.jsonl", "nowhere")


def test_a_device_map_changes_no_score_and_no_draw(folder: Path) -> None:
    """A model hooked by accelerate, as it is when spread over devices, scores and draws like a plain one."""
    plain, spread = (Base.open(folder / "base", folder / "own.jsonl", d) for d in ("cpu", "auto"))
    places = dict.fromkeys(["model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head"], "cpu")
    dispatch_model(spread.model, places, main_device="cpu", force_hooks=True)
    assert hasattr(spread.model.model.layers, "_hf_hook")
    assert spread.scores == plain.scores
    law = plain.weight_law(0.05)
    seed = derive_seed("x", law, plain.scorer.identity, plain.checkpoint.identity)
    drawn = []
    for base in (plain, spread):
        with noised(base.model, law, seed) as engine:
            scores = base.scorer.score(engine.at(3))
            drawn.append((scores, {n: p.detach().clone() for n, p in base.model.named_parameters()}))
    assert drawn[0][0] == drawn[1][0]
    assert all(torch.equal(drawn[0][1][n], drawn[1][1][n]) for n in drawn[0][1])


def test_an_untouched_checkpoint_loads_where_it_is_told(folder: Path) -> None:
    """A plain load is on the device that was named."""
    assert str(load_model(open_checkpoint(folder / "base"), "cpu").device) == "cpu"
