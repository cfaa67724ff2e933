"""docs/training.md runs, and names functions that exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import torch

import certify.training

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_examples_run_as_printed() -> None:
    """They give the output beside them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert (failed, tried >= 20) == (0, True)


def test_every_public_name_is_explained_or_belongs_to_subspaces() -> None:
    """And each is there when it is asked for."""
    text = PAGE.read_text(encoding="utf-8")
    for name in certify.training.__all__:
        assert hasattr(certify.training, name)
        assert re.search(rf"\b{name}\b", text) or name in ("Allowance", "Budget"), name
