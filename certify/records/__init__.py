"""Records: what was used and what was counted, as frozen data that a file can hold.

A record states facts (identities, settings, counts); claims derived from them live in
:mod:`certify.evidence` and :mod:`certify.documents`. Nothing here imports torch.
"""

from certify.records.benchmark_identity import (
    BenchmarkIdentity,
    Groups,
    Part,
    Pool,
    grouping,
    identity_of_pool,
    items_key,
    refuse_ungrouped,
    shares,
    units,
)
from certify.records.computation import (
    WAYS,
    ActivationIdentity,
    AnyEngine,
    BroughtIdentity,
    EngineIdentity,
    Environment,
    ExplicitIdentity,
    VllmIdentity,
    Way,
    WrittenIdentity,
)
from certify.records.family_identity import Axis, FamilyIdentity
from certify.records.model_identity import (
    BroughtScores,
    ModelIdentity,
    identity_key,
    same_model,
    short_digest,
)
from certify.records.noise_law import NoiseLaw, SubspaceNoise, WeightNoise
from certify.records.record import Alpha, Digest, NonNegative, Positive, Record, Unit, canonical_json, digest
from certify.records.seed import DrawnSeed, Seed, derive_seed, order_of

__all__ = [
    "WAYS",
    "ActivationIdentity",
    "Alpha",
    "AnyEngine",
    "Axis",
    "BenchmarkIdentity",
    "BroughtIdentity",
    "BroughtScores",
    "Digest",
    "DrawnSeed",
    "EngineIdentity",
    "Environment",
    "ExplicitIdentity",
    "FamilyIdentity",
    "Groups",
    "ModelIdentity",
    "NoiseLaw",
    "NonNegative",
    "Part",
    "Pool",
    "Positive",
    "Record",
    "Seed",
    "SubspaceNoise",
    "Unit",
    "VllmIdentity",
    "Way",
    "WeightNoise",
    "WrittenIdentity",
    "canonical_json",
    "derive_seed",
    "digest",
    "grouping",
    "identity_key",
    "identity_of_pool",
    "items_key",
    "order_of",
    "refuse_ungrouped",
    "same_model",
    "shares",
    "short_digest",
    "units",
]
