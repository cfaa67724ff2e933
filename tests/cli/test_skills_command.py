"""``certify basin`` on fixed items, and on several skills under the same draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import models
import pytest

from certify.benchmarks import PooledBenchmark, open_benchmark, open_pool_or_benchmark
from certify.documents import SkillsRecord, read_document
from certify.errors import CertifyError
from certify.evidence import Requirement
from certify.measuring import Base, Run
from certify.measuring.skills import measure_skills, placed
from certify.report.rows import row_of
from certify.verify import differences

Certify = Callable[..., tuple[int, str, str]]
SKILLS = ("-b", "one.jsonl", "-b", "two.jsonl")
QUICK = ("--grid", "1e-4,2", "-n", "150", "--refine", "1", "--min-retention", "0.9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of two benchmarks."""
    where = tmp_path_factory.mktemp("skills")
    model = models.llama()
    models.save_folder(where / "base", model)
    rows = models.own_answers(model, 30)
    models.write_jsonl(where / "one.jsonl", rows[:10])
    models.write_jsonl(where / "two.jsonl", rows[10:])
    (where / "pool.toml").write_text('[pool]\n"one.jsonl" = 1.0\n"two.jsonl" = 1.0\n')
    return where


def record(folder: Path, certify: Certify) -> SkillsRecord:
    """The basins of both, measured once by the command."""
    if not (folder / "s.json").exists():
        code, out, _ = certify("basin", "base", *SKILLS, "-o", "s.json", *QUICK)
        assert code == 0
        assert "CERTIFIED  basins of base on one + two" in out
        assert "of no pair is it shown which lies inside which" in out
    found = read_document(folder / "s.json")
    assert isinstance(found, SkillsRecord)
    return found


def test_both_skills_are_seen_under_the_same_draws(folder: Path, certify: Certify) -> None:
    """One seed for each sigma; items of each benchmark among its own; the gap of the widths is refined."""
    found = record(folder, certify)
    assert {p.name for p in folder.glob("s.*")} == {"s.json", "s.svg", "s.png"}
    assert [(skill.sigma_star, skill.refuted_from) for skill in found.judgement.skills] == [(1e-4, 1.0)] * 2
    levels = [(level.sigma, level.refined) for level in found.evidence.levels]
    assert levels == [(1e-4, False), (1.0, True), (2.0, False)]
    first, second = (run.trials for run in found.runs[:2])
    assert first.seed == second.seed
    assert first.items is not None and second.items is not None
    assert set(first.items) == set(range(10)) and set(second.items) == set(range(10, 30))
    assert found.judgement.share == pytest.approx(0.05 / 8)


def test_it_verifies_and_replays_and_forgeries_do_not(folder: Path, certify: Certify) -> None:
    """Against the base and a pool of the same benchmarks; widths, pairs and seeds are recomputed."""
    record(folder, certify)
    files = ("--base", "base", "--benchmark", "pool.toml", "--replay", "2")
    code, out, _ = certify("verify", "s.json", *files)
    assert code == 0
    assert "2 of 150 draws of evidence.levels.0, 2 of 150 draws of evidence.levels.1" in out
    for path, value in (("judgement.inside", [{"inner": "one", "outer": "two", "below": 1.0, "reaches": 2.0}]),
                        ("judgement.share", 0.05), ("evidence.refine", 2)):  # fmt: skip
        forged = json.loads((folder / "s.json").read_text())
        part, name = path.split(".")
        forged[part][name] = value
        (folder / "forged.json").write_text(json.dumps(forged))
        assert certify("verify", "forged.json")[0] == 4
    forged["evidence"]["refine"] = 0
    (folder / "forged.json").write_text(json.dumps(forged))
    assert "levels are refined, though none were to be" in certify("verify", "forged.json")[1]


def test_show_and_report_say_it(folder: Path, certify: Certify) -> None:
    """Claim, every sigma, what is not covered."""
    found = record(folder, certify)
    out = certify("show", "s.json")[1]
    assert found.claim_text in out
    assert "one: scores 1.000, sigma* 0.0001, refuted from 1" in out
    assert all(limit in out for limit in found.judgement.limits)
    assert "one: sigma* 0.0001, refuted from 1" in " ".join(row_of(found).place)


