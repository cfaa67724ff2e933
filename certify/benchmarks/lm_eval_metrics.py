"""Which score of a task of lm-eval is taken over, and what it makes of the task's requests; others are refused by name.

A score that is taken over is one of single items: a mean over them is then what lm-eval reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from certify.errors import BenchmarkError
from certify.text import shortened

OF_LIKELIHOOD = {"multiple_choice": ("acc", "acc_norm"), "loglikelihood": ("acc",)}
OF_CORPUS = {
    "bleu", "chrf", "chrf++", "ter", "f1", "mcc", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte",
    "brier_score",
}  # fmt: skip
"""Metrics that lm-eval computes from all items at once."""
ARGUMENTS = ("regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers")
FILTERS = ("regex", "remove_whitespace", "lowercase", "uppercase")
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the longest answer, in the order in which lm-eval looks for them."""
LONGEST = 256
"""Tokens of the longest answer where a task names none: that of lm-eval's models."""


@dataclass
class Chosen:
    """One score of a task. ``generation`` is the TOML table where answers are generated."""

    metric: str
    generation: dict[str, Any] | None = None
    delimiter: str | None = field(default=None, init=False)
    """What stands before each choice and is no part of its length; known once the requests were read."""

    def answer(self, where: str, task: Any, requests: Sequence[Any]) -> dict[str, Any]:
        """Return choices and answer, or target, of the item that these requests ask.

        Raises:
            BenchmarkError: no item here could ask it.
        """
        document = requests[0].doc
        if self.generation is not None:
            return {"target": _targets(where, task, document)}
        if task.OUTPUT_TYPE == "loglikelihood":
            return {"target": requests[0].args[1]}
        choices = [str(choice) for choice in task.doc_to_choice(document)]
        asked = requests[: len(choices)]  # acc_mutual_info asks for each once more, without its prompt
        if any(request.args[0] != requests[0].args[0] for request in asked):
            raise BenchmarkError(f"{where}: its choices stand in different prompts, which no item here does")
        answer = task.doc_to_target(document)
        answer = choices.index(answer) if isinstance(answer, str) and answer in choices else answer
        if not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise BenchmarkError(f"{where}: its answer {shortened(repr(answer))} is not one of its choices")
        endings = [request.args[1] for request in asked]
        self._note_delimiter(where, endings, choices)
        return {"choices": endings, "answer": answer}

    def _note_delimiter(self, where: str, endings: Sequence[str], choices: Sequence[str]) -> None:
        found = {ending.removesuffix(choice) for ending, choice in zip(endings, choices, strict=True)}
        if self.metric != "acc_norm":
            return
        if len(found | ({self.delimiter} - {None})) > 1:
            raise BenchmarkError(f"{where}: its choices stand behind different texts, so acc_norm is not taken over")
        (self.delimiter,) = found


def chosen(source: str, task: Any, metric: str | None) -> Chosen:
    """Return the score that ``metric`` names (``NAME`` or ``NAME,FILTER``), or the only one that can be taken over.

    Raises:
        BenchmarkError: none can be, or several can and none was named; the one that was named is none of the task's.
    """
    from lm_eval.api.task import ConfigurableTask

    if type(task).process_results is not ConfigurableTask.process_results or task.config.process_results:
        raise BenchmarkError(
            f"{source}: scores answers by code of its own (process_results: a judge, a program, a metric of several "
            "items), which is not taken over: take its logs instead (certify check --scores)"
        )
    if task.config.repeats not in (None, 1):
        raise BenchmarkError(f"{source}: asks each item {task.config.repeats} times (repeats); here each is asked once")
    name, _, through = (metric or "").partition(",")
    there = [str(each) for each in task._metric_fn_kwargs]
    if name and name not in there:
        raise BenchmarkError(f"{source}: is not scored by {name!r}; its metrics are {', '.join(there)}")
    problems = {each: _problem(task, each) for each in ([name] if name else there)}
    able = [each for each, problem in problems.items() if problem is None]
    if not able:
        reasons = "; ".join(f"{each} {problem}" for each, problem in problems.items())
        raise BenchmarkError(f"{source}: asks by {task.OUTPUT_TYPE}, and no score of it is taken over: {reasons}")
    filters = _filters(task)
    if through and through not in filters:
        raise BenchmarkError(f"{source}: has no filter {through!r}; its filters are {', '.join(filters)}")
    if len(able) > 1 or (len(filters) > 1 and not through):
        full = [f"{each},{f}" for each in able for f in filters] if len(filters) > 1 else able
        raise BenchmarkError(
            f"{source}: is scored by {' and by '.join(full)}: name one (--metric {full[0]}; after lm-eval:TASK it "
            f"is ?metric={full[0]})"
        )
    if task.OUTPUT_TYPE == "generate_until":
        through = through or next(iter(filters))
        called = f"{able[0]},{through}" if len(filters) > 1 else able[0]
        return Chosen(called, _generation(source, task, able[0], through, filters[through]))
    if task.config.filter_list:
        raise BenchmarkError(f"{source}: filters answers that are likelihoods, which is not taken over")
    return Chosen(able[0])


