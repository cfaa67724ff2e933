"""Under ``boundary = "lm-eval"`` each item gets the score that lm-eval gives it: same weights, same file, both ways.

Runs where lm-eval is installed (``pip install lm_eval``), in continuous integration in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import models
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_as_written import WORDS, sentencepiece
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from certify.benchmarks import open_benchmark
from certify.benchmarks.items import TaskScoring
from certify.benchmarks.lm_eval_scoring import filtered
from certify.checkpoints import load_model, load_tokenizer, open_checkpoint
from certify.cli.app import app
from certify.demo import DATA
from certify.errors import BenchmarkError

lm_eval = pytest.importorskip("lm_eval")
Instance = pytest.importorskip("lm_eval.api.instance").Instance
pytest_plugins = ["pytester"]
pytestmark = pytest.mark.filterwarnings("default")  # its libraries' warnings are theirs

Pair = tuple[Any, PreTrainedTokenizerFast]
BORDERS = ["a", "a ", "a  ", "b a ", "a= ", "1 2", "a=", "c.", "c. ", "1="]
CHOICES = [["a", "b", "c"], [" a", " b", "=1"], ["a b", "b b", "1 1"], ["1", "2", " 2"]]


def noisy(folder: Path, sigma: float) -> Pair:
    """A shipped model, so far off that it answers some items right and some wrong."""
    checkpoint = open_checkpoint(folder)
    model = load_model(checkpoint)
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=sigma)
    return model, load_tokenizer(checkpoint)


def with_spaces() -> Pair:
    """A tokenizer that joins space with the word behind it, so that borders move under lm-eval's convention.

    It puts nothing behind a text: where one does, lm-eval asks for that token in place of an answer.
    """
    tokenizer = sentencepiece()
    front_only = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.backend_tokenizer.post_processor = front_only
    config = LlamaConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                         initializer_range=0.5, bos_token_id=0, eos_token_id=1, pad_token_id=None)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LlamaForCausalLM(config).eval().requires_grad_(False), tokenizer


def by_lm_eval(pair: Pair, items: Path, task: dict[str, Any]) -> list[dict[str, Any]]:
    """What lm-eval says of each item, in order of the file."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = pair
    # Its cache of logits mixes up requests whose context and answer split the same tokens in two places.
    held = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=64, logits_cache=False)
    config = {"task": "ours", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(items)}},
              "test_split": "test", "doc_to_text": "{{prompt}}", "target_delimiter": "", **task}  # fmt: skip
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        model=held, tasks=[config], log_samples=True, bootstrap_iters=0, random_seed=None, verbosity="ERROR",
        task_manager=TaskManager(include_defaults=False),  # its own 13,000 tasks take long to read
    )  # fmt: skip
    return sorted(results["samples"]["ours"], key=lambda sample: sample["doc_id"])


def ours(pair: Pair, items: Path, settings: str = "") -> list[float]:
    """What this library says of each item, by lm-eval's convention."""
    items.with_suffix(".toml").write_text(f'boundary = "lm-eval"\n{settings}', encoding="utf-8")
    model, tokenizer = pair
    return open_benchmark(items).encode(tokenizer).score(model)


@pytest.fixture(autouse=True)
def nothing_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


def first(source: Path, items: Path, count: int) -> Path:
    items.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]), encoding="utf-8")
    return items


CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}"}


@pytest.mark.parametrize(("metric", "settings"), [("acc", ""), ("acc_norm", "length_normalised = true\n")])
@pytest.mark.parametrize("make", [partial(noisy, DATA / "base", 0.15), with_spaces], ids=["shipped", "with_spaces"])
def test_multiple_choice_item_for_item(tmp_path: Path, make: Callable[[], Pair], metric: str, settings: str) -> None:
    """Including prompts that end in spaces, whose tokens move to the answer; some right, some wrong."""
    pair, items = make(), tmp_path / "items.jsonl"
    if isinstance(make, partial):
        first(DATA / "benchmarks" / "prose.jsonl", items, 120)
    else:
        models.write_jsonl(items, [{"prompt": p, "choices": c, "answer": k % len(c)}
                                   for k, (p, c) in enumerate((p, c) for p in BORDERS for c in CHOICES)])  # fmt: skip
    samples = by_lm_eval(pair, items, {**CHOICE, "metric_list": [{"metric": metric}]})
    theirs = [float(sample[metric]) for sample in samples]
    assert ours(pair, items, settings) == theirs
    assert 0.0 < sum(theirs) < len(theirs)  # a constant would agree with itself


