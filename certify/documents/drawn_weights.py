"""What a folder of base + one draw says of itself, for engines that can only load a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from certify.documents.document import Document, read_as
from certify.errors import CertificateMismatch, InvalidInput
from certify.records import Alpha, Digest, ModelIdentity, Positive, Seed, WeightNoise, derive_seed

DRAW_FILE = "basin_draw.json"
"""The file in a folder of drawn weights that says which draw they are."""


class DrawnWeights(Document):
    """What a folder of base + one draw holds: draw number ``draw`` of the ``draws`` that were planned, from 0.

    ``grid``: the sigmas that were planned, this one's among them, each with as many draws; ``alpha`` is the failure
    probability that all claims from one measurement of them share: each benchmark's has its own. Nothing here shows
    when that was declared. ``weights`` is the digest of the weights as they were written.
    """

    schema_name: Literal["pytest-basin/draw"] = Field(default="pytest-basin/draw", alias="schema")
    base: ModelIdentity
    law: WeightNoise
    sampler: Literal["strict"] = "strict"
    lattice_bits: Literal[12] = 12
    seed: Seed
    draw: Annotated[int, Field(ge=0)]
    draws: Annotated[int, Field(gt=0)]
    grid: Annotated[tuple[Positive, ...], Field(min_length=1)]
    alpha: Alpha
    weights: Digest

    @model_validator(mode="after")
    def _among_the_planned(self) -> Self:
        if self.draw >= self.draws:
            raise ValueError(f"draw {self.draw} of {self.draws}: they are numbered from 0")
        if list(self.grid) != sorted(set(self.grid)) or self.sigma not in self.grid:
            raise ValueError(f"sigma {self.sigma:g} must be one of the ascending grid {list(self.grid)}")
        if self.seed != self.seed_of(self.base, self.law, self.draws, self.seed.user_seed):
            raise ValueError("the seed is not the one that base, noise and number of draws give")
        return self

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise."""
        return max(self.law.sigma.values())

    @property
    def _in_brief(self) -> str:
        return f"draw {self.draw} of {self.draws} of {self.base.name}, sigma {self.sigma:g}"

    @property
    def _told(self) -> dict[str, str]:
        planned = f"{self.draws} at each sigma of {', '.join(f'{sigma:g}' for sigma in self.grid)}"
        return {"base": self.base.name, "draw": f"{self.draw}, counted from 0", "planned": planned,
                "noise": self.law.describe(), "weights": self.weights}  # fmt: skip

    @staticmethod
    def seed_of(base: ModelIdentity, law: WeightNoise, draws: int, user_seed: int) -> Seed:
        """Return where the draws come from, whatever they will be asked."""
        return derive_seed("drawn", law, None, base, n=draws, user_seed=user_seed)


def read_draw(folder: Path) -> DrawnWeights:
    """Read which draw a folder holds.

    Raises:
        InvalidInput: the folder does not say.
        CertificateMismatch: it was changed after it was written.
    """
    file = folder / DRAW_FILE
    if not file.is_file():
        raise InvalidInput(f"{folder}: has no {DRAW_FILE}, so nobody knows which draw it is: `certify draw` writes it")
    drawn = read_as(file, {"pytest-basin/draw": DrawnWeights})
    if drawn.digest != drawn.own_digest():
        raise CertificateMismatch(f"{file}: its digest does not fit its content: the file was changed")
    return drawn
