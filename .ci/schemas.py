"""The JSON Schemas of the files that certify writes: ``python .ci/schemas.py`` writes docs/schemas from the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from certify.documents import DOCUMENTS

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind of file, by its own name."""
    found = {}
    for name, kind in DOCUMENTS.items():
        own = kind.model_json_schema(by_alias=True)
        found[name.rpartition("/")[2]] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own}
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
