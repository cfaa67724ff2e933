"""Attempts at one checkpoint are counted where they are kept, charged, and said; the same test again is no attempt."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
from point_certificates import identity

from certify.benchmarks.pool import pooled
from certify.documents import Certificate, charged_alpha
from certify.errors import CertifyWarning, InvalidPlan
from certify.evidence.trials import Subject, Trials
from certify.joint import p_value
from certify.measuring import Base, check
from certify.measuring.attempts import attempt
from certify.measuring.run import Run
from certify.records import Part, Seed, digest
from certify.verify import differences


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and a checkpoint that keeps everything."""
    folder = tmp_path_factory.mktemp("attempts")
    model = models.llama()
    models.save_folder(folder / "base", model)
    models.variant(folder / "base", folder / "same", lambda t: t["model.norm.weight"].add_(1e-5))
    models.write_jsonl(folder / "own.jsonl", models.own_answers(model, 20))
    return folder


def judged(where: Path, run: Run, draws: int = 110, seed: int = 0) -> Certificate:
    (found,) = check(
        Base.open(where / "base", where / "own.jsonl"), where / "same", kinds=("smoothed",), sigma=1e-5, draws=draws,
        user_seed=seed, run=run,
    )  # fmt: skip
    return found


def test_another_seed_is_another_attempt_and_pays(where: Path, tmp_path: Path) -> None:
    """Second and third attempt have a sixth and a twelfth of alpha; the first test again is still the first."""
    run = Run(ledgers=tmp_path / "draws")
    first = judged(where, run)
    with pytest.warns(CertifyWarning, match=r"is attempt 2: .* judged at alpha = 0\.008333"):
        second = judged(where, run, seed=7)
    with pytest.warns(CertifyWarning, match="is attempt 3"):
        third = judged(where, run, draws=130)
    assert judged(where, run) == first
    for number, each in enumerate((first, second, third)):
        assert each.alpha == 0.05 and each.failure_probability == charged_alpha(0.05, number)
        assert ("It is attempt" in each.claim_text) == (number > 0)
        assert differences(each) == []
    said = "Drawn from user seed 7, not from the default 0. It is attempt 2 at this checkpoint, judged at 1/6 of the"
    assert said in second.claim_text
    assert (first.judgement.upper or 1) < (second.judgement.upper or 0)
    p = [p_value(each.evidence, each.benchmark, each.requirement) for each in (first, second)]
    assert p[1] == pytest.approx(6 * p[0], rel=0.01)


def test_an_attempt_that_could_certify_nothing_is_refused_and_not_counted(where: Path, tmp_path: Path) -> None:
    """Nothing was drawn, so nothing is charged for it later."""
    run = Run(ledgers=tmp_path)
    judged(where, run)
    for _ in range(2):
        with pytest.raises(InvalidPlan, match="cannot pass with 100 draws"):
            judged(where, run, draws=100)
    with pytest.warns(CertifyWarning, match="is attempt 2"):
        judged(where, run, seed=1)


def test_certificates_in_the_folder_count_where_the_list_is_gone(where: Path, tmp_path: Path) -> None:
    """Deleting the draws hides no attempt whose certificate lies where the next one goes."""
    first = judged(where, Run(filed=tmp_path))
    first.file_in(tmp_path)
    with pytest.warns(CertifyWarning, match="is attempt 2"):
        second = judged(where, Run(ledgers=tmp_path / "draws", filed=tmp_path), seed=1)
    assert judged(where, Run(filed=tmp_path)) == first
    assert second.file_in(tmp_path).name == first.file_in(tmp_path).name.replace(".json", ".2.json")
    assert first.file_in(tmp_path) == first.file_in(tmp_path), "the same record is written once"
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_damaged_line_counts_as_an_attempt(where: Path, tmp_path: Path) -> None:
    """Whoever flips a bit of the list gains nothing."""
    run = Run(ledgers=tmp_path)
    base = Base.open(where / "base", where / "own.jsonl")
    subject = judged(where, run)
    trials = Trials("smoothed", _subject(subject), base.weight_law(1e-5), 110)
    (file,) = tmp_path.glob("attempts.*.jsonl")
    file.write_bytes(b"0" + file.read_bytes()[1:] if file.read_bytes()[:1] != b"0" else b"1" + file.read_bytes()[1:])
    with pytest.warns(CertifyWarning, match="1 line is damaged, and counted as an attempt each"):
        found = attempt(run, "smoothed", _subject(subject), lambda j: Trials(
            trials.purpose, trials.subject, trials.law, trials.n, 0, j).seed)  # fmt: skip
    assert found == 1


def _subject(certificate: Certificate):  # type: ignore[no-untyped-def]
    from certify.evidence.trials import Subject

    return Subject(certificate.benchmark, certificate.base, certificate.checkpoint)


def test_a_pool_under_other_weights_is_asked_again(tmp_path: Path) -> None:
    """Weights and sequence decide the seed: whoever writes them would have tries for nothing. Other items are new."""

    def seen(weight: float, *benchmarks: str) -> int:
        parts = [Part(name=name, items=10, weight=weight if name == "b" else 1.0, chance=0.0, digest=digest(name))
                 for name in benchmarks]  # fmt: skip
        suite = pooled("suite", parts, [(None, 10)] * len(parts))
        subject = Subject(suite, identity("base", "b"), identity("run", "1"))

        def seed_of(number: int) -> Seed:
            return Trials("audit", subject, None, 10 * len(parts), attempt=number).seed

        return attempt(Run(ledgers=tmp_path), "audit", subject, seed_of)

    assert [seen(1.0, "a", "b"), seen(1.0, "a", "b"), seen(1.000001, "a", "b"), seen(1.0, "b", "a")] == [0, 0, 1, 2]
    assert seen(1.0, "a", "c") == 0
