"""What was counted at a base, once, for every checkpoint."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from certify.documents.document import Document
from certify.evidence import crosschecks
from certify.evidence.distance import BaseDraws
from certify.evidence.paired_items import ItemScores
from certify.evidence.position import Basin
from certify.evidence.trials import RecordedRun, Subject
from certify.records import BenchmarkIdentity, BroughtIdentity, Environment, ModelIdentity


class Measurement(Document):
    """What was counted at a base on one benchmark, for every checkpoint: its basin, and draws. It judges nothing."""

    schema_name: Literal["pytest-basin/measurement"] = Field(default="pytest-basin/measurement", alias="schema")
    base: ModelIdentity
    benchmark: BenchmarkIdentity
    basin: Basin
    draws: tuple[BaseDraws, ...] = ()
    environment: Environment

    @model_validator(mode="after")
    def _levels_or_brought(self) -> Self:
        if not self.basin.levels and not all(isinstance(each.engine, BroughtIdentity) for each in self.draws):
            raise ValueError("basin.levels: none, but draws were scored here")
        return self

    @property
    def _in_brief(self) -> str:
        return f"{self.base.name} on {self.benchmark.name}: {self._counted}"

    @property
    def _counted(self) -> str:
        return "; ".join([f"basin of {len(self.basin.levels)} sigmas", *(draws.in_brief for draws in self.draws)])

    @property
    def _told(self) -> dict[str, str]:
        items = f"{self.benchmark.name}, {self.benchmark.items} items"
        score = f"{self.basin.base_score:.3f}"
        return {"base": self.base.name, "benchmark": items, "score of the base": score, "counted": self._counted,
                "judges": "nothing: certificates rest on it"}  # fmt: skip

    @property
    def unnoised(self) -> ItemScores:
        """The base's own item scores."""
        return self.basin.base

    @property
    def runs(self) -> tuple[RecordedRun, ...]:
        """Every run of draws, all of them at the base."""
        subject = Subject(self.benchmark, self.base)
        draws = (each.run(f"draws.{i}", subject) for i, each in enumerate(self.draws))
        return (*self.basin.runs("basin", subject), *draws)

    def contradictions(self) -> list[str]:
        """Return one line for each thing that its parts say of each other and that is not so."""
        subject = Subject(self.benchmark, self.base)
        lines = self.basin.contradictions("basin", subject, whole=self.version > 1)
        for i, draws in enumerate(self.draws):
            lines += crosschecks.of_base_score(f"draws.{i}", draws.base_score, self.basin.base_score)
            lines += crosschecks.of_law(f"draws.{i}.law", draws.law, subject)
        return lines
