"""`evidence="cover"`: a gate on a family of checkpoints, whose record is the one that `certify cover` writes."""

from __future__ import annotations

import json
import shlex
import shutil
from xml.etree import ElementTree

import models
import pytest
from forked import certify

from certify.documents import CoverRecord, read_document
from certify.verify import differences

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.basin(evidence="cover", {})
def test_kept(basin_bound):
    assert basin_bound <= basin_bound.required
"""
SEGMENT = "family='segment:close', range=(0, 1.25), windows=1, draws=40, max_drop=0.1"
KEPT = ["--basin-cert-dir=certs", "--basin-cache-dir=draws"]


@pytest.fixture
def near_by(project):
    """The project, with models in the root directory, one of which is not the base and keeps what it can."""
    for name in ("base", "broken"):
        (project.pytester.path / name).symlink_to(getattr(project.files, name))
    models.variant(project.files.base, project.pytester.path / "close", lambda t: t["model.norm.weight"].add_(1e-5))
    project.configure(base="base")
    return project


def records(project, folder="certs"):
    """The records that were filed."""
    found = [read_document(file) for file in sorted(project.pytester.path.glob(f"{folder}/*.json"))]
    assert all(isinstance(each, CoverRecord) and differences(each) == [] for each in found)
    return found


def test_the_record_is_that_of_the_command_byte_for_byte(near_by):
    """From the command that the gate names, with draws of its own; in JUnit and reports it is the family's."""
    root, outputs = near_by.pytester.path, ["--junitxml=junit.xml", "--basin-report=json", "--basin-report=markdown"]
    result = near_by.run(None, "-v", *KEPT, *outputs, test=TEST.format(SEGMENT + ", confidence=0.9, chosen=0.8"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_kept[[]digits-close[]] PASSED*",
                                 " kept*  cover  *1 kept, 0 lost, 0 open*40 draws*CERTIFIED*"])  # fmt: skip
    (gate,) = json.loads((root / "basin-report.json").read_text())["gates"]
    assert (gate["checkpoint"], gate["evidence"], gate["n"], gate["of"]) == (
        "the segment from the base to close", "cover", 40, "draws"
    )  # fmt: skip
    (command,) = [note.partition("figure: ")[2] for note in gate["notes"] if "certify cover" in note]
    done = certify(*shlex.split(command)[1:], cwd=root, env={"CERTIFY_DRAWS_DIR": str(root / "others")})
    assert done.returncode == 0, done.stderr
    (filed,), (written,) = root.glob("certs/*.json"), root.glob("covers/*.json")
    assert filed.read_bytes() == written.read_bytes()
    assert records(near_by)[0].evidence.chosen == (0.8,)
    properties = {p.get("name"): p.get("value") for p in ElementTree.parse(root / "junit.xml").iter("property")}
    assert properties["basin.bound"] == "1 kept, 0 lost, 0 open"
    assert properties["basin.checkpoint"] == "the segment from the base to close"
    text = (root / "basin-report.md").read_text()
    assert "1 kept, 0 lost, 0 open" in text
    assert "Release" not in text, "a cover releases no checkpoint"


def test_draws_are_kept_and_shared_with_the_command(near_by):
    """The command with the same folder scores nothing."""
    near_by.run(None, *KEPT, test=TEST.format(SEGMENT)).assert_outcomes(passed=1)
    root = near_by.pytester.path
    kept = {file: file.stat().st_mtime_ns for file in root.glob("draws/**/*.jsonl")}
    assert kept
    words = ["cover", "base", "--family=segment:close", "--range=0,1.25", "--windows=1", "-n40", "--max-drop=0.1"]
    done = certify(*words, "-b", near_by.files.digits, cwd=root, env={"CERTIFY_DRAWS_DIR": str(root / "draws")})
    assert done.returncode == 0, done.stderr
    assert {file: file.stat().st_mtime_ns for file in root.glob("draws/**/*.jsonl")} == kept


def test_a_family_for_each_checkpoint(near_by):
    """Those that are configured; the wreck's is refuted, and each has its row and its record."""
    test = TEST.format(SEGMENT.replace("segment:close", "segment"))
    both = ["--basin-checkpoint=close", "--basin-checkpoint=broken"]
    result = near_by.run(None, *both, *KEPT, test=test)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([
        "E*REFUTED  0 kept, 1 lost, 0 open, drop at most 0.1 required  (cover, *40 draws)",
        "E*40 draws lost, 0 gained",
        " kept[[]digits-close[]] *cover *CERTIFIED*",
        " kept[[]digits-broken[]] *cover *REFUTED*",
        " Holm over 2 gates at 0.05: 1 certified jointly",
        "FAILED*kept[[]digits-broken[]]* - refuted: 0 kept, 1 lost, *",
    ])  # fmt: skip
    assert "Release" not in result.stdout.str()
    assert sorted(each.evidence.family.name for each in records(near_by)) == ["broken", "close"]


def test_a_bound_is_compared_at_another_limit_too(near_by):
    """Comparison, verdict and claim are of the map; it has no number and no interval."""
    test = TEST.format(SEGMENT).replace("basin_bound.required", "0.2").replace("    assert", """\
    assert basin_bound.value is basin_bound.lower is basin_bound.upper is None
    assert basin_bound.verdict == "certified"
    assert "over the whole box" in basin_bound.claim
    assert not basin_bound <= 0.001
    assert""")
    near_by.run(None, *KEPT, test=test).assert_outcomes(passed=1)


