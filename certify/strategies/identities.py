"""Which models, which benchmark, which noise, which requirement."""

from __future__ import annotations

from hypothesis import strategies as st

from certify.evidence.judgement import Requirement
from certify.records import (
    BenchmarkIdentity,
    ModelIdentity,
    NoiseLaw,
    Part,
    SubspaceNoise,
    WeightNoise,
    identity_of_pool,
)

NAMES = ("base", "final", "tuned-7b", "org/model@main", "λ | <b>")
TENSORS = ("embed.weight", "layers.0.attn.weight", "layers.0.mlp.weight", "layers.1.mlp.weight", "norm.weight")
SOME_TENSORS = st.lists(st.sampled_from(TENSORS), min_size=1, max_size=len(TENSORS), unique=True)
SIGMA = st.floats(1e-6, 1.0)
SIGMA_OR_NONE = st.just(0.0) | SIGMA
SIZE = st.integers(1, 10**6)


def digests() -> st.SearchStrategy[str]:
    """Return SHA-256 digests as records write them."""
    return st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")


def model_identities() -> st.SearchStrategy[ModelIdentity]:
    """Return identities of models; names hold characters that HTML, Markdown and file names must escape."""
    companions = st.fixed_dictionaries({"config": digests()}, optional={"tokenizer": digests()})
    return st.builds(
        ModelIdentity,
        name=st.sampled_from(NAMES),
        weights=digests(),
        companions=companions,
        parameters=st.integers(1, 10**11),
        dtypes=st.sampled_from((("F32",), ("BF16",), ("BF16", "F32"))),
        computed_in=st.sampled_from(("float32", "bfloat16", None)),
        spelling=st.fixed_dictionaries({}, optional={"config.json": digests()}),
    )


def benchmark_identities(*, min_items: int = 1, max_items: int = 30) -> st.SearchStrategy[BenchmarkIdentity]:
    """Return identities of benchmarks, with and without chance, graded or not, their items in groups or not."""
    alone = st.builds(
        BenchmarkIdentity,
        name=st.sampled_from(("arc_easy", "gsm8k", "own | <items>")),
        items=st.integers(min_items, max_items),
        scoring=st.sampled_from(("exact match", "multiple choice")),
        graded=st.booleans(),
        chance=st.sampled_from((0.0, 0.25, 0.5)),
        digest=digests(),
        tokens=digests(),
    )
    return alone | alone.flatmap(_grouped)


@st.composite
def pools(draw: st.DrawFn, *, min_items: int = 1, max_items: int = 30) -> BenchmarkIdentity:
    """Return the identity of two or three benchmarks that are judged as one, by weights; graded or not, no groups."""
    names = draw(st.lists(st.sampled_from(("arc_easy", "gsm8k", "own | <items>")), min_size=2, max_size=3, unique=True))
    parts = tuple(
        Part(
            name=name,
            items=draw(st.integers(min_items, max_items)),
            weight=draw(st.sampled_from((0.5, 1.0, 2.0, 3.0))),
            chance=draw(st.sampled_from((0.0, 0.25))),
            digest=f"{digest[:-1]}{i}",
        )
        for i, (name, digest) in enumerate((name, draw(digests())) for name in names)
    )
    own = {"name": "suite", "scoring": "exact match", "graded": draw(st.booleans()), "tokens": draw(digests())}
    return BenchmarkIdentity.model_validate({**own, "pool": parts, **identity_of_pool(parts)})


def _grouped(alone: BenchmarkIdentity) -> st.SearchStrategy[BenchmarkIdentity]:
    """Return the benchmark with its items dealt to fewer groups than items; as it is where it has one item."""
    if alone.items == 1:
        return st.just(alone)
    fewer = st.integers(1, alone.items - 1)
    return fewer.map(lambda n: alone.model_copy(update={"groups": tuple(i % n for i in range(alone.items))}))


def requirements() -> st.SearchStrategy[Requirement]:
    """Return requirements in each unit."""
    return st.builds(Requirement, unit=st.sampled_from(("drop", "retention", "absence")), limit=st.floats(0.0, 1.0))


@st.composite
def weight_noise(draw: st.DrawFn) -> WeightNoise:
    """Return noise on the weights of one to five tensors; some may be frozen (sigma 0), the first never is."""
    names = draw(SOME_TENSORS)
    sigma = {name: draw(SIGMA if i == 0 else SIGMA_OR_NONE) for i, name in enumerate(names)}
    return WeightNoise(sigma=sigma, sizes={name: draw(SIZE) for name in names})


def subspace_noise(*, max_dimension: int = 8) -> st.SearchStrategy[SubspaceNoise]:
    """Return noise on the coordinates of a subspace."""
    sigma = st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=max_dimension).map(tuple)
    return st.builds(SubspaceNoise, sigma=sigma, basis=digests())


def noise_laws() -> st.SearchStrategy[NoiseLaw]:
    """Return either kind of noise law."""
    return weight_noise() | subspace_noise()
