"""Check one checkpoint: gather each required kind of evidence and seal a certificate for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from certify.certificate import Certificate, Measurement
from certify.checkpoints import Checkpoint, open_checkpoint
from certify.errors import CertificateMismatch, InvalidPlan
from certify.evidence import KINDS, Evidence, Requirement, alpha_of, requirement_of
from certify.evidence.feasibility import require_feasible
from certify.evidence.paired_items import Items
from certify.measuring.base import Base
from certify.measuring.checkpoint import Candidate
from certify.measuring.run import Run
from certify.noise import Subspace
from certify.records import NoiseLaw, SubspaceNoise, identity_key, items_key

SMOOTHED_DRAWS = 200


def check(
    base: Base,
    checkpoint: str | Path | Checkpoint | Candidate,
    *,
    kinds: Sequence[str] = ("point",),
    requirement: Requirement | None = None,
    alpha: float = 0.05,
    measurement: Measurement | None = None,
    sigma: float | None = None,
    draws: int = SMOOTHED_DRAWS,
    subspaces: Sequence[Subspace] = (),
    items: Items | None = None,
    user_seed: int = 0,
    run: Run | None = None,
) -> Iterator[Certificate]:
    """Yield one certificate for each kind of evidence, in the order of ``kinds``.

    ``position`` and ``distance`` rest on ``measurement``; ``smoothed`` uses its law of noise on weights, or
    ``sigma``. ``draws`` is the number of paired draws of smoothed evidence. ``items`` says what the items stand
    for; unless given, a population for point and position and the fixed benchmark for distance. Smoothed
    evidence always speaks of the fixed benchmark.

    Raises:
        InvalidPlan: an unknown kind, a missing measurement, another alpha than was declared, or numbers of
            items or draws that could certify the requirement under no outcome.
        CertificateMismatch: the measurement is of another base or benchmark.
        CheckpointError: the checkpoint cannot be read or compared.
    """
    requirement = requirement or Requirement()
    _check_plan(base, kinds, requirement, alpha, measurement, draws, items)
    candidate = _candidate(base, checkpoint)
    for kind in kinds:
        evidence: Evidence
        if kind == "point":
            evidence = candidate.point(items or "population")
        elif kind == "smoothed":
            law = _smoothing_law(base, measurement, sigma)
            evidence = candidate.smoothed(law, draws, user_seed=user_seed, run=run)
        elif kind == "position":
            evidence = candidate.position(_needed(measurement, kind), items or "population")
        else:
            evidence = candidate.distance(_needed(measurement, kind), requirement, alpha, subspaces, items or "fixed")
        yield Certificate.make(
            base=base.checkpoint.identity,
            checkpoint=candidate.checkpoint.identity,
            benchmark=base.scorer.identity,
            requirement=requirement,
            alpha=alpha,
            evidence=evidence,
            environment=base.environment,
        )


def certify(
    base: str | Path,
    checkpoint: str | Path,
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
) -> Certificate:
    """Return the certificate of one kind of evidence about one checkpoint: the library in one call.

    At most one of ``max_drop`` (score units, default 0.05), ``min_retention`` and ``max_score`` (absence).

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
    )
    return certificate


def _candidate(base: Base, checkpoint: str | Path | Checkpoint | Candidate) -> Candidate:
    if isinstance(checkpoint, Candidate):
        return checkpoint.on(base)
    return Candidate(base, checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint))


def _check_plan(
    base: Base,
    kinds: Sequence[str],
    requirement: Requirement,
    alpha: float,
    measurement: Measurement | None,
    draws: int,
    items: Items | None,
) -> None:
    unknown = [k for k in kinds if k not in KINDS]
    if unknown or not kinds:
        raise InvalidPlan(f"unknown evidence {', '.join(unknown) or '(none)'}; choose from {', '.join(KINDS)}")
    if measurement is not None:
        _check_measurement(base, measurement)
    chance = base.benchmark.chance
    for kind in kinds:
        if kind == "distance":
            _check_distance(_needed(measurement, kind), requirement, alpha, items, chance)
        elif not (items == "fixed" and kind == "point"):
            n = draws if kind == "smoothed" else base.scorer.identity.items
            require_feasible(kind, n, requirement, alpha, chance)


def _check_distance(
    measurement: Measurement, requirement: Requirement, alpha: float, items: Items | None, chance: float
) -> None:
    if items == "population" and requirement.unit != "drop":
        raise InvalidPlan(f"distance evidence for a population of items knows a drop only, not {requirement.unit}")
    for draws in measurement.draws:
        if draws.alpha != alpha:
            raise InvalidPlan(
                f"the measurement declared confidence {1 - draws.alpha:g} before its draws; ask for that, or "
                "measure again"
            )
        require_feasible("distance", draws.n, requirement, alpha / draws.ladder, chance, draws.design)


def _check_measurement(base: Base, measurement: Measurement) -> None:
    if measurement.base.computed_in is None:
        raise CertificateMismatch(
            "the measurement was made by version 1, which named a base by the bytes of its files and not by what they "
            "mean: measure again"
        )
    for part, ours, theirs in (
        ("base", identity_key(base.checkpoint.identity), identity_key(measurement.base)),
        ("benchmark", items_key(base.scorer.identity), items_key(measurement.benchmark)),
    ):
        if ours != theirs:
            raise CertificateMismatch(
                f"the measurement is of another {part}: it recorded {theirs}, here is {ours}; measure again"
            )


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
