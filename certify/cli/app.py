"""The commands of ``certify``, in the order of its help; each holds its options and loads the library when called."""

from __future__ import annotations

import typer

from certify.cli.basin import basin
from certify.cli.check import check
from certify.cli.compare import compare
from certify.cli.demo import demo
from certify.cli.gate import gate
from certify.cli.landscape import landscape
from certify.cli.measure import measure
from certify.cli.plan import plan
from certify.cli.report import report
from certify.cli.show import show
from certify.cli.tokens import tokens
from certify.cli.verify import verify

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Did the fine-tuned checkpoint keep what its base could do? Measure, check, verify.",
)

for command in (plan, measure, check, gate, basin, tokens, verify, show, compare, report, landscape, demo):
    app.command()(command)
