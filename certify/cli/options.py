"""What several commands take: options, the two records that group them, and how their texts are read.

Nothing here loads the library before a command runs: ``certify --help`` reads this module.
"""

from __future__ import annotations

import inspect
import math
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from certify.errors import InvalidInput, InvalidPlan
from certify.text import shortened

if TYPE_CHECKING:
    from certify.checkpoints.served import Layout
    from certify.evidence import Requirement

ASKED, WORK = "What is asked", "How to work"  # panels of the help

Command = Callable[..., None]
EngineName = Literal["auto", "explicit", "activation", "vllm"]
DesignName = Literal["table", "pairs"]

BaseArgument = Annotated[Path, typer.Argument(help="Folder (or hf://...) of the base.", show_default=False)]
BaseOption = Annotated[Path, typer.Option("--base", help="Folder (or hf://...) of the base.", show_default=False)]
CheckpointArgument = Annotated[
    Path,
    typer.Argument(help="Folder (or hf://...) of the checkpoint, or the recipe of a merge.", show_default=False),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of config and tokenizer, for a checkpoint without its own.")
]
BenchmarkOption = Annotated[
    Path, typer.Option("--benchmark", "-b", help="File of items, or lm-eval:TASK.", show_default=False)
]
SubspaceOption = Annotated[list[Path] | None, typer.Option("--subspace", help="Basis file of a subspace; repeatable.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace the output file if it exists.")]
DesignOption = Annotated[
    DesignName, typer.Option(help="Distance draws: all items under each (table), or one random item (pairs).")
]
ServedByOption = Annotated[
    Literal["transformers", "vllm"], typer.Option("--engine", help="What computes scores.", rich_help_panel=WORK)
]
ConfidenceOption = Annotated[
    float, typer.Option(help="Confidence of each statement, strictly between 0 and 1.", rich_help_panel=ASKED)
]
DeviceOption = Annotated[
    str,
    typer.Option(help="cpu, cuda:0 ..., or auto to spread a large model over all devices.", rich_help_panel=WORK),
]


def _price(price: float | None) -> float | None:
    if price is not None and not math.isfinite(price):  # no comparison with a bound refuses what is no number
        raise InvalidPlan(f"--price-per-hour {price:g}: a price is a finite number, from 0")
    return price


PriceOption = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        min=0,
        callback=_price,
        help="What an hour of this machine costs: the estimate counts money, too.",
        rich_help_panel=WORK,
    ),
]


@dataclass(frozen=True)
class Asked:
    """What is asked: one requirement, and the confidence of each statement about it."""

    confidence: ConfidenceOption = 0.95
    max_drop: Annotated[
        float | None, typer.Option(help="Allowed drop in score units (0.05 unless given).", rich_help_panel=ASKED)
    ] = None
    min_retention: Annotated[
        float | None, typer.Option(help="Required chance-corrected retention, instead.", rich_help_panel=ASKED)
    ] = None
    max_score: Annotated[
        float | None,
        typer.Option(help="Highest allowed score, instead: the capability must be absent.", rich_help_panel=ASKED),
    ] = None

    @property
    def requirement(self) -> Requirement:
        """The requirement in the one unit that was given."""
        from certify.evidence import requirement_of

        return requirement_of(self.max_drop, self.min_retention, self.max_score)

    @property
    def alpha(self) -> float:
        """The failure probability of each statement."""
        from certify.evidence import alpha_of

        return alpha_of(self.confidence)


def parse_seed(text: str) -> int:
    """Return a user seed; ``random`` draws one and says which, so that the run can be repeated."""
    if text == "random":
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InvalidInput("--seed random: each process would draw its own; name a number")
        from certify.records import DrawnSeed

        seed = DrawnSeed(secrets.randbelow(2**32))
        typer.echo(f"user seed {seed}, drawn at random: --seed {seed} repeats this run")
        return seed
    if not str(text).isascii() or not str(text).isdigit() or len(str(text)) > 18:
        raise InvalidInput(f"--seed {shortened(str(text), 40)}: must be a whole number below 10^18, or random")
    return int(text)


