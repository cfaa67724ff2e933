"""GO and budgets inside transformers' Trainer and accelerate: same noise, same masters, same ball."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import models
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LinearLR
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from typer.testing import CliRunner
from world import World

from certify.checkpoints import open_checkpoint
from certify.cli.app import app
from certify.errors import InvalidInput
from certify.evidence import Requirement
from certify.measuring import Base, PlannedDraws, check, measure_base, subspace_law
from certify.noise.subspace import save_basis
from certify.training import (
    BudgetCallback,
    GaussianAugmented,
    SubspaceModel,
    allowance,
    coordinate_budget,
    perturb_training_steps,
    save_checkpoint,
    weight_budget,
)

TENTH = Requirement(limit=0.1)
ROWS = torch.randint(2, 18, (24, 6), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": row, "labels": row} for row in ROWS]


def llama() -> nn.Module:
    return models.llama().requires_grad_(True)


def augmented(model: nn.Module, seed: int = 0) -> GaussianAugmented:
    return GaussianAugmented(AdamW(model.parameters(), lr=1e-3), 0.02, model=model, seed=seed)


def trainer(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
    **settings: Any,
) -> Trainer:
    """Four steps of two micro-batches, clipped; evaluated and saved after the second and the fourth."""
    arguments = TrainingArguments(
        str(folder),
        max_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_grad_norm=0.5,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        **settings,
    )
    return Trainer(
        model,
        arguments,
        train_dataset=DATA,
        eval_dataset=DATA[:4],
        optimizers=(optimizer, None),
        callbacks=list(callbacks),
    )


class Saves(TrainerCallback):
    """Remembers the masters whenever the Trainer saves."""

    def __init__(self) -> None:
        self.masters: dict[int, dict[str, torch.Tensor]] = {}

    def on_save(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        self.masters[state.global_step] = {name: p.detach().clone() for name, p in model.named_parameters()}


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_training_sees_noise_and_evaluation_and_saving_see_the_masters(tmp_path: Path) -> None:
    """Every forward pass of a run is looked at, and every file that it leaves."""
    model = llama()
    masters = dict(model.named_parameters())
    seen: list[tuple[bool, bool]] = []

    def look(module: nn.Module, inputs: Any) -> None:
        clean = [p is masters[name] and torch.equal(p, masters[name]) for name, p in module.named_parameters()]
        assert all(clean) or not any(clean)
        seen.append((module.training, all(clean)))

    model.register_forward_pre_hook(look)
    saves = Saves()
    run = trainer(model, augmented(model), tmp_path, [saves])
    perturb_training_steps(run)
    run.train()
    assert seen.count((True, False)) == 8
    assert seen.count((False, True)) == len(seen) - 8 == 2
    assert set(saves.masters) == {2, 4}
    for step, expected in saves.masters.items():
        stored = load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors")
        assert stored.keys() == expected.keys()
        assert same(stored, expected)


def test_the_trainer_resumes_the_noise_with_the_optimizer(tmp_path: Path) -> None:
    """Steps three and four from the files of step two give the weights of the run that was not killed."""
    model = llama()
    run = trainer(model, augmented(model, seed=4), tmp_path)
    perturb_training_steps(run)
    run.train()

    fresh, go = llama(), None
    go = augmented(fresh)
    again = trainer(fresh, go, tmp_path / "again")
    perturb_training_steps(again)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert go.micro_batches == 8
    assert same(weights(model), weights(fresh))


def test_layers_that_are_run_again_in_the_backward_pass_see_the_same_noise(tmp_path: Path) -> None:
    """With activation checkpointing the Trainer ends with the same weights."""
    ends = []
    for again in (False, True):
        model = llama()
        if again:
            for layer in model.model.layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        run = trainer(model, augmented(model), tmp_path)
        perturb_training_steps(run)
        run.train()
        ends.append(weights(model))
    assert same(*ends)


def test_a_forgotten_block_stops_the_trainer_at_its_first_step(tmp_path: Path) -> None:
    """Training without noise under the name of GO is an error, and so is noise for another optimizer."""
    model = llama()
    before = weights(model)
    with pytest.raises(InvalidInput, match=r"perturb_training_steps\(trainer\) with a Trainer"):
        trainer(model, augmented(model), tmp_path).train()
    assert same(weights(model), before)
    plain = trainer(model, AdamW(model.parameters()), tmp_path)
    with pytest.raises(InvalidInput, match=r"is AdamW, not a GaussianAugmented.*optimizers=\(go, None\)"):
        perturb_training_steps(plain)


def test_a_crash_in_a_training_step_leaves_a_model_that_can_be_saved(tmp_path: Path) -> None:
    """The block closes with the step that failed."""
    model = llama()
    before = weights(model)
    run = trainer(model, augmented(model), tmp_path)
    perturb_training_steps(run)
    hook = model.model.norm.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.train()
    hook.remove()
    run.save_model(str(tmp_path / "rescued"))
    assert same(load_file(tmp_path / "rescued" / "model.safetensors"), before)


def test_accelerate_gives_the_weights_of_a_plain_loop() -> None:
    """prepare() wraps optimizer, scheduler and model; accumulation, clipping and steps are then accelerate's."""
    ends = []
    for accelerated in (False, True):
        model = llama().train()
        go = augmented(model)
        optimizer: Any = go
        schedule: Any = LinearLR(go, 1.0, 0.0, total_iters=8)
        loader: Any = DataLoader(ROWS[:16], batch_size=2)
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        if accelerated:
            model, optimizer, schedule, loader = accelerator.prepare(model, go, schedule, loader)
        for i, rows in enumerate(loader):
            last = i % 2 == 1
            with accelerator.accumulate(model), go.perturbed():
                loss = model(input_ids=rows, labels=rows).loss
                accelerator.backward(loss) if accelerated else (loss / 2).backward()
            if accelerated and accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            if not accelerated and last:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            if accelerated or last:
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        assert go.micro_batches == 8
        ends.append(weights(model))
    assert same(*ends)


