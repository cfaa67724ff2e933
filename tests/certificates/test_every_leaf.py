"""Every field of every kept record is forged and resealed: refused, caught by another field, or trusted for a reason.

The forger derives seeds again, judges again and computes the digest. What is not caught must fit one reason below, and
each reason must be needed: a field that becomes caught shortens the list.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from world import make_world

from certify.documents import DOCUMENTS, AnyDocument, Judged
from certify.errors import CertifyError
from certify.evidence import paired_items
from certify.parsing import validated
from certify.verify import differences

GOLDEN = sorted((Path(__file__).parents[1] / "golden").rglob("*.json"))
MODEL = r"(base|checkpoint|evidence\.places\.\d+\.checkpoint)"
TRUSTED = {
    rf"{MODEL}\.(name|spelling(\..*)?)": "a name, or a spelling that computes nothing",
    rf"{MODEL}\.": "which model: held against the folder that --base or --checkpoint names",
    r"evidence\.(family\.|chosen)": "which family: held against what --checkpoint names; a mark that decides nothing",
    r"evidence\.box\.": "another box, with a seed of its own, under which --replay draws other scores",
    r"benchmark\.": "which items, asked how: held against the file that --benchmark names",
    r"environment\.": "where it ran and with which versions; nothing that is claimed follows from it",
    r"(requirement\.(unit|limit)|alpha|informational|evidence\.plan\..*)$": "what is asked of the same counts",
    r".*law\.(sigma|basis)": "another law, with seeds of its own, under which --replay draws other scores",
    r".*seed\.": "another seed that the user may have chosen: --replay draws other scores under it",
    r".*engine\.": "how it was drawn: --replay draws with it",
    r".*displacement\.(norms|delta_norm|differences)": "how far apart the weights are: --replay streams both again",
    r"evidence\.differences": "what is said to differ beside the weights: --checkpoint compares the folders",
    r"(evidence\.)?draws(\.\d+)?\.ladder": "how many laws shared alpha: stands in the measurement, which has them all",
    r"((evidence\.)?basin\.levels|evidence\.places|draws)$": "fewer or other entries: a record of less",
    r".*": "what was counted: --replay scores it again",
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field; of long lists the first and the last entry, of many tensors two, for they are all alike."""
    if isinstance(value, dict):
        names = list(value)
        for name in names if len(names) < 15 else names[:2]:
            yield from leaves(value[name], (*path, name))
    elif isinstance(value, list):
        yield path
        for i in sorted({0, len(value) - 1} if value else ()):
            yield from leaves(value[i], (*path, i))
    else:
        yield path


def forged(old: Any) -> list[Any]:
    """Other values of the same type, and of another."""
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, int):
        return [old + 1, -old - 1]
    if isinstance(old, float):
        return [old * 1.01 + 0.001, -old - 0.5, 0.0 if old else 0.5]
    if isinstance(old, str):
        flipped = re.sub(r"(?<=^sha256:).|^[0-9a-f](?=[0-9a-f]{63}$)", lambda c: "1" if c.group() == "0" else "0", old)
        return [old + "x" if flipped == old else flipped]
    if old is None:
        return [0, "x"]
    return [old[:-1], old + old[-1:], old[::-1]] if old else [["x"], [1.0]]


def put(text: str, path: tuple[Any, ...], new: Any) -> Any:
    """The record of ``text`` with another value at ``path``."""
    changed = place = json.loads(text)
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = new
    return changed


def resealed(value: dict[str, Any]) -> AnyDocument:
    """What a forger makes of a changed record: seeds, judgement and digest follow from what it says now."""
    kind = DOCUMENTS[value["schema"]]
    for run in validated(kind, value, "forged").runs:
        place = value
        for part in run.where.split("."):
            place = place[int(part) if part.isdigit() else part]
        place["seed"]["value"] = run.trials.seed.value
    document = validated(kind, value, "forged")
    if isinstance(document, Judged):
        value["judgement"] = document.judged_again().model_dump(mode="json")
        document = validated(kind, value, "forged")
    return document.model_copy(update={"digest": document.own_digest()})


def survives(text: str, path: tuple[Any, ...], new: Any) -> bool:
    """Whether the forgery is neither refused nor caught; any other error is one of certify itself and fails."""
    try:
        return not differences(resealed(put(text, path, new)))
    except CertifyError:
        return False


def tally(values: list[dict[str, Any]]) -> tuple[int, dict[str, int]]:
    """Return how many forgeries were tried, and how many of them each reason had to explain."""
    used: dict[str, int] = dict.fromkeys(TRUSTED, 0)
    tried = 0
    for value in values:
        text = json.dumps(value)
        for path in leaves(value):
            if path[0] in ("schema", "version", "digest", "judgement"):
                continue  # made anew by the forger, or read before anything else
            old = value
            for part in path:
                old = old[part]
            for new in forged(old):
                tried += 1
                if survives(text, path, new):
                    where = ".".join(map(str, path))
                    used[next(reason for reason in TRUSTED if re.match(reason, where))] += 1
    return tried, used


