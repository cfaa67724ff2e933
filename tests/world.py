"""One small run: paths and records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from certify.certificate import Certificate, Measurement


@dataclass
class World:
    """Paths and records of one small run."""

    base: Path
    checkpoint: Path
    benchmark: Path
    measurement: Measurement
    certificates: dict[str, Certificate]
