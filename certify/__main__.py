"""``certify`` and ``python -m certify``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; an error made on purpose is one line on stderr and an exit code, no traceback."""
    from certify.cli.app import app
    from certify.cli.exits import of_error
    from certify.errors import CertifyError

    try:
        app(prog_name="certify")
    except CertifyError as error:
        print(f"certify: error: {error}", file=sys.stderr)  # noqa: T201  (the one place that prints errors)
        sys.exit(of_error(error))
    except KeyboardInterrupt:
        print("certify: interrupted; nothing was written half", file=sys.stderr)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    main()
