"""Exit codes: what the shell learns always agrees with the verdict that was printed."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from certify.errors import CertificateMismatch, CertifyError

if TYPE_CHECKING:
    from certify.evidence import Verdict


class Exit(IntEnum):
    """0 certified (or valid), 1 refuted, 2 bad input or infeasible, 3 undecided, 4 a contradiction, 5 a bug."""

    CERTIFIED = 0
    REFUTED = 1
    BAD_INPUT = 2
    UNDECIDED = 3
    CONTRADICTION = 4
    ITSELF = 5


WORST_FIRST = (Exit.CONTRADICTION, Exit.BAD_INPUT, Exit.REFUTED, Exit.UNDECIDED, Exit.CERTIFIED)


def worst(codes: Iterable[Exit]) -> Exit:
    """Return the worst of several codes in the order 4, 2, 1, 3, 0."""
    found = set(codes)
    return next(code for code in WORST_FIRST if code in found)


def of_verdict(verdict: Verdict) -> Exit:
    """Return the code of a verdict: the one of its name."""
    return Exit[verdict.name]


def of_error(error: CertifyError) -> Exit:
    """Return the code of an error that was raised on purpose."""
    return Exit.CONTRADICTION if isinstance(error, CertificateMismatch) else Exit.BAD_INPUT
