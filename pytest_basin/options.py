"""Options: each has a command line form, an ini form of the same word, a default, and a known origin."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

COMMAND_LINE, INI, DEFAULT, MARKER, FORCE = "command line", "ini", "default", "marker", "force"

Kind = Literal["text", "texts", "model", "models", "path", "paths", "float", "int", "flag", "seed"]
INI_TYPES: dict[Kind, Any] = {
    "text": "string",
    "texts": "args",
    "model": "string",
    "models": "args",
    "path": "string",
    "paths": "paths",
    "float": "float",
    "int": "int",
    "flag": "bool",
    "seed": "int",
}
REPEATABLE = ("texts", "models", "paths")
DEFAULT_NAME = "default"
TASK = "lm-eval:"
"""What a task of lm-eval begins with where a benchmark is named."""
REPORTS = ("term", "json", "markdown", "markdown-append", "html", "annotations", "csv", "hf-model-index", "cyclonedx")
OF_ONE = "hf-model-index"
"""The report that is the card of one model."""
COMPARED = ("retention", "drop", "absence")


class Option(NamedTuple):  # not a dataclass: every pytest run pays for importing this module
    """One setting. A model is a folder, a file or a hub id; paths in an ini file are relative to that file.

    ``bare`` is the value of the flag without a value, where that is allowed. ``check`` says what is wrong with a text.
    ``replayed``: it is part of the command that repeats a verdict.
    """

    word: str
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    bare: str | None = None
    metavar: str = ""
    check: Callable[[Any], str] | None = None
    replayed: bool = True

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--basin-{self.word}"

    @property
    def dest(self) -> str:
        """The name in ini files and on the parsed options."""
        return f"basin_{self.word.replace('-', '_')}"


def _report(text: str) -> str:
    kind, to, _ = text.partition(":")
    if kind == "term" and to:
        return f"{text!r}: term is the table on the terminal, and takes no destination"
    return "" if kind in REPORTS else f"{text!r}: the type is none of {', '.join(REPORTS)}"


def _margin(text: str) -> str:
    metric, _, margin = text.partition(":")
    try:
        if metric in COMPARED and 0.0 <= float(margin) <= 1.0:
            return ""
    except ValueError:
        pass
    return f"{text!r} is no METRIC:MARGIN with a metric of {', '.join(COMPARED)} and a margin from 0 to 1"


def _seconds(value: Any) -> str:
    return "" if 0.0 <= value < float("inf") else f"{value} is no number of seconds from 0"


def _name(text: str) -> str:
    swallowed = "::" in text or text.endswith(".py")
    return f"{text!r} is a test: name it before --basin-compare, or write --basin-compare=NAME" if swallowed else ""


def seed(text: str) -> int | str:
    """Return the number that is written, or ``random``."""
    return text if text == "random" else int(text)


PARSED: dict[Kind, Callable[[str], Any]] = {"float": float, "int": int, "seed": seed}

OPTIONS = (
    Option("base", "model", "base model: a folder, a .safetensors file, or hf://org/name@revision"),
    Option("checkpoint", "models", "fine-tuned checkpoint to gate, named like the base (repeatable)"),
    Option("config", "path", "folder of config and tokenizer, for a checkpoint without its own"),
    Option("benchmark", "paths", "benchmark, a file of items or lm-eval:TASK[@SHOTS] (repeatable)"),
    Option("measurement", "paths", "measurement of the base on one benchmark, by `certify measure` (repeatable)"),
    Option("subspace", "paths", "basis file that a measurement's subspace noise used (repeatable)"),
    Option("scores", "path", "scores of the base that another tool made: a log or a folder of them (for basin_scores)"),
    Option("scores-of", "models", "scores of a checkpoint on the same items (repeatable)", metavar="PATH"),
    Option("scores-pool", "paths", "pool of those logs' tasks (.toml), gated in their place by its mean (repeatable)"),
    Option("metric", "texts", "metric of those logs, where they hold several (repeatable)"),
    Option("chance", "float", "score of a model that knows nothing, in those logs (else from the number of choices)"),
    Option("cluster", "text", "field of the logged documents that names the group an item comes in"),
    Option("confidence", "float", "confidence of each gate", 0.95),
    Option("max-drop", "float", "largest allowed drop of the score (0.05 unless --basin-min-retention is given)"),
    Option("min-retention", "float", "smallest allowed chance-corrected share of the base's score"),
    Option("max-score", "float", "largest allowed score: the capability must be absent"),
    Option("draws", "int", "paired noise draws of smoothed evidence", 200),
    Option("sigma", "float", "standard deviation of the noise of smoothed evidence (else the measurement's)"),
    Option(
        "items",
        "text",
        "what the items stand for (else a population for point and position, fixed items for distance)",
        choices=("population", "fixed"),
    ),
    Option("seed", "seed", "user seed of draws and of the order of an audit; on the command line also `random`", 0),
    Option("device", "text", "torch device that models run on", "cpu"),
    Option("undecided", "text", "what an undecided gate does to its test", "fail", ("fail", "xfail", "warn")),
    Option(
        "unasked", "text", "a gate that its test compares with nothing: fail, allow", "fail", ("fail", "allow"),
        replayed=False,
    ),
    Option("cert-dir", "path", "folder to write certificates to", replayed=False),
    Option("update", "flag", "write the baseline of every gate that runs, or refresh it", False, replayed=False),
    Option("update-new-only", "flag", "write the baselines that are missing", False, replayed=False),
    Option(
        "compare",
        "text",
        "compare with the baselines; those called NAME, or those in the folder PATH",
        bare=DEFAULT_NAME,
        metavar="NAME|PATH",
        check=_name,
    ),
    Option(
        "compare-fail",
        "texts",
        "fail unless the loss since the baseline is shown to be at most this, e.g. retention:0.02 (repeatable)",
        metavar="METRIC:MARGIN",
        check=_margin,
    ),
    Option(
        "missing", "text", "a baseline that is missing: fail (and create), create, skip", "fail",
        ("fail", "create", "skip"),
    ),
    Option("baseline-dir", "path", "folder of the baselines (else __basin__ beside each test file)"),
    Option("plan", "flag", "print what each gate needs, and run nothing", False, replayed=False),
    Option(
        "report",
        "texts",
        f"write a report: {', '.join(REPORTS)} (repeatable)",
        metavar="TYPE[:DEST]",
        check=_report,
        replayed=False,
    ),
    Option("junit", "text", "properties of each gate in JUnit files", "auto", ("auto", "off"), replayed=False),
    Option("cache-dir", "path", "folder of finished draws (else the user's cache)"),
    Option("resume", "text", "keep finished draws, and go on from them", "on", ("on", "off")),
    Option(
        "wait",
        "float",
        "seconds to wait for another run that works on the same draws (else as long as it takes)",
        check=_seconds,
        replayed=False,
    ),
    Option("require-gpu", "flag", "a gate that finds no GPU is an error, as is one that is skipped", False),
    Option("force", "texts", "override a marker's keyword, e.g. confidence=0.9 (repeatable)", metavar="KEY=VALUE"),
    Option("disable", "flag", "skip all basin tests; names and markers stay known", False),
)  # fmt: skip


class Setting(NamedTuple):
    """A value in effect and its origin. ``given`` is what was written, ``folder`` what its paths are relative to."""

    value: Any
    origin: str
    given: Any
    folder: Path = Path()

    def __str__(self) -> str:
        return ", ".join(map(str, self.given)) if isinstance(self.given, list) else str(self.given)


class Settings:
    """Every option's effective value, by its word."""

    def __init__(self, values: dict[str, Setting]) -> None:
        self._values = values

    def __getitem__(self, word: str) -> Setting:
        return self._values[word]

    def __iter__(self) -> Iterator[tuple[Option, Setting]]:
        return ((option, self._values[option.word]) for option in OPTIONS)

    def value(self, word: str) -> Any:
        """Return one effective value."""
        return self._values[word].value

    def command_line(self) -> list[str]:
        """Return the basin arguments of this run's command line that decide verdicts, to repeat them."""
        arguments = []
        for option, setting in self:
            if setting.origin != COMMAND_LINE or option.word == "seed" or not option.replayed:
                continue
            if option.kind == "flag":
                arguments.append(option.flag)
            else:
                given = setting.given if isinstance(setting.given, list) else [setting.given]
                arguments += [f"{option.flag}={value}" for value in given]
        return arguments


