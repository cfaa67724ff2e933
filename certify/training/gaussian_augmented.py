"""GO, the Gaussian-augmented optimizer: any torch optimizer, minimising the noise-averaged loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from certify.errors import InvalidInput
from certify.noise import weight_noise
from certify.noise.explicit import work_storage
from certify.noise.held import check_draw, place
from certify.noise.holdings import Holdings
from certify.noise.perturbation import WeightPerturbation

if TYPE_CHECKING:
    from certify.records import WeightNoise

Sigma = float | Mapping[str, float]
STATE = "gaussian_augmented"  # key of the noise stream beside the wrapped optimizer's own state
MASTERS = (torch.float32, torch.float64)
LATTICE_BITS = 12  # of no consequence to the fast sampler


class GaussianAugmented(Optimizer):
    """Wraps ``optimizer`` so that it minimises E l(theta + eps), eps ~ N(0, sigma^2 I), close to l + sigma^2/2 tr H.

    Each ``with go.perturbed():`` block is one micro-batch. Inside it the model computes with theta + eps, eps fresh;
    gradients land on the masters theta, which are never written; ``step`` then moves theta. Evaluation and saving
    belong outside the block and see theta; inside it they are refused.

    ``sigma``: one standard deviation, or a mapping of name patterns to standard deviations (the first match counts,
    tensors that match none get no noise); it may be set between blocks. Only tensors that the optimizer trains are
    noised, tied ones once. ``seed``: noise is a pure function of (seed, rank, number of the micro-batch, tensor,
    element). Extra memory: one copy of the noised tensors during a block.

    Raises:
        InvalidInput: no model parameter is trained, one that should get noise is not float32 or float64 (16-bit
            masters round small steps and small noise away: keep float32 masters and use autocast), or ``sigma``
            is negative, not finite, or a pattern that matches nothing.

    Source: theory, "GO optimizer".
    """

    # A fused optimizer takes a GradScaler's scale as an attribute of its own, which would end up on the wrapper.
    _step_supports_amp_scaling = False

    def __init__(self, optimizer: Optimizer, sigma: Sigma, *, model: nn.Module, seed: int = 0) -> None:
        self.optimizer, self.model, self.seed = optimizer, model, seed
        self.micro_batches = 0
        self._open = False
        self._arrived: set[str] = set()
        self.sigma = sigma

    @property
    def sigma(self) -> Sigma:
        """The noise's standard deviation, as it was given."""
        return self._sigma

    @sigma.setter
    def sigma(self, sigma: Sigma) -> None:
        # Plain numbers, so that the state can be loaded without unpickling anything else.
        self._sigma = {p: float(s) for p, s in sigma.items()} if isinstance(sigma, Mapping) else float(sigma)
        quiet = not (any(self._sigma.values()) if isinstance(self._sigma, dict) else self._sigma)
        sizes = {name: p.numel() for name, p in self.model.named_parameters()}
        self._law: WeightNoise | None = None if quiet else weight_noise(sizes, self._sigma)
        self._check()

    @contextmanager
    def perturbed(self) -> Iterator[nn.Module]:
        """Let the model compute with theta + eps: open it around forward and backward of one micro-batch.

        A block that is left by an exception leaves the masters as they were and does not count: the next block
        draws the same noise.

        Raises:
            InvalidInput: the block is open already; in it, the model is called in evaluation mode or its state is
                taken.
        """
        if self._open:
            raise InvalidInput("perturbed() is open already: one block is one micro-batch with one noise")
        with ExitStack() as stack:
            self._open = True
            stack.callback(setattr, self, "_open", False)
            self._show(self._stand_ins(), stack)
            yield self.model
        self.micro_batches += 1

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move the masters by the wrapped optimizer.

        ``closure`` clears gradients and opens the block itself; the gradient is looked at each time that the
        optimizer has called it.

        Raises:
            InvalidInput: a gradient did not pass through the noise, so it is not the smoothed loss's.
        """
        if closure is None:
            self._check_gradients()
            return self.optimizer.step()

        def checked() -> float:
            loss = closure()
            self._check_gradients()
            return loss

        return self.optimizer.step(checked)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the masters' gradients."""
        self._arrived.clear()
        self.optimizer.zero_grad(set_to_none=set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train further parameters of the model."""
        self.optimizer.add_param_group(param_group)
        self._check()

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimizer's state, and where the noise stream stands."""
        stream = {"seed": f"{self.seed:x}", "micro_batches": self.micro_batches, "sigma": self.sigma}
        return {**self.optimizer.state_dict(), STATE: stream}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both: training goes on with the noise that it would have had.

        Raises:
            InvalidInput: the state was not saved by this class.
        """
        if STATE not in state_dict:
            raise InvalidInput(
                f"the state has no {STATE!r}, so it was saved by a bare optimizer: load it into go.optimizer"
            )
        self.optimizer.load_state_dict({key: value for key, value in state_dict.items() if key != STATE})
        stream = state_dict[STATE]
        self.seed, self.micro_batches = int(stream["seed"], 16), stream["micro_batches"]
        self.sigma = stream["sigma"]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The wrapped optimizer's."""
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.optimizer.param_groups = groups

    @property
    def state(self) -> Any:
        """The wrapped optimizer's."""
        return self.optimizer.state

    @state.setter
    def state(self, state: Any) -> None:
        self.optimizer.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        """The wrapped optimizer's."""
        return self.optimizer.defaults

    @defaults.setter
    def defaults(self, defaults: dict[str, Any]) -> None:
        self.optimizer.defaults = defaults

    def __getattr__(self, name: str) -> Any:
        """Everything else is the wrapped optimizer's: hooks, train() and eval() of schedule-free ones ..."""
        if name == "optimizer":
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def _masters(self) -> dict[str, nn.Parameter]:
        """The tensors that get noise: trained by the optimizer, with a positive sigma; tied ones once."""
        if self._law is None:
            return {}
        trained = {id(p) for group in self.param_groups for p in group["params"] if p.requires_grad}
        named = self.model.named_parameters()
        return {name: p for name, p in named if id(p) in trained and self._law.sigma[name] > 0}

    def _check(self) -> None:
        if self._law is None:
            return
        masters = self._masters()
        if not masters:
            raise InvalidInput("no tensor gets noise: the optimizer trains none of the model's parameters with a sigma")
        for name, master in masters.items():
            if master.dtype not in MASTERS:
                raise InvalidInput(
                    f"tensor {name!r} is {master.dtype}, which rounds small noise and small steps away: keep its "
                    "master in float32 (model.float(), with autocast for speed) or give it sigma 0"
                )

    def _stand_ins(self) -> dict[int, torch.Tensor]:
        """Draw this micro-batch's noise: what stands in for each master, by the identity of every alias."""
        masters = self._masters()
        if self._law is None or not masters:
            return {}
        check_draw(self.micro_batches)
        aliases = Holdings(self.model, tuple(masters)).aliases
        data = {name: master.detach() for name, master in masters.items()}
        work = work_storage(data)
        for name, master in data.items():
            if not master.is_contiguous():
                work[name].copy_(master)
        stream = f"training/rank {_rank()}"
        perturbation = WeightPerturbation(self._law, self.seed, LATTICE_BITS, stream, sampler="fast")
        perturbation.writer([place(name, data[name], work[name]) for name in masters])(self.micro_batches)
        apply: Any = _StandIn.apply
        with torch.enable_grad():
            shown = {name: apply(master, work[name], name, self._arrived) for name, master in masters.items()}
        return {identity: shown[name] for identity, name in aliases.items()}

    def _show(self, stand_ins: dict[int, torch.Tensor], stack: ExitStack) -> None:
        """Put stand-ins where modules look their weights up (as functional_call does) until the stack unwinds.

        A master is never written, and what the graph has saved of a stand-in stays: so the end of the block cannot be
        missed, and a backward pass cannot meet other weights than its forward pass.
        """
        for module in self.model.modules():
            parameters: dict[str, Any] = module._parameters
            for name, master in list(parameters.items()):
                if id(master) in stand_ins:
                    stack.callback(parameters.__setitem__, name, master)
                    parameters[name] = stand_ins[id(master)]
            register: Any = module.register_state_dict_pre_hook
            stack.callback(register(_refuse_state).remove)
        stack.callback(self.model.register_forward_pre_hook(_refuse_evaluation).remove)

    def _check_gradients(self) -> None:
        """Refuse gradients that no noise has passed, and begin anew.

        A forgotten block leaves them, and modules that keep references of their own to the masters.
        """
        strangers = [
            name
            for name, p in self._masters().items()
            if name not in self._arrived and p.grad is not None and bool(p.grad.any())
        ]
        alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        if strangers and (alone or not self._arrived):
            raise InvalidInput(
                f"the gradient of {strangers[0]!r} did not pass through the noise, so it is not the smoothed loss's: "
                "run forward and backward inside `with go.perturbed():` (perturb_training_steps(trainer) with a "
                "Trainer), and give sigma 0 to weights that a module also keeps outside of its parameters"
            )
        self._arrived.clear()


class _StandIn(torch.autograd.Function):
    """Has the bits of the noised copy; hands its gradient to the master unchanged."""

    @staticmethod
    def forward(ctx: Any, master: torch.Tensor, noised: torch.Tensor, name: str, arrived: set[str]) -> torch.Tensor:
        ctx.name, ctx.arrived = name, arrived
        return noised.view_as(noised)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.arrived.add(ctx.name)
        return gradients[0], None, None, None


def _refuse_evaluation(module: nn.Module, inputs: Any) -> None:
    if not module.training:
        raise InvalidInput("evaluation mode inside perturbed(), where weights are noised: leave the block")


def _refuse_state(module: nn.Module, prefix: str, keep_vars: bool) -> None:
    raise InvalidInput("the model's state was taken inside perturbed(), where it is noised: leave the block")


def _rank() -> int:
    """Ranks draw different noise: their copies are transient, and their gradients are averaged."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