def test_a_budgeted_trainer_run_stays_inside_reports_and_is_certified(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step lies in the ball, the log says how much is used, and ``certify check`` certifies what is saved.

    What the Trainer itself saves is not: it writes a config of its own. Without the budget the run leaves the ball.
    """
    base = open_checkpoint(world.base)
    allowed = allowance(world.measurement, TENTH)
    record, verdicts = world.measurement.to_json(tmp_path / "measurement.json"), {}
    for budgeted in (False, True):
        model = llama()
        budget = weight_budget(model, base, allowed)
        distances: list[float] = []

        class Looks(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                distances.append(budget._distance())  # noqa: B023  # used within the turn

        callbacks = [*([BudgetCallback(budget)] if budgeted else []), Looks()]
        run = trainer(model, SGD(model.parameters(), lr=1e-3), tmp_path / str(budgeted), callbacks)
        run.train()
        assert len(distances) == 4
        assert (max(distances) <= allowed.radius) is budgeted
        logged = [line["budget_used"] for line in run.state.log_history if "budget_used" in line and "loss" in line]
        assert (len(logged) == 4 and 0.99 < logged[-1] <= 1.0) if budgeted else not logged
        printed = [line for line in capsys.readouterr().out.splitlines() if "'loss'" in line]
        assert sum("budget_used" in line for line in printed) == (4 if budgeted else 0)
        saved = save_checkpoint(tmp_path / f"saved {budgeted}", base, model)
        command = ["check", str(saved.path), "--base", str(world.base), "-b", str(world.benchmark)]
        command += ["--require", "distance", "--measurement", str(record), "--max-drop", "0.1"]
        verdicts[budgeted] = CliRunner().invoke(app, command).exit_code
    assert verdicts == {False: 3, True: 0}


def test_a_subspace_is_trained_within_its_budget_by_the_trainer(world: World, tmp_path: Path) -> None:
    """Its coordinates are the Trainer's only parameters; what it saves of itself is a member of the subspace."""
    base = Base.open(world.base, world.benchmark)
    directions = [{"model.norm.weight": torch.eye(16)[i]} for i in range(2)]
    subspace = save_basis(tmp_path / "basis.safetensors", directions)
    planned = [PlannedDraws(subspace_law(subspace, 1e-3), 60, subspace)]
    measurement = measure_base(base, planned=planned, grid=(1e-4,))
    learner = SubspaceModel(base.model, subspace)
    allowed = allowance(measurement, TENTH, subspace=subspace)
    budget = coordinate_budget(learner.coordinates, base.checkpoint, allowed)
    optimizer, callbacks = SGD(learner.parameters(), lr=1.0), [BudgetCallback(budget)]
    trainer(learner, optimizer, tmp_path / "run", callbacks, remove_unused_columns=False).train()
    assert 0.99 < budget.used <= 1.0
    member = learner.save(tmp_path / "member", base.checkpoint)
    (found,) = check(base, member, kinds=["distance"], requirement=TENTH, measurement=measurement, subspaces=[subspace])
    assert found.verdict == "certified"