@pytest.mark.filterwarnings("default")
def test_an_adapter_at_every_scale(near_by):
    """Of a LoRA that changes little: PEFT's own merge at each scale."""
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    model = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(near_by.files.base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 1e-4 * torch.randn_like(weight)
    model.save_pretrained(near_by.pytester.path / "lora")
    result = near_by.run(None, *KEPT, test=TEST.format(SEGMENT.replace("segment:close", "adapter:lora")))
    result.assert_outcomes(passed=1)
    (record,) = records(near_by)
    assert (record.evidence.family.kind, record.evidence.family.coefficients) == ("adapter", ("scale",))


def test_a_merge_has_two_coefficients(near_by):
    """A range for each of the recipe's weights; one range is too few, which is known when the recipe is read."""
    listed = [{"model": name, "parameters": {"weight": 0.5}} for name in ("close", "broken")]
    recipe = {"merge_method": "task_arithmetic", "base_model": "base", "models": listed}
    (near_by.pytester.path / "both.yaml").write_text(json.dumps(recipe))
    asked = "family='merge:both.yaml', range=[(0, 0.5), (0, 1e-4)], windows=2, draws=150, max_drop=0.3"
    near_by.run(None, *KEPT, test=TEST.format(asked)).assert_outcomes(passed=1)
    assert len(records(near_by)[0].judgement.windows) == 4
    result = near_by.run(None, *KEPT, test=TEST.format(asked.replace("[(0, 0.5), (0, 1e-4)]", "(0, 1)")))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*range: 1 given, and the merges of both.yaml takes 2 (weight of *"])


def test_the_plan_counts_draws(near_by):
    """As many as put enough into each window on average; nothing is loaded."""
    result = near_by.run(None, "--basin-plan", test=TEST.format(SEGMENT))
    result.stdout.re_match_lines([r" kept.* cover +drop at most 0\.1 +95 % +40 draws +29 draws +- +40"])


def test_so_few_draws_that_nothing_can_pass_are_undecided(near_by):
    """Said at collection, and nothing is drawn."""
    result = near_by.run(None, test=TEST.format(SEGMENT.replace("40", "20")))
    result.stdout.fnmatch_lines(["*BasinWarning: test_kept[[]digits[]]: 20 draws put about 20 into each of 1 windows*",
                                 "*1 undecided*"])  # fmt: skip
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("range=(0, 1)", "cover evidence needs family"),
        ("family='segment'", "cover evidence needs range"),
        ("max_drop=0.1", "cover evidence needs family and range"),
        ("family='segments', range=(0, 1)", "family must be KIND or KIND:PLACE, KIND one of segment, adapter, merge"),
        ("family='segment:', range=(0, 1)", "family must be KIND or KIND:PLACE"),
        ("family='segment', range=1.2", "range must be (low, high), or two of them for two coefficients, got 1.2"),
        ("family='segment', range=(0, 1, 2)", "range must be (low, high)"),
        ("family='segment', range=()", "range must be (low, high)"),
        ("family='segment', range=(0, '1')", "range must be (low, high)"),
        ("family='segment', range=(1, 0)", "range 1,0: must be two numbers, LOW,HIGH, the lower one first"),
        ("family='segment', range=(0, float('inf'))", "range 0,inf: "),
        ("family='segment', range=[(0, 1), (0, 1)]", "range: 2 given; family 'segment' takes 1"),
        ("family='merge', range=[(0, 1)] * 3", "range: 3 given; a family has one or two coefficients"),
        ("family='segment', range=(0, 1), width=0.01", "10 windows of width 0.01 must cover the range"),
        ("family='segment', range=(0, 1), windows=0", "windows must be a positive whole number, got 0"),
        ("family='segment', range=(0, 1), width=0", "width must be a number above 0, got 0"),
        ("family='segment', range=(0, 1), chosen='a'", "chosen must be a number, or one for each of two coefficients"),
        ("family='segment:close', range=(0, 1), checkpoints=['broken']", "family names close, and checkpoints others"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_collection_error_in_one_line(near_by, asked, said):
    """What, which value, which rule; no traceback."""
    result = near_by.run("same", test=TEST.format(asked))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert said in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_what_has_no_meaning_is_refused(near_by):
    """A family's keywords on other evidence, a forced cover, a baseline, a pool, and a folder that is no adapter."""
    other = TEST.format(SEGMENT).replace('"cover"', '"audit"').replace("draws=40, ", "")
    assert "family is of cover evidence; this gate asks for audit" in near_by.run(None, test=other).stdout.str()
    forced = near_by.run("same", "--basin-force=evidence=cover", test=TEST.format(SEGMENT))
    assert "--basin-force evidence=cover: a family and its range are for a marker to say" in forced.stdout.str()
    compared = near_by.run(None, *KEPT, "--basin-compare-fail=drop:0.01", test=TEST.format(SEGMENT))
    compared.assert_outcomes(failed=1)
    assert "a family is compared with no baseline" in compared.stdout.str()
    near_by.run(None, *KEPT, "--basin-update", test=TEST.format(SEGMENT)).assert_outcomes(passed=1)
    assert not list(near_by.pytester.path.glob("__basin__/*"))
    adapter = near_by.run(None, *KEPT, test=TEST.format(SEGMENT.replace("segment:", "adapter:")))
    adapter.assert_outcomes(errors=1)
    assert "is no folder of an adapter but folder of weights" in adapter.stdout.str()
    few = near_by.files.few
    shutil.copy(few, near_by.pytester.path / "few.jsonl")
    (near_by.pytester.path / "suite.toml").write_text(f'[pool]\n"{near_by.files.digits}" = 2\n"few.jsonl" = 1\n')
    near_by.configure(base="base", benchmark=["suite.toml"])
    pooled = near_by.run(None, *KEPT, test=TEST.format(SEGMENT))
    pooled.assert_outcomes(errors=1)
    assert "suite is a pool of benchmarks: cover each of them" in pooled.stdout.str()
