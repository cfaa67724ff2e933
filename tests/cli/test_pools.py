"""A pool of benchmarks: one decision by declared weights, a record that verifies, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.benchmarks import open_benchmark
from certify.documents import Certificate, read_document
from certify.measuring import Base, measure_base
from certify.measuring import base as base_module

Certify = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of two benchmarks, a copy, a wreck, and two pools of them."""
    where = tmp_path_factory.mktemp("pools")
    model = models.base_same_and_wreck(where)
    items = models.own_answers(model, 150)
    models.write_jsonl(where / "own.jsonl", items[:100])
    models.write_jsonl(where / "other.jsonl", [{**each, "cluster": i // 2} for i, each in enumerate(items[100:])])
    (where / "suite.toml").write_text('[pool]\n"own.jsonl" = 2\n"other.jsonl" = 1\n')
    (where / "alike.toml").write_text('[pool]\n"other.jsonl" = 1\n"own.jsonl" = 1\n')
    return where


def certificate(folder: Path) -> Path:
    """The only certificate in a folder."""
    (file,) = folder.glob("*.json")
    return file


@pytest.mark.parametrize("command", [("check", "--max-drop", "0.1"), ("audit", "--max-drop", "0.1")])
@pytest.mark.parametrize(("checkpoint", "code"), [("same", 0), ("wreck", 1)])
def test_one_decision_over_two_benchmarks(
    certify: Certify, tmp_path: Path, command: tuple[str, ...], checkpoint: str, code: int
) -> None:
    """One gate and one file; it verifies against the pool, is repeated, shown, reported and, for point, compared."""
    name, *asked = command
    found, said, _ = certify(name, checkpoint, "--base", "base", "-b", "suite.toml", *asked, "-o", str(tmp_path / "c"))
    assert found == code
    assert "suite" in said
    assert "2/3 of own (100 items), 1/3 of other (50 items)" in " ".join(said.split())
    file = certificate(tmp_path / "c")
    named = ("--base", "base", "--checkpoint", checkpoint, "--benchmark", "suite.toml")
    assert certify("verify", str(file), *named, "--replay", "1")[0] == 0
    assert certify("verify", str(file), "--benchmark", "own.jsonl")[0] == 4
    assert certify("verify", str(file), "--benchmark", "alike.toml")[0] == 4
    assert "suite" in certify("show", str(file))[1]
    assert certify("report", str(file), "-t", "html", "-o", str(tmp_path / "page.html"))[0] in (0, code)
    assert "weighted mean of 2/3 of own" in (tmp_path / "page.html").read_text()
    if name == "check":
        code, said, _ = certify("compare", str(file), str(file))
        assert code == 0
        assert "the populations behind suite" in " ".join(said.split())


def test_only_shares_matter(certify: Certify, folder: Path, tmp_path: Path) -> None:
    """Weights 4 and 2 are 2 and 1: the same pool, digest, order and bounds, so that no spelling buys another order."""
    (folder / "twice.toml").write_text('[pool]\n"own.jsonl" = 4.0\n"other.jsonl" = 2\n')
    for pool in ("suite", "twice"):
        asked = ("-b", f"{pool}.toml", "--max-drop", "0.1")
        assert certify("check", "same", "--base", "base", *asked, "-o", str(tmp_path / pool))[0] == 0
    one, other = (read_document(certificate(tmp_path / pool)) for pool in ("suite", "twice"))
    assert isinstance(one, Certificate)
    assert isinstance(other, Certificate)
    assert one.benchmark.digest == other.benchmark.digest
    assert one.judgement.upper == other.judgement.upper
    assert one.evidence.scores.order == other.evidence.scores.order


def test_each_and_pooled_beside_each_other(certify: Certify) -> None:
    """A pool is one gate among others, and Holm's procedure counts it as one."""
    files = [word for name in ("own.jsonl", "other.jsonl", "suite.toml") for word in ("-b", name)]
    _, said, _ = certify("check", "same", "--base", "base", *files, "--max-drop", "0.2")
    assert "Holm over 3 gates at 0.05: 3 certified jointly (point[own], point[other], point[suite])" in said


def test_a_changed_weight_is_a_contradiction(certify: Certify, tmp_path: Path) -> None:
    """In the identity, in the scores, or in both with all that follows: never valid."""
    certify("check", "wreck", "--base", "base", "-b", "suite.toml", "-o", str(tmp_path))
    file = certificate(tmp_path)
    for places in (("benchmark",), ("scores",), ("benchmark", "scores")):
        value = json.loads(file.read_text())
        holders = {"benchmark": value["benchmark"], "scores": value["evidence"]["scores"]}
        for place in places:
            holders[place]["pool"][0]["weight"] = 1000.0
        (tmp_path / "forged.json").write_text(json.dumps(value))
        assert certify("verify", str(tmp_path / "forged.json"))[0] == 4, places


@pytest.fixture(scope="module")
def measured(folder: Path) -> tuple[str, ...]:
    """Options that name a measurement of each of the pool's benchmarks."""
    opened = Base.open(folder / "base", folder / "own.jsonl")
    for name in ("own", "other"):
        base = opened.on(open_benchmark(folder / f"{name}.jsonl"))
        measure_base(base, planned=[], grid=(1e-4,)).to_json(folder / f"{name}.m.json")
    return "--measurement", "other.m.json", "--measurement", "own.m.json"


@pytest.mark.parametrize("command", ["check", "audit"])
def test_the_base_is_scored_once(
    certify: Certify, measured: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Measurements of all its benchmarks, in any order, hold its scores; the certificate is the same, byte for byte."""
    asked = (command, "wreck", "--base", "base", "-b", "suite.toml", "--max-drop", "0.1", "-o")
    assert certify(*asked, str(tmp_path / "scored"))[0] == 1
    with monkeypatch.context() as patched:
        patched.setattr(base_module, "item_scores", lambda model, scorer: pytest.fail("the base was scored"))
        again = ("--draws-dir", str(tmp_path / "other"))
        code, _, said = certify(*asked, str(tmp_path / "measured"), *measured, *again)
        assert code == 1, said
    with monkeypatch.context() as patched, pytest.raises(pytest.fail.Exception, match="the base was scored"):
        patched.setattr(base_module, "item_scores", lambda model, scorer: pytest.fail("the base was scored"))
        certify(*asked, str(tmp_path / "again"), *again[:1], str(tmp_path / "third"))
    assert certificate(tmp_path / "scored").read_bytes() == certificate(tmp_path / "measured").read_bytes()


def test_a_pool_beside_its_benchmarks_shares_their_measurements(certify: Certify, measured: tuple[str, ...]) -> None:
    """Each takes its own; one of the two serves its benchmark, and the pool's base is scored."""
    named = ("check", "same", "--base", "base", "-b", "own.jsonl", "-b", "suite.toml", "--max-drop", "0.2")
    assert certify(*named, *measured)[0] == 0
    assert certify(*named, *measured[2:])[0] == 0
    code, _, err = certify(*named, *measured[:2])
    assert code == 2
    assert "one is of other, and of no --benchmark given (a pool takes one of each)" in err
    code, _, err = certify(*named, *measured, *measured[2:])
    assert code == 2
    assert "--measurement: two are of own: name the one that is meant" in err


def test_measurements_that_do_not_fit_a_pool_are_one_line(
    certify: Certify, folder: Path, measured: tuple[str, ...], tmp_path: Path
) -> None:
    """A benchmark without one or with two, one of no benchmark, other items, another base."""
    measure_base(Base.open(folder / "wreck", folder / "own.jsonl"), planned=[], grid=(1e-4,)).to_json(folder / "w.json")
    models.write_jsonl(tmp_path / "own.jsonl", [{"prompt": "00+a=", "target": "a"}, {"prompt": "01+a=", "target": "b"}])
    (tmp_path / "other.jsonl").write_bytes((folder / "other.jsonl").read_bytes())
    (tmp_path / "third.jsonl").write_text('{"prompt": "00+b=", "target": "a"}\n')
    (tmp_path / "changed.toml").write_text('[pool]\n"own.jsonl" = 2\n"other.jsonl" = 1\n')
    (tmp_path / "without.toml").write_text('[pool]\n"third.jsonl" = 2\n"other.jsonl" = 1\n')
    changed, without = str(tmp_path / "changed.toml"), str(tmp_path / "without.toml")
    for pool, files, code, said in (
        ("suite.toml", measured[:2], 2, "suite pools own, of which 0 measurements are given: give one of each"),
        ("suite.toml", (*measured, *measured[2:]), 2, "suite pools own, of which 2 measurements are given"),
        (without, measured, 2, "without pools third, of which 0 measurements are given"),
        (changed, measured, 4, "the measurement of own is of other items than changed pools: it recorded sha256:"),
        ("suite.toml", (*measured[:3], "w.json"), 4, "the measurement is of another base"),
    ):
        found, _, err = certify("audit", "same", "--base", "base", "-b", pool, *files)
        assert (found, len(err.strip().splitlines())) == (code, 1), err
        assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[pool]\n"own.jsonl" = 0\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = -1\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = inf\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = nan\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = "2"\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = true\n"other.jsonl" = 1', "pool.own.jsonl"),
        ('[pool]\n"own.jsonl" = 1e-9\n"other.jsonl" = 1', "less than a millionth of the weight"),
        ('[pool]\n"own.jsonl" = 1e308\n"other.jsonl" = 1e308\n"x.jsonl" = 1', "x.jsonl: no such file"),
        ('[pool]\n"own.jsonl" = 1', "should have at least 2 items"),
        ('[pool]\n"own.jsonl" = ' + "9" * 5000 + '\n"other.jsonl" = 1', "not readable TOML: Exceeds the limit"),
        ('[pool]\n"own.jsonl" = 1\n"" = 1', "'.': no name of a benchmark"),
        (f'[pool]\n"own.jsonl" = 1\n"{"x" * 300}.jsonl" = 1', "not readable: File name too long"),
        ("[pool]\n", "should have at least 2 items"),
        ("", "expected [pool]"),
        ("chance = 0.5", "expected [pool]"),
        ('[pool]\n"own.jsonl" = 1\n"own.jsonl" = 2', "not readable TOML"),
        ('[pool]\n"own.jsonl" = 1\n"./own.jsonl" = 2', "counts each benchmark once, and own is in it twice"),
        ('[pool]\n"own.jsonl" = 1\n"copy.jsonl" = 2', "counts each benchmark once"),
        ('[pool]\n"own.jsonl" = 1\n"gone.jsonl" = 2', "gone.jsonl: no such file"),
        ('[pool]\n"own.jsonl" = 1\n"suite.toml" = 2', "suite.toml: holds no items"),
        ('[pool]\nown.jsonl = 1\n"other.jsonl" = 2', "pool.own"),
    ],
)
def test_pools_that_are_refused(certify: Certify, folder: Path, text: str, said: str) -> None:
    """In one line that names the file, before a model is loaded."""
    (folder / "copy.jsonl").write_bytes((folder / "own.jsonl").read_bytes())
    (folder / "bad.toml").write_text(text)
    code, _, err = certify("check", "same", "--base", "base", "-b", "bad.toml")
    assert code == 2
    assert said in err.replace("\n", " ")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("evidence", ["smoothed --sigma 0.01", "position", "distance"])
def test_evidence_that_knows_no_weights_is_refused(certify: Certify, evidence: str) -> None:
    """A mean over items would pass for the weighted one."""
    code, _, err = certify("check", "same", "--base", "base", "-b", "suite.toml", "--require", *evidence.split())
    assert code == 2
    assert "suite is a pool of benchmarks, which point and audit evidence judge together" in err


@pytest.mark.parametrize("command", ["measure base -b suite.toml -o m.json", "show-items base -b suite.toml"])
def test_commands_that_know_no_weights_refuse_the_file(certify: Certify, command: str) -> None:
    """They read items, and a pool has none of its own."""
    code, _, err = certify(*command.split())
    assert code == 2
    assert "suite.toml: holds no items" in err


def test_a_pool_that_is_too_small_is_refused_before_anything_is_scored(certify: Certify) -> None:
    """A drop of .001 needs more items than all of these, lost or not."""
    code, _, err = certify("check", "same", "--base", "base", "-b", "suite.toml", "--max-drop", "0.001")
    assert code == 2
    assert "this gate cannot pass on suite, the weighted mean of 2/3 of own" in err