def test_every_leaf_is_caught_or_trusted_for_a_reason(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept files of version 1 and fresh ones of version 2, of every kind; bounds of the same counts are kept."""
    for name in ("drop_bounds", "trinomial_drop_bounds"):
        monkeypatch.setattr(paired_items, name, functools.cache(getattr(paired_items, name)))
    world = make_world(tmp_path_factory.mktemp("leaves"))
    fresh = [json.loads(each.to_text()) for each in (world.measurement, *world.certificates.values())]
    tried, used = tally([*(json.loads(file.read_text(encoding="utf-8")) for file in GOLDEN), *fresh])
    assert [reason for reason, times in used.items() if not times] == []
    assert sum(used.values()) < tried


def certificate(kind: str) -> dict[str, Any]:
    """A kept certificate of one kind of evidence."""
    name = kind if kind.endswith(".json") else f"addition.{kind}.json"
    file = next(file for file in GOLDEN if file.name.endswith(name))
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def no_distance(value: dict[str, Any]) -> None:
    """The norms of all tensors are zero; the total is not."""
    norms = value["evidence"]["displacement"]["norms"]
    norms.update(dict.fromkeys(norms, 0.0))


def no_distance_at_all(value: dict[str, Any]) -> None:
    """The total as well; the weights' digests differ."""
    no_distance(value)
    value["evidence"]["displacement"]["delta_norm"] = 0.0


def another_dimension(value: dict[str, Any]) -> None:
    """More weights than the base has."""
    value["evidence"]["displacement"]["dimension"] *= 100


def a_wider_level(value: dict[str, Any]) -> None:
    """The last level is called by a larger sigma than its law's."""
    value["evidence"]["basin"]["levels"][-1]["sigma"] *= 2


def one_point(value: dict[str, Any]) -> None:
    """Only a point right beside the base was scored."""
    value["evidence"]["points"] = value["evidence"]["points"][:1]
    value["evidence"]["points"][0]["fraction"] = 1e-9


def more_than_the_base(value: dict[str, Any]) -> None:
    """Of a subspace, whose law names no weights: more of them than the base has."""
    value["evidence"]["displacement"]["dimension"] = value["base"]["parameters"] + 1


def fewer_of_the_law(value: dict[str, Any]) -> None:
    """Fewer weights than the law names."""
    value["evidence"]["displacement"]["dimension"] -= 1


def fewer_parameters(value: dict[str, Any]) -> None:
    """The base is smaller than the law's tensors."""
    value["base"]["parameters"] -= 1


FORGERIES: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("distance", no_distance, "the norms of the tensors give 0.0"),
    ("distance", no_distance_at_all, "but the weights of base and checkpoint differ"),
    ("distance", another_dimension, "displacement.dimension: recorded 7737600; the law names 77376 weights"),
    ("distance", fewer_of_the_law, "displacement.dimension: recorded 77375; the law names 77376 weights"),
    ("subspace.addition.distance.json", more_than_the_base, "displacement.dimension: recorded 77377; the law names"),
    ("position", a_wider_level, "levels.4.sigma: recorded 0.18, the level's law has 0.09"),
    ("position", one_point, "evidence.points: at the fractions (1e-09,)"),
    ("smoothed", fewer_parameters, "law.sizes: 77376 in all, base.parameters is only 77375"),
]


@pytest.mark.parametrize(("kind", "forge", "said"), FORGERIES, ids=[forge.__name__ for _, forge, _ in FORGERIES])
def test_known_forgeries_are_caught_by_name(kind: str, forge: Callable[[dict[str, Any]], None], said: str) -> None:
    """Resealed, and still one line that names both fields and both values."""
    value = certificate(kind)
    forge(value)
    assert any(said in line for line in differences(resealed(value)))


def test_a_config_that_differs_must_be_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Companions against differences, in a record of this version."""
    value = json.loads(make_world(tmp_path_factory.mktemp("config")).certificates["point"].to_text())
    value["checkpoint"]["companions"]["config"] = "sha256:" + "1" * 64
    (line,) = differences(resealed(value))
    assert line.startswith("evidence.differences: names no difference of the config")


def test_a_model_with_stored_buffers_is_no_forgery() -> None:
    """They count in the base's parameters and in the digest of its weights, and in no law and no norm."""
    value = certificate("distance")
    value["base"]["parameters"] += 64
    assert differences(resealed(value)) == []
    no_distance_at_all(value)
    value["evidence"]["displacement"]["differences"] = ["buffer model.mask differs"]
    assert differences(resealed(value)) == []
