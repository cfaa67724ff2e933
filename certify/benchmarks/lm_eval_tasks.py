"""Items of a task of lm-evaluation-harness, as lm-eval itself asks them: frozen once, gated anywhere."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.metadata
import inspect
import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from certify.benchmarks.clusters import from_documents
from certify.benchmarks.lm_eval_metrics import Chosen, chosen
from certify.benchmarks.rows import EXPECTED, read_rows
from certify.errors import BenchmarkError, CertifyError
from certify.records import digest
from certify.text import shortened

TASK = "lm-eval:"
"""What a task's name begins with where a benchmark is named."""
FEW_SHOT_SEED = 1234
"""What lm-eval's own command line chooses the examples in the prompt with."""
ELSEWHERE = ("dataset_path", "dataset_name", "dataset_kwargs")
"""Settings of a task that say where its documents lie, which are known by their own hashes."""
OUT_OF_REACH = {
    "ConnectionError", "ConnectError", "ConnectTimeout", "OfflineModeIsEnabled", "DatasetNotFoundError",
    "LocalEntryNotFoundError", "HfHubHTTPError", "RepositoryNotFoundError", "GatedRepoError", "ProxyError",
}  # fmt: skip
"""Errors, by their names in half a dozen libraries, of data that cannot be fetched here."""


@dataclass(frozen=True)
class TaskItems:
    """What a task asks: rows and settings as a file of items and the TOML beside it hold them."""

    source: str
    name: str
    rows: tuple[dict[str, Any], ...]
    settings: dict[str, Any]


def task_name(asked: str) -> str:
    """Return what the benchmark of ``lm-eval:TASK[@SHOTS][?metric=...]`` is called: the task, its shots, its metric."""
    source, options = _parted(asked)
    name = os.path.basename(source)
    stem, at, shots = name.rpartition("@")
    stem, shots = (stem, shots) if at else (name, "")
    metric = options.get("metric")
    return stem.removesuffix(".yaml").removesuffix(".yml") + f"@{shots}" * bool(shots) + f"-{metric}" * bool(metric)


def asked_task(asked: str) -> TaskItems:
    """Return the items of ``lm-eval:TASK[@SHOTS]``, which options may follow: ``?metric=NAME&cluster=FIELD&chat=yes``.

    Raises:
        BenchmarkError: as :func:`task_items`, or an option that is none of these.
    """
    source, options = _parted(asked)
    if not source:
        raise BenchmarkError(f"{asked} names no task: write lm-eval:TASK, TASK@SHOTS or a FILE.yaml of your own")
    if odd := [name for name in options if name not in ("metric", "cluster", "chat")]:
        raise BenchmarkError(f"{asked}: the option {odd[0]!r} is none of metric, cluster, chat")
    if (chat := options.get("chat", "no")) not in ("yes", "no"):
        raise BenchmarkError(f"{asked}: chat is yes or no, got {chat!r}")
    return task_items(source, options.get("metric"), options.get("cluster"), chat == "yes")


