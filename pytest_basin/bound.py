"""The object behind ``basin_bound``: a certificate that compares only as far as it decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_basin.gates import Gate

if TYPE_CHECKING:
    from certify.documents import Certificate, CoverRecord, ScoresRecord
    from certify.evidence import Judgement
    from certify.evidence.cover import CoverJudgement

CERTIFIED, REFUTED, UNDECIDED = "certified", "refuted", "undecided"


class Bound:
    """What one gate found. Retention compares with ``>=`` and ``<``, a drop or a score with ``<=`` and ``>``.

    ``bound >= x`` is true only when a retention of x is certified, ``bound < x`` only when it is refuted; both are
    false when it is undecided. Likewise ``bound <= x`` and ``bound > x`` for a drop or a score. Everything else is an
    error, since a plain truth value cannot hold three outcomes.

    ``certificate`` is None when the gate could not pass whatever happened: then nothing ran, and ``reason`` says why.
    With a ``veto``, what the certificate certifies is undecided; ``notes`` were added by the project's own hooks.
    ``brought``: its scores were made by another tool, so that there are no weights to look at.
    ``asked``: the test compared it with a number, or read its verdict or a bound, so that its outcome can rest on it.
    """

    def __init__(
        self,
        name: str,
        gate: Gate,
        certificate: Certificate | CoverRecord | ScoresRecord | None,
        *,
        base: str,
        checkpoint: str,
        trials: tuple[int | None, str],
        reason: str = "",
        seconds: float = 0.0,
        file: Path | None = None,
        brought: bool = False,
    ) -> None:
        self.name, self.gate, self.certificate = name, gate, certificate
        self.base, self.checkpoint, self.trials = base, checkpoint, trials
        self.reason, self.seconds, self.file = reason, seconds, file
        self.brought = brought
        self.veto: str = ""
        self.notes: list[str] = []
        self.asked = False

    @property
    def required(self) -> float:
        """The limit that the gate asks for."""
        return self.gate.limit

    @property
    def unit(self) -> str:
        """``drop``, ``retention`` or ``absence`` (of a score)."""
        return self.gate.unit

    @property
    def of_weights(self) -> bool:
        """Whether it is about one checkpoint that was opened here, whose weights can be looked at."""
        return not self.brought and self.gate.family is None

    @property
    def judgement(self) -> Judgement | CoverJudgement | None:
        """What the evidence says about the required limit."""
        return self.certificate.judgement if self.certificate else None

    @property
    def verdict(self) -> str:
        """``certified``, ``refuted`` or ``undecided``, at the required limit."""
        self.asked = True
        return self.verdict_at(self.required)

    @property
    def value(self) -> float | None:
        """The plain estimate, where there is one."""
        return self.judgement.interval.value if self.judgement else None

    @property
    def lower(self) -> float | None:
        """The lower confidence bound."""
        self.asked = True
        return self.judgement.interval.lower if self.judgement else None

    @property
    def upper(self) -> float | None:
        """The upper confidence bound."""
        self.asked = True
        return self.judgement.interval.upper if self.judgement else None

    @property
    def claim(self) -> str:
        """The claim in one sentence."""
        return self.certificate.claim_text if self.certificate else f"Nothing was measured: {self.reason}."

    def judge(self, limit: float) -> Judgement | CoverJudgement | None:
        """Return what the same evidence says about another limit."""
        return self.certificate_at(limit).judgement if self.certificate else None

    def certificate_at(self, limit: float) -> Certificate | CoverRecord | ScoresRecord:
        """Return the certificate, judged at another limit; there must be one."""
        assert self.certificate is not None
        if limit == self.required:
            return self.certificate
        from certify.evidence import Requirement

        return self.certificate.under(Requirement(unit=self.gate.unit, limit=limit))

    def verdict_at(self, limit: float) -> str:
        """Return the verdict about another limit."""
        judgement = self.judge(limit)
        if judgement is None or (self.veto and judgement.verdict.value == CERTIFIED):
            return UNDECIDED
        return judgement.verdict.value

    def __ge__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._compare(">=", limit) == CERTIFIED

    def __lt__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._compare("<", limit) == REFUTED

    def __le__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._compare("<=", limit) == CERTIFIED

    def __gt__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._compare(">", limit) == REFUTED

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        self._refuse("==")

    def __ne__(self, other: object) -> bool:
        __tracebackhide__ = True
        self._refuse("!=")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        __tracebackhide__ = True
        raise TypeError(
            f"a bound is certified, refuted or undecided, which no single truth value can hold: {self._advice()}, or "
            "read .verdict"
        )

    def __repr__(self) -> str:
        return f"<{self.name}: {self.verdict_at(self.required)}>"

    def _compare(self, operator: str, limit: Any) -> str:
        __tracebackhide__ = True
        if operator not in self._operators():
            self._refuse(operator)
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError(f"a bound compares with a number from 0 to 1, not with {type(limit).__name__}")
        if not 0.0 <= limit <= 1.0:
            raise ValueError(f"a bound compares with a number from 0 to 1, got {limit}")
        self.asked = True
        return self.verdict_at(float(limit))

    def _refuse(self, operator: str) -> NoReturn:
        __tracebackhide__ = True
        raise TypeError(f"{operator} says nothing about a bound on {self._quantity()}: {self._advice()}")

    def _quantity(self) -> str:
        return {"drop": "a drop", "retention": "a retention", "absence": "a score"}[self.unit]

    def _operators(self) -> tuple[str, str]:
        """The comparisons that are true when certified, and when refuted."""
        return (">=", "<") if self.unit == "retention" else ("<=", ">")

    def _advice(self) -> str:
        certified, refuted = self._operators()
        return f"use `basin_bound {certified} x` (true when certified) or `basin_bound {refuted} x` (true when refuted)"
