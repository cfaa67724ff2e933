"""Exact weight noise without writing a weight: one forward pass in which every group of rows has its own draw."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from certify.errors import ActivationRefused, InvalidInput
from certify.noise.activation.handlers import Rule, rule_of
from certify.noise.activation.layout import Layout
from certify.noise.activation.normals import GroupNormals
from certify.noise.activation.one_pass import Leaf, Pass, Recorder, Site
from certify.noise.activation.refusals import head_of, refusals, tied_weight
from certify.noise.philox import check_known_answers
from certify.records import WeightNoise


class ActivationEngine:
    """Attaches hooks that add, to each layer's outputs, exactly what independent weight noise would do there.

    Guarantee: the outputs of :meth:`run` at the real places have the joint law of the ordinary model at
    base + sigma * eps_i for each group i, eps_i iid N(0, I), up to float error that the oracle measures.
    Weights are neither written nor copied, and the hooks are gone when the block is left.

    The law is that of the *unrounded* weights: another fixed function than the explicit engine's, which rounds
    them to the storage dtype. The same seed and draw give another noise than there.

    Raises:
        ActivationRefused: the model has a part whose noise this engine cannot show exactly; all are named.
    """

    def __init__(self, model: nn.Module, law: WeightNoise, seed: int, prefix: str = "") -> None:
        check_known_answers()
        reasons = refusals(model, law)
        if reasons:
            raise ActivationRefused(reasons)
        self.model, self.law, self.seed, self.prefix = model, law, seed, prefix
        self.sites = tuple(_sites(model, law))
        found = ((site, rule_of(site.module)) for site in self.sites)
        self._rules = [(site, rule) for site, rule in found if rule is not None]  # None was refused above
        self._handles: list[RemovableHandle] = []
        self._now: Pass | None = None

    def __enter__(self) -> Self:
        for site, rule in self._rules:
            self._handles.append(site.module.register_forward_hook(self._hook(site, rule), with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def run(self, layout: Layout, recorder: Recorder | None = None, **inputs: Any) -> Any:
        """Return ``model(**inputs)`` with the noise of ``layout``, without gradients; see :class:`Layout`.

        Raises:
            ActivationRefused: a module was read twice or not at all, or on other rows than the batch's.
        """
        if not self._handles:
            raise InvalidInput("the engine is closed: use it as a context manager")
        if torch.is_autocast_enabled(layout.real.device.type):
            raise ActivationRefused("autocast is on, so layers compute in a dtype of their own")
        like = next(p for n, p in self.model.named_parameters() if self.law.sigma[n] > 0)
        # Inference tensors have no version counter, by which a factor is known to be still that of its input.
        with torch.inference_mode(False), torch.no_grad():
            self._now = Pass(layout, GroupNormals(self.seed, self.prefix, layout.draws, like), recorder)
            try:
                out = self.model(**inputs)
                unread = [site.name for site in self.sites if not self._now.calls[site.name]]
            finally:
                self._now = None
        if unread:
            raise ActivationRefused(f"{unread[0]} was never called: its weights are unused, or read elsewhere")
        return out

    def logits(self, layout: Layout, recorder: Recorder | None = None, **inputs: Any) -> torch.Tensor:
        """Return the noised logits of the places that ``layout`` uses, shape (places, vocabulary); see :meth:`run`."""
        return layout.scored(head_of(self.model), lambda: self.run(layout, recorder, **inputs).logits)

    def _hook(self, site: Site, rule: Rule) -> Callable[..., torch.Tensor]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: torch.Tensor) -> torch.Tensor:
            if self._now is None:
                raise ActivationRefused(f"{site.name} was called outside the engine's run: it would have no noise")
            given = [*args, *kwargs.values()]
            if len(given) != 1 or not isinstance(given[0], torch.Tensor):
                raise ActivationRefused(f"{site.name} was called with something else than one tensor")
            self._now.admit(site, rule.kind, given[0])
            return rule.apply(site, self._now, given[0], out)

        return hook


def _sites(model: nn.Module, law: WeightNoise) -> list[Site]:
    """Return the modules that own noised tensors; a tensor's id is the rank of its name."""
    ids = {name: i for i, name in enumerate(sorted(law.sigma))}
    names = {id(p): name for name, p in model.named_parameters()}
    head, tied = head_of(model), tied_weight(model)
    sites = []
    for where, module in model.named_modules():
        own = {leaf: names[id(p)] for leaf, p in module.named_parameters(recurse=False)}
        leaves = {leaf: Leaf(ids[name], law.sigma[name]) for leaf, name in own.items()}
        weight, bias = (leaves.get(leaf, Leaf(-1, 0.0)) for leaf in ("weight", "bias"))
        if weight.sigma > 0 or bias.sigma > 0:
            shared = tied is not None and module is head
            sites.append(Site(where, module, weight, bias, module is head, shared))
    return sites
