"""Items that cannot be answered, or not be told apart, are refused when a benchmark is encoded: they mislead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from certify.errors import BenchmarkError

if TYPE_CHECKING:
    from certify.benchmarks.protocol import ModelLimits

Ids = Sequence[int]


def refuse_unknown(where: str, text: str, ids: Ids, unknown: int | None) -> None:
    """Refuse an ending that is nothing but the unknown token, which stands for any other text as well."""
    if unknown is not None and all(i == unknown for i in ids):
        raise BenchmarkError(f"{where}: {text!r} is only the unknown token to this tokenizer; correct the item")


def refuse_alike(where: str, endings: Mapping[str, Ids]) -> None:
    """Refuse choices that are the same tokens: none of them can be strictly best."""
    seen: dict[tuple[int, ...], str] = {}
    for text, ids in endings.items():
        other = seen.setdefault(tuple(ids), text)
        if other != text:
            raise BenchmarkError(
                f"{where}: choices {other!r} and {text!r} are the same tokens, so neither can be strictly best"
            )


def refuse_outside(where: str, ids: Ids, new_tokens: int, limits: ModelLimits) -> None:
    """Refuse what the model has no embedding or no position for."""
    outside = [i for i in ids if limits.vocabulary is not None and not 0 <= i < limits.vocabulary]
    if outside:
        raise BenchmarkError(
            f"{where}: token {outside[0]} is outside the model's embedding of {limits.vocabulary} rows: tokenizer and "
            "model do not belong together"
        )
    length = limits.virtual_tokens + len(ids) + new_tokens
    if limits.positions is not None and length > limits.positions:
        what = f"{len(ids)} tokens and {new_tokens} to be generated" if new_tokens else f"{len(ids)} tokens"
        what += f", after {limits.virtual_tokens} virtual tokens," if limits.virtual_tokens else ""
        raise BenchmarkError(f"{where}: {what} are more than the model's {limits.positions} positions; shorten it")


def refuse_repeated(name: str, items: Sequence[tuple[Ids, Sequence[Ids]]]) -> None:
    """Refuse items that are the same to the model, whatever the order of their choices: each would count twice."""
    first: dict[tuple[Any, ...], int] = {}
    for item, (prompt, endings) in enumerate(items):
        key = (tuple(prompt), tuple(sorted(tuple(ids) for ids in endings)))
        earlier = first.setdefault(key, item)
        if earlier != item:
            raise BenchmarkError(
                f"{name}, items {earlier + 1} and {item + 1} are the same tokens to this tokenizer; counting one item "
                "twice would mislead"
            )


def pattern_problem(pattern: str) -> str | None:
    """Return why no answer could be told from none by this regular expression, or None."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        return f"not a regular expression ({error})"
    tree: Any = re._parser.parse(pattern)  # type: ignore[attr-defined]  # nothing public tells widths and branches
    if tree.getwidth()[0] == 0:
        return "it can match nothing, and then the answer is empty: let it ask for at least one character"
    if compiled.groups:
        widths = [part.getwidth()[0] for part, sure in _groups(tree, surely=True) if sure]
        if not widths:
            return "its first group takes no part in some matches: put the alternatives inside one group, ((?:a|b)...)"
        if widths[0] == 0:
            return "its first group can match nothing, and then the answer is empty"
    return None


def _groups(tree: Any, surely: bool) -> Iterator[tuple[Any, bool]]:
    """Yield each place of group 1 in a parsed pattern, and whether every match goes through it."""
    for op, value in tree:
        name = str(op)
        if name == "SUBPATTERN":
            number, inner = value[0], value[-1]
            if number == 1:
                yield inner, surely
            else:
                yield from _groups(inner, surely)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _groups(branch, False)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield from _groups(value[2], surely and value[0] > 0)
        elif name == "ATOMIC_GROUP":
            yield from _groups(value, surely)
