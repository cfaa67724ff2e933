"""Fixtures. The session-scoped ones may be overridden in ``conftest.py``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from certify.benchmarks import Benchmark
    from certify.checkpoints import Checkpoint
    from pytest_basin.basin import Basin
    from pytest_basin.bound import Bound


@pytest.fixture(scope="session")
def basin_base(pytestconfig: pytest.Config) -> str:
    """The base model: a folder, a .safetensors file or a hub id (--basin-base, ini basin_base)."""
    return _configured(pytestconfig, "base")


@pytest.fixture(scope="session")
def basin_checkpoint(request: pytest.FixtureRequest) -> str:
    """The checkpoint to gate, named like the base (--basin-checkpoint, ini basin_checkpoint); of several, each once."""
    chosen: str | None = getattr(request, "param", None)
    return chosen or _configured(request.config, "checkpoint")


@pytest.fixture(scope="session")
def basin_benchmarks(pytestconfig: pytest.Config) -> Mapping[str, Path | Benchmark]:
    """Benchmarks by name: JSONL files (--basin-benchmark, ini basin_benchmark), or benchmark objects of your own."""
    from pytest_basin.hooks import activate

    return activate(pytestconfig).sources.benchmarks


@pytest.fixture(scope="session")
def basin_device(pytestconfig: pytest.Config) -> str:
    """The torch device that models run on (--basin-device, ini basin_device)."""
    from pytest_basin.hooks import activate

    return str(activate(pytestconfig).settings.value("device"))


@pytest.fixture(scope="session")
def basin(
    pytestconfig: pytest.Config,
    basin_base: str | Path | Checkpoint,
    basin_checkpoint: str | Path | Checkpoint,
    basin_benchmarks: Mapping[str, Path | Benchmark],
    basin_device: str,
) -> Basin:
    """The measured basin: ``assert basin.checkpoint in basin`` asks for position evidence on every benchmark."""
    from pytest_basin.basin import Basin
    from pytest_basin.hooks import activate

    session = activate(pytestconfig)
    named = session.sources.named
    return Basin(session, named(basin_base), named(basin_checkpoint), basin_benchmarks, basin_device)


@pytest.fixture
def basin_bound(
    request: pytest.FixtureRequest,
    basin_base: str | Path | Checkpoint,
    basin_checkpoint: str | Path | Checkpoint,
    basin_benchmarks: Mapping[str, Path | Benchmark],
    basin_device: str,
) -> Bound:
    """What one gate found about the checkpoint on one benchmark; compare it with ``basin_bound.required``."""
    from pytest_basin.hooks import activate

    session = activate(request.config)
    gate = getattr(request, "param", None)
    if gate is None:
        pytest.fail("basin_bound makes one item per benchmark: name it among the test's arguments", pytrace=False)
    known = {**session.sources.provided, **basin_benchmarks}
    if gate.benchmark not in known:
        names = ", ".join(known) or "none"
        pytest.fail(f"{gate.benchmark!r} is none of the basin_benchmarks: {names}", pytrace=False)
    benchmark = known[gate.benchmark]
    base, checkpoint = session.sources.named(basin_base), session.sources.named(basin_checkpoint)
    return session.measure(session.item_name, gate, base, checkpoint, benchmark, basin_device)


@pytest.fixture(scope="session")
def basin_scores_of(request: pytest.FixtureRequest) -> str:
    """Scores of the checkpoint to gate, made by another tool (--basin-scores-of); of several, each once."""
    chosen: str | None = getattr(request, "param", None)
    return chosen or _configured(request.config, "scores-of")


@pytest.fixture
def basin_scores(request: pytest.FixtureRequest, basin_scores_of: str) -> Bound:
    """What one gate found in scores that another tool made (--basin-scores, --basin-scores-of); loads no model."""
    from pytest_basin.hooks import activate

    session = activate(request.config)
    return session.measure_scores(session.item_name, request.param, basin_scores_of)


def _configured(config: pytest.Config, word: str) -> str:
    from pytest_basin.hooks import activate
    from pytest_basin.sources import how_to_give

    value = activate(config).settings.value(word)
    if value is None:
        pytest.fail(f"no {word} to gate: {how_to_give(word, 'FOLDER')}", pytrace=False)
    if isinstance(value, list):
        if len(value) > 1:
            name = f"basin_{word.replace('-', '_')}"
            pytest.fail(f"several are configured: name {name} among the arguments of the test", pytrace=False)
        (value,) = value
    return str(value)
