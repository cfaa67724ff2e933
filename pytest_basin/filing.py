"""Certificates of a run on disk: one for each gate and checkpoint, and none that speaks for a gate it is no longer of.

What lies in the folder from an earlier run, of another checkpoint or of a gate that now has no certificate, is renamed
so that no ``*.json`` finds it: nothing is deleted, and nothing old is reported as this run's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_basin.results import certificate_name

if TYPE_CHECKING:
    from certify.documents import Certificate, CoverRecord, ScoresRecord

STALE = ".stale"


def file_certificate(
    folder: Path, gate: tuple[str, str, str], certificate: Certificate | CoverRecord | ScoresRecord | None
) -> tuple[Path | None, list[str]]:
    """Write the certificate of a gate (test, benchmark, evidence); return its path, and what became of older files.

    Without a certificate (the gate was vetoed, or could not pass) older ones are set aside all the same.
    """
    from certify.records import short_digest

    stem = certificate_name(*gate).removesuffix(".json")
    about = certificate.about if certificate else None
    path = None if about is None else folder / f"{stem}-{short_digest(about)}.json"
    notes = [_set_aside(old) for old in sorted(folder.glob(f"{stem}-????????.json")) if old != path]
    if path is None or certificate is None:
        return None, notes
    if path.exists() and path.read_bytes() != certificate.to_text().encode():
        notes.append(f"replaced the certificate of an earlier run in {path.name}")
    return certificate.to_json(path), notes


def _set_aside(old: Path) -> str:
    old.replace(old.with_name(old.name + STALE))
    return f"{old.name} is of an earlier run and no longer of this gate: renamed to {old.name}{STALE}"
