"""Reports in the forms of others (spreadsheets, the Hugging Face hub, bills of materials) claim no more than a row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from gate_rows import HOSTILE, HOSTILE_CONTEXT, HOSTILE_ROW, ROWS, row

from certify.documents import BROUGHT, read_document
from certify.errors import InvalidInput
from certify.report.release import OF_NONE
from certify.report.render import ReportType, render, row_of
from certify.report.rows import Outcome, read_rows

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDS = [GOLDEN / name for name in (
    "v2/split.own.point.json", "v1/adversarial.addition.point.json", "v1/merge.addition.distance.json",
    "v1/full.addition.smoothed.json", "v1/benign.addition.position.json", "v1/base.addition.basin.json",
    "v2/adversarial-475fe284.addition.audit.json", "v2/adversarial-c7dfbaca.addition.cover.json",
    "v2/base-4587402d.skills.json",
)]  # fmt: skip
OF_RECORDS = [row_of(read_document(file), file.name) for file in RECORDS]
FAILED = row(item="kept[gone]", checkpoint="tuned", error="the checkpoint cannot be read")
OWN = row(checkpoint="tuned", base="base", quantities={"checkpoint_score": 0.71, "base_score": 0.72})


# ---------------------------------------------------------------- CSV


def cells(*rows: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(ReportType.csv, rows))))


def test_a_line_for_each_gate_holds_what_its_row_holds() -> None:
    """Verdict, kind of evidence, bounds unrounded, alpha and n; an unknown number is an empty cell."""
    found = cells(*OF_RECORDS, FAILED)
    assert len(found) == len(RECORDS) + 1
    for line, own in zip(found, OF_RECORDS, strict=False):
        assert (line["verdict"], line["evidence"], line["required"]) == (own.outcome, own.evidence, own.asked)
        for name, value in (("lower", own.lower), ("upper", own.upper), ("estimate", own.value), ("alpha", own.alpha)):
            assert line[name] == ("" if value is None else repr(value))
        assert (line["n"], line["certificate_digest"]) == (str(own.n), own.record)
        assert own.record.startswith("sha256:")
    assert (found[-1]["verdict"], found[-1]["error"]) == ("error", "the checkpoint cannot be read")
    assert len(cells()) == 0
    assert render(ReportType.csv, []).startswith("gate,checkpoint,base,")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\uff1d1", '=HYPERLINK("http://e.example")'])
def test_no_text_is_a_formula(text: str) -> None:
    """A spreadsheet computes what begins with four signs; a number may begin with a minus and stays one."""
    (line,) = cells(row(item=text, claim=text, value=-0.5))
    assert (line["gate"], line["claim"]) == (f"'{text}", f"'{text}")
    assert line["estimate"] == "-0.5"


def test_hostile_text_stays_in_its_cell() -> None:
    """Commas, quotes and line ends: one line of the file for a gate, whoever wrote its names."""
    hostile = f'{HOSTILE}", a\r\n=1,\tb'
    text = render(ReportType.csv, [row(item=hostile, claim=hostile)])
    assert text.count("\n") == 2
    assert "\r" not in text
    (line,) = cells(row(item=hostile))
    assert line["gate"] == hostile.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")


# ---------------------------------------------------------------- the hub


def test_a_model_index_is_read_by_the_hubs_own_client() -> None:
    """One result for each gate; verdict, bounds, alpha, n and kind of evidence stand with the number."""
    hub = pytest.importorskip("huggingface_hub.repocard_data")
    gates = [{**each, "checkpoint": "tuned"} for each in ROWS]
    value = yaml.safe_load(render(ReportType.hf_model_index, gates))
    name, results = hub.model_index_to_eval_results(value["model-index"])
    assert name == "tuned"
    assert len(results) == len(gates)
    for result, own in zip(results, read_rows(gates), strict=True):
        assert result.metric_args["verdict"] == own.verdict
        assert result.metric_args["evidence"] == own.evidence
        assert (result.metric_args["alpha"], result.metric_args["n"]) == (own.alpha, own.n)
        assert result.metric_args.get("lower") == own.lower
        assert str(own.verdict) in result.metric_name
        assert own.asked in result.metric_name
        assert result.metric_value == (own.found if own.value is None else own.value)
        assert result.verified is None
        assert result.verify_token is None


def test_a_bound_is_of_the_quantity_that_is_named() -> None:
    """A distance claims a score; its number stands under the quantity that is required, in all its fields."""
    (own,) = [each for each in OF_RECORDS if each.evidence == "distance"]
    assert (own.unit, own.found, own.bounded) == ("drop", "score at least 0.000", "drop at most 1.000")
    (model,) = yaml.safe_load(render(ReportType.hf_model_index, [own]))["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert (metric["type"], metric["value"]) == ("drop", "drop at most 1.000")
    assert metric["args"]["claim"] == own.claim
    (component,) = json.loads(render(ReportType.cyclonedx, [own]))["components"]
    (metric,) = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metric["type"].startswith("drop (distance evidence;")
    assert (metric["value"], metric["confidenceInterval"]) == ("drop at most 1.000", {"upperBound": "1.0"})


def test_what_is_on_trust_goes_with_the_number() -> None:
    """Scores made elsewhere are never shown as measured here; of others nothing is on trust."""
    brought = {**OWN, "limits": ["The items are a sample.", BROUGHT]}
    for rows, said in (([brought], True), ([OWN], False)):
        for kind, context in ((ReportType.hf_model_index, {}), (ReportType.hf_eval_results, TASK)):
            assert (BROUGHT in render(kind, rows, context)) is said
    (model,) = yaml.safe_load(render(ReportType.hf_model_index, [brought]))["model-index"]
    assert model["results"][0]["metrics"][0]["args"]["on_trust"] == BROUGHT


def test_eval_results_hold_scores_and_what_was_certified() -> None:
    """Of the tasks that are named; what the hub's own client reads is what the row holds."""
    hub = pytest.importorskip("huggingface_hub")
    context = {"hub_tasks": {"mmlu": "cais/mmlu:all"}, "date": "2026-11-20"}
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(render(ReportType.hf_eval_results, [OWN], context)))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == ("cais/mmlu", "all", 0.71, "2026-11-20")
    assert entry.verify_token is None
    for words in ("point evidence", "certified: retention at least 0.961", "0.95 required", "alpha 0.05", "2000 items"):
        assert words in entry.notes
    assert "date" not in render(ReportType.hf_eval_results, [OWN], {**context, "date": "20 November"})


