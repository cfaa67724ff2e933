"""Four ways to pre-train the same model on the same lessons: AdamW, SAM, continuous dropout, GO.

All take the same number of steps on the same batches with the same learning rate; SAM computes two gradients
for each step and so costs twice. Their strengths are the papers' customary ones and were not tuned on any score
that is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from certify.training import GaussianAugmented

SAM_RADIUS = 0.05  # Foret et al. 2010.01412
DROPOUT_SPREAD = 0.4  # masks N(0.5, 0.2^2), Shen et al. 1911.12675, divided by their mean
GO_SIGMA = 0.05

Loss = Callable[[], Tensor]


class AdamW:
    """The plain optimizer, which the others wrap."""

    def __init__(self, model: nn.Module, learning_rate: float, seed: int) -> None:
        self.model, self.seed = model, seed
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=0.0
        )

    def backward(self, loss: Loss) -> None:
        """Leave the gradient that the step takes."""
        loss().backward()

    def training(self) -> AbstractContextManager[None]:
        """What holds while the model trains, and no longer."""
        return nullcontext()


class Sam(AdamW):
    """Sharpness-aware minimisation: the gradient at the worst point of a small ball, by one ascent step."""

    def backward(self, loss: Loss) -> None:
        """Climb SAM_RADIUS along the gradient, take the gradient there, and come back by copy."""
        loss().backward()
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        theta = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            length = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
            for p in parameters:
                p.add_(p.grad, alpha=float(SAM_RADIUS / (length + 1e-12)))
                p.grad = None
        loss().backward()
        with torch.no_grad():
            for p, kept in zip(parameters, theta, strict=True):
                p.copy_(kept)


class ContinuousDropout(AdamW):
    """Gaussian masks on the hidden units of every MLP."""

    @contextmanager
    def training(self) -> Iterator[None]:
        """Put the masks in, drawn from a generator of their own, and take them out again."""
        generator = torch.Generator().manual_seed(self.seed)

        def mask(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            (units,) = args
            return (units * (1 + DROPOUT_SPREAD * torch.randn(units.shape, generator=generator)),)

        handles = [
            module.register_forward_pre_hook(mask)
            for name, module in self.model.named_modules()
            if name.endswith("down_proj")
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class Go(AdamW):
    """The paper's optimizer: gradients at theta + noise, steps at theta."""

    def __init__(self, model: nn.Module, learning_rate: float, seed: int) -> None:
        super().__init__(model, learning_rate, seed)
        self.optimizer = self.go = GaussianAugmented(self.optimizer, GO_SIGMA, model=model, seed=seed)

    def backward(self, loss: Loss) -> None:
        """Leave the gradient at theta + sigma z."""
        with self.go.perturbed():
            loss().backward()


METHODS: dict[str, type[AdamW]] = {"AdamW": AdamW, "SAM": Sam, "continuous dropout": ContinuousDropout, "GO": Go}
