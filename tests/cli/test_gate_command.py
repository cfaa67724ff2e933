"""``certify gate``: a plan before the draws, three outcomes with their exit codes, a record that verifies and shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import models
import pytest

from certify.__main__ import main
from certify.cli import output
from certify.documents import GateRecord, read_document
from certify.evidence.engines import UNROUNDED_LIMIT
from certify.measuring import Base
from certify.measuring.replay import replay
from certify.statistics import GatePlan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is right on every item of its benchmark, a copy, and a wreck."""
    where = tmp_path_factory.mktemp("gate")
    model = models.base_same_and_wreck(where)
    models.write_jsonl(where / "own.jsonl", models.own_answers(model, 100))
    models.write_jsonl(where / "other.jsonl", models.own_answers(model, 50))
    return where


@pytest.fixture
def certify(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command in the folder; return its exit code and what it said."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CERTIFY_DRAWS_DIR", str(tmp_path))  # no test knows what others tried
        monkeypatch.setattr(output.out, "width", 200)
        again = ["--overwrite"] * (arguments[0] == "gate" and "-o" in arguments)  # the folder is that of all tests
        monkeypatch.setattr(sys, "argv", ["certify", *arguments, *again])
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    return run


ON_OWN = ("--base", "base", "-b", "own.jsonl", "--sigma", "1e-4", "--p1", "0.98")
RETAIN = (*ON_OWN, "--min-retention", "0.95")


def test_the_plan_is_printed_before_the_outcome_and_is_exact(certify) -> None:  # type: ignore[no-untyped-def]
    """Level, power and expected draws are those of the plan in the record; certified is exit 0."""
    code, out, _ = certify("gate", "same", *RETAIN, "-o", "gate.json")
    assert code == 0
    record = read_document("gate.json")
    assert isinstance(record, GateRecord)
    plan = record.evidence.plan
    assert plan == GatePlan(p0=0.95, p1=0.98, alpha=0.05, beta=0.1, cap=542, alpha_refute=0.05)
    said = re.search(r"passes wrongly with probability (\S+) \(allowed 0.05\), rightly at 0.98 with (\S+)", out)
    assert said is not None
    assert plan.type_one_error <= float(said[1]) <= plan.type_one_error + 1e-4
    assert plan.power - 1e-3 <= float(said[2]) <= plan.power
    assert out.index("passes wrongly") < out.index("CERTIFIED  sequential gate on own, checkpoint same")
    assert "score above 0.95 (0.95 of the base's 1 without noise), 95 % confidence" in out
    assert re.search(
        r"at most 542 draws of Gaussian noise on .* weights, sigma = 0.0001, each with one of 100 items", out
    )
    assert out.endswith("wrote gate.json\n")


def test_a_wreck_is_refuted_and_with_futility_given_up(certify) -> None:  # type: ignore[no-untyped-def]
    """Exit 1 with a proof, exit 3 without one."""
    code, out, _ = certify("gate", "wreck", *RETAIN)
    assert code == 1
    assert "REFUTED" in out
    assert "is below 0.95 (" in out
    code, out, _ = certify("gate", "wreck", *RETAIN, "--futility")
    assert code == 3
    assert "UNDECIDED" in out
    assert "refutes" not in out


