"""Certified basins of fine-tuned language models: bounds, evidence, certificates.

Names below load their module when first used, so that reading a certificate never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certify.certificate import Certificate, Measurement, read_document
    from certify.measuring import Base, PlannedDraws, certify, check, measure_base
    from certify.verify import differences

_HOME = {
    "Base": "certify.measuring",
    "Certificate": "certify.certificate",
    "Measurement": "certify.certificate",
    "PlannedDraws": "certify.measuring",
    "certify": "certify.measuring",
    "check": "certify.measuring",
    "differences": "certify.verify",
    "measure_base": "certify.measuring",
    "read_document": "certify.certificate",
}

__all__ = [
    "Base",
    "Certificate",
    "Measurement",
    "PlannedDraws",
    "certify",
    "check",
    "differences",
    "measure_base",
    "read_document",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'certify' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
