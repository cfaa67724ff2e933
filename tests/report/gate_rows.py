"""Rows as the pytest plugin hands them over: plain dictionaries, one for each gate."""

from __future__ import annotations

from typing import Any

HOSTILE = (
    "<script>alert(1)</script> | `x` **b** [l](http://e.example) <b>bold</b> @all www.e.example & \"q\" 's' {{ 7 * 7 }}"
)

CLAIM = (
    "With 95 % confidence over the items, the checkpoint's retention on the population behind mmlu is at least 0.961 "
    "(15 of 2000 items lost, 6 gained; retention at least 0.95 required)."
)


def row(**fields: Any) -> dict[str, Any]:
    """A certified gate, changed by ``fields``."""
    return {
        "item": "kept[mmlu]",
        "nodeid": "tests/test_gate.py::test_kept[mmlu]",
        "benchmark": "mmlu",
        "evidence": "point",
        "verdict": "certified",
        "unit": "retention",
        "value": 0.98,
        "lower": 0.9612,
        "upper": 0.9905,
        "need": 0.95,
        "n": 2000,
        "of": "items",
        "alpha": 0.05,
        "vacuous": False,
        "claim": CLAIM,
        "limits": ["The items are taken to be an independent sample."],
        "notes": [],
        "settings": "min_retention 0.95 (marker), confidence 0.95 (default)",
        "seconds": 41.2,
        "certificate": "certs/kept-mmlu-point.json",
        "replay": 'pytest "tests/test_gate.py::test_kept[mmlu]" --basin-seed=0',
        "layers": [],
        **fields,
    }


ROWS = [
    row(),
    row(item="kept[arc]", benchmark="arc", verdict="undecided", value=0.96, lower=0.942, upper=0.977),
    row(
        item="kept[gsm8k]",
        benchmark="gsm8k",
        evidence="smoothed",
        of="draws",
        n=200,
        verdict="refuted",
        value=0.93,
        lower=0.919,
        upper=0.94,
        layers=[["layers.23.mlp.down_proj", 0.41], ["lm_head", 0.12]],
        notes=["the checkpoint was scored with its own settings: tokenizer differs"],
    ),
    row(item="kept[tiny]", benchmark="tiny", verdict="undecided", value=None, lower=None, upper=None, n=0),
    row(item="far", evidence="position", verdict="refuted", value=-2.0, lower=-4.0, upper=0.3),
    row(item="gone[hazard]", unit="absence", value=0.02, lower=0.0, upper=0.06, need=0.1),
    row(
        item="near",
        evidence="distance",
        unit="drop",
        verdict="undecided",
        vacuous=True,
        value=None,
        lower=None,
        upper=1.0,
        need=0.05,
    ),
]
HOSTILE_ROW = row(
    item=HOSTILE,
    nodeid=HOSTILE,
    benchmark=HOSTILE,
    evidence="point",
    verdict="refuted",
    claim=HOSTILE,
    limits=[HOSTILE],
    notes=[HOSTILE],
    settings=HOSTILE,
    certificate=HOSTILE,
    replay=HOSTILE,
    layers=[[HOSTILE, 0.5]],
    base=HOSTILE,
    checkpoint=HOSTILE,
    method=HOSTILE,
    quantities={HOSTILE: 1.0},
    seeds={HOSTILE: HOSTILE},
    digests={HOSTILE: HOSTILE},
)
CONTEXT = {
    "title": "Release gates",
    "base": "org/base@3f1c0de",
    "checkpoint": "out/final",
    "date": "2026-11-20",
    "seed": 7,
    "holm": "Holm over 7 gates at 0.05: 1 certified jointly",
    "versions": {"pytest-basin": "0.1.0", "torch": "2.13.0"},
}
HOSTILE_CONTEXT = {
    "title": HOSTILE,
    "base": HOSTILE,
    "checkpoint": HOSTILE,
    "date": HOSTILE,
    "holm": HOSTILE,
    "versions": {HOSTILE: HOSTILE},
    "notes": [HOSTILE],
}
BASELINE = {
    "state": "compared",
    "file": "__basin__/kept-mmlu.json",
    "metric": "retention",
    "margin": 0.02,
    "verdict": "refuted",
    "since": "step-100",
    "value": 0.05,
    "lower": 0.03,
    "upper": 0.07,
    "lost": 40,
    "gained": 2,
    "note": "",
}
WORSE_THAN_BEFORE = row(baselines=[BASELINE], notes=["since the baseline: REFUTED  retention lost since step-100"])
WITHOUT_BASELINE = row(
    baselines=[{"state": "missing", "verdict": "", "problem": "created: look at it and check it in"}]
)