def test_a_cap_that_comes_first_is_undecided(certify) -> None:  # type: ignore[no-untyped-def]
    """Exit 3; what was lacking is said."""
    code, out, _ = certify(
        "gate", "same", "--base", "base", "-b", "own.jsonl", "--sigma", "0.007", "--at-least", "0.9", "--p1", "0.97",
        "--cap", "75",
    )  # fmt: skip
    assert code == 3
    assert "the cap of 75 draws came first" in out
    assert "more right answers in a row would have passed" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (ON_OWN, "give one of --at-least (a score) and --min-retention"),
        ((*RETAIN, "--at-least", "0.9"), "give one of --at-least (a score) and --min-retention"),
        ((*ON_OWN, "--min-retention", "1.5"), "--min-retention must lie in [0, 1], got 1.5"),
        ((*ON_OWN, "--at-least", "0.98"), "p1 = 0.98: must be above p0 = 0.98"),
        ((*ON_OWN, "--at-least", "0"), "a score above 0 says nothing: chance is 0"),
        ((*RETAIN, "--cap", "50"), "this gate cannot pass with 50 draws: 97 are needed if all are right"),
        ((*RETAIN, "--confidence", "1"), "confidence must lie strictly between 0 and 1"),
        ((*RETAIN, "--sigma", "2"), "--sigma 1e-4: with several, each must be PATTERN=NUMBER"),
        ((*ON_OWN, "--at-least", "0.979"), "power 0.9 needs more than 20000 draws"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_bad_input_is_one_clear_line(certify, arguments: tuple[str, ...], said: str) -> None:  # type: ignore[no-untyped-def]
    """Exit 2 before the first draw."""
    code, out, err = certify("gate", "same", *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_record_verifies_without_torch_and_shows(certify, folder: Path) -> None:  # type: ignore[no-untyped-def]
    """`verify` decides it again from its outcomes, `show` says it in the words of the command."""
    _, out, _ = certify("gate", "same", *RETAIN, "-o", "gate.json")
    assert certify("show", "gate.json")[1] in out
    script = (
        "import sys; from certify.__main__ import main; sys.argv[1:] = ['verify', 'gate.json']\n"
        "try: main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "VALID  gate.json\n    CERTIFIED: With 95 % confidence over the draws, the noise-averaged"
    )
    whole = json.loads((folder / "gate.json").read_text())
    whole["evidence"]["outcomes"] = whole["evidence"]["outcomes"].replace("1", "0", 1)
    (folder / "forged.json").write_text(json.dumps(whole))
    code, out, _ = certify("verify", "forged.json")
    assert code == 4
    assert "the gate is not decided after" in out
    assert "digest: recorded" in out


def test_verify_hashes_the_checkpoint_too(certify) -> None:  # type: ignore[no-untyped-def]
    """The right files pass; another checkpoint or benchmark is a contradiction."""
    certify("gate", "same", *RETAIN, "-o", "gate.json")
    assert certify("verify", "gate.json", "--base", "base", "--checkpoint", "same", "--benchmark", "own.jsonl")[0] == 0
    code, out, _ = certify("verify", "gate.json", "--checkpoint", "wreck", "--benchmark", "other.jsonl")
    assert code == 4
    assert "checkpoint: wreck is not what was measured" in out
    assert "benchmark: other.jsonl has digest" in out


@pytest.mark.parametrize("engine", ["explicit", "activation"])
def test_its_draws_can_be_drawn_again_at_the_checkpoint(certify, engine: str) -> None:  # type: ignore[no-untyped-def]
    """--replay gives the same outcomes on the same weights and not on others; it needs the checkpoint."""
    arguments = ("--base", "base", "-b", "own.jsonl", "--sigma", "0.01", "--at-least", "0.8", "--p1", "0.95")
    assert certify("gate", "same", *arguments, "--engine", engine, "-o", f"{engine}.json")[0] in (0, 3)
    again = ("verify", f"{engine}.json", "--replay", "200")
    code, out, _ = certify(*again, "--checkpoint", "same", "--benchmark", "own.jsonl")
    assert code == 0
    assert "Repeated at the checkpoint, with the same scores: " in out
    code, _, err = certify(*again, "--base", "same", "--benchmark", "own.jsonl")
    assert code == 2
    assert "--replay needs the weights and the items: name --checkpoint and --benchmark" in err
    record = json.loads(Path(f"{engine}.json").read_text())
    outcomes = record["evidence"]["outcomes"]
    assert outcomes[0] == "1" and "0" in outcomes
    replayed = GateRecord.model_validate({**record, "evidence": {**record["evidence"], "outcomes": "0" + outcomes[1:]}})
    (line,) = replay(replayed, Base.open("same", "own.jsonl"), 200)
    assert line == "replay: evidence, draw 0: recorded 0.0, drawn again 1.0"


@pytest.mark.parametrize(
    ("engine", "name"), [("auto", "activation"), ("explicit", "explicit"), ("activation", "activation")]
)
def test_the_engine_is_in_the_record_and_its_premise_in_the_claim(certify, engine: str, name: str) -> None:  # type: ignore[no-untyped-def]
    """Activation space where it is exact, unless another engine is asked for; the verdict is the same here."""
    code, out, _ = certify("gate", "same", *RETAIN, "--engine", engine, "-o", "gate.json")
    assert code == 0
    record = read_document("gate.json")
    assert isinstance(record, GateRecord)
    assert record.evidence.engine.name == name
    assert (UNROUNDED_LIMIT in out) == (name == "activation")
    assert ("Premise: float error" in out) == (name == "activation")


def test_a_gate_is_no_measurement(certify) -> None:  # type: ignore[no-untyped-def]
    """Handing over the wrong file says which is needed."""
    certify("gate", "same", *RETAIN, "-o", "gate.json")
    code, _, err = certify(
        "check", "same", "--base", "base", "-b", "own.jsonl", "--measurement", "gate.json", "--require", "distance"
    )
    assert code == 4
    assert "is a gate; a measurement is needed" in err


def test_the_same_gate_gives_the_same_file(certify, folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Drawn anew in another folder of draws, byte for byte; another user seed is another record."""
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", "1"))):
        certify("gate", "same", *RETAIN, "-o", f"{name}.json", "--draws-dir", str(tmp_path / name), *more)
    a, b, c = ((folder / f"{name}.json").read_bytes() for name in "abc")
    assert a == b != c


PAGE = Path(__file__).parents[2] / "docs" / "planning.md"
PRINTED = re.findall(
    r"```console\n\$ certify gate (.*) --output gate.json\n([^`]*)```", PAGE.read_text(encoding="utf-8")
)


def test_the_page_shows_what_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of docs/planning.md, but for the counts, which other processors may round differently."""
    ((command, said),) = PRINTED
    monkeypatch.chdir(PAGE.parents[1])
    monkeypatch.setattr(sys, "argv", ["certify", "gate", *command.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    found = capsys.readouterr().out
    assert stop.value.code == 0
    counts = r"\d+ of \d+ trials"
    assert re.sub(counts, "_", found).startswith(re.sub(counts, "_", said))
