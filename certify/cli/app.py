"""The commands of ``certify``, in the order of its help; each holds its options and loads the library when called."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from certify.cli.audit import audit
from certify.cli.basin import basin
from certify.cli.check import check
from certify.cli.compare import compare
from certify.cli.demo import demo
from certify.cli.gate import gate
from certify.cli.import_task import import_task
from certify.cli.landscape import landscape
from certify.cli.measure import measure
from certify.cli.plan import plan
from certify.cli.report import report
from certify.cli.show import show
from certify.cli.show_items import show_items
from certify.cli.tokens import tokens
from certify.cli.verify import verify
from certify.errors import InvalidInput

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


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


class OnceEach(TyperCommand):
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


for command in (
    plan, measure, check, audit, gate, basin, tokens, verify, show, show_items, import_task, compare, report, landscape,
    demo,
):  # fmt: skip
    app.command(cls=OnceEach)(command)
