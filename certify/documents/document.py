"""A record that is a file: sealed by a digest, written whole, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import Field

from certify.errors import UnsupportedSchema
from certify.parsing import read_json, validated
from certify.records import Digest, Record, digest
from certify.text import shortened, visible
from certify.writing import write_whole

Version = Literal[1, 2]

VERSION: Version = 2


class Document(Record):
    """A record with a schema, a version and a digest over all its other fields."""

    schema_name: str = Field(alias="schema")
    version: Version = VERSION
    digest: Digest

    @classmethod
    def seal(cls, **fields: Any) -> Self:
        """Build the document and its digest."""
        provisional = cls.model_validate({**fields, "digest": "sha256:" + "0" * 64})
        complete = cls.model_validate_json(provisional.model_dump_json(by_alias=True))  # every field is set now
        return complete.model_copy(update={"digest": complete.own_digest()})

    def own_digest(self) -> str:
        """Return the digest of every field that is in the file but the digest itself.

        A later release may add a field with a default; files from before do not have it, and keep their digest.
        """
        return digest(self.model_dump(mode="json", by_alias=True, exclude={"digest"}, exclude_unset=True))

    def to_text(self) -> str:
        """Return the file's text."""
        value = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return json.dumps(value, indent=1, ensure_ascii=False) + "\n"

    def to_json(self, path: str | Path) -> Path:
        """Write the file whole or not at all (written aside, synced, renamed) and return its path."""
        return write_whole(Path(path), self.to_text())

    def __repr__(self) -> str:
        """Return what it is about, on one line."""
        digits = self.digest.removeprefix("sha256:")[:8]
        return f"<{type(self).__name__} {digits} {visible(self._in_brief)}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Return what it says in short as a table, for a notebook; whatever others wrote is escaped."""
        shown = {**self._told, "digest": self.digest}
        cells = (f"<tr><th>{name}</th><td>{escape(visible(text))}</td></tr>" for name, text in shown.items() if text)
        return f"<table>{''.join(cells)}</table>"

    @property
    def _in_brief(self) -> str:
        """What it holds, in a few words."""
        raise NotImplementedError

    @property
    def _told(self) -> dict[str, str]:
        """What it says in short, by what each is."""
        raise NotImplementedError


D = TypeVar("D", bound=Document)


def read_as(path: str | Path, kinds: Mapping[str, type[D]]) -> D:
    """Read a file whose schema is one of ``kinds``; raises what :func:`read_document` does."""
    file = Path(path)
    value = read_json(file)
    schema = value.get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, str) or schema not in kinds:
        raise UnsupportedSchema(f"{file}: schema is {shortened(repr(schema))}, expected one of {', '.join(kinds)}")
    version = value.get("version")
    if type(version) is not int or version not in get_args(Version):
        raise UnsupportedSchema(
            f"{file}: version is {shortened(repr(version))}; this release reads versions up to {VERSION}: upgrade "
            "pytest-basin"
        )
    return validated(kinds[schema], value, str(file))