SETTINGS = pytest.StashKey[Settings]()


def add(parser: pytest.Parser) -> None:
    """Declare every option on the command line and in ini files. Reads nothing."""
    group = parser.getgroup("basin", "basin: does a fine-tuned checkpoint keep its base's capabilities?")
    for option in OPTIONS:
        form: dict[str, Any] = {"dest": option.dest, "default": None, "help": _help(option)}
        if option.kind == "flag":
            form |= {"action": "store_const", "const": True}
        elif option.kind in PARSED:
            form["type"] = PARSED[option.kind]
        elif option.kind in REPEATABLE or option.kind == "model":
            form["action"] = "append"
        if option.bare is not None:
            form |= {"nargs": "?", "const": option.bare}
        if option.choices:
            form["choices"] = option.choices
        elif option.kind != "flag":
            form["metavar"] = option.metavar or option.kind.removesuffix("s").upper()
        group.addoption(option.flag, **form)
        parser.addini(option.dest, _help(option), type=INI_TYPES[option.kind], default=None)


def _help(option: Option) -> str:
    default = "" if option.default is None or option.kind == "flag" else f" (default: {option.default})"
    return f"{option.help}{default}"


def read(config: pytest.Config) -> Settings:
    """Resolve every option: command line before ini before default. Checks types, and looks at no file's content.

    Raises:
        UsageError: a value of the wrong type, or none of the choices, or options that contradict each other.
    """
    settings = Settings({option.word: _setting(option, config) for option in OPTIONS})
    if settings.value("update") and settings.value("update-new-only"):
        raise pytest.UsageError("give one of basin_update and basin_update_new_only")
    of_one = any(text.partition(":")[0] == OF_ONE for text in settings.value("report") or ())
    for word in ("checkpoint", "scores-of"):
        if of_one and len(set(settings.value(word) or ())) > 1:
            one = f"basin_{word.replace('-', '_')}"
            raise pytest.UsageError(f"basin_report: {OF_ONE} is of one model; give one {one}, or another report")
    return settings


