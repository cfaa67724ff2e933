"""Training that makes certificates speak: noise-averaged losses, budgets, subspaces.

Names below load their module when first used: what serves transformers' Trainer imports transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certify.training.budget import Budget, coordinate_budget, save_checkpoint, weight_budget
    from certify.training.gaussian_augmented import GaussianAugmented
    from certify.training.radius import Allowance, allowance
    from certify.training.subspace import SubspaceModel
    from certify.training.trainer import BudgetCallback, perturb_training_steps

_HOME = {
    "Allowance": "radius",
    "Budget": "budget",
    "BudgetCallback": "trainer",
    "GaussianAugmented": "gaussian_augmented",
    "SubspaceModel": "subspace",
    "allowance": "radius",
    "coordinate_budget": "budget",
    "perturb_training_steps": "trainer",
    "save_checkpoint": "budget",
    "weight_budget": "budget",
}

__all__ = [
    "Allowance",
    "Budget",
    "BudgetCallback",
    "GaussianAugmented",
    "SubspaceModel",
    "allowance",
    "coordinate_budget",
    "perturb_training_steps",
    "save_checkpoint",
    "weight_budget",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'certify.training' has no attribute {name!r}")
    return getattr(import_module(f"certify.training.{_HOME[name]}"), name)
