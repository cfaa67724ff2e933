"""Items of a task of lm-evaluation-harness, as lm-eval itself asks them: frozen once, gated anywhere."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from certify.benchmarks.items import ExactMatchItem, Item, MultipleChoiceItem
from certify.errors import BenchmarkError
from certify.text import shortened

FEW_SHOT_SEED = 1234
"""What lm-eval's own command line chooses the examples in the prompt with."""


@dataclass(frozen=True)
class TaskItems:
    """What a task asks, and in words which task that is."""

    items: tuple[Item, ...]
    description: str


def task_items(source: str) -> TaskItems:
    """Return the items of ``TASK``, ``TASK@SHOTS`` or ``FILE.yaml[@SHOTS]``, its requests made by lm-eval.

    Scored with ``boundary = "lm-eval"``, an item is right where lm-eval's ``acc`` of it is 1 (ties apart, which are
    wrong here and go to the first choice there).

    Raises:
        BenchmarkError: lm-eval is not installed or cannot make the task, or it is not scored by likelihood and acc.
    """
    named, at, shots = source.rpartition("@")
    if not at or "/" in shots:  # a folder may have the sign in its name
        named, shots = source, ""
    elif not shots.isdecimal():
        raise BenchmarkError(f"{source}: expected TASK@NUMBER, the number of examples in the prompt, got {shots!r}")
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise BenchmarkError(f"{source}: tasks are made by lm-eval: pip install 'pytest-basin[lm-eval]'") from None
    with _explained(source), _quiet():
        found = TaskManager().load(named)["tasks"]
        if len(found) != 1:
            raise BenchmarkError(f"{source}: a group of the tasks {shortened(', '.join(found))}: name one of them")
        ((name, task),) = found.items()
        if shots:
            if task.config.num_fewshot == 0 != int(shots):
                raise BenchmarkError(f"{source}: its config says 0-shot, and then lm-eval takes no other number")
            task.set_config(key="num_fewshot", value=int(shots))
        task.set_fewshot_seed(seed=FEW_SHOT_SEED)
        task.build_all_requests()
        items = tuple(_items(source, task))
    version, examples = importlib.metadata.version("lm_eval"), task.config.num_fewshot or 0
    return TaskItems(items, f"lm-eval {version}, task {name}, version {task.VERSION}, {examples}-shot")


def _items(source: str, task: Any) -> Iterator[Item]:
    from lm_eval.api.task import ConfigurableTask

    kind, metrics = task.OUTPUT_TYPE, [str(each["metric"]) for each in task.config.metric_list or ()]
    own = type(task).process_results is not ConfigurableTask.process_results or task.config.process_results
    if own or task.config.filter_list:
        raise BenchmarkError(f"{source}: filters or scores answers by code of its own, which is not taken over")
    if kind not in ("multiple_choice", "loglikelihood") or "acc" not in metrics:
        raise BenchmarkError(
            f"{source}: asks by {kind} and is scored by {', '.join(metrics) or 'nothing named'}; only tasks with acc "
            "by likelihood are taken over: write items and [generation] yourself for others"
        )
    for number, requests in groupby(task.instances, key=lambda request: request.doc_id):
        several = sorted(requests, key=lambda request: request.idx)
        (prompt, first), doc = several[0].args, several[0].doc
        where = f"{source}, item {number + 1}"
        if kind == "loglikelihood":
            yield ExactMatchItem(prompt=prompt, target=first, id=number)
            continue
        if any(request.args[0] != prompt for request in several):
            raise BenchmarkError(f"{where}: its choices stand in different prompts, which no item here does")
        answer, choices = task.doc_to_target(doc), task.doc_to_choice(doc)
        answer = choices.index(answer) if isinstance(answer, str) and answer in choices else answer
        if not isinstance(answer, int) or not 0 <= answer < len(several):
            raise BenchmarkError(f"{where}: its answer {shortened(repr(answer))} is not one of its choices")
        endings = tuple(request.args[1] for request in several)
        yield MultipleChoiceItem(prompt=prompt, choices=endings, answer=answer, id=number)


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except BenchmarkError:
        raise
    except Exception as error:  # a task runs templates and code of its own, and has no common type of errors
        what = shortened(str(error) or type(error).__name__)
        raise BenchmarkError(f"{source}: lm-eval cannot make it: {what}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's log and its bars from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
