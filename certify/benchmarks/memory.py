"""Batches that do not fit into memory are done in halves: rows are scored one by one, whoever shares their batch."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from typing import TypeVar

from certify.errors import CertifyWarning, InvalidInput

Found = TypeVar("Found")


def in_parts(
    work: Callable[[Sequence[int]], Found], rows: Sequence[int], halved: MutableSequence[int]
) -> Iterator[Found]:
    """Yield ``work(rows)``; where memory ends, what it gives for each half, and so on down to single rows.

    The number of rows of each batch that did not fit is added to ``halved``, for the record.

    Raises:
        InvalidInput: one row alone does not fit.
    """
    try:
        found = work(rows)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        if len(rows) == 1:
            raise InvalidInput(
                "out of memory with a single row in the batch: score shorter items, or use a larger device (--device)"
            ) from None
    else:
        yield found
        return
    _make_room()
    halved.append(len(rows))
    warnings.warn(f"out of memory with {len(rows)} rows in a batch: done in halves", CertifyWarning, stacklevel=2)
    middle = len(rows) // 2
    yield from in_parts(work, rows[:middle], halved)
    yield from in_parts(work, rows[middle:], halved)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ended: an accelerator's (torch has an error for it), or the CPU's (whose allocator has not)."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _make_room() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