TASK = {"hub_tasks": {"mmlu": "cais/mmlu:all"}}
REFUSED = {
    "nothing": (ReportType.hf_model_index, [], {}, "no gate ran"),
    "two models": (ReportType.hf_model_index, [OWN, {**OWN, "checkpoint": "other"}], {}, "2: tuned, other"),
    "a basin": (ReportType.hf_model_index, [OF_RECORDS[5]], {}, "basin of base[addition] is basin evidence, about"),
    "a cover": (ReportType.hf_eval_results, [OF_RECORDS[7]], {}, "is cover evidence, about no one checkpoint"),
    "skills": (ReportType.hf_model_index, [OF_RECORDS[8]], {}, "is skills evidence, about no one checkpoint"),
    "no name": (ReportType.hf_model_index, [row(checkpoint="")], {}, "kept[mmlu] names none"),
    "not judged": (ReportType.hf_model_index, [OWN, FAILED], {}, "kept[gone] was not judged"),
    "no task": (ReportType.hf_eval_results, [OWN], {}, "--hub-task mmlu=OWNER/DATASET:TASK"),
    "no score": (ReportType.hf_eval_results, [{**OWN, "quantities": {}, "evidence": "smoothed"}], TASK, "is smoothed"),
    "no gate": (ReportType.hf_eval_results, [OWN], {"hub_tasks": {"arc": "a/b:c", **TASK["hub_tasks"]}}, "arc: a task"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_model_card_cannot_say_is_refused(name: str) -> None:
    """Nothing is left out in silence, and no number lands on another model's card."""
    kind, rows, context, message = REFUSED[name]
    with pytest.raises(InvalidInput) as refusal:
        render(kind, rows, context)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


# ---------------------------------------------------------------- CycloneDX


def test_a_bill_of_materials_is_valid() -> None:
    """By the strict schema of CycloneDX 1.6, for every kind of evidence, failed gates and hostile names."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    pytest.importorskip("jsonschema")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    for rows, context in ((OF_RECORDS, {}), ([*ROWS, FAILED], {}), ([HOSTILE_ROW], HOSTILE_CONTEXT), ([], {})):
        text = render(ReportType.cyclonedx, rows, context)
        assert validator.validate_str(text) is None
    assert validator.validate_str(render(ReportType.cyclonedx, OF_RECORDS).replace('"slice"', '"slices"')) is not None


def test_a_bill_says_of_each_model_what_its_gates_say() -> None:
    """Verdict and requirement in the metric's own name, the rest as properties; what was not judged has no metric."""
    models = json.loads(render(ReportType.cyclonedx, [*OF_RECORDS, FAILED]))["components"]
    models_of = [each.base if each.evidence in OF_NONE else each.checkpoint for each in OF_RECORDS]
    names = dict.fromkeys(models_of)
    assert {"base", "adversarial"} < set(names)  # no component is a family, or has no name
    assert [model["name"] for model in models] == [*names, "tuned"]
    metrics = {model["name"]: model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] for model in models}
    assert metrics["tuned"] == []
    for own, model in zip(OF_RECORDS, models_of, strict=True):
        (metric,) = [each for each in metrics[model] if f"{own.evidence} evidence" in each["type"]]
        assert own.outcome in metric["type"]
        assert own.asked in metric["type"]
        interval = metric.get("confidenceInterval", {})
        assert interval.get("lowerBound") == (None if own.lower is None else repr(own.lower))
    said = {each["name"]: each["value"] for model in models for each in model["modelCard"]["properties"]}
    assert said["pytest-basin:gate.1:verdict"] in {*Outcome}
    assert not any("hashes" in model for model in models)


def test_no_form_is_made_for_another() -> None:
    """The task of the hub is in no report that others read."""
    assert "cais/mmlu" not in render(ReportType.json, [OWN], TASK)
