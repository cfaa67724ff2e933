"""Certificates and measurements that ``certify verify`` accepts: every bound, seed and digest fits its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from certify.documents import Certificate, CoverRecord, Measurement
from certify.evidence import (
    KINDS,
    AuditEvidence,
    DistanceEvidence,
    Evidence,
    PointEvidence,
    PositionEvidence,
    Requirement,
    SegmentPoint,
    SmoothedEvidence,
)
from certify.evidence.cover import CoverEvidence
from certify.evidence.displacement import Displacement
from certify.evidence.distance import BaseDraws
from certify.evidence.paired_items import Items, ItemScores, PairedScores, Rule, kept
from certify.evidence.position import FRACTIONS, Basin, BasinLevel
from certify.evidence.smoothed import DrawScores
from certify.evidence.trials import Subject, Trials
from certify.records import (
    Axis,
    BenchmarkIdentity,
    Environment,
    ExplicitIdentity,
    FamilyIdentity,
    ModelIdentity,
    NoiseLaw,
    SubspaceNoise,
    WeightNoise,
    derive_seed,
    order_of,
)
from certify.strategies.identities import (
    benchmark_identities,
    digests,
    model_identities,
    noise_laws,
    requirements,
    weight_noise,
)
from certify.strategies.numbers import alphas

ENVIRONMENT = Environment(python="3.12.0", platform="Linux x86_64", packages={"torch": "2.13.0"})
ENGINE = ExplicitIdentity(device="cpu", tokens_per_batch=1024)

OFTEN = st.booleans()
FEW = st.integers(0, 3)
LOW, HIGH = st.floats(0.0, 0.5), st.floats(0.5, 1.0)
NORM = st.just(0.0) | st.floats(1e-6, 100.0)
FACTORS = st.lists(st.integers(1, 100), min_size=1, max_size=3, unique=True)
DIFFERENCES = st.sampled_from(((), (), (), ("tokenizer differs",)))
RULE: st.SearchStrategy[Rule] = st.sampled_from(("split", "trinomial"))
MODEL, REQUIREMENT, ALPHA = model_identities(), requirements(), alphas()
LAW, WEIGHT_LAW = noise_laws(), weight_noise()


@st.composite
def certificates(
    draw: st.DrawFn,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    min_items: int = 1,
    max_items: int = 100,
    max_draws: int = 150,
    benchmarks: st.SearchStrategy[BenchmarkIdentity] | None = None,
) -> Certificate:
    """Return a certificate of one of ``kinds``, judged from drawn counts: any verdict, vacuous and abstaining ones too.

    ``benchmarks``: what they are on, such as :func:`pools`, of which point and audit speak; else one benchmark each.
    :func:`certify.differences` finds nothing in it.
    """
    base, checkpoint = draw(MODEL), draw(MODEL)
    checkpoint = checkpoint.model_copy(update={"companions": base.companions, "dtypes": base.dtypes})
    alone = benchmark_identities(min_items=min_items, max_items=max_items)
    benchmark = draw(alone if benchmarks is None else benchmarks)
    alpha, requirement = draw(ALPHA), draw(REQUIREMENT)
    make: dict[str, Callable[[], Evidence]] = {
        "point": lambda: _point(draw, benchmark),
        "position": lambda: _position(draw, base, benchmark),
        "smoothed": lambda: _smoothed(draw, base, checkpoint, benchmark, max_draws),
        "distance": lambda: _distance(draw, base, benchmark, alpha, max_draws),
        "audit": lambda: _audit(draw, base, checkpoint, benchmark, requirement, alpha),
    }
    evidence = make[draw(st.sampled_from(list(kinds)))]()
    base, checkpoint = _apart(base, checkpoint, evidence)
    return Certificate.make(
        base=base,
        checkpoint=checkpoint,
        benchmark=benchmark,
        requirement=requirement,
        alpha=alpha,
        evidence=evidence,
        environment=ENVIRONMENT,
    )


@st.composite
def measurements(draw: st.DrawFn, *, min_items: int = 1, max_items: int = 100, max_draws: int = 150) -> Measurement:
    """Return a measurement of a base: its basin, and draws of one or two noise laws."""
    base, benchmark = draw(MODEL), draw(benchmark_identities(min_items=min_items, max_items=max_items))
    alpha, basin = draw(ALPHA), _basin(draw, base, benchmark)
    level = basin.levels[0].law
    laws = [level if isinstance(law, WeightNoise) else law for law in draw(st.lists(LAW, min_size=1, max_size=2))]
    draws = tuple(_draws(draw, base, benchmark, alpha, max_draws, basin.base, law) for law in laws)
    size = sum(level.sizes.values()) if isinstance(level, WeightNoise) else base.parameters
    base = base.model_copy(update={"parameters": size})
    return Measurement.seal(base=base, benchmark=benchmark, basin=basin, draws=draws, environment=ENVIRONMENT)


@st.composite
def covers(draw: st.DrawFn, *, min_items: int = 1, max_items: int = 100, max_draws: int = 150) -> CoverRecord:
    """Return a cover of a family of one or two coefficients, with windows that are kept, lost or open."""
    base, benchmark = draw(MODEL), draw(benchmark_identities(min_items=min_items, max_items=max_items))
    k, count = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    family = FamilyIdentity(
        kind=draw(st.sampled_from(("segment", "adapter") if k == 1 else ("merge",))),
        name=draw(st.sampled_from(("final", "λ | <b>"))),
        coefficients=("a", "b")[:k],
        members=tuple((f"member {i}", draw(digests())) for i in range(k)),
    )
    high = draw(st.sampled_from((1.0, 1.25)))
    box = (Axis(low=0.0, high=high, windows=count, width=high / count),) * k
    n, asked = _mostly(draw, max_draws - 1) + 1, benchmark.model_copy(update={"groups": None})
    trials = Trials("cover", Subject(benchmark, base, family=family), None, n, box=box)
    evidence = CoverEvidence(
        graded=benchmark.graded,
        family=family,
        box=box,
        chosen=draw(st.none() | st.just((high / 2,) * k)),
        seed=trials.seed,
        base=_scores(draw, benchmark, good=draw(OFTEN)),
        scores=_scores(draw, asked.model_copy(update={"items": n}), good=draw(OFTEN)),
    )
    return CoverRecord.make(
        base=base,
        benchmark=benchmark,
        requirement=draw(REQUIREMENT),
        alpha=draw(ALPHA),
        evidence=evidence,
        environment=ENVIRONMENT,
    )


def _apart(
    base: ModelIdentity, checkpoint: ModelIdentity, evidence: Evidence
) -> tuple[ModelIdentity, ModelIdentity]:
    """Return both models with the size that the evidence speaks of, and other weights only where it says so."""
    if isinstance(evidence, PointEvidence | AuditEvidence):
        return base, checkpoint
    if isinstance(evidence, SmoothedEvidence):
        sizes = evidence.law.sizes.values() if isinstance(evidence.law, WeightNoise) else ()
        size = sum(sizes) or base.parameters
    else:
        size = evidence.displacement.dimension
        other = f"sha256:{'0' if base.weights[7] != '0' else '1'}{base.weights[8:]}"
        weights = other if evidence.displacement.delta_norm > 0 else base.weights
        checkpoint = checkpoint.model_copy(update={"weights": weights})
    return tuple(each.model_copy(update={"parameters": size}) for each in (base, checkpoint))  # type: ignore[return-value]


def _mostly(draw: st.DrawFn, largest: int) -> int:
    """Return a number up to ``largest``, often close to it: models that are right nearly always."""
    return largest - min(largest, draw(FEW)) if draw(OFTEN) else draw(st.integers(0, largest))


def _scores(draw: st.DrawFn, benchmark: BenchmarkIdentity, *, good: bool = False) -> ItemScores:
    """Return item scores from a few numbers: how many are right, how many have no answer, and where they begin."""
    m = benchmark.items
    right = m - min(m, draw(FEW)) if good else _mostly(draw, m)
    missing = min(m - right, draw(FEW))
    high, low = (draw(HIGH), draw(LOW)) if benchmark.graded else (1.0, 0.0)
    scores = (high,) * right + (None,) * missing + (low,) * (m - right - missing)
    start = draw(st.integers(0, m - 1))
    return scores[start:] + scores[:start]


def _draw_scores(draw: st.DrawFn, n: int, m: int) -> DrawScores:
    """Return scores of n draws on m items: two different ones, and a share of failures in some."""
    one, other, often, failed = _mostly(draw, m), _mostly(draw, m), _mostly(draw, n), draw(OFTEN)
    scores = (one / m,) * often + (other / m,) * (n - often)
    missing = ((m - one) / m,) * often + (0.0,) * (n - often)
    return DrawScores(scores=scores, failed=missing if failed and any(missing) else ())


def _items(draw: st.DrawFn) -> Items:
    return draw(st.sampled_from(("population", "fixed")))


def _point(draw: st.DrawFn, benchmark: BenchmarkIdentity) -> PointEvidence:
    pair = PairedScores(
        graded=benchmark.graded,
        order=order_of(benchmark),
        rule="split" if benchmark.graded else draw(RULE),
        groups=benchmark.groups,
        pool=benchmark.pool,
        base=_scores(draw, benchmark),
        checkpoint=_scores(draw, benchmark),
    )
    return PointEvidence(items=_items(draw), scores=pair)


def _audit(
    draw: st.DrawFn,
    base: ModelIdentity,
    checkpoint: ModelIdentity,
    benchmark: BenchmarkIdentity,
    requirement: Requirement,
    alpha: float,
) -> AuditEvidence:
    """Return an audit of all items, cut where it was decided."""
    seed = Trials("audit", Subject(benchmark, base, checkpoint), None, benchmark.items).seed
    whole = AuditEvidence(
        graded=benchmark.graded,
        seed=seed,
        pool=benchmark.pool,
        seed_drawn=draw(OFTEN),
        until=requirement,
        base=_scores(draw, benchmark, good=draw(OFTEN)),
        checkpoint=_scores(draw, benchmark, good=draw(OFTEN)),
    )
    end = whole.decided_after(requirement, alpha, benchmark.chance)
    return whole.model_copy(update={"checkpoint": whole.checkpoint[:end]})


def _basin(draw: st.DrawFn, base: ModelIdentity, benchmark: BenchmarkIdentity, *, good: bool = False) -> Basin:
    law = draw(WEIGHT_LAW)
    factors = sorted(draw(FACTORS))
    laws = [law.model_copy(update={"sigma": {name: f * s for name, s in law.sigma.items()}}) for f in factors]
    levels = tuple(
        BasinLevel(
            sigma=max(scaled.sigma.values()),
            law=scaled,
            engine=ENGINE,
            seed=derive_seed("basin", scaled, benchmark, base, n=benchmark.items),
            scores=_scores(draw, benchmark, good=good),
        )
        for scaled in laws
    )
    return Basin(
        graded=benchmark.graded,
        order=order_of(benchmark),
        rule="split" if benchmark.graded else draw(RULE),
        groups=benchmark.groups,
        base=_scores(draw, benchmark, good=good),
        levels=levels,
    )


def _displacement(draw: st.DrawFn, law: WeightNoise | SubspaceNoise) -> Displacement:
    names = [str(i) for i in range(law.dimension)] if isinstance(law, SubspaceNoise) else list(law.sigma)
    norms = {name: draw(NORM) for name in names}
    different = draw(DIFFERENCES)
    norm = sum(x * x for x in norms.values()) ** 0.5
    size = law.dimension if isinstance(law, SubspaceNoise) else sum(law.sizes.values())
    return Displacement(norms=norms, differences=different, delta_norm=norm, dimension=max(1, size))


def _position(draw: st.DrawFn, base: ModelIdentity, benchmark: BenchmarkIdentity) -> PositionEvidence:
    good = draw(OFTEN)  # else no segment would ever be good all along
    basin = _basin(draw, base, benchmark, good=good)
    points = tuple(SegmentPoint(fraction=f, scores=_scores(draw, benchmark, good=good)) for f in FRACTIONS)
    where = _displacement(draw, basin.levels[0].law)
    return PositionEvidence(items=_items(draw), basin=basin, points=points, displacement=where)


def _smoothed(
    draw: st.DrawFn, base: ModelIdentity, checkpoint: ModelIdentity, benchmark: BenchmarkIdentity, max_draws: int
) -> SmoothedEvidence:
    law, n = draw(LAW), _mostly(draw, max_draws - 1) + 1
    of_base, of_checkpoint = _draw_scores(draw, n, benchmark.items), _draw_scores(draw, n, benchmark.items)
    return SmoothedEvidence(
        law=law,
        engine=ENGINE,
        seed=derive_seed("smoothed", law, benchmark, base, checkpoint=checkpoint, n=n),
        base=of_base,
        checkpoint=of_checkpoint,
        base_unnoised=_mostly(draw, benchmark.items) / benchmark.items,
        checkpoint_unnoised=_mostly(draw, benchmark.items) / benchmark.items,
    )


def _draws(
    draw: st.DrawFn,
    base: ModelIdentity,
    benchmark: BenchmarkIdentity,
    alpha: float,
    max_draws: int,
    scores: ItemScores,
    law: NoiseLaw,
) -> BaseDraws:
    n = _mostly(draw, max_draws - 1) + 1
    return BaseDraws(
        law=law,
        engine=ENGINE,
        seed=derive_seed("distance", law, benchmark, base, n=n),
        alpha=alpha,
        draws=_draw_scores(draw, n, benchmark.items),
        base_score=sum(kept(scores)) / len(scores),
    )


def _distance(
    draw: st.DrawFn, base: ModelIdentity, benchmark: BenchmarkIdentity, alpha: float, max_draws: int
) -> DistanceEvidence:
    draws = _draws(draw, base, benchmark, alpha, max_draws, _scores(draw, benchmark), draw(LAW))
    items = _items(draw) if benchmark.groups is None else "fixed"
    return DistanceEvidence(items=items, draws=draws, displacement=_displacement(draw, draws.law))
