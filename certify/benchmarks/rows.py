"""Rows of a file of items, whatever its format: JSONL, JSON, CSV, TSV, Parquet, or a folder that `datasets` saved."""

from __future__ import annotations

import csv
import io
import os.path
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from certify.errors import BenchmarkError
from certify.parsing import plain_json, read_bytes, read_text, size_of
from certify.text import shortened

Row = tuple[str, dict[str, Any]]
"""Where it stands, and its fields."""
LARGEST = 1 << 30
"""Bytes of a file of items; a million of a thousand characters."""
EXPECTED = 'expected {"prompt", "choices", "answer"} or {"prompt", "target"}'

SAVED, SPLITS = "dataset_info.json", "dataset_dict.json"
"""What tells a folder that datasets saved."""


def read_rows(file: Path) -> list[Row]:
    """Return the rows of ``file``, whose ending names the format; one that is unknown is read as JSONL.

    Raises:
        BenchmarkError: it is not readable as what it is called, with the line or row.
    """
    if os.path.isfile(file / SAVED) or os.path.isfile(file / SPLITS):  # no error where the name is too long
        return _saved_dataset(file)
    if file.suffix.lower() == ".parquet":
        return _parquet(file)
    return READERS.get(file.suffix.lower(), _jsonl)(file, read_text(file, BenchmarkError, LARGEST))


def _jsonl(file: Path, text: str) -> list[Row]:
    numbered = ((f"{file}:{i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip())
    return [(where, _object(where, _parsed(where, line.removesuffix("\r")))) for where, line in numbered]


def _json(file: Path, text: str) -> list[Row]:
    """A list of objects; where the text does not begin as a list, one object a line, which many call ``.json``."""
    if not text.lstrip().startswith("["):
        return _jsonl(file, text)
    return _numbered(file, _parsed(str(file), text))


def _csv(file: Path, text: str, delimiter: str = ",") -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        names = next(reader, [])
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise BenchmarkError(f"{file}:1: the column {shortened(repr(repeated[0]))} is there twice; rename one")
        for cells in reader:
            where = f"{file}:{reader.line_num}"
            if cells and len(cells) != len(names):
                raise BenchmarkError(f"{where}: {len(cells)} cells, where line 1 names {len(names)} columns")
            if cells:
                rows.append((where, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise BenchmarkError(f"{file}:{reader.line_num}: not readable as {file.suffix[1:].upper()}: {error}") from None
    return rows


def _tsv(file: Path, text: str) -> list[Row]:
    return _csv(file, text, "\t")


def _parquet(file: Path) -> list[Row]:
    if size_of(file, BenchmarkError) > LARGEST:
        raise BenchmarkError(f"{file}: more than {LARGEST:,} bytes; split it")
    content = read_bytes(file, BenchmarkError)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise BenchmarkError(f"{file}: Parquet is read with pyarrow: pip install 'pytest-basin[data]'") from None
    try:
        values = parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BenchmarkError(f"{file}: not readable as Parquet: {shortened(str(error))}") from None
    return _numbered(file, values)


def _saved_dataset(folder: Path) -> list[Row]:
    try:
        import datasets
    except ImportError:
        raise BenchmarkError(
            f"{folder}: a folder of datasets is read with that library: pip install 'pytest-basin[data]'"
        ) from None
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever it raises on what it did not write
        raise BenchmarkError(f"{folder}: is no folder that datasets saved: {shortened(str(error))}") from None
    if isinstance(found, datasets.DatasetDict):
        raise BenchmarkError(f"{folder}: holds the splits {', '.join(map(repr, found))}; name the folder of one")
    return _numbered(folder, list(found))


READERS: dict[str, Callable[[Path, str], list[Row]]] = {".json": _json, ".csv": _csv, ".tsv": _tsv}


def _numbered(file: Path, values: Sequence[Any]) -> list[Row]:
    return [(where, _object(where, value)) for i, value in enumerate(values, 1) if (where := f"{file}: row {i}")]


def _parsed(where: str, text: str) -> Any:
    try:
        return plain_json(text)
    except ValueError as error:
        raise BenchmarkError(f"{where}: not JSON ({error}); {EXPECTED}") from None


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BenchmarkError(f"{where}: got a JSON {type(value).__name__}; {EXPECTED}")
    return value
