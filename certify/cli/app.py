"""The commands of ``certify``, in the order of its help; each holds its options and loads the library when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from certify.cli.audit import audit
from certify.cli.basin import basin
from certify.cli.check import check
from certify.cli.collect import collect
from certify.cli.compare import compare
from certify.cli.cover import cover
from certify.cli.demo import demo
from certify.cli.draw import draw
from certify.cli.gate import gate
from certify.cli.import_task import import_task
from certify.cli.init import init
from certify.cli.landscape import landscape
from certify.cli.measure import measure
from certify.cli.plan import plan
from certify.cli.report import report
from certify.cli.show import show
from certify.cli.show_items import show_items
from certify.cli.sign import sign
from certify.cli.tokens import tokens
from certify.cli.verify import verify
from certify.errors import InvalidInput

WORDS: dict[Any, str] = {bool: "", Path: "<path>", float: "<number>", int: "<number>", str: "<text>"}
"""What the help calls a value; typer would show Python's types. A choice shows its values."""


class _InWords:
    """A command whose help names values by words."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters. Typer before 0.27 has words of its own and no descriptor."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in parameters:
            kind = getattr(getattr(each, "type_descriptor", None), "annotation", None)
            if each.metavar is None and (word := WORDS.get(next(iter(get_args(kind)), kind))) is not None:
                each.display_type = lambda ctx, word=word: word
        return parameters


class _Group(_InWords, TyperGroup):
    """All commands."""


app = typer.Typer(cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False)


def _say_version(asked: bool) -> None:
    if asked:
        from certify import __version__

        typer.echo(f"certify {__version__}")
        raise typer.Exit


@app.callback(
    epilog="Exit codes: 0 certified (or valid), 1 refuted, 2 bad input or an n that could never pass, 3 undecided, 4 a "
    "file that contradicts itself, 5 an error of certify itself (--debug, anywhere on the line, shows its traceback)."
)
def certify(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version, and no more.")
    ] = False,
) -> None:
    """Did the fine-tuned checkpoint keep what its base could do? Measure, check, verify."""


class _OnceEach(_InWords, TyperCommand):
    """A command that takes each option once, unless it is repeatable: the last one never wins in silence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a look at which options were given.

        Raises:
            InvalidInput: an option that takes one value has two, or a value is no text.
        """
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in {each for each in order if order.count(each) > 1}:
            if isinstance(parameter, TyperOption) and not parameter.multiple and not parameter.is_flag:
                raise InvalidInput(f"{parameter.opts[0]} is given twice; it takes one value")
        try:
            return super().parse_args(ctx, args)
        except UnicodeEncodeError as error:  # bytes that are no text, where a path could hold them and a number cannot
            raise InvalidInput(f"{error.object!r} on the command line is no text and no path") from None


FIRST, ITEMS, BASE, JUDGE, READ, LOOK = (
    "Start here",
    "Which items, and how many",
    "A base, measured once",
    "A checkpoint, judged",
    "What was written: read it, recompute it, pass it on",
    "Look around; nothing is claimed",
)
"""Panels of the help, in the order in which data flows."""
ON = "--base base -b items.jsonl"
COMMANDS = (
    (FIRST, demo, ("certify demo -o basin-demo",)),
    (FIRST, init, ("certify init gates --base base --checkpoint tuned --items questions.csv",)),
    (ITEMS, import_task, ("certify import-task arc_easy@5 -o arc_easy.jsonl",)),
    (ITEMS, show_items, ("certify show-items base -b items.jsonl -n 3",)),
    (ITEMS, plan, (
        "certify plan --max-drop 0.05",
        "certify plan --evidence point --items 300 --min-retention 0.95 --true-lost 0.01",
    )),
    (BASE, measure, ("certify measure base -b items.jsonl -o base.json",)),
    (BASE, basin, ("certify basin base -b items.jsonl -o basin.json",)),
    (BASE, draw, ("certify draw base --sigma 0.01 --draw 0 -n 100 -o draws/0",)),
    (BASE, collect, ("certify collect draws/* --scores LOGS_OF_BASE -o base.json",)),
    (JUDGE, check, (
        f"certify check tuned {ON} --max-drop 0.02 -o certificates",
        f"certify check tuned {ON} --require point,position --measurement base.json",
        f"certify check run {ON} --all",
        "certify check --scores LOGS_OF_BASE --scores-of LOGS_OF_TUNED",
    )),
    (JUDGE, audit, (f"certify audit tuned {ON} --max-drop 0.05 -o certificates",)),
    (JUDGE, cover, (
        "certify cover base --family segment:tuned --range 0,1.25 -b items.jsonl -o covers",
        "certify cover base --family adapter:lora --range 0,1.2 -b items.jsonl -o covers",
    )),
    (JUDGE, gate, (f"certify gate tuned {ON} --sigma 0.01 --p1 0.9 --at-least 0.8 -o gate.json",)),
    (READ, show, ("certify show certificates/*.json",)),
    (READ, verify, (
        "certify verify certificates/*.json",
        "certify verify certificates/*.json --base base --checkpoint tuned",
        "certify verify certificates/tuned.json --signature tuned.dsse.json --key public.pem",
        "certify verify certificates/tuned.json --signature tuned.sigstore.json --identity WORKFLOW --issuer ISSUER",
    )),
    (READ, sign, (
        "certify sign certificates/tuned.json --key key.pem -o tuned.dsse.json",
        "certify sign certificates/tuned.json --sigstore -o tuned.sigstore.json",
    )),
    (READ, compare, ("certify compare before.json after.json --fail-under retention=-0.01",)),
    (READ, report, ("certify report certificates/*.json -t html -o report.html",)),
    (LOOK, landscape, ("certify landscape base -b items.jsonl -c tuned -o landscape",)),
    (LOOK, tokens, ("certify tokens base -o tokens.json",)),
)  # fmt: skip
for panel, command, examples in COMMANDS:
    said = "\n\n".join((f"Example{'s' * (len(examples) > 1)}:", *examples))
    app.command(cls=_OnceEach, rich_help_panel=panel, epilog=said)(command)
