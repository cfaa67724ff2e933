"""How far apart the tokens of a model are: the distances ||W e_i - W e_j|| of its input embedding (paper, Fig. 4c).

A heuristic. The theorem that the paper reads these distances with is false as stated (theory §2.4);
:meth:`certify.landscape.embedding.Embedding.replacing` is the version that holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from certify.checkpoints import Checkpoint
from certify.documents import Document
from certify.errors import InvalidInput
from certify.landscape.embedding import Embedding, open_embedding
from certify.measuring.run import Track, silent
from certify.records import NonNegative, Positive, Record
from certify.statistics import ranges

RHO = 0.1
"""The paper lists pairs that are at most this far apart."""
BINS = 200
MEMORY = 256 * 2**20
LABEL = (
    "Heuristic: a small distance between two rows does not bound what replacing one token by the other does to a "
    "score; the paper's Theorem 4.5 is false as stated."
)
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Count = Annotated[int, Field(ge=0)]


class TokenPair(Record):
    """Two tokens and the distance of their rows; texts are the tokenizer's own names, empty where there is none."""

    first: Count
    second: Count
    distance: NonNegative
    texts: tuple[str, str] = ("", "")


class TokenDistances(Document):
    """Histogram of all pairwise distances between the rows of an embedding, and the nearest pairs.

    ``counts[k]`` pairs lie in [edges[k], edges[k+1]), the last bin with its right end. ``below`` pairs are at most
    ``rho`` apart; ``nearest`` lists them, nearest first, at most as many as were asked for. Rows that no token of the
    tokenizer uses are ``unused`` and left out.
    """

    schema_name: Literal["pytest-basin/token-distances"] = Field(default="pytest-basin/token-distances", alias="schema")
    label: str = LABEL
    model: str
    tensor: str
    width: Annotated[int, Field(gt=0)]
    tokens: Annotated[int, Field(ge=2)]
    unused: Count
    edges: tuple[NonNegative, ...]
    counts: tuple[Count, ...]
    rho: Positive
    below: Count
    nearest: tuple[TokenPair, ...]

    @property
    def pairs(self) -> int:
        """Number of pairs of tokens."""
        return self.tokens * (self.tokens - 1) // 2


def token_distances(
    source: str | Path | Checkpoint | Embedding,
    *,
    rho: float = RHO,
    listed: int = 50,
    memory: int = MEMORY,
    tensor: str | None = None,
    track: Track = silent,
) -> TokenDistances:
    """Return the distances of all pairs of tokens, reading the embedding alone, in blocks of rows.

    Peak memory: ``memory`` bytes, beside the tokenizer and 32 bytes for each token. Time: one float64 multiply-add for
    each pair and column. Distances come from float64 inner products, whose error in the square is below
    8 (width + 4) 2^-53 times the largest squared norm; pairs that close to ``rho``, and all that are listed, are
    computed again by subtracting rows.

    Raises:
        CheckpointError: no embedding is found in the files, or it holds NaN or Inf.
        InvalidInput: fewer than two tokens, ``rho`` not positive, or too little memory for a block of 16 rows.
    """
    embedding = source if isinstance(source, Embedding) else open_embedding(source, tensor)
    ranges.positive("rho", rho)
    used = np.array(sorted(embedding.texts) or range(embedding.rows))
    ranges.require(len(used) >= 2, "tokens", len(used), "must be at least 2")
    step = _block_rows(embedding.width, memory)
    blocks = [part for i in range(0, embedding.rows, step) if (part := used[(used >= i) & (used < i + step)]).size]
    squares = [np.square(_rows(embedding, block)).sum(axis=1) for block in blocks]
    largest = np.sort(np.concatenate(squares))[-2:]
    top = float(np.sqrt(largest).sum()) or 1.0  # no two rows are farther apart than the sum of their norms
    nearest = _Nearest(rho, listed, slack=8 * (embedding.width + 4) * 2.0**-53 * float(largest[-1]), chunk=step)
    counts = np.zeros(BINS, dtype=np.int64)
    for both in _parts(embedding, blocks, squares, track):
        nearest.offer(both)
        place = np.sqrt(both.square[both.square < np.inf])
        place *= BINS / top
        counts += np.bincount(np.minimum(place, BINS - 1).astype(np.int64), minlength=BINS)
    return TokenDistances.seal(
        model=embedding.checkpoint.name,
        tensor=embedding.tensor,
        width=embedding.width,
        tokens=len(used),
        unused=embedding.rows - len(used),
        edges=tuple(np.linspace(0.0, top, BINS + 1).tolist()),
        counts=tuple(counts.tolist()),
        rho=rho,
        below=nearest.below,
        nearest=tuple(nearest.pairs(embedding)),
    )


