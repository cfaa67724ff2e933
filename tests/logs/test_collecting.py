"""Scores of drawn folders, taken back: the bounds of draws scored here, every mix-up refused, trust said everywhere."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.benchmarks import open_benchmark
from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.cli import output
from certify.documents import DRAW_FILE, DrawnWeights, read_document, read_measurement
from certify.logs.reading import read_logs
from certify.noise import noised, weight_noise
from certify.records import BroughtIdentity, digest

ITEMS, DRAWS, SIGMA = 12, 20, 0.02
DISTANCE = ("--base", "base", "--measurement", "base.json", "--require", "distance")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with checkpoints, items that it answers, and what a plan of draws leaves once the weights are gone."""
    where = tmp_path_factory.mktemp("collecting")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "items.jsonl", models.own_answers(model, ITEMS))
    table(where / "base.csv", [1.0] * ITEMS)
    base = open_checkpoint(where / "base")
    law = weight_noise({name: p.size for name, p in base.parameters.items()}, SIGMA)
    seed = DrawnWeights.seed_of(base.identity, law, DRAWS, 0)
    for i in range(DRAWS):
        (where / "draws" / str(i)).mkdir(parents=True)
        drawn = DrawnWeights.seal(base=base.identity, law=law, seed=seed, draw=i, draws=DRAWS, grid=(SIGMA,),
                                  alpha=0.05, weights=digest(i))  # fmt: skip
        drawn.to_json(where / "draws" / str(i) / DRAW_FILE)
        table(where / "draws" / str(i) / "scores.csv", [float(i != 7 or j != 2) for j in range(ITEMS)])
    return where


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def certify(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(folder / "ledgers"))
        monkeypatch.setattr(output.out, "width", 200)
        monkeypatch.setattr(sys, "argv", ["certify", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def table(path: Path, scores: list[float]) -> None:
    path.write_text("id,score\n" + "".join(f"{i},{score}\n" for i, score in enumerate(scores)))


def folders(count: int = DRAWS) -> list[str]:
    return [f"draws/{i}" for i in reversed(range(count))]  # the shell's order is no plan's


def collect(certify: Run, *more: str) -> tuple[int, str, str]:
    return certify("collect", *folders(), "--scores", "base.csv", "-o", "base.json", *more)


def test_what_another_tool_scored_is_what_would_be_scored_here(made: Path, folder: Path, certify: Run) -> None:
    """Two real draws, loaded from their folders and scored as any tool would: the means of the explicit engine."""
    base = open_checkpoint(folder / "base")
    scorer = open_benchmark(folder / "items.jsonl").encode(load_tokenizer(base))
    for i in (0, 1):
        code, _, said = certify("draw", "base", "--sigma", "0.3", "--draw", str(i), "-n", "2", "-o", f"real/{i}")
        assert code == 0, said
        table(folder / f"real/{i}/scores.csv", scorer.score(load_model(open_checkpoint(folder / f"real/{i}"))))
    code, said, wrong = certify("collect", "real/1", "real/0", "--scores", "base.csv", "-o", "real.json")
    assert code == 0, wrong
    assert "weights of 2 of 2 folders are still there" in said
    (draws,) = read_measurement(folder / "real.json").draws
    with noised(load_model(base), draws.law, draws.seed) as engine:
        here = tuple(sum(scorer.score(engine.at(i))) / ITEMS for i in (0, 1))
    assert draws.draws.scores == here
    assert here[0] != here[1]  # so that draws in another order would show
    models.variant(folder / "real/1", folder / "other", lambda t: t["model.norm.weight"].add_(1e-3))
    shutil.copy(folder / "other/model.safetensors", folder / "real/1/model.safetensors")
    code, _, wrong = certify("collect", "real/0", "real/1", "--scores", "base.csv", "-o", "wrong.json")
    assert code == 4
    assert "real/1: holds other weights" in wrong
    assert not (folder / "wrong.json").exists()


def test_a_measurement_judges_by_distance_and_says_what_is_on_trust(folder: Path, certify: Run) -> None:
    """A near checkpoint is certified, a wreck is not; the trust is said by show, check, verify and the report."""
    code, said, wrong = collect(certify)
    assert code == 0, wrong
    for text in (said, certify("show", "base.json")[1]):
        assert "Nothing here can be replayed" in text
        assert "were declared before any score was looked at" in text
        assert "mean drop on exactly these items: 0.004, at most 0." in text
    assert certify("verify", "base.json", "--base", "base")[0] == 0
    asked = (*DISTANCE, "--max-drop", "0.5", "-o", "found")
    code, said, wrong = certify("check", "same", *asked)
    assert code == 0, said + wrong
    assert "were brought, by a table of scores: no draw was scored here" in said
    assert certify("check", "wreck", *asked)[0] == 3
    (file,) = sorted((folder / "found").glob("same*.json"))
    for verb, line in (("show", "On trust"), ("verify", "no draw was scored here"), ("report", "On trust")):
        code, said, wrong = certify(verb, f"found/{file.name}")
        assert code == 0, wrong
        assert line in said
    engine = read_document(file).evidence.draws.engine  # type: ignore[union-attr]
    assert isinstance(engine, BroughtIdentity)
    assert [weights for weights, _ in engine.draws] == [digest(i) for i in range(DRAWS)]


def test_another_tokenizer_is_another_question(folder: Path, certify: Run) -> None:
    """The items are not here, so a tokenizer that means anything else leaves the distance infinite."""
    assert collect(certify)[0] == 0
    models.swap_tokens(folder / "same", "1", "2")
    code, said, wrong = certify("check", "same", *DISTANCE, "--max-drop", "0.5")
    assert code == 3, said + wrong
    assert "tokenizer differs" in said


def test_nothing_else_is_judged_or_replayed(folder: Path, certify: Run) -> None:
    """No other kind of evidence, no replay, no items of one's own: a line each."""
    assert collect(certify)[0] == 0
    base = ("--base", "base", "--measurement", "base.json")
    for words, line in (
        (("check", "same", *base), "Missing option --benchmark"),
        (("check", "same", *base, "--require", "distance,position"), "Missing option --benchmark"),
        (("check", "same", *base, "--require", "distance", "-b", "items.jsonl"), "scored by another tool"),
        (("verify", "base.json", "--replay", "1", "--base", "base", "-b", "items.jsonl"), "No such option"),
        (("verify", "base.json", "--replay", "1", "--base", "base", "--benchmark", "items.jsonl"), "can be replayed"),
        (("verify", "base.json", "--benchmark", "items.jsonl"), "another tool asked the items"),
    ):
        code, said, wrong = certify(*words)
        assert code == 2, said + wrong
        assert line in wrong


def drop(where: Path) -> None:
    shutil.rmtree(where / "draws/3")


def no_scores(where: Path) -> None:
    (where / "draws/3/scores.csv").unlink()


def two_files(where: Path) -> None:
    shutil.copy(where / "draws/3/scores.csv", where / "draws/3/scores.tsv")


def fewer_items(where: Path) -> None:
    table(where / "draws/3/scores.csv", [1.0] * (ITEMS - 1))


def no_number(where: Path) -> None:
    table(where / "draws/3/scores.csv", [2.0] * ITEMS)


def twice(where: Path) -> None:
    shutil.copy(where / f"draws/4/{DRAW_FILE}", where / f"draws/3/{DRAW_FILE}")


def another_base(where: Path) -> None:
    file = where / f"draws/3/{DRAW_FILE}"
    found = json.loads(file.read_text())
    other = open_checkpoint(where / "wreck").identity
    law = weight_noise(found["law"]["sizes"], SIGMA)
    seed = DrawnWeights.seed_of(other, law, DRAWS, 0)
    sealed = DrawnWeights.seal(base=other, law=law, seed=seed, draw=3, draws=DRAWS, grid=(SIGMA,), alpha=0.05,
                               weights=digest(3))  # fmt: skip
    file.unlink()
    sealed.to_json(file)


def edited(where: Path) -> None:
    file = where / f"draws/3/{DRAW_FILE}"
    file.write_text(file.read_text().replace('"draw": 3', '"draw": 2'))


def other_tool(where: Path) -> None:
    (where / "draws/3/scores.csv").unlink()
    samples(where / "draws/3/samples_arc_2025-01-01T00-00-00.jsonl")


def samples(path: Path) -> None:
    rows = [{"doc_id": i, "doc": {"q": i}, "target": "a", "arguments": [["a", "b"]], "resps": [[["1", "2"]]],
             "filter": "none", "metrics": ["acc"], "acc": 1.0} for i in range(ITEMS)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("spoil", "code", "line"),
    [
        (drop, 2, "draws/3: has no basin_draw.json"),
        (no_scores, 2, "draws/3: holds no log"),
        (two_files, 2, "draws/3: two files of scores for one model: scores.csv and scores.tsv"),
        (fewer_items, 2, "do not pair: 1 item of base.csv not in the other"),
        (no_number, 2, "a score lies from 0 to 1"),
        (twice, 2, "are both draw 4 of sigma 0.02"),
        (another_base, 2, "are draws of different bases"),
        (edited, 4, "the file was changed"),
        (other_tool, 2, "are of different tools: table and lm-eval"),
    ],
)
def test_what_people_mix_up_is_refused(
    folder: Path, certify: Run, spoil: Callable[[Path], None], code: int, line: str
) -> None:
    """One line with the place, and nothing written."""
    spoil(folder)
    found, _, wrong = collect(certify)
    assert (found, line in wrong, len(wrong.strip().splitlines())) == (code, True, 1), wrong
    assert not (folder / "base.json").exists()


def test_all_planned_draws_are_collected_or_none(folder: Path, certify: Run) -> None:
    """A choice among draws is no sample."""
    code, _, wrong = certify("collect", *folders(18), "--scores", "base.csv", "-o", "base.json")
    assert code == 2
    assert "2 of the 20 draws that were planned are missing (18, 19)" in wrong


def test_a_folder_named_twice_is_refused(folder: Path, certify: Run) -> None:
    """However it is spelled: the count of folders would be wrong."""
    for again in ("draws/3", "draws/../draws/3"):
        code, _, wrong = collect(certify, again)
        assert code == 2
        assert "draws/3: is named twice" in wrong


def test_the_base_s_folder_is_read_as_a_draw_s(folder: Path, certify: Run) -> None:
    """A table in it is found, and is none of the draws'."""
    words = ("collect", *folders(), "-o", "base.json", "--scores")
    (folder / "scored").mkdir()
    shutil.copy(folder / "base.csv", folder / "scored/scores.csv")
    code, _, wrong = certify(*words, "scored")
    assert code == 0, wrong
    code, _, wrong = certify(*words, "draws/3", "--overwrite")
    assert code == 2
    assert "the scores of one model, twice" in wrong


def test_what_can_certify_nothing_is_said(folder: Path, certify: Run) -> None:
    """Too few draws for the default limit, when first drawn and when collected; a base at or below chance."""
    few = "cannot pass with 20 draws: 101 are needed"
    code, said, wrong = collect(certify)
    assert (code, few in said, "vacuous" in said) == (0, True, False), wrong
    table(folder / "base.csv", [1.0] * (ITEMS - 1) + [0.0])
    code, said, _ = collect(certify, "--chance", "0.95", "--overwrite")
    assert code == 0
    assert "the base scores 0.9167, not above chance 0.95: whatever is kept will be vacuous" in said
    drawn = [certify("draw", "base", "--sigma", "0.3", "--draw", draw, "-o", f"n/{i}", *more)[1]
             for i, (draw, more) in enumerate([("0", ("-n", "20")), ("1", ("-n", "20")), ("0", ())])]  # fmt: skip
    assert [few in said for said in drawn] == [True, False, False]
    assert ["cannot pass" in said for said in drawn] == [True, False, False]


LOG = "samples_arc_2025-01-01T00-00-00.jsonl"
WITH_LOGS = ("collect", *folders(), "--scores", "base_log", "--metric", "acc,none", "-o", "base.json")


@pytest.fixture
def logged(folder: Path) -> Path:
    """The same plan, scored by lm-eval: each log names its folder in the results beside it."""
    for i, place in [("base", folder / "base_log"), *((str(i), folder / f"draws/{i}") for i in range(DRAWS))]:
        place.mkdir(exist_ok=True)
        samples(place / LOG)
        (place / "scores.csv").unlink(missing_ok=True)
        with (place / LOG).open("a") as file:
            file.write(json.dumps({**json.loads((place / LOG).read_text().splitlines()[0]), "filter": f"f{i}"}) + "\n")
        results(place, "models/base" if i == "base" else f"/scratch/draws/{i}")
    return folder


def results(place: Path, model: str) -> None:
    said = {"lm_eval_version": "0.4.13", "model_name": model, "config": {}}
    (place / "results_2025-01-01T00-00-00.json").write_text(json.dumps(said))


def test_a_log_that_names_another_model_is_refused(logged: Path, certify: Run) -> None:
    """Another draw's folder, and the base, by its whole name or the last part of it; each its own is taken."""
    code, _, wrong = certify(*WITH_LOGS)
    assert code == 0, wrong
    results(logged / "draws/3", "/scratch/draws/4")
    code, _, wrong = certify(*WITH_LOGS, "--overwrite")
    assert code == 2
    assert "says that it scored /scratch/draws/4, and lies in draws/3" in wrong
    for model in ("models/base", "/home/me/models/base/"):
        results(logged / "draws/3", model)
        code, _, wrong = certify(*WITH_LOGS, "--overwrite")
        assert (code, len(wrong.strip().splitlines())) == (2, 1), wrong
        assert f"draws/3/{LOG}: says that it scored {model}, as the base's log base_log/{LOG} does" in wrong
        assert "lies in draws/3: score base + draw there" in wrong


@pytest.mark.parametrize("other", ["base_log", "draws/4"])
def test_equal_bytes_are_taken_where_the_log_names_its_draw(logged: Path, certify: Run, other: str) -> None:
    """A small sigma may leave every answer as it was; a log that says nothing, or nothing fitting, was copied."""
    shutil.copy(logged / other / LOG, logged / "draws/3" / LOG)
    code, _, wrong = certify(*WITH_LOGS)
    assert code == 0, wrong
    for spoil in (lambda: results(logged / "draws/3", "now"),
                  (logged / "draws/3/results_2025-01-01T00-00-00.json").unlink):  # fmt: skip
        spoil()
        code, _, wrong = certify(*WITH_LOGS, "--overwrite")
        assert code == 2
        assert "the scores of one model, twice, unless the log says that its model is draws/3" in wrong


def test_missing_answers_count_against_the_claim(folder: Path, certify: Run) -> None:
    """NaN in a table is an answer that is missing: wrong, and kept as a share of its draw."""
    table(folder / "draws/3/scores.csv", [float("nan")] * 3 + [1.0] * (ITEMS - 3))
    assert collect(certify)[0] == 0
    (draws,) = read_measurement(folder / "base.json").draws
    assert draws.draws.scores[3] == pytest.approx(0.75)
    assert draws.draws.failed[3] == 0.25


@pytest.mark.parametrize(
    ("about", "model"),
    [
        ({"model": "hf/local", "model_args": {"model_path": "draws/3"}}, "draws/3"),
        ({"model": "hf/local", "model_args": {}}, "hf/local"),
        ({"model": "openai/x", "model_args": {"model_path": "draws/3"}}, "openai/x"),
    ],
)
def test_inspect_names_a_local_model_in_an_argument(tmp_path: Path, about: dict[str, object], model: str) -> None:
    """Else all draws and their base would be the one model hf/local, and none could be collected."""
    samples = [{"id": 1, "epoch": 1, "target": "a", "input": "q", "scores": {"match": {"value": "C"}}}]
    value = {"version": 2, "status": "success", "eval": {"task": "t", **about}, "samples": samples}
    (tmp_path / "log.json").write_text(json.dumps(value))
    assert read_logs(tmp_path)["t"].model == model
