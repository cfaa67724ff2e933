"""The semantics of `basin_bound`, on certificates made of counts alone: no model runs here."""

import operator
import re

import pytest
from scipy.stats import binom

from certify.documents import Certificate
from certify.evidence import PointEvidence
from certify.measuring.environment import environment
from certify.records import BenchmarkIdentity, ModelIdentity, digest
from certify.report.rows import row_of
from certify.statistics import drop_bounds, trinomial_drop_bounds
from pytest_basin.bound import Bound
from pytest_basin.gates import Gate

NOTHING = digest("nothing")
MODEL = ModelIdentity(name="base", weights=NOTHING, companions={}, parameters=1, dtypes=("F32",))


def bound(unit="retention", limit=0.9, lost=20, items=400):
    """A gate on `items` items that the base answers all, of which the checkpoint lost some."""
    gate = Gate("arc", "point", unit, limit, 0.95, 200, {})
    scores = {"base": (1.0,) * items, "checkpoint": (0.0,) * lost + (1.0,) * (items - lost)}
    certificate = Certificate.make(
        base=MODEL,
        checkpoint=MODEL,
        benchmark=BenchmarkIdentity(
            name="arc", items=items, scoring="exact match", chance=0.0, digest=NOTHING, tokens=NOTHING
        ),
        requirement=gate.requirement,
        alpha=gate.alpha,
        evidence=PointEvidence.model_validate({"scores": scores}),
        environment=environment(),
    )
    return Bound("kept[arc]", gate, certificate, base="b", checkpoint="c", trials=(items, "items"))


def test_drop_bound_holds_the_certificates_numbers():
    """Lower, upper and value are the certificate's, in its unit."""
    b = bound("drop", 0.05)
    assert (b.lower, b.upper) == drop_bounds(20, 0, 400, 0.05)
    assert b.value == pytest.approx(0.05)
    assert b.claim == b.certificate.claim_text
    assert (b.required, b.unit, b.verdict) == (0.05, "drop", "undecided")


def test_retention_compares_only_as_far_as_it_is_decided():
    """Certified at 0.85, refuted at 0.99, undecided at 0.95: then both comparisons are false."""
    b = bound("retention")
    assert b >= 0.85
    assert not b < 0.85
    assert b < 0.99
    assert not b >= 0.99
    assert not b >= 0.95
    assert not b < 0.95


def test_drop_compares_only_as_far_as_it_is_decided():
    """Certified at 0.10, refuted at 0.01, undecided at 0.05."""
    b = bound("drop")
    assert b <= 0.10
    assert not b > 0.10
    assert b > 0.01
    assert not b <= 0.01
    assert not b <= 0.05
    assert not b > 0.05


def test_sides_may_be_swapped():
    """`0.85 <= bound` is `bound >= 0.85`."""
    assert bound("retention") >= 0.85
    assert operator.le(0.85, bound("retention"))
    assert operator.gt(0.99, bound("retention"))


def test_comparison_at_another_limit_judges_again():
    """The limit in the comparison decides, not the gate's own."""
    b = bound("retention", limit=0.99)
    assert b.verdict == "refuted"
    assert b >= 0.85


@pytest.mark.parametrize(
    ("unit", "compare", "advice"),
    [
        ("retention", operator.le, "`basin_bound >= x` (true when certified) or `basin_bound < x` (true when refuted)"),
        ("retention", operator.gt, "bound on a retention"),
        ("retention", operator.eq, "== says nothing"),
        ("retention", operator.ne, "!= says nothing"),
        ("drop", operator.ge, "`basin_bound <= x` (true when certified) or `basin_bound > x` (true when refuted)"),
        ("drop", operator.lt, "bound on a drop"),
    ],
)  # fmt: skip
def test_other_operators_say_which_to_use(unit, compare, advice):
    """An operator that could only mislead is an error."""
    with pytest.raises(TypeError) as error:
        compare(bound(unit), 0.9)
    assert advice in str(error.value)


def test_truth_value_is_an_error():
    """Three outcomes fit no truth value."""
    with pytest.raises(TypeError, match="certified, refuted or undecided"):
        bool(bound())


@pytest.mark.parametrize("limit", ["0.9", None, True])
def test_limit_must_be_a_number(limit):
    """A comparison with anything else is an error that names its type."""
    with pytest.raises(TypeError, match=type(limit).__name__):
        operator.ge(bound(), limit)


def test_limit_must_lie_between_0_and_1():
    """95 is no share."""
    with pytest.raises(ValueError, match="from 0 to 1, got 95"):
        operator.ge(bound(), 95)


@pytest.mark.parametrize("limit", [0.93, 0.96, 0.97])
def test_advice_is_about_right(limit):
    """With the items advised, at the rates seen, the gate is decided; with a fifth of them it is not."""
    undecided = bound("retention")
    assert undecided.verdict_at(limit) == "undecided"
    text = row_of(undecided.certificate_at(limit)).settled_by
    needed = int(re.match(r"about (\d+) items decide nine times in ten if these rates are right; ", text)[1])
    fewer = needed // 5  # at about a third the bound itself would meet the limit
    assert bound("retention", lost=needed // 20, items=needed).verdict_at(limit) != "undecided"
    assert bound("retention", lost=fewer // 20, items=fewer).verdict_at(limit) == "undecided"


@pytest.mark.parametrize(("lost", "items"), [(9, 300), (3, 150), (20, 300), (30, 350)])
def test_the_items_advised_decide_nine_times_in_ten(lost, items):
    """Exactly, over all numbers of lost items at the rate that was seen; a third of them do not."""

    def power(n):
        decided = [k for k in range(n + 1) if binom.pmf(k, n, lost / items) > 1e-7 and not _undecided(k, n)]
        return sum(binom.pmf(k, n, lost / items) for k in decided)

    text = row_of(bound("drop", 0.05, lost=lost, items=items).certificate_at(0.05)).settled_by
    needed = int(re.match(r"about (\d+) items decide nine times in ten", text)[1])
    assert power(needed) >= 0.9
    assert power(needed // 3) < 0.9


def _undecided(lost, items):
    lower, upper = trinomial_drop_bounds(lost, 0, items, 0.05)
    return lower <= 0.05 < upper


def test_no_number_of_items_decides_at_the_limit():
    """An estimate that lies at the limit would need endless items, and no number is made up."""
    at_the_limit = bound("retention")
    text = row_of(at_the_limit.certificate_at(0.95)).settled_by
    assert text == "no number of items decides soon: the estimate lies at the limit"


def test_bound_without_certificate_decides_nothing():
    """A gate that could not pass is neither above nor below any limit."""
    gate = Gate("arc", "point", "retention", 0.9, 0.95, 200, {})
    b = Bound("x", gate, None, base="b", checkpoint="c", trials=(3, "items"), reason="3 items are too few")
    assert not b >= 0.1
    assert not b < 0.1
    assert (b.verdict, b.lower, b.claim) == ("undecided", None, "Nothing was measured: 3 items are too few.")
