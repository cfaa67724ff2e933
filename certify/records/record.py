"""What every record is: frozen data, and the digest of what it says."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Unit = Annotated[float, Field(ge=0.0, le=1.0)]

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

Alpha = Annotated[float, Field(gt=0.0, lt=1.0)]

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen piece of data whose meaning never changes; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Offer the class to Hypothesis where that is in use: its entry point has then loaded the module named here."""
        strategies = sys.modules.get("certify._hypothesis")
        if strategies is not None:
            strategies.offer(cls)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value`` that digests are taken over (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of ``value``."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()
