"""``certify`` and ``python -m certify``."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import Any

LONGEST = 600
"""Characters of a line on stderr: what happened comes first, and no input may fill a log."""
COMPLETION = {"--show-completion", "--install-completion"}
INTERRUPTED = "certify: interrupted; nothing was written half"


def main() -> None:
    """Run the command line. Whatever ends it is one line on stderr and an exit code that means just that.

    Codes 0, 1 and 3 are verdicts, so nothing that failed may leave by them: an error of the library itself is 5, and a
    reader that closed the pipe 141, as of any other program. ``--debug`` shows where an error was raised.
    """
    import typer

    from certify.cli.app import app
    from certify.cli.exits import Exit, of_error
    from certify.errors import CertifyError, CertifyWarning, needs_extra
    from certify.text import shortened

    debug = "--debug" in sys.argv
    foreign = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, CertifyWarning):
            _say(f"certify: warning: {message}", debug=False)
        else:
            foreign(message, category, *where, **more)

    warnings.showwarning = show
    sys.argv[:] = [word for word in sys.argv if word != "--debug"]
    usage: Any = typer.BadParameter.__mro__[1]  # UsageError; releases of typer keep it in different modules
    code: Any = object()  # none yet
    try:
        code = app(prog_name="certify", standalone_mode=False)
        if code == 130:
            _say(INTERRUPTED, debug)
        sys.exit(code)
    except usage as error:
        said, named = error.format_message(), error.ctx.command_path if error.ctx else "certify"
        said = f"certify: error: {shortened(said, 300).rstrip('.')} (`{named} --help` shows what it takes)"
        if len(sys.argv) > 1:  # else the help was printed, and is all there is to say
            _say(said, debug)
        sys.exit(Exit.BAD_INPUT)
    except CertifyError as error:
        _say(f"certify: error: {error}", debug)
        sys.exit(of_error(error))
    except KeyboardInterrupt:
        _say(INTERRUPTED, debug)
        sys.exit(130)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(141)
        completing = "_CERTIFY_COMPLETE" in os.environ or {*sys.argv[1:2]} & COMPLETION  # no command runs then
        if end.code != code and not (completing and end.code == 0):  # somebody else's: no verdict may leave by it
            _say(f"certify: error of certify itself: something that it called ended the process ({end.code!r})", debug)
            sys.exit(Exit.ITSELF)
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and "usable temporary directory" in str(error):  # torch asks for one
            _say(f"certify: error: temporary files cannot be written: {error.strerror}; make room or set TMPDIR", debug)
            sys.exit(Exit.BAD_INPUT)
        if isinstance(error, ModuleNotFoundError) and (missing := needs_extra(error)):
            _say(f"certify: error: {missing}", debug)
            sys.exit(Exit.BAD_INPUT)
        what = shortened(f"{type(error).__name__}: {error}")
        _say(f"certify: error of certify itself: {what} (run it again with --debug for the traceback)", debug)
        sys.exit(Exit.ITSELF)


def _say(line: str, debug: bool) -> None:
    from certify.text import shortened, visible

    if debug:
        traceback.print_exc()
    print(visible(shortened(line, LONGEST)), file=sys.stderr)  # noqa: T201  (the one place that prints errors)


if __name__ == "__main__":
    main()
