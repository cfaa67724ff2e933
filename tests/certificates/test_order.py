"""The order of graded items in the files: recorded, said, recomputed; version 1 keeps the order of its file."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from certify.documents import Certificate
from certify.evidence import PointEvidence
from certify.records import Seed, order_of
from certify.strategies import certificates
from certify.verify import differences


def with_order(certificate: Certificate, order: Seed | None) -> Certificate:
    """The same scores, taken in another order, judged and sealed anew."""
    evidence = certificate.evidence
    if isinstance(evidence, PointEvidence):
        evidence = evidence.model_copy(update={"scores": evidence.scores.model_copy(update={"order": order})})
    else:
        evidence = evidence.model_copy(update={"basin": evidence.basin.model_copy(update={"order": order})})
    return Certificate.make(
        base=certificate.base, checkpoint=certificate.checkpoint, benchmark=certificate.benchmark,
        requirement=certificate.requirement, alpha=certificate.alpha, evidence=evidence,
        environment=certificate.environment,
    )  # fmt: skip


@given(certificates(kinds=("point", "position"), min_items=3), st.sampled_from([None, Seed(value="0" * 64)]))
def test_an_order_of_ones_own_is_found(certificate: Certificate, order: Seed | None) -> None:
    """A lucky order with a fitting judgement and digest, or the file's own order, is not the benchmark's."""
    assume(certificate.benchmark.graded)
    assert differences(certificate) == []
    (line,) = differences(with_order(certificate, order))
    assert line.startswith("evidence.") and ".order: recorded " in line


@given(certificates(kinds=("point", "position")))
def test_only_what_is_bet_on_has_an_order(certificate: Certificate) -> None:
    """Items that are right or wrong are counted; grades, and groups of items, are not."""
    evidence = certificate.evidence
    order = evidence.scores.order if isinstance(evidence, PointEvidence) else evidence.basin.order
    assert order == order_of(certificate.benchmark)
    assert (order is not None) == _bet(certificate)


def _bet(certificate: Certificate) -> bool:
    return certificate.benchmark.graded or certificate.benchmark.groups is not None


@given(certificates(kinds=("point",), min_items=2))
def test_the_claim_says_so(certificate: Certificate) -> None:
    """Where items were taken in an order, and only there."""
    claim = certificate.judgement.claim
    bounded = certificate.evidence.items == "population" and claim.startswith("With ")
    assert ("taken in an order drawn from a seed" in claim) == (_bet(certificate) and bounded)
