"""Check one checkpoint: gather each required kind of evidence and seal a certificate for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from certify.benchmarks import PooledBenchmark
from certify.checkpoints import Checkpoint, open_checkpoint
from certify.documents import Certificate, Measurement, charged_alpha
from certify.errors import CertificateMismatch, CertifyWarning, InvalidPlan
from certify.evidence import KINDS, Evidence, Requirement, alpha_of, requirement_of
from certify.evidence.feasibility import infeasible_pool, require_feasible
from certify.evidence.paired_items import Items
from certify.evidence.position import FRACTIONS
from certify.evidence.trials import Trials
from certify.measuring.attempts import attempt
from certify.measuring.base import Base
from certify.measuring.candidate import Candidate
from certify.measuring.costs import Load, foretell, noise_writing
from certify.measuring.progress import Progress, with_progress
from certify.measuring.run import Run
from certify.noise import Subspace
from certify.records import (
    BenchmarkIdentity,
    ModelIdentity,
    NoiseLaw,
    Seed,
    SubspaceNoise,
    Way,
    grouping,
    identity_key,
    items_key,
    units,
)
from certify.text import shortened

SMOOTHED_DRAWS = 200
POOLED = ("point", "audit")
"""Kinds of evidence that judge the weighted mean of several benchmarks."""


@dataclass(frozen=True)
class Asked:
    """What one checkpoint is asked, whatever the kind of evidence; see :func:`check`."""

    requirement: Requirement
    alpha: float
    measurement: Measurement | None
    sigma: float | None
    draws: int
    subspaces: tuple[Subspace, ...]
    items: Items | None
    user_seed: int
    run: Run | None


@dataclass(frozen=True)
class Gathering:
    """One kind of evidence: what is refused before anything is scored, and the counting itself.

    ``as_measured``: its scores are paired with those of the measurement, so rows are batched as they were there.
    ``displaced``: it needs how far the weights moved, so they are compared first and hashed in the same pass.
    """

    refuse: Callable[[Base, Asked], None]
    gather: Callable[[Candidate, Asked], Evidence]
    as_measured: bool = False
    displaced: bool = False


def check(
    base: Base,
    checkpoint: str | Path | Checkpoint | Candidate,
    *,
    kinds: Sequence[str] = ("point",),
    informational: Sequence[str] = (),
    requirement: Requirement | None = None,
    alpha: float = 0.05,
    measurement: Measurement | Sequence[Measurement] | None = None,
    sigma: float | None = None,
    draws: int = SMOOTHED_DRAWS,
    subspaces: Sequence[Subspace] = (),
    items: Items | None = None,
    user_seed: int = 0,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Iterator[Certificate]:
    """Yield one certificate for each kind of evidence, in the order of ``kinds`` and then of ``informational``.

    A certificate of an ``informational`` kind says so, and no outcome of several gates rests on it.

    ``position`` and ``distance`` rest on ``measurement``; ``smoothed`` uses its law of noise on weights, or
    ``sigma``. ``audit`` takes the base's scores from it; on a pool of benchmarks ``point`` does, too, and there
    ``measurement`` is one of each, in any order. ``draws`` is the number of paired draws of smoothed evidence.
    ``items`` says what the items stand for; unless given, a population for point and position and the fixed benchmark
    for distance. Smoothed evidence always speaks of the fixed benchmark. ``progress``: "auto" for a line with rate and
    time left on a terminal or in a notebook, or a function of (what is drawn, done, total).

    Raises:
        InvalidPlan: an unknown kind, a missing measurement, another alpha than was declared, or numbers of
            items or draws that could certify the requirement under no outcome.
        CertificateMismatch: the measurement is of another base or benchmark.
        CheckpointError: the checkpoint cannot be read or compared.
    """
    requirement, subspaces = requirement or Requirement(), tuple(subspaces)
    run = with_progress(run, progress)
    base, measurement = _measured(base, measurement)
    asked = Asked(requirement, alpha, measurement, sigma, draws, subspaces, items, user_seed, run)
    _refuse_beforehand(base, kinds, informational, asked)
    candidate = _candidate(base, checkpoint)
    _foretell(base, (*kinds, *informational), asked)
    if any(GATHERING[kind].displaced for kind in (*kinds, *informational)):
        candidate.displacement()
    for kind in (*kinds, *informational):
        gathering, own = GATHERING[kind], candidate
        if gathering.as_measured and measurement is not None:
            own = candidate.on(base.scored_as(measurement.environment.batching))
        yield Certificate.make(
            base=base.checkpoint.identity,
            checkpoint=candidate.checkpoint.identity,
            benchmark=base.scorer.identity,
            requirement=asked.requirement,
            alpha=alpha,
            evidence=gathering.gather(own, asked),
            environment=own.environment,
            informational=kind in informational,
        )


def certify(
    base: str | Path | Checkpoint,
    checkpoint: str | Path | Checkpoint,
    benchmark: str | Path,
    *,
    evidence: str = "point",
    confidence: float = 0.95,
    max_drop: float | None = None,
    min_retention: float | None = None,
    max_score: float | None = None,
    measurement: Measurement | None = None,
    sigma: float | None = None,
    draws: int = SMOOTHED_DRAWS,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Certificate:
    """Return the certificate of one kind of evidence about one checkpoint: the library in one call.

    At most one of ``max_drop`` (score units, default 0.05), ``min_retention`` and ``max_score`` (absence).
    ``progress`` is that of :func:`check`.

    Raises:
        CertifyError: bad input; the message says what, where, which value and which rule.
    """
    (certificate,) = check(
        Base.open(base, benchmark, device),
        checkpoint,
        kinds=(evidence,),
        requirement=requirement_of(max_drop, min_retention, max_score),
        alpha=alpha_of(confidence),
        measurement=measurement,
        sigma=sigma,
        draws=draws,
        progress=progress,
    )
    return certificate


def _candidate(base: Base, checkpoint: str | Path | Checkpoint | Candidate) -> Candidate:
    if isinstance(checkpoint, Candidate):
        return checkpoint.on(base)
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint, base.checkpoint)
    return Candidate(base, opened)


def _foretell(base: Base, kinds: Sequence[str], asked: Asked) -> None:
    """Tell what the evidence takes, beside reading weights."""
    known = base.known or (asked.measurement is not None and not {"point", "smoothed"} & set(kinds))
    load = Load.of_check(kinds, base.scorer.identity.items, asked.draws, len(FRACTIONS), known=known)
    law = _smoothing_law(base, asked.measurement, asked.sigma) if "smoothed" in kinds else None
    foretell(base, asked.run or Run(), load, writing=None if law is None else noise_writing(base, law))


def _refuse_beforehand(base: Base, kinds: Sequence[str], informational: Sequence[str], asked: Asked) -> None:
    """Refuse what no outcome could certify, for every kind, before anything is scored."""
    unknown = [k for k in (*kinds, *informational) if k not in GATHERING]
    if unknown or not kinds:
        raise InvalidPlan(f"unknown evidence {', '.join(unknown) or '(none)'}; choose from {', '.join(KINDS)}")
    if asked.measurement is not None:
        _check_measurement(base, asked.measurement)
    pooled = [k for k in (*kinds, *informational) if k not in POOLED] if base.scorer.identity.pool else []
    if pooled:
        raise InvalidPlan(
            f"{base.benchmark.name} is a pool of benchmarks, which {' and '.join(POOLED)} evidence judge together; ask "
            f"{', '.join(pooled)} evidence of each"
        )
    for kind in (*kinds, *informational):
        GATHERING[kind].refuse(base, asked)
        if GATHERING[kind].as_measured and asked.measurement is not None:
            base.scored_as(asked.measurement.environment.batching)  # refuses scores of another engine


def _refuse_point(base: Base, asked: Asked) -> None:
    if asked.items == "fixed":  # nothing is random about fixed items: any number can certify
        return
    if base.scorer.identity.pool is None:
        _refuse_few_items("point", base, asked)
    elif problem := infeasible_pool(base.scorer.identity, asked.requirement, asked.alpha):
        raise InvalidPlan(problem)


def _refuse_position(base: Base, asked: Asked) -> None:
    _needed(asked.measurement, "position")
    _refuse_few_items("position", base, asked)


def _refuse_few_items(kind: str, base: Base, asked: Asked) -> None:
    identity = base.scorer.identity
    groups = None if asked.items == "fixed" else identity.groups
    require_feasible(kind, identity.items, asked.requirement, asked.alpha, base.benchmark.chance, groups=groups)


def _refuse_smoothed(base: Base, asked: Asked) -> None:
    require_feasible("smoothed", asked.draws, asked.requirement, asked.alpha, base.benchmark.chance)


def _refuse_audit(base: Base, asked: Asked) -> None:
    if asked.items == "population":
        raise InvalidPlan("audit evidence speaks of exactly these items, not of a population: use point evidence")


def _refuse_distance(base: Base, asked: Asked) -> None:
    measurement, unit = _needed(asked.measurement, "distance"), asked.requirement.unit
    if asked.items == "population" and unit != "drop":
        raise InvalidPlan(f"distance evidence for a population of items knows a drop only, not {unit}")
    if not measurement.draws:
        raise InvalidPlan(
            "the measurement holds the basin alone, and distance evidence rests on draws at the base: run `certify "
            "measure` with -n DRAWS, or ask for position evidence"
        )
    identity = base.scorer.identity
    if asked.items == "population" and identity.groups is not None:
        raise InvalidPlan(
            f"distance evidence for a population bounds means over single items, and those of {identity.name} come in "
            f"{units(identity.items, identity.groups)} groups: take point or position evidence, or the fixed items"
        )
    for draws in measurement.draws:
        if draws.alpha != asked.alpha:
            raise InvalidPlan(
                f"the measurement declared confidence {1 - draws.alpha:g} before its draws; ask for that, or "
                "measure again"
            )
        share = asked.alpha / draws.ladder
        require_feasible("distance", draws.n, asked.requirement, share, base.benchmark.chance, draws.design)


def _check_measurement(base: Base, measurement: Measurement) -> None:
    if measurement.base.computed_in is None:
        raise CertificateMismatch(
            "the measurement was made by version 1, which named a base by the bytes of its files and not by what they "
            "mean: measure again"
        )
    if measurement.benchmark.tokens is None is not base.scorer.identity.tokens:
        raise InvalidPlan(
            "the measurement's draws were scored by another tool, so distance from it is judged without naming items "
            "(`certify check --require distance --measurement`, without --benchmark)"
        )
    for part, ours, theirs in (
        ("base", _base_key(base.checkpoint.identity), _base_key(measurement.base)),
        ("benchmark", items_key(base.scorer.identity), items_key(measurement.benchmark)),
        ("grouping of the items", _groups_key(base.scorer.identity), _groups_key(measurement.benchmark)),
    ):
        if differ := [name for name, value in theirs.items() if ours[name] != value]:
            each = [f"{n}: {shortened(str(theirs[n]), 40)}, here {shortened(str(ours[n]), 40)}" for n in differ]
            raise CertificateMismatch(f"the measurement is of another {part} ({'; '.join(each)}): measure again")


def _base_key(model: ModelIdentity) -> dict[str, Any]:
    return dict(zip(("weights", "companions", "computed in"), identity_key(model), strict=True))


def _groups_key(benchmark: BenchmarkIdentity) -> dict[str, Any]:
    return {"groups": grouping(benchmark.groups)}


def _measured(
    base: Base, measurement: Measurement | Sequence[Measurement] | None
) -> tuple[Base, Measurement | None]:
    """Return a benchmark's base and its measurement; a pool's base with the scores that measurements of all hold.

    Raises:
        InvalidPlan: several of one benchmark; one of the pool's benchmarks has none, or they were batched unlike.
        CertificateMismatch: one is of another base or of other items.
    """
    pool = base.benchmark
    if measurement is None:
        return base, None
    if not isinstance(pool, PooledBenchmark):
        if isinstance(measurement, Measurement):
            return base, measurement
        raise InvalidPlan(f"{pool.name} is one benchmark, which has one measurement: {len(measurement)} are given")
    given = [measurement] if isinstance(measurement, Measurement) else list(measurement)
    scores: list[float | None] = []
    ways: dict[Way, str] = {}
    for part in map(base.on, pool.benchmarks):
        name, digest = part.benchmark.name, part.benchmark.digest
        own = [each for each in given if each.benchmark.digest == digest] or [
            each for each in given if each.benchmark.name == name
        ]
        if len(own) != 1:
            raise InvalidPlan(f"{pool.name} pools {name}, of which {len(own)} measurements are given: give one of each")
        given.remove(own[0])
        if own[0].benchmark.digest != digest:
            raise CertificateMismatch(
                f"the measurement of {name} is of other items than {pool.name} pools: it recorded "
                f"{own[0].benchmark.digest}, here is {digest}; measure again"
            )
        _check_measurement(part, own[0])
        scores += own[0].unnoised
        if not getattr(part.scorer, "generates", True):  # answers that are generated are so in one way only
            recorded = own[0].environment.batching
            ways[base.scored_as(recorded).cheapest] = recorded
    if given:
        raise InvalidPlan(f"a measurement of {given[0].benchmark.name} is given, which {pool.name} does not pool")
    if len(ways) > 1:
        said = " and ".join(each or "one row for each continuation" for each in ways.values())
        raise InvalidPlan(f"{pool.name}: a pool is scored in one way, and its benchmarks were measured in two ({said})")
    return base.with_scores(tuple(scores), next(iter(ways.values()), own[0].environment.batching)), None


def _needed(measurement: Measurement | None, kind: str) -> Measurement:
    if measurement is None:
        raise InvalidPlan(
            f"{kind} evidence rests on a measurement of the base: run `certify measure` and name its file"
        )
    return measurement


def _smoothing_law(base: Base, measurement: Measurement | None, sigma: float | None) -> NoiseLaw:
    if sigma is not None:
        return base.weight_law(sigma)
    laws = [d.law for d in measurement.draws if not isinstance(d.law, SubspaceNoise)] if measurement else []
    if not laws:
        raise InvalidPlan("smoothed evidence needs a sigma: give one, or a measurement with noise on weights")
    return laws[0]


def _smoothed(candidate: Candidate, asked: Asked) -> Evidence:
    law = _smoothing_law(candidate.base, asked.measurement, asked.sigma)
    planned = Trials("smoothed", candidate.subject, law, asked.draws, asked.user_seed)

    def seed_of(number: int) -> Seed:
        share = charged_alpha(asked.alpha, number)  # an attempt that could certify nothing is refused, and not counted
        require_feasible("smoothed", asked.draws, asked.requirement, share, candidate.base.benchmark.chance)
        return replace(planned, attempt=number).seed

    number = attempt(asked.run or Run(), "smoothed", candidate.subject, seed_of)
    if number:
        _say_again("smoothed", candidate, number, charged_alpha(asked.alpha, number))
    return candidate.smoothed(law, asked.draws, user_seed=asked.user_seed, attempt=number, run=asked.run)


def _audit(candidate: Candidate, asked: Asked) -> Evidence:
    planned = Trials("audit", candidate.subject, None, candidate.subject.benchmark.items, asked.user_seed)
    number = attempt(asked.run or Run(), "audit", candidate.subject, lambda j: replace(planned, attempt=j).seed)
    alpha = charged_alpha(asked.alpha, number)
    if number:
        _say_again("audit", candidate, number, alpha)
    return candidate.audit(
        asked.requirement, alpha, asked.measurement, user_seed=asked.user_seed, attempt=number, run=asked.run
    )


def _say_again(kind: str, candidate: Candidate, number: int, alpha: float) -> None:
    others = {"smoothed": "another sigma, seed or number of draws"}.get(kind, "another seed")
    warnings.warn(
        f"{kind} evidence on {candidate.checkpoint.identity.name} is attempt {number + 1}: {others} was tried before, "
        f"so it is judged at alpha = {alpha:.4g}",
        CertifyWarning,
        stacklevel=2,
    )


def _distance(candidate: Candidate, asked: Asked) -> Evidence:
    measurement = _needed(asked.measurement, "distance")
    return candidate.distance(measurement, asked.requirement, asked.alpha, asked.subspaces, asked.items or "fixed")


def _point(candidate: Candidate, asked: Asked) -> Evidence:
    candidate.base.kept_scores(asked.run or Run())
    return candidate.point(asked.items or "population")


def _position(candidate: Candidate, asked: Asked) -> Evidence:
    return candidate.position(_needed(asked.measurement, "position"), asked.items or "population")


GATHERING = {
    "point": Gathering(_refuse_point, _point),
    "position": Gathering(_refuse_position, _position, as_measured=True, displaced=True),
    "smoothed": Gathering(_refuse_smoothed, _smoothed, displaced=True),
    "distance": Gathering(_refuse_distance, _distance, displaced=True),
    "audit": Gathering(_refuse_audit, _audit, as_measured=True),
}
"""How each kind of evidence is gathered from a checkpoint."""
