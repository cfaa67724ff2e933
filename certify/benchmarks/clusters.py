"""Items that come in groups: from the labels that name each item's group to the numbers that records hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certify.errors import InvalidInput
from certify.records import Groups
from certify.text import shortened

Label = str | int | None


def numbered(labels: Mapping[str, Label]) -> Groups:
    """Return the number of each item's group, as groups first appear; None where no two items share one.

    ``labels`` maps what an item is called to the label of its group: text, or a number, which is the same as its text.
    None and blank text are no label.

    Raises:
        ValueError: some items have a label and others none, naming these.
    """
    named = {item: "" if label is None else str(label).strip() for item, label in labels.items()}
    alone = [item for item, label in named.items() if not label]
    if len(alone) == len(named):
        return None
    if alone:
        more = f" and {len(alone) - 10} more" if len(alone) > 10 else ""
        listed = ", ".join(shortened(item, 60) for item in alone[:10]) + more
        raise ValueError(
            f"{len(alone)} of {len(named)} items have no cluster where others have one: {listed}; give each item one, "
            "its own where it stands alone"
        )
    numbers: dict[str, int] = {}
    groups = tuple(numbers.setdefault(label, len(numbers)) for label in named.values())
    return None if len(numbers) == len(groups) else groups


def from_documents(source: str, documents: Sequence[object], name: str) -> list[Label]:
    """Return the label that each document has in its field ``name``, as :func:`label_in`.

    Raises:
        InvalidInput: it is in none of them, or holds something else than text and whole numbers.
    """
    found = [label_in(f"{source}, item {number}", each, name) for number, each in enumerate(documents, 1)]
    if all(label is None or not str(label).strip() for label in found):
        first = documents[0] if documents else None
        there = shortened(", ".join(map(str, first))) if isinstance(first, Mapping) else "none"
        raise InvalidInput(f"{source}: the field {name!r}, asked for as cluster, is in no item; the first has {there}")
    return found


def label_in(where: str, document: object, name: str) -> Label:
    """Return what a document's field ``name`` says (``outer.inner`` for one inside another); None if it is not there.

    Raises:
        InvalidInput: it holds something else than text and whole numbers.
    """
    found = document
    for part in [name] if isinstance(document, Mapping) and name in document else name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None or (isinstance(found, str | int) and not isinstance(found, bool)):
        return found
    raise InvalidInput(
        f"{where}: its field {name!r} is {shortened(repr(found), 60)}, and a cluster is named by text or a whole number"
    )