def _setting(option: Option, config: pytest.Config) -> Setting:
    given, origin, folder = getattr(config.option, option.dest, None), COMMAND_LINE, config.invocation_params.dir
    if given is None:
        given, origin = _ini(option, config), INI
        folder = config.inipath.parent if config.inipath else folder
    elif option.kind == "model":
        given = _only(option, given)
    if given is None:
        given, origin = option.default, DEFAULT
    for text in given if isinstance(given, list) else [given]:
        if option.check and text is not None and (problem := option.check(text)):
            raise pytest.UsageError(f"{option.dest}: {problem}")
    if given == "random" and option.kind == "seed":  # drawn once: xdist's controller hands it on to its workers
        given = getattr(config, "workerinput", {}).get(option.dest, int.from_bytes(os.urandom(4)))
    return Setting(given if origin == DEFAULT else _located(option, given, folder), origin, given, folder)


def _only(option: Option, given: list[str]) -> str:
    """Return the one model that was given; a second is not dropped in silence."""
    if len(set(given)) > 1:
        raise pytest.UsageError(
            f"{option.dest}: give one {option.word}, not {' and '.join(given)}; tests against another override the "
            f"fixture {option.dest} in a conftest.py of their own"
        )
    return given[0]


def _ini(option: Option, config: pytest.Config) -> Any:
    try:
        value = config.getini(option.dest)
    except (TypeError, ValueError, pytest.UsageError) as error:
        if option.kind == "models" and (one := _as_string(option, config)):
            return [one]
        raise pytest.UsageError(f"{option.dest}: {error}") from None
    if option.choices and value is not None and value not in option.choices:
        raise pytest.UsageError(f"{option.dest}: {value!r} is none of {', '.join(option.choices)}")
    return None if value in ("", []) else value


def _as_string(option: Option, config: pytest.Config) -> str | None:
    """Return what a TOML file gives as one string: pytest takes lists alone where there may be several."""
    import tomllib

    tables = tomllib.loads(config.inipath.read_text(encoding="utf-8")) if config.inipath else {}
    own = tables.get("pytest") or tables.get("tool", {}).get("pytest") or {}
    value = own.get(option.dest)
    return value if isinstance(value, str) else None


def _task(given: str, folder: Path) -> Path:
    """Return a task of lm-eval, a file of its own made absolute; pytest puts a folder before what an ini file says."""
    named = given.partition(TASK)[2]
    return Path(f"{TASK}{folder / named if '.yaml' in named or '.yml' in named else named}")


def _located(option: Option, given: Any, folder: Path) -> Any:
    """Make paths absolute, so that a test that changes the directory changes nothing; hub ids stay."""
    if option.kind == "paths":
        return [_task(str(path), folder) if TASK in str(path) else folder / path for path in given]
    if option.kind == "path":
        return folder / given
    if option.kind == "models":
        return [found_from(folder, each) for each in given]
    return found_from(folder, given) if option.kind == "model" else given


def found_from(folder: Path, given: str) -> str:
    """Return a model's place made absolute where it lies below ``folder``; hub ids stay."""
    return str(folder / given) if os.path.lexists(folder / given) else given
