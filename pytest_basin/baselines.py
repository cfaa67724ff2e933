"""Baselines: the certificate that an earlier checkpoint left for the same gate, and what has been lost since.

A baseline is a certificate file, so `certify verify` and `certify show` read it. It lies in ``__basin__`` beside its
test file, and is written only by a run in which its gate ran.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_basin.bound import REFUTED, UNDECIDED, Bound
from pytest_basin.gates import BasinWarning, Gate
from pytest_basin.options import DEFAULT_NAME, Settings
from pytest_basin.replay import test_id
from pytest_basin.results import certificate_name

if TYPE_CHECKING:
    from certify.documents import Certificate
    from certify.evidence.judgement import Interval

FOLDER = "__basin__"
WRITTEN, CREATED, MISSING, COMPARED = "written", "created", "missing", "compared"
SHARED = {"retention": ("retention", "drop"), "drop": ("retention", "drop"), "absence": ("absence",)}
"""The metrics in which a gate of each unit may be compared: what must be kept, or what must stay absent."""


class Baselines:
    """The baselines of one run: where they lie, which are written, and how gates compare with them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._created: set[Path] = set()  # in this run: a rerun of the same test finds them and must not pass for it
        compare = settings["compare"]
        self._name = compare.value or DEFAULT_NAME
        self._margins = [_margin(text) for text in settings.value("compare-fail") or ()]
        self._comparing = compare.value is not None or bool(self._margins)

    def settle(self, bound: Bound, item: pytest.Item, nth: int = 1) -> list[dict[str, Any]]:
        """Write or compare the baseline of one gate as the options ask; return what was found, in plain types.

        ``nth``: the gate is the nth of its kind in this test.

        Raises:
            CertificateMismatch: the baseline was changed by hand.
        """
        if bound.certificate is None or bound.veto:
            return []
        if not bound.of_weights:
            return [self._without(bound)] if self._comparing else []
        file = self.file(item, bound.gate, nth)
        there = file.exists() and file not in self._created
        if self._settings.value("update") or (self._settings.value("update-new-only") and not there):
            bound.certificate.to_json(file)
            return [_state(WRITTEN, file)]
        if not self._comparing:
            return []
        if not there and len(filed := list(file.parent.glob(f"{file.stem}-????????.json"))) == 1:
            file, there = filed[0], True  # a folder of certificates, whose names end in their checkpoint's digits
        return list(self._compare(bound, item, file)) if there else [self._missing(bound, file)]

    def file(self, item: pytest.Item, gate: Gate, nth: int = 1) -> Path:
        """Return where the baseline of one gate lies: beside the test file, or under its whole id in one folder."""
        test, folder = test_id(item), self._folder(item)
        if folder.is_relative_to(item.path.parent / FOLDER):
            test = f"{item.path.name}::{test.partition('::')[2]}"
        return folder / certificate_name(test + f"#{nth}" * (nth > 1), gate.benchmark, gate.evidence)

    def _folder(self, item: pytest.Item) -> Path:
        root: Path = self._settings.value("baseline-dir") or item.path.parent / FOLDER
        if self._name == DEFAULT_NAME:
            return root
        here = self._settings["compare"].folder
        is_path = "/" in self._name or "\\" in self._name or os.path.isdir(here / self._name)
        return here / self._name if is_path else root / self._name

    def _missing(self, bound: Bound, file: Path) -> dict[str, Any]:
        """Create the baseline as ``--basin-missing`` asks. A refuted gate is no baseline unless it is asked for."""
        policy = self._settings.value("missing")
        fails, creates = policy == "fail", policy != "skip" and bound.verdict_at(bound.required) != REFUTED
        if creates:
            assert bound.certificate is not None
            bound.certificate.to_json(file)
            if fails:
                self._created.add(file)
        found = _state(CREATED if creates else MISSING, file)
        if fails:
            found["problem"] = (
                "created: look at it and check it in; the next run compares with it"
                if creates
                else "not created: a refuted gate makes no baseline unless --basin-update asks for it"
            )
        return found

    def _without(self, bound: Bound) -> dict[str, Any]:
        """Say what has no baselines; a margin that was asked for is not passed over."""
        found, what = _state(MISSING, Path()), "scores made elsewhere are" if bound.brought else "a family is"
        found["problem" if self._margins else "note"] = f"{what} compared with no baseline"
        return found

    def _compare(self, bound: Bound, item: pytest.Item, file: Path) -> Iterator[dict[str, Any]]:
        from certify.documents import Certificate

        new, old = bound.certificate, _read(file)
        assert isinstance(new, Certificate)
        for metric, margin in self._metrics(bound.gate):
            found = _state(COMPARED, file) | {"metric": metric, "margin": margin, "since": old.checkpoint.name}
            yield found | _loss_since(old, new, metric, margin, bound.gate.alpha)
        if differences := _machine_differences(old, new):
            item.warn(BasinWarning(f"{bound.name}: since its baseline the machine changed: {'; '.join(differences)}"))

    def _metrics(self, gate: Gate) -> list[tuple[Any, float | None]]:
        """Return the metrics to compare in, each with its margin; the gate's own without one."""
        asked: list[tuple[Any, float | None]] = [
            (metric, margin) for metric, margin in self._margins if metric in SHARED[gate.unit]
        ]
        return asked or [(gate.unit, None)]


