"""What trainers leave on disk: runs of checkpoints, state beside weights, sharded and distributed formats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import models
import pytest
import torch
from forked import certify, start
from safetensors.torch import load_file

from certify.checkpoints import open_checkpoint
from certify.documents import Certificate, read_document
from certify.errors import CheckpointError

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(str(p) for p in (
    Path(__file__).parents[2], Path(__file__).parents[1]))}  # fmt: skip


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd)


def script(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run lines as ``python -W ignore -c`` would."""
    return start(*words, before=lambda: warnings.simplefilter("ignore"), program=lambda: exec(code, {})).finish()


def verdicts(folder: Path) -> dict[str, str]:
    """The verdict on each checkpoint that has a certificate in ``folder``."""
    records = [read_document(file) for file in folder.glob("*.json")]
    return {r.checkpoint.name: str(r.judgement.verdict) for r in records if isinstance(r, Certificate)}


TRAIN = """
import sys, torch, models
from transformers import Trainer, TrainingArguments
torch.manual_seed(0)
model, tok = models.llama(tied=False).requires_grad_(True), models.tokenizer()
ids = tok("12+3=4")["input_ids"]
rows = [{"input_ids": ids, "labels": ids} for _ in range(64)]
arguments = TrainingArguments(
    sys.argv[1], max_steps=12, save_steps=4, learning_rate=1e-5, per_device_train_batch_size=2, report_to=[],
    use_cpu=True, disable_tqdm=True, logging_steps=100,
)
Trainer(model, arguments, train_dataset=rows, processing_class=tok).train()
"""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and what transformers' Trainer really leaves of a short run from it."""
    folder = tmp_path_factory.mktemp("trained")
    models.save_folder(folder / "base", models.llama(tied=False))
    models.write_jsonl(folder / "own.jsonl", models.own_answers(models.llama(tied=False), 10))
    done = script(TRAIN, folder / "run")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_checkpoint_of_a_trainer_is_a_checkpoint(where: Path) -> None:
    """With its optimizer, scheduler, random state, arguments and log beside the weights."""
    folder = where / "run" / "checkpoint-4"
    beside = {path.name for path in folder.iterdir()}
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin"} <= beside
    before = open_checkpoint(folder).identity
    (folder / "runs").mkdir()
    (folder / ".cache").mkdir()
    (folder / "global_step4").mkdir()
    (folder / "README.md").write_text("notes")
    assert open_checkpoint(folder).identity == before
    assert before.companions["config"] == open_checkpoint(where / "base").identity.companions["config"]
    assert before.weights != open_checkpoint(where / "base").identity.weights


def test_a_run_is_told_from_a_checkpoint(where: Path) -> None:
    """Its checkpoints by their steps, and what to do."""
    with pytest.raises(
        CheckpointError,
        match=r"run: no model\.safetensors .*; it holds 3 checkpoints \(checkpoint-4, checkpoint-8, checkpoint-12\): "
        r"name one of them, or check them all in this order \(certify check --all\)$",
    ):
        open_checkpoint(where / "run")


