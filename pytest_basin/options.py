"""Options: each has a command line form, an ini form of the same word, a default, and a known origin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

COMMAND_LINE, INI, DEFAULT, MARKER = "command line", "ini", "default", "marker"

Kind = Literal["text", "model", "path", "paths", "float", "int", "flag"]
INI_TYPES: dict[Kind, Any] = {
    "text": "string",
    "model": "string",
    "path": "string",
    "paths": "paths",
    "float": "float",
    "int": "int",
    "flag": "bool",
}


@dataclass(frozen=True)
class Option:
    """One setting. ``model`` is a folder, a file or a hub id; paths in an ini file are relative to that file."""

    word: str
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--basin-{self.word}"

    @property
    def dest(self) -> str:
        """The name in ini files and on the parsed options."""
        return f"basin_{self.word.replace('-', '_')}"


OPTIONS = (
    Option("base", "model", "base model: a folder, a .safetensors file, or a hub id (org/name@revision)"),
    Option("checkpoint", "model", "fine-tuned checkpoint to gate, named like the base"),
    Option("benchmark", "paths", "benchmark, a JSONL file (repeatable)"),
    Option("measurement", "paths", "measurement of the base on one benchmark, by `certify measure` (repeatable)"),
    Option("subspace", "paths", "basis file that a measurement's subspace noise used (repeatable)"),
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
    Option("seed", "int", "user seed of the noise draws", 0),
    Option("device", "text", "torch device that models run on", "cpu"),
    Option("undecided", "text", "what an undecided gate does to its test", "fail", ("fail", "xfail", "warn")),
    Option("cert-dir", "path", "folder to write certificates to"),
    Option("disable", "flag", "skip all basin tests; names and markers stay known", False),
)


@dataclass(frozen=True)
class Setting:
    """A value in effect and where it comes from. ``given`` is the value as it was written."""

    value: Any
    origin: str
    given: Any

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
        """Return the basin arguments of this run's command line, to repeat it."""
        arguments = []
        for option, setting in self:
            if setting.origin != COMMAND_LINE or option.word == "seed":
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
        elif option.kind in ("float", "int"):
            form["type"] = float if option.kind == "float" else int
        elif option.kind == "paths":
            form["action"] = "append"
        if option.choices:
            form["choices"] = option.choices
        elif option.kind != "flag":
            form["metavar"] = option.kind.removesuffix("s").upper()
        group.addoption(option.flag, **form)
        parser.addini(option.dest, _help(option), type=INI_TYPES[option.kind], default=None)


def _help(option: Option) -> str:
    default = "" if option.default is None or option.kind == "flag" else f" (default: {option.default})"
    return f"{option.help}{default}"


def read(config: pytest.Config) -> Settings:
    """Resolve every option: command line before ini before default. Checks types, and looks at no file's content.

    Raises:
        UsageError: an ini value of the wrong type, or none of the choices.
    """
    return Settings({option.word: _setting(option, config) for option in OPTIONS})


def _setting(option: Option, config: pytest.Config) -> Setting:
    given = getattr(config.option, option.dest, None)
    if given is not None:
        return Setting(_located(option, given, config.invocation_params.dir), COMMAND_LINE, given)
    given = _ini(option, config)
    if given is not None:
        folder = config.inipath.parent if config.inipath else config.invocation_params.dir
        return Setting(_located(option, given, folder), INI, given)
    return Setting(option.default, DEFAULT, option.default)


def _ini(option: Option, config: pytest.Config) -> Any:
    try:
        value = config.getini(option.dest)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{option.dest}: {error}") from None
    if option.choices and value is not None and value not in option.choices:
        raise pytest.UsageError(f"{option.dest}: {value!r} is none of {', '.join(option.choices)}")
    return None if value in ("", []) else value


def _located(option: Option, given: Any, folder: Path) -> Any:
    """Make paths absolute, so that a test that changes the directory changes nothing; hub ids stay."""
    if option.kind == "paths":
        return [folder / path for path in given]
    if option.kind == "path":
        return folder / given
    if option.kind == "model":
        return str(folder / given) if (folder / given).exists() else given
    return given
