"""GO: masters are never written, noise is what the streams say, and sigma 0 is the base optimizer."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import models
import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

from certify.errors import InvalidInput
from certify.noise import NormalStream
from certify.training import GaussianAugmented

SIGMA = 0.02
State = dict[str, torch.Tensor]
Recipe = Callable[[nn.Module], Optimizer]

IDS = torch.tensor([[3, 5, 2, 9, 11, 4], [7, 2, 2, 13, 6, 5]])


def llama() -> nn.Module:
    """A trainable Llama with tied embeddings."""
    return models.llama().requires_grad_(True).train()


def adamw(model: nn.Module) -> Optimizer:
    return AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)


def bits(model: nn.Module) -> State:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n].view(torch.int32), b[n].view(torch.int32)) for n in a)


def loss_of(model: nn.Module, rows: torch.Tensor = IDS) -> torch.Tensor:
    loss: torch.Tensor = model(input_ids=rows, labels=rows).loss
    return loss


def micro_batch(go: GaussianAugmented, rows: torch.Tensor = IDS) -> None:
    with go.perturbed() as model:
        loss_of(model, rows).backward()


def train(go: GaussianAugmented, steps: int, accumulate: int = 2) -> None:
    """Accumulation and clipping, as a plain loop has them."""
    for _ in range(steps):
        for row in range(accumulate):
            micro_batch(go, IDS[row : row + 1])
        nn.utils.clip_grad_norm_(go.model.parameters(), 0.5)
        go.step()
        go.zero_grad()


# Noise is what the streams say


def test_inside_the_block_the_model_has_the_noise_of_the_streams() -> None:
    """theta + float32(sigma) z, z of the fast sampler at (seed, training stream, micro-batch, tensor's rank)."""
    model = llama()
    theta = bits(model)
    go = GaussianAugmented(adamw(model), SIGMA, model=model, seed=5)
    stream = NormalStream(5, "training/rank 0", "fast")
    for draw in range(2):
        with go.perturbed():
            shown = bits(model)
        for rank, name in enumerate(sorted(theta)):
            z = torch.from_numpy(stream.normals(draw, rank, theta[name].numel())).view(theta[name].shape)
            assert torch.equal(shown[name], theta[name] + np.float32(SIGMA) * z)


def test_each_micro_batch_has_noise_of_its_own_and_each_seed_its_own_run() -> None:
    """No two blocks of one run share their noise, and another seed shares none of it."""
    seen = []
    for seed in (0, 1):
        model = llama()
        go = GaussianAugmented(adamw(model), SIGMA, model=model, seed=seed)
        for _ in range(3):
            with go.perturbed():
                seen.append(bits(model)["model.norm.weight"])
    assert len({tuple(x.tolist()) for x in seen}) == 6


def test_tied_weights_have_one_noise() -> None:
    """The output layer computes with the very tensor that the embedding looks up, and it differs from the master."""
    model = llama()
    master = model.get_input_embeddings().weight
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    with go.perturbed():
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
        assert not torch.equal(model.get_input_embeddings().weight, master)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight is master


def test_parameters_on_one_storage_have_one_noise() -> None:
    """A second parameter object on the same storage moves along."""
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model["b"].weight = nn.Parameter(model["a"].weight.data)
    go = GaussianAugmented(SGD([model["a"].weight], lr=0.1), {"a.*": 1.0, "b.*": 0.0}, model=model)
    with go.perturbed():
        assert torch.equal(model["a"].weight, model["b"].weight)
        assert not torch.equal(model["a"].weight, go.param_groups[0]["params"][0])


def test_patterns_leave_tensors_out_and_only_trained_ones_are_noised() -> None:
    """The first pattern counts; what the optimizer does not train is the master itself, inside the block too."""
    model = llama()
    masters = dict(model.named_parameters())
    trained = [p for name, p in masters.items() if "layers.1" not in name]
    go = GaussianAugmented(SGD(trained, lr=0.1), {"*norm*": 0.0, "*": SIGMA}, model=model)
    with go.perturbed():
        noised = {name for name, p in model.named_parameters() if p is not masters[name]}
    assert noised == {name for name in masters if "norm" not in name and "layers.1" not in name}
    go.add_param_group({"params": [masters["model.layers.1.mlp.up_proj.weight"]]})
    with go.perturbed():
        assert model.model.layers[1].mlp.up_proj.weight is not masters["model.layers.1.mlp.up_proj.weight"]


def test_turned_weights_are_noised_in_their_own_order() -> None:
    """A master that is not contiguous gets its noise element by element in row-major order."""
    layer = nn.Linear(3, 5, bias=False)
    layer.weight = nn.Parameter(torch.arange(15.0).view(3, 5).t())
    go = GaussianAugmented(SGD(layer.parameters(), lr=0.1), SIGMA, model=layer)
    z = torch.from_numpy(NormalStream(0, "training/rank 0", "fast").normals(0, 0, 15)).view(5, 3)
    with go.perturbed():
        assert torch.equal(layer.weight, torch.arange(15.0).view(3, 5).t() + np.float32(SIGMA) * z)


def test_sigma_can_follow_a_schedule() -> None:
    """Set between blocks, it scales the same normals; set to 0, the block shows the masters."""
    layer = nn.Linear(4, 4)
    go = GaussianAugmented(SGD(layer.parameters(), lr=0.1), 0.5, model=layer)
    distances = []
    for sigma in (0.5, 0.25, 0.0):
        go.sigma, go.micro_batches = sigma, 0
        with go.perturbed():
            distances.append((layer.weight - go.param_groups[0]["params"][0]).norm().item())
    assert distances[0] == pytest.approx(2 * distances[1], rel=1e-5)
    assert distances[2] == 0.0


# The gradient


def test_the_gradient_is_the_one_at_the_noised_weights() -> None:
    """Bit for bit what autograd gives a model that simply has those weights."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    with go.perturbed():
        shown = bits(model)
        loss_of(model).backward()
    other = llama()
    with torch.no_grad():
        for name, p in other.named_parameters():
            p.copy_(shown[name])
    loss_of(other).backward()
    theirs = dict(other.named_parameters())
    assert all(torch.equal(p.grad, theirs[name].grad) for name, p in model.named_parameters())


class Landscape(nn.Module):
    """Losses with a smoothed form that is known: ½ sum h w² and sum exp w, over many independent coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1.0, 1.0, 2048, dtype=torch.float64))
        self.h = torch.linspace(0.5, 2.0, 2048, dtype=torch.float64)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        return 0.5 * (self.h * self.w.square()).sum(), self.w.exp().sum()