def task_items(source: str, metric: str | None = None, cluster: str | None = None, chat: bool = False) -> TaskItems:
    """Return the items of ``TASK``, ``TASK@SHOTS`` or ``FILE.yaml[@SHOTS]``, its requests made by lm-eval.

    ``metric`` is one of the task's, ``NAME`` or ``NAME,FILTER``; it may be left out where only one can be taken over.
    ``cluster`` names the field of the documents that says which of them come in one group. With ``chat`` the requests
    are turns of a chat, which each model's own template renders.

    An item's score is lm-eval's for it, ties apart (which are wrong here and go to the first choice there).

    Raises:
        BenchmarkError: lm-eval is not installed or cannot make the task, or its score is none of single items.
    """
    named, at, shots = source.rpartition("@")
    if not at or "/" in shots:  # a folder may have the sign in its name
        named, shots = source, ""
    elif not shots.isdecimal():
        raise BenchmarkError(f"{source}: expected TASK@NUMBER, the number of examples in the prompt, got {shots!r}")
    with _explained(source), _quiet():
        task = _loaded(source, named)
        if shots:
            if task.config.num_fewshot == 0 != int(shots):
                raise BenchmarkError(f"{source}: its config says 0-shot, and then lm-eval takes no other number")
            task.set_config(key="num_fewshot", value=int(shots))
        score = chosen(source, task, metric)
        task.set_fewshot_seed(seed=FEW_SHOT_SEED)
        how = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": _turns} if chat else {}
        task.build_all_requests(**how)
        rows = tuple(_rows(source, task, score, chat))
        documents = [request.doc for request in task.instances if request.idx == 0]
        if cluster is not None:
            labels = from_documents(source, documents, cluster)
            rows = tuple({**row, "cluster": label} for row, label in zip(rows, labels, strict=True))
        return TaskItems(source, task_name(f"{source}?metric={metric}" if metric else source), rows,
                         _settings(task, score, documents, chat))  # fmt: skip


def _parted(asked: str) -> tuple[str, dict[str, str]]:
    source, _, given = asked.removeprefix(TASK).partition("?")
    pairs = [part.partition("=") for part in given.split("&") if part]
    return source, {name: value for name, _, value in pairs}


def _loaded(source: str, named: str) -> Any:
    try:
        import lm_eval.tasks as tasks
    except ImportError:
        raise BenchmarkError(f"{source}: tasks are made by lm-eval: pip install 'pytest-basin[lm-eval]'") from None
    own = Path(named).is_file()
    if own:
        _check_documents(tasks._index.load_yaml(Path(named), resolve_func=False))
    if own and (entry := tasks._index.TaskIndex.entry_from_path(Path(named))) and entry.kind.name == "GROUP":
        held = tasks._index.load_yaml(Path(named), resolve_func=False)["task"]
        raise BenchmarkError(f"{source}: {_several(held)}")
    manager = _manager(tasks.TaskManager, with_lm_evals=not own)
    if not own and named not in manager.all_tasks:
        raise BenchmarkError(f"{source}: {_unknown(named, manager.all_subtasks)}")
    if not own and named not in manager.all_subtasks:
        entry = manager.task_index[named]
        raise BenchmarkError(f"{source}: {_several((entry.cfg or {}).get('task') or sorted(entry.tags))}")
    found = manager.load(named)["tasks"]
    if len(found) != 1:
        raise BenchmarkError(f"{source}: a group of {shortened(', '.join(found))}: name one task")
    (task,) = found.values()
    return task


def _check_documents(written: Mapping[str, Any]) -> None:
    """Refuse lines of a task's own file of documents that are no objects: pyarrow ends the process at a ``null``."""
    asked = (written.get("dataset_kwargs") or {}) if written.get("dataset_path") == "json" else {}
    named = None if "field" in asked else asked.get("data_files")  # then the list is somewhere inside the file
    of_splits = named.values() if isinstance(named, Mapping) else [named]
    for each in of_splits:
        for file in map(Path, filter(None, [each] if isinstance(each, str) else each or ())):
            if file.suffix in (".json", ".jsonl") and file.is_file():
                try:
                    read_rows(file)
                except BenchmarkError as error:
                    what = str(error).removesuffix(f"; {EXPECTED}")
                    raise BenchmarkError(f"{what}; lm-eval's documents are objects, one a line or in a list") from None


@functools.cache
def _manager(make: Any, with_lm_evals: bool) -> Any:
    """Return lm-eval's list of tasks, which takes long to read where its own 13,000 are in it."""
    return make(include_defaults=with_lm_evals)


def _several(held: list[Any]) -> str:
    """Return what a group or a tag is, with what it holds, groups of its own among them."""
    names = [each if isinstance(each, str) else str(each.get("task") or each.get("group")) for each in held]
    return f"a group of {shortened(', '.join(names))}: name one task, or pool several files of import-task"


