"""What transformers' Trainer needs: noise around its training steps, and a budget after each optimizer step."""

from __future__ import annotations

from functools import wraps
from typing import Any

from transformers import TrainerCallback

from certify.errors import InvalidInput
from certify.training.budget import Budget
from certify.training.gaussian_augmented import GaussianAugmented


def perturb_training_steps(trainer: Any) -> None:
    """Let each training step of ``trainer`` run inside its optimizer's ``perturbed()`` block.

    The Trainer was made with ``optimizers=(go, None)``. A training step is one micro-batch's forward and backward
    pass and nothing else: clipping, logging, evaluation and saving come after it and see the masters.

    Raises:
        InvalidInput: its optimizer is no GaussianAugmented.
    """
    go = trainer.optimizer
    while go is not None and not isinstance(go, GaussianAugmented):
        go = getattr(go, "optimizer", None)
    if go is None:
        raise InvalidInput(
            f"the trainer's optimizer is {type(trainer.optimizer).__name__}, not a GaussianAugmented: pass "
            "optimizers=(go, None) to the Trainer"
        )
    plain = trainer.training_step

    @wraps(plain)
    def training_step(*arguments: Any, **named: Any) -> Any:
        with go.perturbed():
            return plain(*arguments, **named)

    trainer.training_step = training_step


class BudgetCallback(TrainerCallback):
    """Projects onto ``budget`` after each optimizer step, and adds ``budget_used`` to what the Trainer logs."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start inside."""
        self.budget.project()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stay inside."""
        self.budget.project()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Report, in the log's history and in what the progress bar prints."""
        for log in (logs, state.log_history[-1] if state.log_history else None):
            if log is not None:
                log["budget_used"] = round(self.budget.used, 4)