def test_answers_written_token_by_token_item_for_item(tmp_path: Path) -> None:
    """Generated text, cut at a stop, stripped and compared exactly."""
    pair = noisy(DATA / "base", 0.05)
    items = first(DATA / "benchmarks" / "addition.jsonl", tmp_path / "items.jsonl", 120)
    task = {
        "output_type": "generate_until",
        "doc_to_target": "{{target}}",
        "generation_kwargs": {"until": [" "], "max_gen_toks": 4, "do_sample": False},
        "filter_list": [{"name": "cut", "filter": [{"function": "regex", "regex_pattern": r"\d+"},
                                                   {"function": "take_first"}]}],
        "metric_list": [{"metric": "exact_match"}],
    }  # fmt: skip
    theirs = [float(sample["exact_match"]) for sample in by_lm_eval(pair, items, task)]
    settings = '[generation]\nmax_new_tokens = 4\nstop = " "\npattern = "^[^0-9]*([0-9]+)"\n'
    assert ours(pair, items, settings) == theirs
    assert 0.0 < sum(theirs) < len(theirs)


def test_as_written_differs_where_a_border_moves(tmp_path: Path) -> None:
    """The other convention asks something else of the same file: a boundary that does nothing would be noticed."""
    _, tokenizer = with_spaces()
    items = models.write_jsonl(tmp_path / "items.jsonl", [{"prompt": "a ", "choices": ["b", "c"], "answer": 0}])
    tokens = {}
    for boundary in ("written", "lm-eval"):
        items.with_suffix(".toml").write_text(f"boundary = {json.dumps(boundary)}\n", encoding="utf-8")
        tokens[boundary] = open_benchmark(items).encode(tokenizer).identity.tokens
    assert tokens["written"] != tokens["lm-eval"]


TASK = """task: ours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
fewshot_split: test
num_fewshot: 2
fewshot_delimiter: " "
doc_to_text: "{{{{prompt}}}}"
{more}
"""


def written_task(tmp_path: Path, items: Path, **more: Any) -> Path:
    file = tmp_path / "ours.yaml"
    more = {"metric_list": [{"metric": "acc"}], **more}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in more.items())
    file.write_text(TASK.format(items=items, more=lines), encoding="utf-8")
    return file


def one(metric: str, **arguments: Any) -> dict[str, Any]:
    return {"metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True, **arguments}]}


def through(*steps: dict[str, Any], name: str = "first") -> dict[str, Any]:
    return {"name": name, "filter": [*steps, {"function": "take_first"}]}


LIKELIHOOD = {"output_type": "loglikelihood", "doc_to_target": "{{target}}"}
SPELLED = {"output_type": "generate_until", "doc_to_target": "{{choices[answer][0] | upper}}!",
           "fewshot_config": {"sampler": "default", "doc_to_target": "{{choices[answer]}}"}}  # fmt: skip
SUMS = {"output_type": "generate_until", "doc_to_target": "{{target}}",
        "fewshot_config": {"sampler": "default", "doc_to_target": "{{target}}"}}  # fmt: skip
DIGITS = {"function": "regex", "regex_pattern": "([0-9])([0-9])?", "group_select": -1, "fallback": "0"}
ONE_DIGIT = {"function": "regex", "regex_pattern": "[0-9]"}
SHOUT = "{% for m in messages %}{{ m['role'][0] + '=' + m['content'] + ' ' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'a=' }}{% endif %}"
)
"""A chat template for a vocabulary without special words."""

TASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "choices": ("prose", {**CHOICE, **one("acc", weight_by_size=True)}, "acc"),
    "choices by length": (
        "prose", {**CHOICE, "doc_to_choice": "{{lengths}}", "repeats": 2, **one("acc_norm")}, "acc_norm",
    ),
    "likelihood": ("addition", LIKELIHOOD, "acc"),
    "ignoring": ("prose", {
        **SPELLED, **one("exact_match", ignore_case=True, regexes_to_ignore=["[!]", "="]),
        "generation_kwargs": {"until": [";"], "max_gen_toks": 1, "do_sample": False},
    }, "exact_match"),
    "filtered": ("addition", {
        **SUMS, **one("exact_match", ignore_punctuation=True), "doc_to_target": "{{target[1]}}.",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 6, "temperature": 0.0},
        "filter_list": [through(DIGITS, {"function": "remove_whitespace"})],
    }, "exact_match"),
    "stopped": ("addition", {
        **SUMS, **one("exact_match", ignore_numbers=False), "doc_to_target": "{{target[0]}}",
        "generation_kwargs": {"until": ["0", "3", "5", "8"], "max_gen_toks": 3},
    }, "exact_match"),
    "voted on": ("addition", {
        **SUMS, **one("exact_match"), "repeats": 3, "doc_to_target": "{{target[0]}}",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 3, "do_sample": False, "num_beams": 1},
        "filter_list": [through({"function": "take_first_k", "k": 2}, ONE_DIGIT, {"function": "majority_vote"})],
    }, "exact_match"),
    "mapped to texts": ("addition", {
        **SUMS, **one("exact_match", ignore_case=True), "doc_to_target": "{{'EVEN' if target|int % 2 == 0 else 'ODD'}}",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 3},
        "filter_list": [through(ONE_DIGIT, {"function": "map", "mapping_dict": {
            digit: ("even", "odd")[int(digit) % 2] for digit in "0123456"}, "default_value": "odd"})],
    }, "exact_match"),
    "mapped to numbers": ("addition", {
        **SUMS, **one("exact_match"), "doc_to_target": "0{{target|int % 3}}",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 3},
        "filter_list": [through({**ONE_DIGIT, "regex_pattern": "[0-9]{2}"}, {
            "function": "map", "default_value": -1, "mapping_dict": {str(n): n % 3 for n in range(10, 100)}})],
    }, "exact_match"),
    "choices named": ("addition", {
        **SUMS, **one("exact_match"), "doc_to_target": "(A)",
        "generation_kwargs": {"until": [";"], "max_gen_toks": 6},
        "filter_list": [through({"function": "multi_choice_regex", "regex_pattern": "(th)$", "ignore_case": True,
                                 "ignore_punctuation": True, "regexes_to_ignore": [" +"]})],
    }, "exact_match"),
    "several answers": ("addition", {
        **SUMS, **one("exact_match"), "doc_to_target": "{{[target[0], target]}}",
        "generation_kwargs": {"until": ["1", "2"], "max_gen_toks": 2},
    }, "exact_match"),
}  # fmt: skip


