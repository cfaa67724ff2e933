"""docs/glossary.md says in plain words what is printed: a word of a table that it lacks is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from certify.cli.plan_lines import Goal, plan_table
from certify.documents import BasinRecord, read_document
from certify.errors import CertifyError
from certify.evidence import KINDS, Requirement
from certify.report.basin_table import basin_table
from certify.report.rows import Outcome, Row, row_of
from pytest_basin import plan, terminal

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def terms(page: str) -> set[str]:
    """The words that the page's tables explain."""
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    return {word.strip().lower() for cell in cells for word in cell.split(",")} - {"word", "---"}


def rows() -> list[tuple[Row, object]]:
    """Every golden record that judges something."""
    found: list[tuple[Row, object]] = []
    for file in sorted((ROOT / "tests" / "golden").rglob("*.json")):
        try:
            document = read_document(file)
            found.append((row_of(document), document))
        except CertifyError:  # measurements, which judge nothing, and landscapes
            continue
    return found


def printed() -> set[str]:
    """Columns of tables, kinds of evidence, outcomes, and the quantities of every record."""
    judged = rows()
    assert len(judged) > 10
    asked = plan_table(Goal(Requirement(), 0.05, 0.0, "table"), {"point": 59}, {}, None, 0.9)
    basins = [basin_table(document) for _, document in judged if isinstance(document, BasinRecord)]
    assert basins
    heads = [str(column.header) for table in (asked, *basins) for column in table.columns]
    words = {*KINDS, *(row.evidence for row, _ in judged), *(outcome.value for outcome in Outcome)} - {"error"}
    words |= {*terminal.COLUMNS, *terminal.SINCE, *plan.COLUMNS}
    words |= {re.sub(r"[|<>=\n]+", " ", head).strip() for head in heads}
    words |= {name.replace("_", " ") for row, _ in judged for name in row.quantities}
    words |= {row.quantity for row, _ in judged} | {row.of for row, _ in judged}
    return words


def lacking(page: str) -> set[str]:
    """What is printed and not explained, in the singular or as it stands."""
    known = terms(page)
    return {
        word for word in printed()
        if not {word, word.removesuffix("s"), re.sub(" (lower|upper)$", "", word)} & known
    }  # fmt: skip


def test_every_word_of_a_table_is_explained() -> None:
    """In the tables of the terminal, of pytest, of plans, and among the numbers of every kind of record."""
    assert lacking(PAGE) == set()


@pytest.mark.parametrize("word", ["alpha*", "sigma*", "certified radius", "drop", "point"])
def test_a_word_that_is_not_explained_is_noticed(word: str) -> None:
    """The check above can fail."""
    shorter = "\n".join(line for line in PAGE.splitlines() if not line.startswith(f"| {word}"))
    assert lacking(shorter)


def test_words_of_claims_and_notes_are_explained() -> None:
    """They stand in sentences, where no table lists them."""
    sentences = {"alpha", "r", "vacuous", "abstained", "holm", "betting", "strict sampler", "informational", "attempt"}
    assert sentences <= terms(PAGE)


def test_every_method_holds_a_word_that_is_explained() -> None:
    """Methods are sentences; what they turn on is in the glossary."""
    known = terms(PAGE[PAGE.index("## Methods") :])
    methods = {row.method for row, _ in rows()}
    assert len(methods) > 5
    assert [method for method in methods if not any(word in method.lower() for word in known)] == []


def test_the_readme_leads_there_first() -> None:
    """Before the first table of terms."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/glossary.md)" in readme[: readme.index("CERTIFIED")]