class SameNoise(GaussianAugmented):
    """Broken on purpose: the micro-batch does not enter the address of its noise."""

    def _stand_ins(self) -> dict[int, torch.Tensor]:
        self.micro_batches = 0
        return super()._stand_ins()


class NoNoise(GaussianAugmented):
    """Broken on purpose: gradients are taken at the masters."""

    def _stand_ins(self) -> dict[int, torch.Tensor]:
        return {}


def z_scores(kind: type[GaussianAugmented], sigma: float = 0.3, n: int = 200) -> tuple[float, float, float]:
    """How many standard errors means over n micro-batches lie from the smoothed loss, its gradient and that of exp.

    Quadratic: mean l + sigma²/2 tr H, variance sum (sigma² h² w² + sigma⁴ h²/2). Its gradient, summed over the
    coordinates: mean sum h w, variance sigma² sum h². That of exp: mean sum exp(w + sigma²/2), variance
    sum e^{2w + sigma²}(e^{sigma²} - 1).
    """
    land = Landscape()
    w, h, s2 = land.w.detach(), land.h, sigma**2
    go = kind(SGD(land.parameters(), lr=0.1), sigma, model=land)
    sums = torch.zeros(3, dtype=torch.float64)
    for _ in range(n):
        with go.perturbed():
            square, exp = land()
            (slope,) = torch.autograd.grad(square, land.w, retain_graph=True)
            exp.backward()
        sums += torch.stack([square.detach(), slope.sum(), land.w.grad.sum()])
        go.zero_grad()
    mean = torch.stack([0.5 * (h * w**2 + s2 * h).sum(), (h * w).sum(), (w + s2 / 2).exp().sum()])
    variance = torch.stack(
        [
            (s2 * h**2 * w**2 + s2**2 * h**2 / 2).sum(),
            s2 * (h**2).sum(),
            ((2 * w + s2).exp() * (np.exp(s2) - 1)).sum(),
        ]
    )
    a, b, c = ((sums / n - mean) / (variance / n).sqrt()).tolist()
    return a, b, c


# Two-sided z-tests at 1e-6 each: |z| < 4.9. Sums of 400,000 independent terms are normal far beyond that.
CRITICAL = 4.9


