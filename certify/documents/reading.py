"""Any of the files, whichever it says it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certify.documents.certificate import BasinRecord, Certificate, CoverRecord, GateRecord, ScoresRecord, SkillsRecord
from certify.documents.document import read_as
from certify.documents.measurement import Measurement
from certify.errors import CertificateMismatch

AnyDocument = Certificate | ScoresRecord | Measurement | GateRecord | BasinRecord | SkillsRecord | CoverRecord

DOCUMENTS: Mapping[str, type[AnyDocument]] = {
    "pytest-basin/certificate": Certificate,
    "pytest-basin/scores": ScoresRecord,
    "pytest-basin/measurement": Measurement,
    "pytest-basin/gate": GateRecord,
    "pytest-basin/basin": BasinRecord,
    "pytest-basin/skills": SkillsRecord,
    "pytest-basin/cover": CoverRecord,
}


def read_document(path: str | Path) -> AnyDocument:
    """Read any of the files that certify writes, whichever it says it is.

    Raises:
        UnsupportedSchema: another schema, or a version that this release does not know.
        CertificateMismatch: a field is missing, unknown or out of range.
        CertifyError: the file is missing or not JSON.
    """
    return read_as(path, DOCUMENTS)


def read_measurement(path: str | Path) -> Measurement:
    """Read a measurement whose digest fits.

    Raises:
        CertificateMismatch: the file is another document, or was changed after it was sealed.
    """
    document = read_document(path)
    if not isinstance(document, Measurement):
        kind = document.schema_name.rpartition("/")[2]
        raise CertificateMismatch(f"{path}: is a {kind}; a measurement is needed (`certify measure` writes one)")
    if document.digest != document.own_digest():
        raise CertificateMismatch(f"{path}: its digest does not fit its content: the file was changed")
    return document
