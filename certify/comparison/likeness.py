"""What must be alike before two certificates are compared, and what else is to be said when it is not."""

from __future__ import annotations

from certify.documents import Certificate
from certify.errors import InvalidInput
from certify.evidence import AuditEvidence, DistanceEvidence, PointEvidence, PositionEvidence, SmoothedEvidence
from certify.evidence.change import base_differs
from certify.evidence.paired_items import PairedScores
from certify.records import grouping, identity_key, items_key


def refuse_unlike(first: Certificate, second: Certificate) -> None:
    """Refuse what cannot be compared, naming every difference. Raises InvalidInput."""
    for certificate in (first, second):
        if isinstance(certificate.evidence, DistanceEvidence):
            raise InvalidInput(
                f"distance evidence about {certificate.checkpoint.name} holds no scores of the checkpoint itself: "
                "compare point, position or smoothed certificates"
            )
        if isinstance(certificate.evidence, AuditEvidence):
            raise InvalidInput(
                f"the audit of {certificate.checkpoint.name} scored {certificate.evidence.n} of "
                f"{certificate.evidence.m} items, in an order of its own: compare point, position or smoothed "
                "certificates"
            )
    own, other = items_key(first.benchmark), items_key(second.benchmark)
    unlike = [f"benchmark {name}: {own[name]} and {other[name]}" for name in own if own[name] != other[name]]
    if first.benchmark.groups != second.benchmark.groups:
        unlike.append(f"items: {grouping(first.benchmark.groups)} and {grouping(second.benchmark.groups)}")
    if identity_key(first.base) != identity_key(second.base):
        unlike.append(f"base: {_base(first)} and {_base(second)}")
    if first.evidence.kind != second.evidence.kind:
        unlike.append(f"evidence: {first.evidence.kind} and {second.evidence.kind}")
    else:
        unlike += _premises(first, second)
    if unlike:
        raise InvalidInput("the two certificates cannot be compared; they differ in " + "; ".join(unlike))


def _premises(first: Certificate, second: Certificate) -> list[str]:
    one, other = first.evidence, second.evidence
    if isinstance(one, SmoothedEvidence) and isinstance(other, SmoothedEvidence):
        # The base's score is to cancel, so whatever may move it counts.
        unlike = [*base_differs(one, other), *_conditions(first, second)]
        return [f"{name}: {a} and {b}" for name, a, b in unlike]
    assert isinstance(one, PointEvidence | PositionEvidence)
    assert isinstance(other, PointEvidence | PositionEvidence)
    return [] if one.items == other.items else [f"what the items stand for: {one.items} and {other.items}"]


def incomparable(old: Certificate, new: Certificate) -> list[str]:
    """Return what changed the meaning of a score beside the checkpoint: dtype, kernels, torch's major and minor ..."""
    others = {
        "base": identity_key(old.base) != identity_key(new.base),
        "benchmark": items_key(old.benchmark) != items_key(new.benchmark),
        "grouping of the items": old.benchmark.groups != new.benchmark.groups,
    }
    changed = [f"{name} was {then}, is {now}" for name, then, now in _conditions(old, new)]
    return [f"the {name} is another one" for name, other in others.items() if other] + changed


def _conditions(first: Certificate, second: Certificate) -> list[tuple[str, str, str]]:
    """Return under what, where both say it, they were scored differently: name and both values."""

    def minor(certificate: Certificate) -> str:
        return ".".join(certificate.environment.packages.get("torch", "").split(".")[:2])

    pairs = {
        "dtype": (_dtype(first), _dtype(second)),
        "kernels": (first.environment.device.partition(" ")[0], second.environment.device.partition(" ")[0]),
        "torch": (minor(first), minor(second)),
    }
    return [(name, one, two) for name, (one, two) in pairs.items() if one and two and one != two]


def _base(certificate: Certificate) -> str:
    base = certificate.base
    companions = ", ".join(f"{name} {value[7:19]}" for name, value in base.companions.items())
    return f"{base.name} (weights {base.weights[7:19]}, {companions})"


def item_scores(certificate: Certificate) -> PairedScores:
    """Return the item scores of base and checkpoint: for position, at the end of the segment.

    Raises:
        InvalidInput: the segment does not end at the checkpoint as it is.
    """
    evidence = certificate.evidence
    if isinstance(evidence, PointEvidence):
        return evidence.scores
    assert isinstance(evidence, PositionEvidence)
    if evidence.displacement.differences:
        other = "; ".join(evidence.displacement.differences)
        raise InvalidInput(f"{certificate.checkpoint.name} differs from the base in more than weights: {other}")
    end = next((point for point in evidence.points if point.fraction == 1.0), None)
    if end is None:
        raise InvalidInput(f"{certificate.checkpoint.name} was not scored at the end of its segment")
    return evidence.basin.paired(end.scores)


def remarks(first: Certificate, second: Certificate) -> tuple[str, ...]:
    """Return what differs beside the checkpoints and may have moved scores."""
    notes = []
    if identity_key(first.checkpoint) == identity_key(second.checkpoint):
        notes.append("both are the same checkpoint")
    own, other = first.environment, second.environment
    pairs = {name: (own.packages.get(name), other.packages.get(name)) for name in {**own.packages, **other.packages}}
    pairs |= {"device": (own.device, other.device), "dtype": (_dtype(first), _dtype(second))}
    pairs |= {"batching": (own.batching, other.batching)}
    unlike = [name for name, (one, two) in pairs.items() if one != two]
    if unlike:
        notes.append(f"what ran them differs in {', '.join(unlike)}")
    for certificate in (first, second):
        evidence = certificate.evidence
        if isinstance(evidence, PointEvidence | SmoothedEvidence) and evidence.differences:
            settings = "; ".join(evidence.differences)
            notes.append(f"{certificate.checkpoint.name} was scored with its own settings: {settings}")
    return tuple(notes)


def _dtype(certificate: Certificate) -> str:
    return "/".join(certificate.checkpoint.dtypes)


def remarks_on_draws(before: SmoothedEvidence, after: SmoothedEvidence, alpha: float) -> tuple[str, ...]:
    """Return what the draws themselves show: a base whose two intervals do not meet.

    Both estimate one number, so chance alone gives this note with probability ``alpha`` at most (four bounds).
    """
    found = [evidence.base_score(alpha / 4) for evidence in (before, after)]
    if max(x.lower for x in found if x.lower is not None) <= min(x.upper for x in found if x.upper is not None):
        return ()
    return (
        f"the base itself scored differently under noise in the two records ({before.base.mean:.3f} and "
        f"{after.base.mean:.3f} on average): it may not cancel, and no bound covers that",
    )


def remarks_on_items(before: PairedScores, after: PairedScores) -> tuple[str, ...]:
    """Return what the item scores themselves show: missing answers, and a base that did not repeat."""
    notes = []
    missing = sum(a is None or b is None for a, b in zip(before.checkpoint, after.checkpoint, strict=True))
    if missing:
        notes.append(f"{missing} items without an answer: the bounds hold whatever they would have scored")
    moved = sum(a != b for a, b in zip(before.base, after.base, strict=True))
    if moved:
        notes.append(f"the base itself scored differently on {moved} of {before.m} items in the two records")
    return tuple(notes)
