"""The benchmarks of the engines run, on models so small that their figures mean nothing."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TINY = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")


def tiny() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**TINY)).eval().requires_grad_(False)


def test_the_accelerator_benchmark_times_both_engines() -> None:
    """What no machine of the tests can time on its device runs here on the processor, line by line the same."""
    import gpu

    rows = list(gpu.all_pairs(torch.device("cpu"), 2, **TINY))
    assert [row["engine"] for row in rows].count("activation") == 3
    assert {row["dtype"] for row in rows} == {"torch.bfloat16", "torch.float32"}
    assert all(row["pairs_per_second"] > 0 for row in rows)


def test_the_accelerator_benchmark_compares_bits_and_answers() -> None:
    """With the processor in the place of the device: every sampler and dtype, one draw's digest, one benchmark."""
    import gpu

    here = torch.device("cpu:0")
    bits = gpu.checked_bits(here)
    assert bits["equal"] is True
    assert len(bits["backends"]) == 6
    assert gpu.demo_scores("addition", here)["answers_that_differ"] == 0


def test_every_way_of_writing_weights_moves_all_of_them() -> None:
    """A way that noised fewer tensors would be faster for no merit."""
    import pairs

    for name, method in pairs.WRITERS.items():
        model = tiny()
        base = {n: p.detach().clone() for n, p in model.named_parameters()}
        with torch.no_grad():
            show, _ = method(model)
            moved = dict(show(3).named_parameters())
        still = [n for n, p in moved.items() if not (p != base[n]).float().mean() > 0.9]
        assert not still, f"{name} left {still} where they were"


@pytest.mark.parametrize("name", ["load_state_dict", "MeZO style"])
def test_ways_that_write_in_place_put_the_base_back(name: str) -> None:
    """MeZO's way only nearly: that drift is why it is no way to certify anything."""
    import pairs

    model = tiny()
    base = {n: p.detach().clone() for n, p in model.named_parameters()}
    with torch.no_grad():
        show, hide = pairs.WRITERS[name](model)
        show(3)
        hide()
    for n, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), base[n], rtol=0, atol=0 if name == "load_state_dict" else 1e-6)
    exact = all(torch.equal(p, base[n]) for n, p in model.named_parameters())
    assert exact == (name == "load_state_dict")


def test_every_method_takes_its_turn() -> None:
    import pairs

    with torch.no_grad():
        for method in pairs.METHODS:
            turn, count = pairs.caller(method, tiny(), tokens=4, rows=3)
            turn()
            assert count == (3 if method in ("plain", "activation") else 1)


def test_the_benchmark_of_scoring_finds_the_same_answers_in_every_way(tmp_path: Path) -> None:
    """All lines of it run, on a model of a moment."""
    import scoring

    scoring.main(["--tiny", "--items", "6", "--rounds", "1", "--json", str(tmp_path / "scoring.json")])
    record = json.loads((tmp_path / "scoring.json").read_text())
    assert [plan[0] for plan in record["plans"].values()] == ["", "distinct rows", "prefix tree"]
    assert all(record["lines"][name]["answers_that_differ"] == 0 for name in record["plans"])
    assert record["ratios"]["prefix tree"] == 1.0


def test_the_page_has_the_figures_of_the_scoring_record() -> None:
    """And the record meets the targets that the page names."""
    root = Path(__file__).parents[2]
    record = json.loads((root / "benchmarks" / "results" / "scoring.json").read_text())
    page, ratios = (root / "docs" / "scale.md").read_text(encoding="utf-8"), record["ratios"]
    for name in ("rows", "distinct rows", "prefix tree"):
        seconds, differing = record["lines"][name]["seconds"], record["lines"][name]["answers_that_differ"]
        assert f"| {statistics.median(seconds):.2f} | {ratios[name]:.2f} |" in page
        assert differing == 0
    assert 1 / ratios["floor"] <= 1.25 and ratios["lm-eval"] >= 3
    assert f"({1 / ratios['floor']:.2f} here)" in page and f"({ratios['lm-eval']:.2f})" in page