def test_all_checkpoints_of_a_run_are_checked_in_order(where: Path, tmp_path: Path) -> None:
    """A row and a certificate each; the exit code is the worst; one that is damaged is named, the others are judged."""
    copy = shutil.copytree(where / "run", tmp_path / "run")
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    done = certify("check", copy, "--all", *asked, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    order = [done.stdout.index(f"checkpoint-{step}") for step in (4, 8, 12)]
    assert order == sorted(order)
    assert verdicts(tmp_path / "out") == dict.fromkeys(("checkpoint-4", "checkpoint-8", "checkpoint-12"), "certified")
    assert "Holm over 3 gates" in done.stdout
    damaged = copy / "checkpoint-8" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    models.variant(where / "base", tmp_path / "lost", lambda tensors: [t.zero_() for t in tensors.values()])
    shutil.copy(tmp_path / "lost" / "model.safetensors", copy / "checkpoint-4")
    done = certify("check", copy, "--all", *asked, "-o", tmp_path / "again")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "not judged: " in done.stdout and "checkpoint-8/model.safetensors" in "".join(done.stdout.split())
    assert verdicts(tmp_path / "again") == {"checkpoint-4": "refuted", "checkpoint-12": "certified"}
    shutil.rmtree(copy / "checkpoint-8")
    assert certify("check", copy, "--all", *asked).returncode == 1


def test_the_final_model_and_weights_alone_are_not_passed_over(where: Path, tmp_path: Path) -> None:
    """What a trainer saves into the run's own folder is one of all; weights without a config are named."""
    copy = shutil.copytree(where / "run", tmp_path / "run")
    models.variant(where / "base", tmp_path / "lost", lambda tensors: [t.zero_() for t in tensors.values()])
    shutil.copytree(tmp_path / "lost", copy, dirs_exist_ok=True)
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    done = certify("check", copy, "--all", *asked, "-o", tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdicts(tmp_path / "out")["run"] == "refuted"
    (copy / "best").mkdir()
    shutil.copy(where / "base" / "model.safetensors", copy / "best")
    done = certify("check", copy, "--all", *asked)
    assert done.returncode == 2
    assert "best" in done.stdout


def test_all_of_nothing_is_refused(where: Path) -> None:
    """A folder that holds no checkpoints, or one that is a checkpoint itself."""
    for folder in (where / "base", where / "nowhere"):
        done = certify("check", folder, "--all", "--base", where / "base", "-b", where / "own.jsonl")
        assert done.returncode == 2
        assert "--all takes a folder of checkpoints" in " ".join(done.stderr.split())


# Distributed formats, each made by torch or accelerate itself.

FSDP = """
import os, sys, torch, models
os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0", LOCAL_RANK="0")
import torch.distributed as dist
dist.init_process_group("gloo", init_method="file://" + sys.argv[1] + ".rendezvous", rank=0, world_size=1)
from torch.distributed.fsdp import fully_shard
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import save_fsdp_model
model = models.llama(tied=False).requires_grad_(True)
fully_shard(model, mesh=dist.init_device_mesh("cpu", (1,)))
plugin = FullyShardedDataParallelPlugin(state_dict_type="SHARDED_STATE_DICT", fsdp_version=2)
save_fsdp_model(plugin, Accelerator(cpu=True), model, sys.argv[1])
"""


def suggested(message: str) -> list[str]:
    """The command that a refusal names, between its backticks."""
    return message.split("`")[1].split()


@pytest.mark.filterwarnings("default")  # of torch.distributed without a process group
def test_fsdp_shards_are_refused_with_the_command_that_joins_them(tmp_path: Path) -> None:
    """What that command writes, with the config of another folder, is the checkpoint that was sharded."""
    saved = models.save_folder(tmp_path / "saved", models.llama(tied=False))
    done = script(FSDP, tmp_path / "checkpoint-100")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "checkpoint-100" / "pytorch_model_fsdp_0" / ".metadata").is_file()
    with pytest.raises(CheckpointError, match=r"fsdp_0 is FSDP's shards: `accelerate merge-weights") as why:
        open_checkpoint(tmp_path / "checkpoint-100")
    command = [*suggested(str(why.value))[:-1], tmp_path / "joined"]
    done = run(Path(sys.executable).parent / command[0], *command[1:])
    assert done.returncode == 0, done.stderr
    for source in (tmp_path / "joined", tmp_path / "joined" / "model.safetensors"):
        joined = open_checkpoint(source, config=saved)
        assert joined.identity.weights == open_checkpoint(saved).identity.weights
        assert joined.identity.companions == open_checkpoint(saved).identity.companions


@pytest.mark.filterwarnings("default")
def test_distributed_checkpoints_of_torch(tmp_path: Path) -> None:
    """Pickled ones are refused with the commands that convert them; those in safetensors are read."""
    import torch.distributed.checkpoint as dcp

    model = models.llama(tied=False)
    saved = models.save_folder(tmp_path / "saved", model)
    dcp.save({"model": model.state_dict()}, checkpoint_id=tmp_path / "dcp")
    dcp.save({"model": model.state_dict(), "step": 3}, checkpoint_id=tmp_path / "more")
    for folder in ("dcp", "more"):
        with pytest.raises(CheckpointError, match=r"is a distributed checkpoint of torch.*dcp_to_torch") as why:
            open_checkpoint(tmp_path / folder)
    command = str(why.value).split("`")[3].replace("WHOLE.pt", str(tmp_path / "whole.pt")).split()
    assert run(sys.executable, "-W", "ignore", *command[1:]).returncode == 0
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert all(torch.equal(whole["model"][name], tensor) for name, tensor in model.state_dict().items())
    dcp.save(model.state_dict(), storage_writer=dcp.HuggingFaceStorageWriter(str(tmp_path / "hf")))
    found = open_checkpoint(tmp_path / "hf", config=saved)
    assert found.identity.weights == open_checkpoint(saved).identity.weights
    dcp.save(
        model.state_dict(), storage_writer=dcp.HuggingFaceStorageWriter(str(tmp_path / "parts"), save_distributed=True)
    )
    with pytest.raises(CheckpointError, match=r"shard-.* is a part of a distributed checkpoint of torch in"):
        open_checkpoint(tmp_path / "parts", config=saved)


# Weights alone, with the config of another folder.


def test_a_file_with_the_config_of_a_folder(where: Path, tmp_path: Path) -> None:
    """Checked, verified and replayed as the folder that it would make; without the config only distance is known."""
    weights = shutil.copy(where / "run" / "checkpoint-12" / "model.safetensors", tmp_path / "step12.safetensors")
    asked = ("--base", where / "base", "-b", where / "own.jsonl", "--items", "fixed", "--max-drop", "0.5")
    alone = certify("check", weights, *asked)
    assert alone.returncode == 2
    assert "--config" in alone.stderr
    done = certify("check", weights, *asked, "--config", where / "base", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.json")
    record = read_document(file)
    assert isinstance(record, Certificate)
    assert record.checkpoint.weights == open_checkpoint(where / "run" / "checkpoint-12").identity.weights
    again = certify(
        "verify", file, "--base", where / "base", "--checkpoint", weights, "--config", where / "base",
        "--benchmark", where / "own.jsonl", "--replay", "1",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_config_that_has_no_place(where: Path, tmp_path: Path) -> None:
    """Weights that bring their own, another model's, or no folder."""
    weights = where / "base" / "model.safetensors"
    cases = (
        (where / "base", where / "base", r"base: has its own config\.json: a config is named for weights without one"),
        (weights, where / "nowhere", r"nowhere: expected the folder of a config\.json for .*, and there is no"),
        (weights, where, r"config\.json is missing; a model folder needs it"),
    )
    for source, config, named in cases:
        with pytest.raises(CheckpointError, match=named):
            open_checkpoint(source, config=config)
    wide = models.save_folder(tmp_path / "wide", models.llama(tied=False, hidden=32))
    with pytest.raises(CheckpointError, match=r"has shape \(\d+, 16\), config\.json describes \(\d+, 32\)"):
        _ = open_checkpoint(weights, config=wide).plan
    assert set(open_checkpoint(weights, config=where / "base").tensors) == set(load_file(weights))
