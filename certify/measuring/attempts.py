"""How often a checkpoint was gated, or a family covered, with draws of its own.

Another sigma, plan, number of draws or user seed is another test, and pays for it. What is known is what was kept: a
list beside the finished draws, and the certificates in the folder that new ones go to.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from certify.documents import DOCUMENTS, Certificate, CoverRecord, GateRecord, read_as
from certify.errors import CertifyError, CertifyWarning, InvalidInput
from certify.evidence.trials import Purpose, Subject
from certify.locks import held
from certify.measuring.run import Run
from certify.measuring.sealed_lines import sealed, unsealed
from certify.parsing import read_bytes
from certify.records import Seed, digest, identity_key, items_key
from certify.writing import whole


def attempt(run: Run, purpose: Purpose, subject: Subject, seed_of: Callable[[int], Seed]) -> int:
    """Return which attempt at ``subject`` this is, counted from 0, and keep that it was made.

    ``seed_of(j)`` is the seed that it would have as attempt j: the same test done again has the seed that is kept of
    it, and is no other attempt. Where nothing is kept every attempt is the first, as far as anybody can know.
    """
    identity = {"choice": "attempt", "of": _question(purpose, subject)}
    number: int = run.same(identity, lambda: _counted(run, purpose, subject, seed_of))
    return number


def _counted(run: Run, purpose: Purpose, subject: Subject, seed_of: Callable[[int], Seed]) -> int:
    filed = list(_filed(run.filed, purpose, subject)) if run.filed else []
    if run.ledgers is None:
        return _number(filed, seed_of)
    file = run.ledgers / f"attempts.{_question(purpose, subject)}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(file.with_suffix(".lock"), run.longest_wait):
        kept = list(_kept(file)) if os.path.lexists(file) else []
        number = _number([*kept, *filed], seed_of)
        seed = seed_of(number).value
        if (number, seed) not in kept:
            before = read_bytes(file, InvalidInput) if os.path.lexists(file) else b""
            with whole(file) as aside:  # a line that a full disk cut off would count as an attempt
                aside.write_bytes(before + sealed([number, seed]) + b"\n")
    return number


def _number(known: list[tuple[int, str]], seed_of: Callable[[int], Seed]) -> int:
    # In ascending order and no further than needed: what a first attempt may do, a later one may be too small for.
    same = (number for number, seed in sorted(known) if seed_of(number).value == seed)
    found = next(same, None)
    return max((number + 1 for number, _ in known), default=0) if found is None else found


def _question(purpose: Purpose, subject: Subject) -> str:
    if subject.family is not None:
        about: str | list[Any] = subject.family.fingerprint
    else:
        assert subject.checkpoint is not None  # other draws serve every checkpoint
        about = identity_key(subject.checkpoint)
    pool = subject.benchmark.pool  # other weights, or another sequence, ask the same again
    items = items_key(subject.benchmark) if pool is None else sorted(part.digest for part in pool)
    asked = [purpose, identity_key(subject.base), about, items]
    return digest(asked).removeprefix("sha256:")[:32]


def _kept(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and seed of each attempt; a damaged line counts as one whose seed nobody knows."""
    damaged = []
    for place, line in enumerate(read_bytes(file, InvalidInput).splitlines()):
        match unsealed(line):
            case [int(number), str(seed)]:
                yield number, seed
            case _:
                damaged.append(place + 1)
                yield place, ""
    if damaged:
        what = "line is" if len(damaged) == 1 else "lines are"
        warnings.warn(
            f"{file}:{damaged[0]}: {len(damaged)} {what} damaged, and counted as an attempt each",
            CertifyWarning,
            stacklevel=2,
        )


def _filed(folder: Path, purpose: Purpose, subject: Subject) -> Iterator[tuple[int, str]]:
    """Yield number and seed of each attempt that a certificate in ``folder`` speaks of."""
    question = _question(purpose, subject)
    for file in sorted(folder.glob("*.json")):
        try:
            document = read_as(file, DOCUMENTS)
        except CertifyError:  # not ours, or damaged: `certify verify` says so
            continue
        if not isinstance(document, Certificate | GateRecord | CoverRecord) or document.evidence.kind != purpose:
            continue
        if _question(purpose, document.subject) == question:
            yield from ((run.seed.attempt, run.seed.value) for run in document.runs)
