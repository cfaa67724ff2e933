"""``certify sign``: a record signed with a key, for those who were not there when it was made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from certify.cli.output import out, say
from certify.errors import InvalidPlan
from certify.writing import refuse_unwritable, write_whole


def sign(
    file: Annotated[Path, typer.Argument(help="The record: a certificate, or another.", show_default=False)],
    key: Annotated[
        Path, typer.Option("--key", help="Private key in PEM: ed25519, or ECDSA on P-256.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (standard output if absent).")
    ] = None,
) -> None:
    """Sign a record that recomputes, whatever its verdict: a DSSE envelope with its in-toto statement."""
    from certify.attestation import sign as signed
    from certify.documents import Judged
    from certify.verify import read_valid

    if output is not None:
        refuse_unwritable(output)
        if os.path.lexists(output):
            raise InvalidPlan(f"{output} exists, and no signature replaces a file; name another")
    document = read_valid(file)
    text = signed(document, key)
    if output is None:
        out.file.write(text)
        return
    write_whole(output, text)
    said = document.verdict.upper() if isinstance(document, Judged) else "a measurement, which claims nothing"
    say(f"wrote {output}", f"    It signs {file}: {said}. Verify it with --signature {output} and the public key.")