def test_loss_and_gradient_are_unbiased_for_the_smoothed_loss() -> None:
    """E l(w + eps) = l + sigma²/2 tr H on a quadratic, and E e^{w + eps} = e^{w + sigma²/2}."""
    assert max(abs(z) for z in z_scores(GaussianAugmented)) < CRITICAL


def test_the_test_of_unbiasedness_notices_gradients_without_noise() -> None:
    """At the masters the loss lacks sigma²/2 tr H, and the exponential's gradient its factor."""
    loss, _, slope = z_scores(NoNoise)
    assert loss < -CRITICAL
    assert slope < -CRITICAL


def test_the_test_of_unbiasedness_notices_one_noise_for_all() -> None:
    """With one noise throughout, means over 400 micro-batches are as far off as a single one: 20 errors."""
    assert max(abs(z) for z in z_scores(SameNoise, n=400)) > CRITICAL


# Masters


def test_with_sigma_0_it_is_the_base_optimizer_to_the_bit() -> None:
    """Same steps, same weights, with accumulation, clipping, decay and a schedule; and no block is needed."""
    left, right = llama(), llama()
    plain = adamw(left)
    go = GaussianAugmented(adamw(right), 0.0, model=right)
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 6) for o in (plain, go)]
    for _ in range(4):
        for row in IDS.split(1):
            loss_of(left, row).backward()
            micro_batch(go, row)
        for model, optimizer, schedule in zip((left, right), (plain, go), schedules, strict=True):
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    assert same(bits(left), bits(right))
    loss_of(right).backward()
    go.step()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_crash_in_a_block_leaves_the_masters_and_training_goes_on(where: str, error: type[BaseException]) -> None:
    """The objects, their storage and their bits; the step done again gives what an undisturbed run gives."""
    undisturbed = llama()
    train(GaussianAugmented(adamw(undisturbed), SIGMA, model=undisturbed), 4)

    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    train(go, 2)
    theta, places = bits(model), {n: (id(p), p.data_ptr()) for n, p in model.named_parameters()}

    def crash(*_: object) -> None:
        raise error("in the middle")

    last = model.model.norm
    hook = last.register_forward_hook(crash) if where == "forward" else last.register_full_backward_hook(crash)
    with pytest.raises(error), go.perturbed():
        loss_of(model).backward()
    hook.remove()
    assert same(bits(model), theta)
    assert {n: (id(p), p.data_ptr()) for n, p in model.named_parameters()} == places
    model.state_dict()
    go.zero_grad()
    train(go, 2)
    assert same(bits(model), bits(undisturbed))


def killed_and_resumed(load: Callable[[GaussianAugmented, dict[str, object]], None]) -> tuple[State, State]:
    """Weights after 5 steps in one run, and after 3 steps, files, a new process's objects, and 2 more."""
    model = llama()
    go = GaussianAugmented(adamw(model), {"*": np.float64(SIGMA)}, model=model, seed=9)
    train(go, 3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": go.state_dict()}, file)
    train(go, 2)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = llama()
    fresh.load_state_dict(saved["model"])
    again = GaussianAugmented(adamw(fresh), np.float64(7.0), model=fresh)  # another sigma and seed: the state's count
    load(again, saved["optimizer"])
    train(again, 2)
    return bits(model), bits(fresh)


def test_a_killed_run_that_is_resumed_ends_with_the_same_weights() -> None:
    """Seed, sigma and the number of the micro-batch come back with the optimizer's own state."""
    assert same(*killed_and_resumed(GaussianAugmented.load_state_dict))


def test_the_test_of_resuming_notices_a_stream_that_starts_again() -> None:
    """Without the number of the micro-batch the noise is other noise."""

    def forgetful(go: GaussianAugmented, state: dict[str, object]) -> None:
        go.load_state_dict(state)
        go.micro_batches = 0

    assert not same(*killed_and_resumed(forgetful))


def test_a_state_without_a_noise_stream_is_refused() -> None:
    """A bare optimizer's state would silently start the noise again."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    with pytest.raises(InvalidInput, match=r"saved by a bare optimizer: load it into go\.optimizer"):
        go.load_state_dict(adamw(model).state_dict())


# Evaluation and saving


def test_evaluation_and_saving_see_the_masters_and_are_refused_inside(tmp_path: Path) -> None:
    """Whatever asks for the model's state, and a forward pass in evaluation mode, in the block: an error."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    theta = bits(model)
    for ask in (model.state_dict, model.model.layers[0].state_dict, lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(InvalidInput, match="state was taken inside perturbed"), go.perturbed():
            ask()
    with pytest.raises(InvalidInput, match="evaluation mode inside perturbed"), go.perturbed():
        model.eval()(IDS)
    assert not list(tmp_path.glob("*.safetensors"))
    assert same(bits(model), theta)
    model.save_pretrained(tmp_path)
    assert all(not m._forward_pre_hooks and not m._state_dict_pre_hooks for m in model.modules())


def test_between_blocks_a_training_forward_sees_the_masters() -> None:
    """Noise belongs to the block, not to the mode."""
    model = llama()
    clean = loss_of(model)
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    with go.perturbed():
        assert not torch.equal(loss_of(model), clean)
    assert torch.equal(loss_of(model), clean)


def test_backward_after_the_block_meets_the_noised_weights_too() -> None:
    """What the graph saved are the stand-ins, so leaving early cannot mix two sets of weights."""
    gradients = []
    for late in (False, True):
        model = llama()
        go = GaussianAugmented(adamw(model), SIGMA, model=model)
        with go.perturbed():
            loss = loss_of(model)
            if not late:
                loss.backward()
        if late:
            loss.backward()
        go.step()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])


