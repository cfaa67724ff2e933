"""The documentation runs, names functions that exist, and has the numbers of its scripts."""

import doctest
import importlib
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "docs" / name for name in ("theory.md", "fooling-yourself.md", "basin.md")]
pages = pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)


@pages
def test_examples_run_as_printed(page):
    """Every example gives the output beside it, and there are examples."""
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried >= 5


@pages
def test_closing_fences_follow_a_blank_line(page):
    """Otherwise the fence would be read as expected output."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert block.endswith("\n\n"), block


def resolve(name):
    """The object behind a dotted name, or None."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found
    return None


@pages
def test_every_function_that_is_named_exists(page):
    """Dotted names in backticks lead somewhere."""
    names = set(re.findall(r"`(certify\.[a-z_.]+[A-Za-z_]*)`", page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if resolve(name) is None] == []


def test_theory_names_every_public_bound_law_gate_and_plan():
    """No public function of the statistical core goes unexplained."""
    text = DOCS[0].read_text(encoding="utf-8")
    public = importlib.import_module("certify.statistics").__all__
    known_by_their_context = {"Interval", "Decision", "Outcome", "SprtBoundaries", "Feasibility", "PowerPlan",
                              "Design", "best_bound"}  # fmt: skip
    missing = [name for name in public if not re.search(rf"\b{name}\b", text)]
    assert set(missing) <= known_by_their_context


def test_a_name_that_leads_nowhere_is_noticed():
    """The check above can fail."""
    assert resolve("certify.statistics.clopper_pearson_lower") is not None
    assert resolve("certify.statistics.wishful_lower") is None
    assert resolve("nowhere.at.all") is None


def sources_cited():
    """(section, file) of each `docs/theory.md, "Section"` in the sources."""
    for file in (ROOT / "certify" / "statistics").glob("*.py"):
        text = " ".join(file.read_text(encoding="utf-8").split())
        for first, second in re.findall(r'docs/theory\.md, "([^"]+)"(?: and "([^"]+)")?', text):
            yield from ((section.strip(".,"), file.name) for section in (first, second) if section)


def test_sections_that_docstrings_cite_exist():
    """Every source in a docstring can be looked up."""
    headings = set(re.findall(r"^#+ (.+)$", DOCS[0].read_text(encoding="utf-8"), re.MULTILINE))
    cited = list(sources_cited())
    assert len(cited) > 10
    assert [(section, file) for section, file in cited if section not in headings] == []


@pytest.mark.statistical
def test_numbers_on_fooling_yourself_are_those_of_the_script():
    """The table in the page is the table that the script prints."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "fooling.py"))
    assert "\n".join(script["table"]()) in DOCS[1].read_text(encoding="utf-8")