def _loss_since(old: Certificate, new: Certificate, metric: str, margin: float | None, alpha: float) -> dict[str, Any]:
    """Return what was lost from one checkpoint to the next, and whether it is shown to be small.

    ``drop``: the score; ``retention``: that, as a share of the base's score above chance; ``absence``: how much of an
    unwanted capability came back. The verdict is one of non-inferiority: certified when the upper bound is at most the
    margin, refuted when the lower bound is above it.
    """
    from certify.comparison import incomparable
    from certify.errors import InvalidInput
    from certify.evidence import Requirement

    if new.evidence.kind == "distance":
        return {"note": "not compared: distance evidence speaks of every checkpoint at once"}
    try:
        if unlike := incomparable(old, new):
            raise InvalidInput(f"{'; '.join(unlike)} (--basin-update makes a new baseline)")
        change, counts = _change(old, new, metric, alpha)
    except InvalidInput as error:
        return {"verdict": "" if margin is None else UNDECIDED, "note": f"not comparable: {error}"}
    value, lower, upper = change.value, change.lower, change.upper
    if metric != "absence":  # a loss is a change downwards
        value, lower, upper = (None if x is None else 0.0 - x for x in (value, upper, lower))
    verdict = "" if margin is None else Requirement(unit="drop", limit=margin).decide(lower, upper).value
    return {"verdict": verdict, "value": value, "lower": lower, "upper": upper, **counts}


def _change(old: Certificate, new: Certificate, metric: str, alpha: float) -> tuple[Interval, dict[str, Any]]:
    """Return the change in the metric with bounds, each at ``alpha``, and what was counted."""
    from certify.comparison import compare

    found = compare(old, new, alpha=alpha, metric="retention" if metric == "retention" else "score")
    return found.change, {"lost": found.lost, "gained": found.gained, "note": "; ".join(found.notes)}


def _machine_differences(old: Certificate, new: Certificate) -> list[str]:
    """Return what else differs: it should not change a score, and may."""
    then, now = old.environment, new.environment
    versions = {name: (then.packages[name], now.packages.get(name, "absent")) for name in then.packages}
    pairs = {
        "device": (then.device, now.device), "platform": (then.platform, now.platform),
        "python": (then.python, now.python), **versions,
    }  # fmt: skip
    lines = [f"{name} was {a}, is {b}" for name, (a, b) in pairs.items() if a and a != b]
    rows = "one row for each continuation"
    if then.batching != now.batching:
        lines.append(f"batching was {then.batching or rows}, is {now.batching or rows}")
    return lines


def objection(found: dict[str, Any], bound: Bound, shown: str) -> tuple[bool, list[str]] | None:
    """Return why a test must not pass for its baseline (whether that is undecided, and lines of text), or None.

    ``shown`` is the baseline's file as a person would write it.
    """
    if found.get("problem"):
        return False, [f"NO BASELINE  {bound.name}", shown, found["problem"]]
    if found["verdict"] not in (REFUTED, UNDECIDED):
        return None
    details = [] if found["lost"] is None else [f"items lost since then: {found['lost']}, gained: {found['gained']}"]
    details += [found["note"]] * bool(found["note"])
    head = f"{found['verdict'].upper()} against its baseline  {bound.name}"
    return found["verdict"] == UNDECIDED, [head, sentence(found, bound), *details, f"baseline: {shown}"]


def sentence(found: dict[str, Any], bound: Bound) -> str:
    """Return the bounds of a comparison on one line: lower bounds rounded down, upper bounds up."""
    from certify.evidence.judgement import down, percent, up

    if found["upper"] is None:
        return f"no bound on what was lost since {found['since']}"
    loss = {"drop": "score lost", "retention": "retention lost", "absence": "score regained"}[found["metric"]]
    allowed = "" if found["margin"] is None else f", at most {found['margin']:g} allowed"
    n, of = bound.trials
    kind = f"({bound.gate.evidence}, {percent(bound.gate.alpha)} one-sided each, {n} {of})"
    return f"{loss} since {found['since']}: {down(found['lower'])} to {up(found['upper'])}{allowed}  {kind}"


def _state(state: str, file: Path) -> dict[str, Any]:
    empty = dict.fromkeys(("margin", "value", "lower", "upper", "lost", "gained"))
    return {"state": state, "file": str(file), "metric": "", "verdict": "", "since": "", "note": "", **empty}


def _read(file: Path) -> Certificate:
    """Return a baseline that still says what was counted."""
    from certify.documents import Certificate, read_document
    from certify.errors import CertificateMismatch

    document = read_document(file)
    if not isinstance(document, Certificate):
        raise CertificateMismatch(f"{file}: is no certificate, so no baseline")
    if document.digest != document.own_digest():
        raise CertificateMismatch(f"{file}: the baseline was changed by hand; make a new one with --basin-update")
    return document


def _margin(text: str) -> tuple[Any, float]:
    metric, _, margin = text.partition(":")
    return metric, float(margin)