# Gradients that did not pass through the noise


def test_a_step_without_noise_is_refused() -> None:
    """A forgotten block would quietly train with the base optimizer."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    train(go, 1)
    loss_of(model).backward()
    theta = bits(model)
    with pytest.raises(InvalidInput, match=r"did not pass through the noise.*with go\.perturbed"):
        go.step()
    assert same(bits(model), theta)


class Keeper(nn.Linear):
    """Computes with a reference of its own, out of reach of whoever replaces its parameters."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.kept = (self.weight,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.kept[0], self.bias)


def test_weights_that_a_module_keeps_elsewhere_are_noticed() -> None:
    """The noise never reaches them, so the gradient is of another loss; sigma 0 says that this is meant."""
    model = Keeper()
    go = GaussianAugmented(SGD(model.parameters(), lr=0.1), SIGMA, model=model)
    for law in (SIGMA, {"bias": SIGMA}):
        go.sigma = law
        go.zero_grad()
        with go.perturbed():
            model(torch.ones(1, 2)).sum().backward()
        if law == SIGMA:
            with pytest.raises(InvalidInput, match="gradient of 'weight' did not pass"):
                go.step()
    go.step()


def test_recurrent_layers_are_noised_and_come_back() -> None:
    """They keep a flat list of their weights beside the parameters, which torch refreshes in each forward pass."""
    model = nn.LSTM(2, 3)
    x = torch.linspace(-1, 1, 8).view(4, 1, 2)
    clean = model(x)[0]
    go = GaussianAugmented(SGD(model.parameters(), lr=0.0), SIGMA, model=model)
    with go.perturbed():
        noisy = model(x)[0]
        noisy.sum().backward()
    go.step()
    assert not torch.equal(noisy, clean)
    assert torch.equal(model(x)[0], clean)


def test_a_tensor_that_a_batch_does_not_use_is_no_stranger() -> None:
    """No gradient, or a gradient of zeros left by zero_grad(set_to_none=False), raises nothing."""
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    go = GaussianAugmented(SGD(model.parameters(), lr=0.1), SIGMA, model=model)
    for name in ("a", "b"):
        with go.perturbed():
            model[name](torch.ones(1, 2)).sum().backward()
        go.step()
        go.zero_grad(set_to_none=False)


# Company: schedulers, scalers, autocast, checkpointing, closures


def test_schedulers_and_hooks_take_it_for_the_optimizer_it_wraps() -> None:
    """It is an Optimizer; learning rates, parameter groups and step hooks are the wrapped one's."""
    model = llama()
    base = SGD([{"params": [p]} for p in model.parameters()], lr=1.0, momentum=0.9)
    go = GaussianAugmented(base, SIGMA, model=model)
    schedule = torch.optim.lr_scheduler.LinearLR(go, 1.0, 0.0, total_iters=4)
    stepped: list[Optimizer] = []
    go.register_step_post_hook(lambda optimizer, *_: stepped.append(optimizer))
    for expected in (0.75, 0.5):
        micro_batch(go)
        go.step()
        schedule.step()
        assert {group["lr"] for group in base.param_groups} == {expected}
    assert isinstance(go, Optimizer)
    assert go.param_groups is base.param_groups
    assert go.state is base.state
    assert go.defaults is base.defaults
    assert stepped == [base, base]
    assert "momentum: 0.9" in repr(go)


