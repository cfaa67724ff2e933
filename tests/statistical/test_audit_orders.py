"""False certificates of audits over many orders, for populations whose drop is just what is not allowed.

Check and rejection as in test_coverage.py: with a valid audit so many false certificates have probability below 1e-6.
The broken siblings look after each item with a bound for a fixed number of items, take the items of a sorted file in
the file's order, and let an adversary choose among a hundred checkpoints whose orders he knows.
"""

import math

import numpy as np
import pytest
from budget import check_coverage, power
from scipy.stats import beta

from certify.evidence import AuditEvidence, Requirement
from certify.evidence.paired_items import in_order
from certify.evidence.trials import Subject, Trials
from certify.records import BenchmarkIdentity, ModelIdentity, Seed
from certify.statistics.audits import running_evidence

ALPHA = 0.05
SIZES = pytest.mark.parametrize("repeats", [200, pytest.param(10_000, marks=pytest.mark.statistical)])
POPULATIONS = {
    "lost only": (1000, 51, 0), "some churn": (1000, 61, 10), "much churn": (1000, 301, 250), "few items": (300, 16, 0),
    "many items": (2355, 118, 0), "half lost": (1000, 500, 0),
}  # fmt: skip
"""Items, lost, gained; in all but the last one item more than a drop of 0.05 allows."""
GRADED = "graded"
BROKEN = {"peeking": 0.22, "file order": 0.9, "a known order": 0.9}
"""False certificates of each broken sibling, at least."""


def population(name):
    """What each item lost, and the most that it can have lost."""
    if name == GRADED:
        x = np.round(np.random.default_rng(7).beta(0.3, 2.0, 400) * np.resize([1.0, 1.0, -0.5], 400), 2)
        return x, np.maximum(x, 0.0)
    items, lost, gained = POPULATIONS[name]
    x = np.repeat([1.0, -1.0, 0.0], [lost, gained, items - lost - gained])
    return x, np.where(x < 0, 0.0, 1.0)


def certifies(x, most, tau):
    """Whether an audit in this order ends with a certificate before the last item."""
    return bool((running_evidence(x[:-1], most, tau) >= math.log(1 / ALPHA)).any())


def certifies_by_peeking(x, tau):
    """The same by a Clopper-Pearson bound for a fixed number of items, looked at after each."""
    n, lost = np.arange(1, len(x)), np.cumsum(x[:-1])
    return bool((beta.isf(ALPHA, lost + 1, n - lost) <= tau).any())


def false_certificates(repeats, name, tau, rule):
    """How often ``rule`` certifies over random orders."""
    x, most = population(name)
    rng, count = np.random.default_rng(1), 0
    for _ in range(repeats):
        order = rng.permutation(len(x))
        count += rule(x[order], most[order], tau)
    return count


@SIZES
@pytest.mark.parametrize("name", [*POPULATIONS, GRADED])
def test_false_certificates_keep_alpha(repeats, name):
    """At a drop of exactly tau, which is where they are most frequent."""
    tau = float(population(name)[0].mean())
    assert tau > 0.05
    check_coverage(false_certificates(repeats, name, tau, certifies), repeats, ALPHA)


@SIZES
@pytest.mark.parametrize("name", ["lost only", "many items"])
def test_false_refutations_keep_alpha(repeats, name):
    """The mirror image: at a drop of exactly tau, against "it is met"."""
    tau = float(population(name)[0].mean())

    def refutes(x, most, tau):
        return certifies(-x, np.where(x > 0, 0.0, 1.0), -tau)

    check_coverage(false_certificates(repeats, name, tau, refutes), repeats, ALPHA)


@SIZES
def test_peeking_is_rejected(repeats):
    """A bound for a fixed number of items, asked after each, certifies falsely far too often."""
    tau = float(population("half lost")[0].mean())
    count = false_certificates(repeats, "half lost", tau, lambda x, most, tau: certifies_by_peeking(x, tau))
    assert count >= BROKEN["peeking"] * repeats
    assert power(repeats, ALPHA, BROKEN["peeking"]) >= 0.99
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)


def certified(seed, items=400, lost=21, in_file_order=False):
    """Whether the audit whose order ``seed`` draws certifies a drop of 0.05, on a file whose lost items stand last."""
    checkpoint, requirement = [1.0] * (items - lost) + [0.0] * lost, Requirement()
    scores = checkpoint if in_file_order else in_order(checkpoint, seed)
    whole = AuditEvidence(seed=seed, until=requirement, base=(1.0,) * items, checkpoint=tuple(scores))
    end = whole.decided_after(requirement, ALPHA, 0.0)
    interval = whole.model_copy(update={"checkpoint": whole.checkpoint[:end]}).interval(requirement, ALPHA, 0.0)
    return interval.upper is not None and interval.upper <= requirement.limit


def audits_of_a_sorted_file(repeats, in_file_order):
    """False certificates with another seed each time."""
    return sum(certified(Seed(value=f"{i:064x}"), in_file_order=in_file_order) for i in range(repeats))


@SIZES
def test_the_order_from_the_seed_keeps_alpha_on_a_sorted_file(repeats):
    """21 of 400 lost, 20 allowed: through the record itself, with the order that its seed draws."""
    check_coverage(audits_of_a_sorted_file(repeats, in_file_order=False), repeats, ALPHA)


def test_the_order_of_a_sorted_file_is_rejected():
    """The negative control: in the file's order every audit certifies what is not so."""
    count = audits_of_a_sorted_file(200, in_file_order=True)
    assert count >= BROKEN["file order"] * 200
    with pytest.raises(AssertionError, match="misses in 200 repetitions"):
        check_coverage(count, 200, ALPHA)


def seed_of(checkpoint, user_seed):
    """The seed of an audit of the checkpoint of this number, which follows from digests that anybody can compute."""
    digest = f"sha256:{0:064x}"
    base = ModelIdentity(name="m", weights=digest, companions={}, parameters=1, dtypes=(), computed_in="float32")
    made = base.model_copy(update={"weights": f"sha256:{checkpoint + 1:064x}"})
    benchmark = BenchmarkIdentity(name="b", items=400, scoring="x", chance=0.0, digest=digest, tokens=digest)
    return Trials("audit", Subject(benchmark, base, made), None, 400, user_seed).seed


def chosen_among(many, adversary):
    """The checkpoint that an adversary hands in: the first of ``many``, all as bad, that the known order certifies."""
    own = range(adversary * many, (adversary + 1) * many)
    return next((each for each in own if certified(seed_of(each, 0))), own[-1])


@pytest.mark.parametrize("repeats", [30, pytest.param(300, marks=pytest.mark.statistical)])
def test_an_adversary_who_knows_the_order_is_rejected_and_a_drawn_seed_withstands_him(repeats):
    """He picks among 100 checkpoints that lost an item too many each; the seed is drawn when he has handed one in."""
    rng, chosen = np.random.default_rng(5), [chosen_among(100, i) for i in range(repeats)]
    check_coverage(sum(certified(seed_of(each, int(rng.integers(1, 2**32)))) for each in chosen), repeats, ALPHA)
    count = sum(certified(seed_of(each, 0)) for each in chosen)
    assert count >= BROKEN["a known order"] * repeats
    assert power(repeats, ALPHA, BROKEN["a known order"]) >= 0.99
    with pytest.raises(AssertionError, match=f"{count} misses in {repeats} repetitions"):
        check_coverage(count, repeats, ALPHA)