def _problem(task: Any, metric: str) -> str | None:
    """Return why a metric is not taken over, or None."""
    declared: dict[str, Any] = next((m for m in task.config.metric_list or () if _named(m["metric"]) == metric), {})
    aggregated = declared.get("aggregation", "mean")
    if metric in OF_CORPUS:
        return "is a metric of the whole corpus, not of single items"
    if callable(declared.get("metric")):
        return "is code of the task's own (or a judge)"
    known = ("exact_match",) if task.OUTPUT_TYPE == "generate_until" else OF_LIKELIHOOD.get(task.OUTPUT_TYPE, ())
    if metric not in known:
        return f"is none of {', '.join(known)}" if known else "is none of single items"
    if declared.get("hf_evaluate"):
        return "is computed by a library of the hub (hf_evaluate)"
    if aggregated != "mean":
        return f"is aggregated by {_named(aggregated)}, not as a mean of items"
    if declared.get("higher_is_better") is False:
        return "is better where it is lower, says the task"
    if odd := [each for each in task._metric_fn_kwargs[metric] if each not in ARGUMENTS]:
        return f"has the argument {odd[0]}"
    return None


def _named(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def _filters(task: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the steps of each filter by its name; lm-eval's own takes the first of the answers."""
    listed = task.config.filter_list or [{"name": "none", "filter": [{"function": "take_first"}]}]
    return {str(each["name"]): list(each["filter"]) for each in listed}


def _generation(
    source: str, task: Any, metric: str, through: str, steps: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the TOML table that generates and scores as the task does."""
    functions = [_named(step["function"]) for step in steps]
    for function in functions[:-1] if functions[-1:] == ["take_first"] else functions:
        if function not in FILTERS:
            raise BenchmarkError(
                f"{source}: its filter {through!r} uses {function}, which is not taken over: {', '.join(FILTERS)}, and "
                "take_first in the end"
            )
    if functions[-1:] != ["take_first"]:
        raise BenchmarkError(f"{source}: its filter {through!r} does not end in take_first, so it leaves a list")
    given = {name: value for name, value in task._metric_fn_kwargs[metric].items() if value is not None}
    filters = {"filters": steps[:-1]} if steps[:-1] else {}
    tokens, stops = _decoding(source, dict(task.config.generation_kwargs))
    return {
        "max_new_tokens": tokens,
        **({"stop": stops} if stops else {}),
        "lm_eval": {**filters, **given},
    }


def _decoding(source: str, settings: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the longest answer and the texts that end one; refuse what is not greedy decoding."""
    sampled, temperature = settings.pop("do_sample", None), float(settings.pop("temperature", 0.0) or 0.0)
    if sampled or (sampled is None and temperature > 0.0):
        raise BenchmarkError(
            f"{source}: samples its answers (temperature {temperature:g}), so that they differ from run to run; greedy "
            "decoding is taken over"
        )
    lengths = [length for name in LENGTHS if (length := settings.pop(name, None)) is not None]
    stops = settings.pop("until", None) or []
    if odd := sorted(settings.keys() - {"top_p", "top_k"}):  # these two act on sampling alone
        raise BenchmarkError(f"{source}: generates with {', '.join(odd)}, which is not taken over")
    listed = [stops] if isinstance(stops, str) else stops
    return int(lengths[0] if lengths else LONGEST), [stop for stop in listed if stop]


def _targets(where: str, task: Any, document: Any) -> list[str]:
    """Return every text that lm-eval accepts."""
    gold = task.doc_to_target(document)
    if task.config.doc_to_choice is not None:
        gold = task.doc_to_choice(document)[gold]
    elif isinstance(gold, list) != bool(task.multiple_target):
        first = "several" if task.multiple_target else "one"
        raise BenchmarkError(f"{where}: its answer is {shortened(repr(gold), 60)}, and the first document's is {first}")
    texts = list(dict.fromkeys(_texts(where, gold)))
    if not texts:
        raise BenchmarkError(f"{where}: has no answer")
    return texts


def _texts(where: str, gold: Any) -> Iterator[str]:
    if not isinstance(gold, list):
        yield str(gold)  # as lm-eval, which compares texts
        return
    for each in gold:
        if not isinstance(each, str):
            raise BenchmarkError(f"{where}: among its answers is {shortened(repr(each), 60)}, which is no text")
        yield each