@pytest.mark.parametrize("fused", [False, True])
def test_a_scaler_unscales_clips_and_skips(fused: bool) -> None:
    """Scaling by powers of two is exact, so the weights are those of a run without it; an overflow skips the step.

    A fused optimizer would take the scale as an attribute, which the wrapper must not swallow.
    """
    finals = []
    for scaled in (False, True):
        model = llama()
        go = GaussianAugmented(Adam(model.parameters(), lr=1e-3, fused=fused), SIGMA, model=model)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2, enabled=scaled)
        for step in range(4):
            with go.perturbed():
                loss = loss_of(model)
                scaler.scale(loss).backward()
            if scaled and step == 2:
                keep, number = bits(model), go.micro_batches
                dict(model.named_parameters())["model.norm.weight"].grad[0] = float("inf")
                scaler.step(go)
                scaler.update()
                assert same(bits(model), keep)
                go.zero_grad()
                go.micro_batches = number - 1  # the same batch again
                with go.perturbed():
                    scaler.scale(loss_of(model)).backward()
            scaler.unscale_(go)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(go)
            scaler.update()
            go.zero_grad()
        finals.append(bits(model))
    assert same(*finals)


def test_autocast_keeps_no_noised_weight_for_later() -> None:
    """Autocast caches casts of leaf weights: within one region noise must neither be missed nor stay behind."""
    layer = nn.Linear(8, 8, bias=False)
    go = GaussianAugmented(SGD(layer.parameters(), lr=0.1), 1.0, model=layer)
    x = torch.ones(1, 8)
    with torch.autocast("cpu", torch.bfloat16):
        before = layer(x)
        outputs = []
        for _ in range(2):
            with go.perturbed():
                outputs.append(layer(x))
        after = layer(x)
    assert torch.equal(before, after)
    assert not torch.equal(outputs[0], before)
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_activations_see_the_noise_of_their_forward(reentrant: bool) -> None:
    """Activation checkpointing runs layers again in the backward pass; the block is open around both."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 1)
    model = nn.ModuleList([first, second])
    x = torch.linspace(-1, 1, 8).view(2, 4).requires_grad_()
    gradients = []
    for layer in (lambda y: checkpoint(first, y, use_reentrant=reentrant), first):
        go = GaussianAugmented(SGD(model.parameters(), lr=0.1), 0.5, model=model)
        with go.perturbed():
            second(layer(x).tanh()).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        go.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_closure_is_handed_to_the_wrapped_optimizer() -> None:
    """Optimizers that ask for the loss again take it at noise too, if the closure opens the block."""
    model = llama()
    go = GaussianAugmented(torch.optim.LBFGS(model.parameters(), max_iter=2), SIGMA, model=model)

    def closure() -> torch.Tensor:
        go.zero_grad()
        with go.perturbed():
            loss = loss_of(model)
            loss.backward()
        return loss

    assert go.step(closure).item() > 0
    assert go.micro_batches >= 2


def forgetful(go: GaussianAugmented, call: int) -> Callable[[], torch.Tensor]:
    """A closure that opens no block at its ``call``-th call, and clears gradients past the wrapper."""
    calls = itertools.count()

    def closure() -> torch.Tensor:
        go.model.zero_grad()
        with nullcontext() if next(calls) == call else go.perturbed():
            loss = loss_of(go.model)
            loss.backward()
        return loss

    return closure


@pytest.mark.parametrize(("recipe", "call"), [(SGD, 0), (torch.optim.LBFGS, 0), (torch.optim.LBFGS, 2)])
def test_a_closure_that_forgets_the_block_is_refused(recipe: Callable[..., Optimizer], call: int) -> None:
    """At each of its calls: what passed the noise at one vouches for that one alone."""
    model = llama()
    go, before = GaussianAugmented(recipe(model.parameters(), lr=0.1), SIGMA, model=model), bits(model)
    with pytest.raises(InvalidInput, match="did not pass through the noise"):
        go.step(forgetful(go, call))
    assert go.micro_batches == call
    assert same(bits(model), before) is (call == 0)


def test_a_closure_that_only_returns_the_loss_may_follow_the_blocks() -> None:
    """Some optimizers want the number; the gradient is there already."""
    model = llama()
    go = GaussianAugmented(SGD(model.parameters(), lr=0.1), SIGMA, model=model)
    with go.perturbed():
        loss = loss_of(model)
        loss.backward()
    assert go.step(lambda: loss.item()) == loss.item()


# Traps: what goes wrong in ways that look as good


def test_trap_noise_that_is_subtracted_leaves_other_weights() -> None:
    """float32(w + e) - e is not w for a third of the weights, where noise is as large as they are."""
    w, e = 0.02 * torch.randn(2, 10_000, generator=torch.Generator().manual_seed(0))
    assert ((w + e) - e != w).float().mean() > 0.3


def test_trap_masters_that_are_written_back_before_the_backward_pass() -> None:
    """Through .data autograd does not see it: the gradient is of neither set of weights, and nothing complains."""
    layer, x = nn.Linear(1, 1, bias=False), torch.ones(1, 1, requires_grad=True)
    layer.weight.data.fill_(5.0)
    loss = layer(x).sum()
    layer.weight.data.fill_(2.0)
    loss.backward()
    assert x.grad is not None
    assert x.grad.item() == 2.0  # the forward pass had 5


def test_trap_storage_that_is_swapped_under_autocast() -> None:
    """The cast weight of the first forward pass in the region serves the second as well."""
    layer = nn.Linear(2, 2, bias=False)
    x = torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        clean = layer(x)
        layer.weight.data = layer.weight.data + 1.0
        assert torch.equal(layer(x), clean)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(layer(x), clean)


class TakesScale(GaussianAugmented):
    """Broken on purpose: passes for an optimizer that takes the scale out itself."""

    @property
    def _step_supports_amp_scaling(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [GaussianAugmented, TakesScale])
def test_trap_a_fused_optimizer_behind_a_wrapper_never_takes_the_scale_out(kind: type[GaussianAugmented]) -> None:
    """SGD with rate 1 moves by the gradient, 1; or by the gradient times the scale."""
    layer = nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    go = kind(SGD(layer.parameters(), lr=1.0, fused=True), SIGMA, model=layer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with go.perturbed():
        scaler.scale(layer(torch.ones(1, 1)).sum()).backward()
    scaler.step(go)
    moved = before - layer.weight.item()
    assert moved == pytest.approx(1.0 if kind is GaussianAugmented else 1024.0, rel=1e-3)


# Bad input


def foreign(model: nn.Module) -> GaussianAugmented:
    return GaussianAugmented(SGD(nn.Linear(2, 2).parameters(), lr=0.1), SIGMA, model=model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (foreign, "trains none of the model's parameters"),
        (lambda m: GaussianAugmented(adamw(m.bfloat16()), SIGMA, model=m), r"is torch\.bfloat16.*master in float32"),
        (lambda m: GaussianAugmented(adamw(m), -1.0, model=m), "sigma must be positive and finite"),
        (lambda m: GaussianAugmented(adamw(m), {"nothing*": 1.0}, model=m), "matches no tensor"),
    ],
)
def test_what_cannot_be_noised_is_refused(make: Callable[[nn.Module], GaussianAugmented], message: str) -> None:
    """Before the first step, with what to do."""
    with pytest.raises(InvalidInput, match=message):
        make(llama())


def test_a_block_in_a_block_is_refused_and_the_outer_one_goes_on() -> None:
    """One block is one micro-batch."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    with go.perturbed():
        with pytest.raises(InvalidInput, match="open already"), go.perturbed():
            pass
        loss_of(model).backward()
    go.step()
    assert go.micro_batches == 1


def test_global_generators_are_left_alone() -> None:
    """Dropout and shuffling are as they would be without noise."""
    model = llama()
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    before = torch.get_rng_state().clone(), copy.deepcopy(np.random.get_state()[1])
    micro_batch(go)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


# Several processes


def train_as_rank(rank: int, folder: Path) -> None:
    """Two steps of data-parallel training; leaves what the rank saw."""
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    model = llama()
    parallel = nn.parallel.DistributedDataParallel(model)
    go = GaussianAugmented(adamw(model), SIGMA, model=model)
    seen = []
    for _ in range(2):
        with go.perturbed():
            seen.append(bits(model)["model.norm.weight"])
            loss_of(parallel).backward()
        go.step()
        go.zero_grad()
    torch.save({"seen": torch.stack(seen), **bits(model)}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.statistical
def test_ranks_draw_noise_of_their_own_and_keep_one_set_of_masters(tmp_path: Path) -> None:
    """Gradients at different noise are averaged, so the same step is taken everywhere."""
    torch.multiprocessing.spawn(train_as_rank, (tmp_path,), nprocs=2)
    left, right = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert not torch.equal(left.pop("seen")[0], right.pop("seen")[0])
    assert same(left, right)
    assert not same(left, bits(llama()))