def _unknown(named: str, known: list[str]) -> str:
    if named.endswith((".yaml", ".yml")):
        return f"there is no such file (looked for in {Path.cwd()})"
    near = ", ".join(difflib.get_close_matches(named, known, n=3))
    return f"lm-eval knows no such task; {f'did you mean {near}?' if near else '`lm-eval ls tasks` lists them'}"


def _settings(task: Any, score: Chosen, documents: list[Any], chat: bool) -> dict[str, Any]:
    from lm_eval.utils import handle_non_serializable, hash_string

    def document_hash(document: Any) -> str:  # as lm-eval's own log has it
        written = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
        return str(hash_string(written))

    config = {name: value for name, value in task.config.to_dict().items() if name not in ELSEWHERE}
    version, shots = importlib.metadata.version("lm_eval"), task.config.num_fewshot or 0
    asked = f"task {task.config.task}, version {task.VERSION}, {shots}-shot{', in a chat' * chat}, {score.metric}"
    if (repeats := task.config.repeats or 1) > 1:
        asked += f", once for {repeats} repeats, which are alike"
    return {
        "description": f"lm-eval {version}, {asked}",
        **({"boundary": "lm-eval"} if score.generation is None else {}),
        **({"length_normalised": True} if score.metric == "acc_norm" else {}),
        **({"delimiter": score.delimiter} if score.metric == "acc_norm" and score.delimiter else {}),
        "task": {
            "name": str(task.config.task),
            "version": str(task.VERSION),
            "config": digest(_plain(config)),
            "documents": digest([document_hash(document) for document in documents]),
        },
        **({"generation": score.generation} if score.generation is not None else {}),
    }


def _plain(value: Any) -> Any:
    """Return a value of a config as JSON can say it: of a function its source."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple() | set():
            return [_plain(each) for each in value]
    if callable(value):
        try:
            return inspect.getsource(value)
        except (TypeError, OSError):
            return getattr(value, "__qualname__", type(value).__qualname__)
    return type(value).__qualname__


def _turns(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """Take a chat from lm-eval as it is, in place of what a tokenizer's template would make of it."""
    if not add_generation_prompt:
        raise BenchmarkError("opens the answer itself (gen_prefix), which is not taken over in a chat")
    return json.dumps([{"role": turn["role"], "content": turn["content"]} for turn in messages])


def _rows(source: str, task: Any, score: Chosen, chat: bool) -> Iterator[dict[str, Any]]:
    for number, requests in groupby(task.instances, key=lambda request: request.doc_id):
        several = sorted(requests, key=lambda request: request.idx)
        asked, where = several[0].args[0], f"{source}, item {number + 1}"
        prompt = {"messages": json.loads(asked)} if chat else {"prompt": asked}
        yield {**prompt, **score.answer(where, task, several), "id": number}


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except CertifyError as error:
        if isinstance(error, BenchmarkError) and str(error).startswith(source):
            raise
        said = str(error).removeprefix(source).removeprefix(": ")
        raise BenchmarkError(f"{source}{'' if said.startswith(',') else ': '}{said}") from None
    except Exception as error:  # a task runs templates and code of its own, and has no common type of errors
        what = shortened(str(error) or type(error).__name__)
        if OUT_OF_REACH & _names(error):
            raise BenchmarkError(
                f"{source}: its data cannot be fetched here ({what}): where they can, freeze it with `certify "
                "import-task`, and gate on the file"
            ) from error
        raise BenchmarkError(f"{source}: lm-eval cannot make it: {what}") from error


def _names(error: BaseException | None) -> set[str]:
    """Return the names of an error's types, and of those that it came from."""
    if error is None:
        return set()
    return {kind.__name__ for kind in type(error).__mro__} | _names(error.__cause__ or error.__context__)


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
