"""The page on Hypothesis runs as it stands and names every strategy."""

import doctest
from pathlib import Path

import certify.strategies

PAGE = Path(__file__).parents[2] / "docs" / "hypothesis.md"


def test_examples_give_what_is_printed():
    """Every example, counterexamples included: they are the smallest, so they do not depend on luck."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried >= 15


def test_every_strategy_is_listed():
    """And nothing that does not exist."""
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in certify.strategies.__all__ if f"`{name}(" not in text] == []