def _block_rows(width: int, memory: int) -> int:
    """Return the rows of a block, so that blocks and everything computed from a pair of them fit into ``memory``.

    Six arrays of (rows, width) and ten of (rows, rows), 8 bytes each.

    Raises:
        InvalidInput: ``memory`` holds no block of 16 rows.
    """
    rows = int((math.sqrt(9 * width**2 + 10 * memory / 8) - 3 * width) / 10)
    if rows < 16:
        raise InvalidInput(
            f"memory = {memory} bytes: blocks of 16 rows of width {width} need {8 * 16 * (6 * width + 160)}"
        )
    return rows


@dataclass(frozen=True)
class _Part:
    """Two blocks of rows and the squared distances between them, shape (first, second); inf where a pair repeats."""

    first: Ids
    second: Ids
    a: Floats
    b: Floats
    square: Floats


def _parts(embedding: Embedding, blocks: list[Ids], squares: list[Floats], track: Track) -> Iterator[_Part]:
    """Yield every pair of blocks once."""
    order = [(i, j) for i in range(len(blocks)) for j in range(i, len(blocks))]
    held = -1
    for step in track(range(len(order)), "pairs of blocks of tokens"):
        i, j = order[step]
        if i != held:
            a, held = _rows(embedding, blocks[i]), i
        b = a if i == j else _rows(embedding, blocks[j])
        square = a @ b.T
        square *= -2.0
        square += squares[i][:, None]
        square += squares[j]
        np.maximum(square, 0.0, out=square)
        if i == j:
            square[np.tri(len(a), dtype=bool)] = np.inf
        yield _Part(blocks[i], blocks[j], a, b, square)


def _rows(embedding: Embedding, ids: Ids) -> Floats:
    """Return the rows of ascending ``ids``, which lie within one block."""
    return np.asarray(embedding.block(int(ids[0]), int(ids[-1]) + 1)[ids - ids[0]])


class _Nearest:
    """Counts the pairs at most ``rho`` apart and keeps the nearest ``listed`` of them, ties in the order of ids."""

    def __init__(self, rho: float, listed: int, slack: float, chunk: int) -> None:
        self.rho, self.listed, self.slack, self.chunk = rho, listed, slack, chunk
        self.below = 0
        self._kept = np.empty((0, 3))  # squared distance, first, second

    def offer(self, part: _Part) -> None:
        """Take in the pairs of two blocks."""
        rows, columns = np.nonzero(part.square <= self.rho**2 + self.slack)
        square = part.square[rows, columns]
        doubtful = np.flatnonzero(square >= self.rho**2 - self.slack)
        self.below += len(square) - len(doubtful)
        for start in range(0, len(doubtful), self.chunk):
            these = doubtful[start : start + self.chunk]
            exact = np.square(part.a[rows[these]] - part.b[columns[these]]).sum(axis=1)
            self.below += int(np.count_nonzero(np.sqrt(exact) <= self.rho))
        if self.listed and len(square) > self.listed:
            close = square <= np.partition(square, self.listed - 1)[self.listed - 1]
            rows, columns, square = rows[close], columns[close], square[close]
        found = np.column_stack([square, part.first[rows], part.second[columns]])
        together = np.concatenate([self._kept, found])
        self._kept = together[np.lexsort(together.T[::-1])][: self.listed]

    def pairs(self, embedding: Embedding) -> list[TokenPair]:
        """Return the kept pairs with the distance of their rows by subtraction, nearest first."""
        texts = embedding.texts
        found = [
            TokenPair(first=i, second=j, distance=embedding.distance(i, j), texts=(texts.get(i, ""), texts.get(j, "")))
            for i, j in self._kept[:, 1:].astype(int).tolist()
        ]
        return sorted((p for p in found if p.distance <= self.rho), key=lambda p: (p.distance, p.first, p.second))
