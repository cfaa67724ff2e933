"""``certify sign``: a record signed with a key or an identity, for those who were not there when it was made."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from certify.cli.output import out, say
from certify.errors import InvalidPlan
from certify.writing import refuse_unwritable, write_whole


def sign(
    file: Annotated[Path, typer.Argument(help="The record: a certificate, or another.", show_default=False)],
    key: Annotated[Path | None, typer.Option(help="Private key in PEM: ed25519, or ECDSA on P-256.")] = None,
    sigstore: Annotated[
        bool,
        typer.Option("--sigstore", help="Without a key: as the build job that runs this, through sigstore's services."),
    ] = False,
    identity_token: Annotated[
        str | None,
        typer.Option(help="With --sigstore: OIDC token of who signs (else SIGSTORE_IDENTITY_TOKEN, else the job's)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (standard output if absent).")
    ] = None,
) -> None:
    """Sign a record that recomputes, whatever its verdict: a DSSE envelope or sigstore bundle of its statement."""
    from certify.attestation import sign as signed
    from certify.attestation import sign_keyless
    from certify.documents import Judged
    from certify.verify import read_valid

    if (key is None) != sigstore:
        raise InvalidPlan("a record is signed with a key or as an identity: name --key FILE, or --sigstore, not both")
    if identity_token is not None and not sigstore:
        raise InvalidPlan("--identity-token: says who signs with --sigstore, and a key needs none")
    if output is not None:
        refuse_unwritable(output)
        if os.path.lexists(output):
            raise InvalidPlan(f"{output} exists, and no signature replaces a file; name another")
    document = read_valid(file)
    if key is not None:
        text, whom = signed(document, key), "the public key"
    else:
        text, identity, issuer = sign_keyless(document, identity_token)
        whom = f"--identity {shlex.quote(identity)} --issuer {shlex.quote(issuer)}"
    if output is None:
        out.file.write(text)
        return
    write_whole(output, text)
    said = document.verdict.upper() if isinstance(document, Judged) else "a measurement, which claims nothing"
    say(f"wrote {output}", f"    It signs {file}: {said}. Verify it with --signature {output} and {whom}.")
