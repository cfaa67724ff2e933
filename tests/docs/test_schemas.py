"""docs/schemas are the schemas of the models that read the files, and the page lists them."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from certify.documents import DOCUMENTS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schemas"


def bare(schema: Any) -> Any:
    """A schema without its words, which releases of pydantic choose."""
    if isinstance(schema, dict):
        return {key: bare(value) for key, value in schema.items() if key not in ("title", "description")}
    return [bare(each) for each in schema] if isinstance(schema, list) else schema


def test_published_schemas_are_those_of_the_models() -> None:
    """`python .ci/schemas.py` writes them again."""
    made = runpy.run_path(str(ROOT / ".ci" / "schemas.py"))["schemas"]()
    published = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FOLDER.glob("*.json")}
    assert set(published) == set(made) == {name.rpartition("/")[2] for name in DOCUMENTS}
    for name, schema in made.items():
        assert bare(published[name]) == bare(schema), name


def test_a_field_that_was_added_is_noticed() -> None:
    """The check above can fail."""
    published = json.loads((FOLDER / "gate.json").read_text(encoding="utf-8"))
    changed = json.loads(json.dumps(published))
    changed["properties"]["attempts"] = {"type": "integer"}
    assert bare(changed) != bare(published)


def test_the_page_lists_every_schema() -> None:
    """With a link to it."""
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(pytest-basin/\w+)` ", page, re.MULTILINE)) == sorted(DOCUMENTS)


@pytest.mark.parametrize("file", sorted((ROOT / "tests" / "golden" / "v2").glob("*.json")), ids=lambda file: file.name)
def test_golden_files_hold_the_fields_that_their_schema_asks_for(file: Path) -> None:
    """All that are required, and none that is unknown."""
    document = json.loads(file.read_text(encoding="utf-8"))
    if document["schema"] not in DOCUMENTS:
        pytest.skip("a landscape, which has no published schema")
    schema = json.loads((FOLDER / f"{document['schema'].rpartition('/')[2]}.json").read_text(encoding="utf-8"))
    assert set(schema["required"]) <= set(document) <= set(schema["properties"])
    assert schema["additionalProperties"] is False