def test_one_skill_on_its_fixed_items(folder: Path, certify: Certify) -> None:
    """As many draws as one likes, in the unit that was asked."""
    arguments = ("--items", "fixed", "--grid", "1e-4,2", "-n", "200", "--refine", "0", "--engine", "explicit")
    code, out, _ = certify("basin", "base", "-b", "one.jsonl", "-o", "one.json", *arguments)
    assert code == 0
    assert "drop at most 0.05 on exactly these items" in out and "nested" not in out and "inside" not in out
    found = read_document(folder / "one.json")
    assert isinstance(found, SkillsRecord) and differences(found) == []
    assert found.judgement.share == 0.05 / 2
    assert found.under(Requirement(limit=0.01)).verdict == "undecided"  # 200 draws do not show so little


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*SKILLS, "--max-drop", "0.05"), "several skills compare at the same retention, not at a drop at most 0.05"),
        ((*SKILLS, "--items", "population"), "speak of exactly the items"),
        ((*SKILLS, "-c", "base"), "places of checkpoints stand beside the basin of one skill"),
        ((*SKILLS, "--engine", "activation"), "see the same draws only where these are written"),
        (("-b", "one.jsonl", "-b", "one.jsonl"), "counts each benchmark once, and one is in it twice"),
        (("-b", "one.jsonl", "--refine", "2"), "a grid is refined on fixed items only"),
        ((*SKILLS, "-n", "20"), "one: 20 draws at each sigma certify nothing whatever they show"),
        ((*SKILLS, "-n", "0"), "--draws 0"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(
    folder: Path, certify: Certify, arguments: tuple[str, ...], said: str
) -> None:
    """Exit 2, and nothing written."""
    code, _, err = certify("basin", "base", *arguments, "-o", "no.json", "--grid", "1e-4,2")
    assert code == 2 and said in " ".join(err.split())
    assert not (folder / "no.json").exists()


def test_weights_and_missing_skills_are_refused(folder: Path, tmp_path: Path) -> None:
    """A pool of other weights knows what basins do not; of a skill that the base lacks nothing can be kept."""
    (folder / "weighed.toml").write_text('[pool]\n"one.jsonl" = 2.0\n"two.jsonl" = 1.0\n')
    (tmp_path / "wrong.jsonl").write_text("".join(
        json.dumps({**json.loads(line), "target": " zz"}) + "\n"
        for line in (folder / "one.jsonl").read_text().splitlines()
    ))  # fmt: skip
    asked = Requirement(unit="retention", limit=0.9)
    with pytest.raises(CertifyError, match="weighs its benchmarks"):
        weighed = open_pool_or_benchmark(folder / "weighed.toml")
        measure_skills(Base.open(folder / "base", weighed), [1.0], requirement=asked)
    pool = PooledBenchmark.alike([open_benchmark(folder / "two.jsonl"), open_benchmark(tmp_path / "wrong.jsonl")])
    with pytest.raises(CertifyError, match=r"wrong: the base scores 0\.000, chance 0: nothing to retain"):
        measure_skills(Base.open(folder / "base", pool), [1.0], requirement=asked, draws=200)


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    """It ends with the record of one that was not."""
    pool = PooledBenchmark.alike([open_benchmark(folder / f"{name}.jsonl") for name in ("one", "two")])
    left = [40]

    def cut_off(indices, label):  # type: ignore[no-untyped-def]
        for i in indices:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            yield i

    def measured(run: Run) -> SkillsRecord:
        asked = Requirement(unit="retention", limit=0.8)
        base = Base.open(folder / "base", pool)
        return measure_skills(base, [1e-4, 2.0], requirement=asked, draws=60, refine=0, run=run)

    with pytest.raises(KeyboardInterrupt):
        measured(Run(cut_off, ledgers=tmp_path))
    assert measured(Run(ledgers=tmp_path)) == measured(Run())


def test_refined_sigmas_lie_where_widths_end(folder: Path, certify: Certify) -> None:
    """Evenly in the gaps above sigma* and below where all is refuted, none twice."""
    said = record(folder, certify).judgement
    skill = said.skills[0].model_copy(update={"sigma_star": None, "refuted_from": 2.0})
    assert placed(said.model_copy(update={"skills": (skill,)}), 1) == (5e-5, 1.5)
    high = said.skills[0].model_copy(update={"sigma_star": 2.0, "refuted_from": None})
    assert placed(said.model_copy(update={"skills": (high,)}), 3) == ()
