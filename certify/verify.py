"""Recompute what a document says from what it stores, without torch, weights or benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from certify.documents import VERSION, AnyDocument, Judged, read_document
from certify.errors import CertificateMismatch, InvalidPlan

# Recomputed floats may differ in the last bits between machines' special functions, never more.
TOLERANCE = 1e-9

# Words may improve between versions of the format: those of an earlier one are never shown, so they are not compared.
WORDS = {"claim", "limits", "notes"}

PROOF_LIMIT = "Recomputed from the stored counts; this does not prove that the counts came from these models."


def differences(document: AnyDocument) -> list[str]:
    """Return one line for each thing in ``document`` that its own content contradicts; empty when it is valid.

    Checks every bound, distance and verdict, every seed, and the record's digest.
    """
    lines = _judgement(document) if isinstance(document, Judged) else []
    lines += document.contradictions()
    lines += dict.fromkeys(line for run in document.runs for line in run.contradictions)  # skills may share a seed
    if document.digest != document.own_digest():
        lines.append(f"digest: recorded {document.digest}, recomputed {document.own_digest()}")
    return lines


def read_valid(path: str | Path) -> AnyDocument:
    """Read a record that contradicts itself nowhere, so that it may be repeated or signed.

    Raises:
        CertificateMismatch: it does; the first contradiction is named.
        CertifyError: as :func:`certify.documents.read_document`.
    """
    document = read_document(path)
    if problems := differences(document):
        raise CertificateMismatch(f"{path}: {problems[0]} (`certify verify {path}` says all)")
    return document


def _judgement(document: Judged) -> list[str]:
    try:
        fresh = document.judged_again()
    except InvalidPlan as problem:  # a gate that was decided before its last outcome, or is not decided yet
        return [f"evidence: {problem}"]
    left_out = set() if document.version == VERSION else WORDS
    recorded, found = (j.model_dump(mode="json", exclude=left_out) for j in (document.judgement, fresh))
    return _compare("judgement", recorded, found)


def _compare(where: str, recorded: Any, fresh: Any) -> list[str]:
    if isinstance(recorded, dict) and isinstance(fresh, dict):
        keys = [*recorded, *(k for k in fresh if k not in recorded)]
        return [line for k in keys for line in _compare(f"{where}.{k}", recorded.get(k), fresh.get(k))]
    if isinstance(recorded, float) and isinstance(fresh, float):
        same = abs(recorded - fresh) <= TOLERANCE * max(1.0, abs(fresh))
    else:
        same = recorded == fresh
    return [] if same else [f"{where}: recorded {recorded!r}, recomputed {fresh!r}"]