@dataclass(frozen=True)
class Work:
    """How to work: from which seed, where, with how many processes, and where draws are kept."""

    seed: Annotated[
        int,
        typer.Option(
            parser=parse_seed,
            metavar="SEED",
            help="User seed, shown in every record; random: drawn now, against checkpoints made for a known one.",
            rich_help_panel=WORK,
        ),
    ] = 0
    device: DeviceOption = "cpu"
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes that share the draws (started by torchrun); refused if fewer run.",
            rich_help_panel=WORK,
        ),
    ] = 1
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|HOST:PORT",
            help="Have draws scored by actors of Ray, started here (local) or in a cluster whose head this is.",
            rich_help_panel=WORK,
        ),
    ] = None
    ray_actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --ray: how many (one for each processor, or accelerator, if absent).",
            rich_help_panel=WORK,
        ),
    ] = None
    draws_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="CERTIFY_DRAWS_DIR",
            help="Folder where finished draws are kept, so that a killed run resumes (the user's cache if absent).",
            rich_help_panel=WORK,
        ),
    ] = None
    price_per_hour: PriceOption = None
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Longest wait for another run of the same draws (as long as it takes if absent).",
            rich_help_panel=WORK,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what does not go with actors, before anything is opened."""
        if self.ray is None:
            if self.ray_actors is not None:
                raise InvalidPlan("--ray-actors goes with --ray")
            return
        if self.processes > 1:
            raise InvalidPlan("--processes: torchrun and Ray both share draws; take one of them")
        if self.device not in ("cpu", "cuda", "auto"):
            raise InvalidPlan(f"--device {self.device}: Ray gives each actor its own; say cpu, cuda or auto")
        from certify.records import DrawnSeed

        if isinstance(self.seed, DrawnSeed):
            raise InvalidPlan("--seed random: each actor would draw its own; name a number")


@dataclass(frozen=True)
class Workers:
    """Over how many of vLLM's workers a model is laid."""

    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="With --engine vllm: workers that each tensor is cut over.", rich_help_panel=WORK)
    ] = 1
    pipeline_parallel: Annotated[
        int, typer.Option(min=1, help="With --engine vllm: groups of them that layers go to.", rich_help_panel=WORK)
    ] = 1

    def layout(self, engine: str, work: Work) -> Layout | None:
        """Return how vLLM lays the model, None where another engine was asked for.

        Raises:
            InvalidPlan: workers of an engine that has none, or processes of torchrun beside them.
        """
        if engine != "vllm":
            if self != Workers():
                raise InvalidPlan("--tensor-parallel and --pipeline-parallel go with --engine vllm")
            return None
        if work.ray is not None:
            raise InvalidPlan("--ray: its actors score by transformers; leave --engine vllm out")
        if work.processes > 1:
            raise InvalidPlan("--processes: vLLM starts its own; lay the model over them with --tensor-parallel")
        from certify.checkpoints.served import Layout

        return Layout(self.tensor_parallel, self.pipeline_parallel)


def spread(*left_out: str) -> Callable[[Command], Command]:
    """Let a command take records: on the command line each stands as the options that its fields declare.

    Fields named in ``left_out`` are no options of the command and keep their defaults.
    """

    def spread_records(command: Command) -> Command:
        shown: list[inspect.Parameter] = []
        records: dict[str, tuple[type, list[str]]] = {}
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            record = parameter.annotation
            if not (isinstance(record, type) and is_dataclass(record)):
                shown.append(parameter)
                continue
            fields = [p for p in inspect.signature(record, eval_str=True).parameters.values() if p.name not in left_out]
            shown += [field.replace(kind=field.KEYWORD_ONLY) for field in fields]
            records[parameter.name] = (record, [field.name for field in fields])

        @wraps(command)
        def take_options(**given: object) -> None:
            made = {name: record(**{f: given.pop(f) for f in fields}) for name, (record, fields) in records.items()}
            command(**given, **made)

        take_options.__dict__["__signature__"] = inspect.Signature(shown)  # what typer reads
        return take_options

    return spread_records


def names(text: str) -> list[str]:
    """Return the names of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def number(option: str, text: str) -> float:
    """Return ``text`` as a number.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{option}: {text!r} is not a number") from None


def parse_sigma(texts: Sequence[str]) -> float | dict[str, float] | None:
    """Return the sigma of ``--sigma``: one number, or numbers by name pattern.

    Raises:
        InvalidInput: not a number, or a plain number beside patterns.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return number("--sigma", texts[0])
    out = {}
    for text in texts:
        pattern, equals, value = text.rpartition("=")
        if not equals or not pattern:
            raise InvalidInput(f"--sigma {text}: with several, each must be PATTERN=NUMBER")
        out[pattern] = number("--sigma", value)
    return out


def parse_grid(text: str | None) -> Sequence[float] | None:
    """Return the numbers of a comma-separated list, None where there is none."""
    return None if text is None else [number("--grid", part) for part in text.split(",")]
