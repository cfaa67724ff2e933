"""Options: records stand as options on the command line, grouped in the help, which loads nothing of the library."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from certify.cli.app import app
from certify.cli.options import Asked, Work, spread

COMMANDS = (
    "demo", "init", "import-task", "show-items", "plan", "measure", "basin", "draw", "collect", "check", "audit",
    "cover", "gate", "show", "verify", "sign", "compare", "report", "landscape", "tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Meal:
    starter: Annotated[str, typer.Option(help="First.")] = "soup"
    courses: Annotated[int, typer.Option(min=1)] = 3


def ordered(arguments: list[str], *left_out: str) -> tuple[int, list[object]]:
    """Exit code of a command that takes a record between its own parameters, and what it was given."""
    given: list[object] = []

    @spread(*left_out)
    def order(
        guest: Annotated[str, typer.Argument()],
        *,
        meal: Meal,
        late: Annotated[bool, typer.Option("--late")] = False,
    ) -> None:
        """Order a meal."""
        given.extend((guest, meal, late))

    restaurant = typer.Typer()
    restaurant.command()(order)
    return CliRunner().invoke(restaurant, arguments).exit_code, given


def test_a_record_is_made_of_its_options() -> None:
    """Given or by default, beside the command's own; limits of the fields hold."""
    assert ordered(["Ada"]) == (0, ["Ada", Meal(), False])
    assert ordered(["Ada", "--courses", "5", "--late"]) == (0, ["Ada", Meal("soup", 5), True])
    assert ordered(["Ada", "--courses", "0"]) == (2, [])


def test_a_field_that_is_left_out_is_no_option() -> None:
    """It keeps its default."""
    assert ordered(["Ada", "--starter", "salad"], "courses") == (0, ["Ada", Meal("salad", 3), False])
    assert ordered(["Ada", "--courses", "5"], "courses") == (2, [])


@pytest.mark.parametrize(("command", "option"), [("basin", "max-score"), ("landscape", "processes")])
def test_commands_offer_no_option_that_they_cannot_serve(command: str, option: str) -> None:
    """A width is of what must be kept; a survey runs in one process."""
    done = CliRunner().invoke(app, [command, "base", "-b", "items.jsonl", "-o", "out", f"--{option}", "1"])
    assert done.exit_code == 2
    assert f"No such option: --{option}" in done.output


def test_records_say_what_the_library_takes() -> None:
    """Requirement and alpha from what was asked; the defaults of a plain run."""
    assert (Asked().requirement.unit, Asked().requirement.limit, Asked().alpha) == ("drop", 0.05, 0.05)
    assert Asked(confidence=0.9, max_score=0.2).requirement.unit == "absence"
    assert Work() == Work(seed=0, device="cpu", processes=1, draws_dir=None)


def test_the_help_of_a_check_is_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own options first, then what is asked, then how to work, at 100 columns."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 100)
    shown = CliRunner().invoke(app, ["check", "--help"]).output
    own, rest = shown.split("What is asked")
    asked, work = rest.split("How to work")
    assert "--measurement" in own
    assert all(option in asked for option in ("--require", "--confidence", "--max-drop"))
    assert all(option in work for option in ("--seed", "--device", "--processes", "--draws-dir"))
    assert max(map(len, shown.splitlines())) <= 100


def loaded(then: str = "") -> set[str]:
    """The heavy modules that are loaded after the help of every command."""
    script = (
        "import sys\nfrom certify.cli.app import app\n"
        f"for command in {COMMANDS}: app([command, '--help'], standalone_mode=False)\n"
        f"{then}\nprint(*({{'torch', 'numpy', 'scipy', 'matplotlib'}} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_nothing_of_the_library() -> None:
    """Nobody waits for numpy to read what an option means."""
    named = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert named == [name.replace("-", "_") for name in COMMANDS]
    assert loaded() == set()


def test_the_check_of_what_is_loaded_can_fail() -> None:
    """A module that computes is noticed."""
    assert {"numpy", "scipy"} <= loaded("import certify.cli.plan_lines")


def command(name: str) -> Any:
    """A command as typer makes it."""
    made: Any = typer.main.get_command(app)
    return made.commands[name]


def examples(name: str) -> list[list[str]]:
    """The lines below a command's help, in words of a shell."""
    return [shlex.split(line) for line in command(name).epilog.split("\n\n")[1:]]


def parses(words: list[str]) -> bool:
    """Whether a line is one that its command takes, up to what lies on the disk."""
    return bool(command(words[1]).make_context(words[1], words[2:]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_lines_that_can_be_typed(name: str) -> None:
    """Each is a line of this very command, and its options are there."""
    assert examples(name)
    assert all(words[:2] == ["certify", name] and parses(words) for words in examples(name))


def test_an_example_of_an_option_that_is_gone_is_noticed() -> None:
    """The check above can fail."""
    with pytest.raises(Exception, match="No such option: --most"):
        parses(["certify", "plan", "--most", "0.05"])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_names_values_by_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No type of Python's: <path>, <number>, <text>, or the values that may be chosen; a flag takes none."""
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 100)
    shown = CliRunner().invoke(app, [name, "--help"]).output
    assert not any(word in shown.lower() for word in ("bool", "list[", "<int", "<float", "<str>"))


def test_the_help_of_all_follows_the_data() -> None:
    """Groups from a first look to what was written, each with its commands."""
    shown = CliRunner().invoke(app, ["--help"]).output
    listed = re.findall(r"^│ ([a-z]+(?:-[a-z]+)*) ", shown, re.MULTILINE)
    assert listed == list(COMMANDS)
    assert "bool" not in shown


def test_kinds_of_evidence_are_those_of_the_library() -> None:
    """The help lists them without loading it."""
    from certify.cli.check import KINDS
    from certify.evidence import KINDS as KNOWN

    assert sorted(KINDS.split(", ")) == sorted(KNOWN)


@pytest.mark.parametrize(
    ("line", "position", "offered"), [("certify ch", 1, {"check"}), ("certify check --b", 2, {"--base", "--benchmark"})]
)
def test_the_shell_completes_commands_and_options(line: str, position: int, offered: set[str]) -> None:
    """As the script of --install-completion asks, and with the exit code of a success."""
    asked = {**os.environ, "_CERTIFY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(position)}
    done = subprocess.run([sys.executable, "-m", "certify"], env=asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == offered


def test_the_script_of_completion_is_shown() -> None:
    """To look at, or to put where one's shell reads it."""
    words = [sys.executable, "-m", "certify", "--show-completion", "bash"]
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # no shell may have started the tests
    done = subprocess.run(words, env=named, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete -o default -F _certify_completion certify" in done.stdout


@pytest.mark.parametrize(
    ("words", "near"),
    [(("chekc", "x"), "'check'"), (("check", "x", "--bas", "y"), "--base"), (("--versoin",), "--version")],
)
def test_a_mistyped_word_is_answered_with_the_nearest(words: tuple[str, ...], near: str) -> None:
    """One line, exit 2."""
    done = subprocess.run([sys.executable, "-m", "certify", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert near in done.stderr