def documents(tmp_path: Path, source: str, count: int = 40) -> Path:
    """Items of the demo, with choices of several lengths and a passage of four items each beside what they have."""
    rows = [json.loads(line) for line in (DATA / "benchmarks" / f"{source}.jsonl").read_text().splitlines()[:count]]
    for place, row in enumerate(rows):
        row["about"] = {"passage": f"passage {place // 4}"}
        if source == "addition":
            row["choices"] = [f"{row['target'][0]}.", row["target"][::-1], "5"]
        row["lengths"] = [choice[: 1 + (place + k) % 3] + "=" * (k // 2) for k, choice in
                          enumerate(row.get("choices", []))]  # fmt: skip
    return models.write_jsonl(tmp_path / "items.jsonl", rows)


def both_ways(pair: Pair, file: Path, metric: str, **how: Any) -> tuple[list[float], list[dict[str, Any]]]:
    """The items that lm-eval makes of a task of one's own: our scores, and lm-eval's samples."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = pair
    held = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=512, logits_cache=False)
    results = lm_eval.simple_evaluate(
        model=held, tasks=[str(file)], task_manager=TaskManager(include_defaults=False), log_samples=True,
        bootstrap_iters=0, verbosity="ERROR", **how,
    )  # fmt: skip
    found = open_benchmark(f"lm-eval:{file}" + "?chat=yes" * bool(how))
    samples = sorted(results["samples"]["ours"], key=lambda sample: sample["doc_id"])
    return found.encode(tokenizer).score(model), samples


@pytest.mark.parametrize("kind", TASKS)
def test_tasks_item_for_item(tmp_path: Path, kind: str) -> None:
    """With examples in the prompts, each item gets the score that lm-eval gives it; some are right and some wrong."""
    source, task, metric = TASKS[kind]
    pair, file = noisy(DATA / "base", 0.05), written_task(tmp_path, documents(tmp_path, source), **task)
    scores, samples = both_ways(pair, file, metric)
    assert scores == [float(sample[metric]) for sample in samples]
    assert 0.0 < sum(scores) < len(scores) == 40
    found = open_benchmark(f"lm-eval:{file}")
    assert found.items[0].prompt != json.loads((tmp_path / "items.jsonl").read_text().splitlines()[0])["prompt"]
    if found.generation is not None:  # other filters, or none ignored, or other stops would be noticed
        bare = found.generation.model_copy(update={"lm_eval": TaskScoring(), "stop": ""})
        assert replace(found, generation=bare).encode(pair[1]).score(pair[0]) != scores


@pytest.mark.parametrize("kind", ["choices", "filtered"])
def test_in_a_chat_item_for_item(tmp_path: Path, kind: str) -> None:
    """lm-eval's turns, with examples as turns, rendered by the model's own template."""
    source, task, metric = TASKS[kind]
    model, tokenizer = noisy(DATA / "base", 0.05)
    tokenizer.chat_template = SHOUT
    file = written_task(tmp_path, documents(tmp_path, source), **task)
    how = {"apply_chat_template": True, "fewshot_as_multiturn": True}
    scores, samples = both_ways((model, tokenizer), file, metric, **how)
    assert scores == [float(sample[metric]) for sample in samples]
    assert 0.0 < sum(scores) < len(scores)


def test_one_identity_from_the_task_and_from_its_file(tmp_path: Path) -> None:
    """What is imported is what is asked directly, groups included; the task's data and declaration are part of it."""
    items = documents(tmp_path, "addition")
    task = {**TASKS["choices named"][1], "repeats": 3}
    several = [*task["filter_list"][0]["filter"][:1], {"function": "map", "mapping_dict": {"(A)": "(A)", "a \"b": "."}}]
    file, out = written_task(tmp_path, items, **{**task, "filter_list": [through(*several)]}), tmp_path / "out.jsonl"
    run = partial(CliRunner().invoke, app)
    done = run(["import-task", f"{file}@1", "-o", str(out), "--cluster", "about.passage"])
    assert done.exit_code == 0, done.output
    assert "task ours, version Yaml, 1-shot, exact_match, once for 3 repeats, which are alike: 40 items" in done.output
    frozen, direct = open_benchmark(out), open_benchmark(f"lm-eval:{file}@1?cluster=about.passage")
    assert (frozen.digest, frozen.groups) == (direct.digest, direct.groups)
    assert direct.groups == tuple(i // 4 for i in range(40))
    assert direct.name == "ours@1"
    others = [f"lm-eval:{file}@2", f"lm-eval:{file}@1?chat=yes"]
    moved = tmp_path / "moved.jsonl"
    moved.write_text(items.read_text())
    file.write_text(file.read_text().replace("items.jsonl", "moved.jsonl"))
    assert open_benchmark(f"lm-eval:{file}@1").digest == direct.digest  # where data lie asks nothing
    moved.write_text(items.read_text().replace("passage 3", "passage 2"))
    others.append(f"lm-eval:{file}@1")  # other documents, the same prompts
    assert direct.digest not in {open_benchmark(other).digest for other in others}


def test_the_commands_and_the_plugin_take_a_task(tmp_path: Path, pytester: pytest.Pytester) -> None:
    """Wherever a benchmark is named; in pytest as an option, and by a marker."""
    file = written_task(tmp_path, documents(tmp_path, "addition", 80), **{**LIKELIHOOD, "num_fewshot": 0})
    done = CliRunner().invoke(app, ["check", str(DATA / "base"), "--base", str(DATA / "base"), "-b", f"lm-eval:{file}"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["show-items", str(DATA / "base"), "-b", f"lm-eval:{file}", "-n", "1"])
    assert "ours: 80 items" in done.output
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.basin(max_drop=0.2)
        def test_option(basin_bound):
            assert basin_bound <= basin_bound.required

        @pytest.mark.basin(max_drop=0.2, benchmarks=["lm-eval:{file}?metric=acc"])
        def test_marker(basin_bound):
            assert basin_bound <= basin_bound.required
    """)
    models = [f"--basin-base={DATA / 'base'}", f"--basin-checkpoint={DATA / 'base'}"]
    result = pytester.runpytest_inprocess(*models, f"--basin-benchmark=lm-eval:{file}", "-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_option?ours?*"])


SAMPLED = {**SUMS, **one("exact_match"), "generation_kwargs": {"until": ["a"], "do_sample": True, "temperature": 0.7}}
TWICE = [through({"function": "lowercase"}, name=name) for name in ("small", "again")]
ODD = {**SUMS, **one("exact_match")}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "several metrics": (
        {**CHOICE, "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}]},
        r"is scored by acc and by acc_norm: name one \(--metric acc; after lm-eval:TASK it is \?metric=acc\)",
    ),
    "?metric=f1": (CHOICE, r"is not scored by 'f1'; its metrics are acc"),
    "corpus": ({**SUMS, **one("bleu")}, r"no score of it is taken over: bleu is a metric of the whole corpus"),
    "other": ({**CHOICE, **one("acc_mutual_info")}, r"acc_mutual_info is none of acc, acc_norm"),
    "aggregated": ({**SUMS, **one("exact_match", aggregation="median")}, r"aggregated by median, not as a mean"),
    "lower": ({**SUMS, **one("exact_match", higher_is_better=False)}, r"is better where it is lower"),
    "sampled": (SAMPLED, r"samples its answers \(temperature 0.7\): draws of .*do_sample: false"),
    "beams": ({**ODD, "generation_kwargs": {"until": ["a"], "num_beams": 4}}, r"generates with num_beams"),
    "two filters": ({**ODD, "filter_list": TWICE}, r"scored by exact_match,small and by exact_match,again: name one"),
    "?metric=exact_match,smal": ({**ODD, "filter_list": TWICE}, r"has no filter 'smal'; its filters are small, again"),
    "vote": ({**ODD, "filter_list": [{"name": "vote", "filter": [{"function": "majority_vote"}]}]},
             r"its filter 'vote' does not end in take_first, so it leaves a list"),
    "more than there are": (
        {**ODD, "repeats": 2, "filter_list": [through({"function": "take_first_k", "k": 3})]},
        r"its filter 'first' takes the first 3 of 2 answers \(repeats\)",
    ),
    "tags": ({**ODD, "filter_list": [through({"function": "regex_pos"})]},
             r"its filter 'first' uses regex_pos, which is not taken over: regex, remove_whitespace, .*majority_vote"),
    "mapped to 0.5": ({**ODD, "filter_list": [through({"function": "map", "mapping_dict": {"1": 0.5}})]},
                      r"filters.0.map.mapping_dict.1: Input should be a valid string, got 0.5"),
    "mapped before": ({**ODD, "filter_list": [through({"function": "map", "mapping_dict": {"1": 1}},
                                                      {"function": "lowercase"})]},
                      r"its map leads to 1, and lowercase, which comes after it, takes texts"),
    "mapped to no number": ({**ODD, "doc_to_target": "x", "filter_list": [
        through({"function": "map", "mapping_dict": {"1": 1}})]}, r"its answer is 'x', and the filter's map leads to"),
    "no choices": ({**ODD, "filter_list": [through({"function": "multi_choice_regex"})]},
                   r"item 1: multi_choice_regex looks for the texts in its document's field 'choices', which is None"),
    "no first": ({**ODD, "filter_list": [{"name": "all", "filter": [{"function": "lowercase"}]}]},
                 r"its filter 'all' does not end in take_first"),
    "filtered": ({**LIKELIHOOD, "filter_list": [through()]}, r"filters answers that are likelihoods"),
    "?cluster=topic": (LIKELIHOOD, r"the field 'topic', asked for as cluster, is in no item; the first has prompt, "),
    "?cluster=about": (LIKELIHOOD, r"item 1: its field 'about' is \{.*\}, and a cluster is named by text or a whole"),
    "?cluster=some": (LIKELIHOOD, r"1 of 5 items have no cluster where others have one: item 2;"),
    "hub": ({**LIKELIHOOD, "dataset_path": "someone/something", "dataset_kwargs": {}},
            r"its data cannot be fetched here \(.*\): where they can, freeze it with `certify import-task`"),
    "a line of null": (LIKELIHOOD, r"\.jsonl:6: got a JSON NoneType; lm-eval's documents are objects"),
    "no data": ({**LIKELIHOOD, "dataset_kwargs": {"data_files": {"test": "/none.jsonl"}}}, r"lm-eval cannot make it"),
    "no answer": ({**ODD, "doc_to_target": "{{['']}}"}, r"item 1: target"),
    "@5": ({**LIKELIHOOD, "num_fewshot": 0}, r"its config says 0-shot, and then lm-eval takes no other number"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_tasks_that_cannot_be_taken_over(tmp_path: Path, bad: str) -> None:
    """In one line, by name."""
    task, message = BAD[bad]
    source = "prose" if task.get("output_type") == "multiple_choice" else "addition"
    items = documents(tmp_path, source, 5)
    rows = [json.loads(line) | ({} if k == 1 else {"some": k}) for k, line in enumerate(items.read_text().splitlines())]
    if bad == "no choices":
        rows = [{**row, "choices": None} for row in rows]
    file = written_task(tmp_path, models.write_jsonl(items, rows), **task)
    if bad == "a line of null":  # at which pyarrow 26.0.1 ends the process
        items.write_text(items.read_text() + "null\n")
    with pytest.raises(BenchmarkError, match=message) as caught:
        open_benchmark(f"lm-eval:{file}{bad if bad[0] in '?@' else ''}")
    assert "\n" not in str(caught.value)


def test_a_file_that_includes_a_sampled_task_decodes_greedily(tmp_path: Path) -> None:
    """As the refusal says; repeats and votes may stay."""
    vote = [through(ONE_DIGIT, {"function": "majority_vote"})]
    sampled = written_task(tmp_path, documents(tmp_path, "addition", 5), **SAMPLED, repeats=64, filter_list=vote)
    with pytest.raises(BenchmarkError, match=r"decodes greedily with generation_kwargs: \{do_sample: false, ...\}"):
        open_benchmark(f"lm-eval:{sampled}")
    greedy = tmp_path / "greedy.yaml"
    greedy.write_text("include: ours.yaml\ntask: greedy\ngeneration_kwargs: {do_sample: false, until: [a]}\n")
    found = open_benchmark(f"lm-eval:{greedy}")
    assert found.generation is not None
    assert (found.generation.stop, found.generation.lm_eval) == (("a",), TaskScoring.model_validate(
        {"filters": [ONE_DIGIT, {"function": "majority_vote"}]}))  # fmt: skip


def test_tasks_that_lm_eval_does_not_know(tmp_path: Path) -> None:
    """Nor groups and tags, which are several tasks; in one test, since lm-eval's list takes long to read."""
    for asked, message in {
        "arc_eazy": r"^arc_eazy: lm-eval knows no such task; did you mean .*arc_easy",
        "mmlu": r"^mmlu: a group of mmlu_stem, mmlu_other, .*: name one task, or pool several files of import-task",
        "ai2_arc": r"^ai2_arc: a group of arc_challenge, arc_easy: name one task",
        "none.yaml@2": r"^none.yaml@2: there is no such file \(looked for in ",
        "ours@many": r"expected TASK@NUMBER, .*got 'many'",
    }.items():
        with pytest.raises(BenchmarkError, match=message):
            open_benchmark(f"lm-eval:{asked}")
    group = tmp_path / "group.yaml"
    group.write_text("group: several\ntask: [arc_easy, arc_challenge]\n", encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"group.yaml: a group of arc_easy, arc_challenge: name one task"):
        open_benchmark(f"lm-eval:{group}")


PIECES = ["a", "B", "(A)", "(b)", "C.", ": B", "yes", "Yes, no", "no", "«", "12", " ", "\n", ":", "(", "#### 4"]
PATTERNS = [r"\(([A-D])\)", "([0-9])|([a-z]+)", "#### ([0-9]+)", "x", "[A-D]?", "(a?)(B?)"]
PIECE, FLAG = st.sampled_from(PIECES), st.booleans()
REGEX = {"regex_pattern": st.sampled_from(PATTERNS), "group_select": st.sampled_from([0, -1]), "fallback": PIECE}
IGNORED = st.lists(st.sampled_from(["[(]", " +", "a"]), max_size=2)
STEPS = [
    st.fixed_dictionaries({"function": st.just("regex")}, optional=REGEX),
    st.fixed_dictionaries({"function": st.just("multi_choice_regex")}, optional={
        **REGEX, "ignore_case": FLAG, "ignore_punctuation": FLAG, "regexes_to_ignore": IGNORED}),
    st.fixed_dictionaries({"function": st.just("map"), "default_value": PIECE,
                           "mapping_dict": st.dictionaries(PIECE, PIECE, max_size=4)}),
    st.fixed_dictionaries({"function": st.sampled_from(["remove_whitespace", "lowercase", "uppercase"])}),
]  # fmt: skip


@given(st.lists(st.one_of(STEPS), max_size=3), st.sampled_from([[], [{"function": "take_first_k", "k": 2}]]),
       st.sampled_from([[], [{"function": "majority_vote"}]]), st.lists(PIECE, max_size=8).map("".join),
       st.lists(st.lists(PIECE, max_size=2).map("".join), min_size=1, max_size=4))  # fmt: skip
def test_any_filters_on_any_text(
    steps: list[dict[str, Any]], some: list[dict[str, Any]], vote: list[dict[str, Any]], text: str, choices: list[str]
) -> None:
    """Of three equal answers lm-eval's own filters make what ours make of one."""
    from lm_eval.filters import build_filter_ensemble, extraction

    chain = [*some, *steps, *vote]
    named = [(step["function"], {name: value for name, value in step.items() if name != "function"}) for step in chain]
    instance = Instance("generate_until", {"choices": choices}, ("", {}), 0, ("t", 0, 3), resps=[text] * 3)
    with mock.patch.object(extraction, "sys", SimpleNamespace(maxunicode=256)):  # it asks each character if it is one
        build_filter_ensemble("f", [*named, ("take_first", {})]).apply([instance])
    assert filtered(TaskScoring.model_validate({"filters": chain}), text, choices) == instance.filtered_resps["f"]
