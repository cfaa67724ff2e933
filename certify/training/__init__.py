"""Training that makes certificates speak: noise-averaged losses, budgets, subspaces.

Names below load their module when first used: what serves transformers' Trainer imports transformers.
"""

from typing import TYPE_CHECKING

from certify._lazy import on_first_use

if TYPE_CHECKING:
    from certify.training.budget import Budget, coordinate_budget, save_checkpoint, weight_budget
    from certify.training.gaussian_augmented import GaussianAugmented
    from certify.training.radius import Allowance, allowance
    from certify.training.subspace import SubspaceModel
    from certify.training.trainer import BudgetCallback, perturb_training_steps

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "Allowance": "certify.training.radius",
        "Budget": "certify.training.budget",
        "BudgetCallback": "certify.training.trainer",
        "GaussianAugmented": "certify.training.gaussian_augmented",
        "SubspaceModel": "certify.training.subspace",
        "allowance": "certify.training.radius",
        "coordinate_budget": "certify.training.budget",
        "perturb_training_steps": "certify.training.trainer",
        "save_checkpoint": "certify.training.budget",
        "weight_budget": "certify.training.budget",
    },
)

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
