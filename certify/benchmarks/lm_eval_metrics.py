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
OF_REPEATS = ("take_first_k", "majority_vote")
"""Filters that choose among the answers to one item, which are all the same under greedy decoding."""
FILTERS = ("regex", "remove_whitespace", "lowercase", "uppercase", "map", "multi_choice_regex", *OF_REPEATS)
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the longest answer, in the order in which lm-eval looks for them."""
LONGEST = 256
"""Tokens of the longest answer where a task names none: that of lm-eval's models."""


@dataclass
class Chosen:
    """One score of a task. ``generation`` is the TOML table where answers are generated."""

    metric: str
    generation: dict[str, Any] | None = None
    to_numbers: bool = False
    """Whether a map makes whole numbers of answers, and lm-eval of targets."""
    delimiter: str | None = field(default=None, init=False)
    """What stands before each choice and is no part of its length; known once the requests were read."""

    def answer(self, where: str, task: Any, requests: Sequence[Any]) -> dict[str, Any]:
        """Return choices and answer, or target, of the item that these requests ask.

        Raises:
            BenchmarkError: no item here could ask it.
        """
        document = requests[0].doc
        if self.generation is not None:
            functions = [step["function"] for step in self.generation["lm_eval"].get("filters", ())]
            lettered = {"lettered": _lettered(where, document)} if "multi_choice_regex" in functions else {}
            return {"target": _targets(where, task, document, self.to_numbers), **lettered}
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
        to_numbers = _maps_to_numbers(source, task, able[0], filters[through])
        return Chosen(called, _generation(source, task, able[0], through, filters[through]), to_numbers)
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
    odd = [each for each in task._metric_fn_kwargs[metric] if each not in ARGUMENTS]
    if odd and task.OUTPUT_TYPE == "generate_until":  # lm-eval hands arguments to metrics of texts alone
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
    tokens, stops = _decoding(source, dict(task.config.generation_kwargs))
    filters = [_step(f"{source}: its filter {through!r}", task, step) for step in _first_of(source, through, steps)]
    given = {name: value for name, value in task._metric_fn_kwargs[metric].items() if value is not None}
    return {
        "max_new_tokens": tokens,
        **({"stop": stops} if stops else {}),
        "lm_eval": {**({"filters": filters} if filters else {}), **given},
    }


def _first_of(source: str, through: str, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps before the last one, which takes the first of the answers that they leave."""
    *before, last = steps or [{"function": ""}]
    if last["function"] != "take_first":
        raise BenchmarkError(f"{source}: its filter {through!r} does not end in take_first, so it leaves a list")
    return before


def _step(where: str, task: Any, step: dict[str, Any]) -> dict[str, Any]:
    """Return one step with its arguments, texts for numbers; the answers that it chooses among are all the same."""
    function = _named(step["function"])
    if callable(step["function"]):
        raise BenchmarkError(f"{where} uses {function}, which is code of the task's own")
    if function not in FILTERS:
        raise BenchmarkError(
            f"{where} uses {function}, which is not taken over: {', '.join(FILTERS)}, and take_first in the end"
        )
    if function == "take_first_k" and isinstance(k := step.get("k"), int) and k > (task.config.repeats or 1):
        raise BenchmarkError(f"{where} takes the first {k} of {task.config.repeats or 1} answers (repeats)")
    given = {name: value for name, value in step.items() if value is not None or name == "fallback"}
    if function == "map":
        given |= {"mapping_dict": {key: _as_text(value) for key, value in (step.get("mapping_dict") or {}).items()}}
        given |= {"default_value": _as_text(value)} if (value := step.get("default_value")) is not None else {}
    return given


def _as_text(value: Any) -> Any:
    return str(value) if _whole(value) else value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _maps_to_numbers(source: str, task: Any, metric: str, steps: list[dict[str, Any]]) -> bool:
    """Whether a map makes whole numbers of answers, and lm-eval of the target of such a one.

    Raises:
        BenchmarkError: what they meet then takes texts: lm-eval stops, or compares a number with a text.
    """
    for place, step in enumerate(steps):
        values = [*(step.get("mapping_dict") or {}).values(), step.get("default_value")]
        if step["function"] != "map" or all(isinstance(value, str) for value in values):
            continue
        numbers = any(map(_whole, values))
        functions = [_named(each["function"]) for each in steps[place + 1 :]]
        meets = [each for each in functions if each not in ("take_first", *OF_REPEATS)]
        if numbers:
            meets += [name for name, ignored in task._metric_fn_kwargs[metric].items() if ignored]
            meets += ["doc_to_choice"] * (task.config.doc_to_choice is not None)
        if meets:
            odd = next(value for value in values if not isinstance(value, str))
            what = f"its map leads to {odd!r}, and {meets[0]}, which comes after it, takes texts"
            raise BenchmarkError(f"{source}: {what}")
        return numbers
    return False


def _decoding(source: str, settings: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the longest answer and the texts that end one; refuse what is not greedy decoding."""
    sampled, temperature = settings.pop("do_sample", None), float(settings.pop("temperature", 0.0) or 0.0)
    if sampled or (sampled is None and temperature > 0.0):
        raise BenchmarkError(
            f"{source}: samples its answers (temperature {temperature:g}): draws of the decoder are chance of a second "
            "kind, which no claim here covers; a FILE.yaml that includes the task's decodes greedily with "
            "generation_kwargs: {do_sample: false, ...}"
        )
    lengths = [length for name in LENGTHS if (length := settings.pop(name, None)) is not None]
    stops = settings.pop("until", None) or []
    alone = {"num_beams"} if settings.get("num_beams") == 1 else set()
    if odd := sorted(settings.keys() - {"top_p", "top_k"} - alone):  # these two act on sampling alone
        raise BenchmarkError(f"{source}: generates with {', '.join(odd)}, which is not taken over")
    listed = [stops] if isinstance(stops, str) else stops
    return int(lengths[0] if lengths else LONGEST), [stop for stop in listed if stop]


def _lettered(where: str, document: Any) -> list[str]:
    """Return the choices that lm-eval's filter looks for in the answer."""
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
        raise BenchmarkError(
            f"{where}: multi_choice_regex looks for the texts in its document's field 'choices', which is "
            f"{shortened(repr(choices), 60)}"
        )
    return choices


def _targets(where: str, task: Any, document: Any, to_numbers: bool) -> list[str]:
    """Return every text that lm-eval accepts."""
    gold = task.doc_to_target(document)
    if task.config.doc_to_choice is not None:
        gold = task.doc_to_choice(document)[gold]
    elif isinstance(gold, list) != bool(task.multiple_target):
        first = "several" if task.multiple_target else "one"
        raise BenchmarkError(f"{where}: its answer is {shortened(repr(gold), 60)}, and the first document's is {first}")
    if to_numbers:
        return [_number(where, gold)]
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


def _number(where: str, gold: Any) -> str:
    """Return the target as lm-eval makes one of it that is compared with a whole number."""
    try:
        return str(int(gold))
    except (TypeError, ValueError):
        raise BenchmarkError(
            f"{where}: its answer is {shortened(repr(gold), 60)}, and the filter's map leads to whole numbers"
        ) from None
