"""Items that come in groups: from the labels that name each item's group to the numbers that records hold."""

from __future__ import annotations

from collections.abc import Mapping

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
