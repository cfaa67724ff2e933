"""The record: T, edges, what a file must hold, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hills
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certify.errors import CertificateMismatch, InvalidInput, UnsupportedSchema
from certify.landscape.record import (
    Ascent,
    Curve,
    Edge,
    Landscape,
    MostCase,
    Plane,
    Sight,
    Slice,
    WorstCase,
    attack_succeeded,
    paper_transform,
    read_landscape,
)
from certify.records import Environment, ExplicitIdentity, ModelIdentity

curves = st.lists(st.floats(0, 1), min_size=2, max_size=9).filter(lambda c: max(c) - min(c) > 1e-6)


@given(curves)
def test_t_touches_0_and_1_however_little_the_curve_falls(curve: list[float]) -> None:
    """Which is why it is never shown alone."""
    transform = paper_transform(curve)
    assert transform is not None
    assert (transform.min(), transform.max()) == (0.0, 1.0)
    assert transform[int(np.argmax(curve))] == 0.0


@given(curves, st.floats(0.1, 1), st.floats(0, 0.5))
def test_t_forgets_level_and_scale(curve: list[float], scale: float, level: float) -> None:
    """A harmless wiggle and a collapse of one shape have one T."""
    other = paper_transform([scale * s + level for s in curve])
    assert other == pytest.approx(paper_transform(curve), abs=1e-6)


def test_a_constant_curve_has_no_t() -> None:
    assert paper_transform([0.7, 0.7, 0.7]) is None


def slice_of(*rows: list[float], direction: Any = None) -> Slice:
    """A slice on a = -2 ... 2 with the base at the middle."""
    a = tuple(float(k) for k in range(-(len(rows[0]) // 2), len(rows[0]) // 2 + 1))
    most = [MostCase(seed=hills.SEED, stream="landscape/E", draw=i) for i in range(len(rows))]
    return Slice(
        a=a,
        planned=a,
        curves=tuple(
            Curve(direction=direction or most[i], sights=tuple(Sight(score=s, nll=1.0 - s) for s in row))
            for i, row in enumerate(rows)
        ),
    )  # fmt: skip


def test_edges_are_brackets_going_outward() -> None:
    """The first fall counts, even if the score recovers further out; a drop of exactly tau is allowed."""
    found = slice_of([0.9, 0.2, 1.0, 0.95, 0.94], [1.0, 1.0, 1.0, 0.96, 0.95])
    assert found.edges(0.05) == [(Edge(0.0, -1.0), Edge(1.0, 2.0)), (Edge(-2.0, None), Edge(2.0, None))]


def test_drop_one_sided_and_two_sided() -> None:
    """A gain and a loss of the same size cancel in the first only."""
    found = slice_of([0.5, 0.5, 0.7], [0.5, 0.5, 0.3])
    assert found.drop(1.0) == (pytest.approx(0.0), pytest.approx(0.2))


def worst(score: float) -> Slice:
    record = WorstCase(
        seed=hills.SEED,
        stream="landscape/attack",
        radius=1.0,
        steps=3,
        ascents=(Ascent(draw=0, start=0.1, best=2.0),),
        digest=hills.D,
    )
    return slice_of([1.0, 1.0, score], direction=record)


def test_an_attack_succeeds_by_more_than_tau() -> None:
    assert attack_succeeded(worst(0.94), 0.05)
    assert not attack_succeeded(worst(0.95), 0.05)
    with pytest.raises(InvalidInput, match="no attack"):
        attack_succeeded(slice_of([1.0, 1.0, 1.0]), 0.05)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"a": (-1.0, 1.0, 2.0)}, "hold 0"),
        ({"a": (0.0, -1.0, 1.0)}, "ascend"),
        ({"planned": (0.5,)}, "planned"),
        ({"a": (-1.0, 0.0, 1.0, 2.0)}, "must have 4 sights"),
    ],
)
def test_a_slice_that_contradicts_itself_is_refused(change: dict[str, Any], problem: str) -> None:
    fields = slice_of([1.0, 1.0, 0.5]).model_dump() | change
    with pytest.raises(ValidationError, match=problem):
        Slice.model_validate(fields)


def test_a_slice_of_two_cases_is_refused() -> None:
    one, two = slice_of([1.0, 1.0, 0.5]), worst(0.5)
    with pytest.raises(ValidationError, match="one case"):
        Slice(a=one.a, planned=one.a, curves=(one.curves[0], two.curves[0]))


def test_a_plane_needs_a_sight_for_each_point() -> None:
    most = MostCase(seed=hills.SEED, stream="landscape/E", draw=0)
    sight = Sight(score=1.0)
    with pytest.raises(ValidationError, match="2 x 2"):
        Plane(kind="random", directions=(most, most), cosine=0, x=(0.0, 1.0), y=(0.0, 1.0), sights=(sight,) * 3)


def landscape() -> Landscape:
    """A record with one slice."""
    return Landscape.seal(
        base=ModelIdentity(name="base", weights=hills.D, companions={}, parameters=4096, dtypes=("F32",)),
        benchmark=hills.bowl().scorer.identity,
        engine=ExplicitIdentity(device="cpu", tokens_per_batch=1),
        surrogate=None,
        tau=0.05,
        slices=(slice_of([0.1, 1.0, 1 / 3]), worst(0.5)),
        environment=Environment(python="3", platform="x", packages={}),
    )


def test_a_landscape_survives_its_file(tmp_path: Path) -> None:
    """Schema, version, digest, and every number to the last bit."""
    written = landscape()
    path = written.to_json(tmp_path / "landscape.json")
    value = json.loads(path.read_text())
    assert (value["schema"], value["version"]) == ("pytest-basin/landscape", 2)
    assert any("proves nothing" in limit for limit in value["limits"])
    assert read_landscape(path) == written


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = landscape().to_json(tmp_path / "landscape.json")
    value = json.loads(path.read_text())
    value["slices"][0]["curves"][0]["sights"][0]["score"] = 1.0
    path.write_text(json.dumps(value))
    with pytest.raises(CertificateMismatch, match="digest"):
        read_landscape(path)


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"schema": "pytest-basin/certificate"}, UnsupportedSchema, "pytest-basin/landscape"),
        ({"version": 3}, UnsupportedSchema, "version"),
        ({"tau": 7}, CertificateMismatch, "tau"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], error: type[Exception], problem: str) -> None:
    path = landscape().to_json(tmp_path / "landscape.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(error, match=problem):
        read_landscape(path)


def test_reading_a_landscape_needs_no_torch(tmp_path: Path) -> None:
    """A fresh interpreter reads the file without it; making one would load it."""
    path = landscape().to_json(tmp_path / "landscape.json")
    code = f"""
import sys
from certify.landscape import read_landscape
print(len(read_landscape({str(path)!r}).slices), "torch" in sys.modules)
from certify.landscape import explore
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "True"]
