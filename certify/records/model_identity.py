"""Which model: one that was opened here, or one that only a log names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from certify.records.family_identity import FamilyIdentity
from certify.records.record import Digest, Record, digest


class ModelIdentity(Record):
    """Which model: the weights, and everything beside them that computes.

    ``weights`` covers the names, dtypes, shapes and bytes of the model's own parameters, whatever the files call them
    and however they are sharded. ``companions`` maps each other part that computes (``config``, ``generation
    settings``) to the digest of its meaning, ``computed_in`` is the dtype of computation. ``spelling`` maps each file
    beside the weights to a digest of its bytes: recorded, deciding nothing.

    Version 1 of the files had no ``computed_in`` (None) and no ``spelling``; its ``companions`` were digests of bytes.
    """

    name: str
    weights: Digest
    companions: dict[str, Digest]
    parameters: Annotated[int, Field(gt=0)]
    dtypes: tuple[str, ...]
    computed_in: str | None = None
    spelling: dict[str, Digest] = Field(default={})

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: the digest of its weights."""
        return self.weights


class BroughtScores(Record):
    """Whose scores another tool made, as its log says it: nobody here has seen the model.

    ``model`` is what the log calls it, ``name`` a short form; ``file`` the name of the log and ``digest`` that of its
    bytes. Versions are empty where the log does not say them.
    """

    name: str
    tool: str
    version: str
    task: str
    task_version: str
    model: str
    file: str
    digest: Digest

    @property
    def fingerprint(self) -> str:
        """What tells it from others of its name: what its log calls it, in each task's log alike, or the log itself."""
        return digest([self.tool, self.model]) if self.model else self.digest


def identity_key(model: ModelIdentity) -> list[Any]:
    """Return the part of an identity that does not depend on what the folder is called, nor on how it is spelled."""
    key: list[Any] = [model.weights, model.companions]
    return key if model.computed_in is None else [*key, model.computed_in]


def short_digest(model: ModelIdentity | BroughtScores | FamilyIdentity) -> str:
    """Return the first eight digits of what tells models of one name apart."""
    return model.fingerprint.removeprefix("sha256:")[:8]


def same_model(found: ModelIdentity, recorded: ModelIdentity) -> bool:
    """Whether a file of any version speaks of ``found``; of version 1 only the weights can be compared."""
    if recorded.computed_in is None:
        return found.weights == recorded.weights
    return identity_key(found) == identity_key(recorded)
