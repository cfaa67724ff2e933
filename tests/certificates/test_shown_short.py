"""A record at a prompt is one line, and in a notebook a table that nothing in it can break out of."""

from __future__ import annotations

import re

from hypothesis import given

from certify.documents import Certificate
from certify.strategies import certificates


@given(certificates())
def test_one_line(certificate: Certificate) -> None:
    """Verdict, kind of evidence, models and benchmark; the digest tells two of them apart."""
    line = repr(certificate)
    assert line.startswith(f"<Certificate {certificate.digest.removeprefix('sha256:')[:8]} {certificate.verdict}: ")
    assert certificate.benchmark.name in line
    assert len(line.splitlines()) == 1


@given(certificates())
def test_a_table_in_a_notebook(certificate: Certificate) -> None:
    """The claim and the digest stand in it."""
    table = certificate._repr_html_()
    assert certificate.digest in table
    assert certificate.verdict in table
    assert re.sub(r"</?(table|tr|th|td)>", "", table).count("<") == 0


@given(certificates())
def test_names_are_escaped(certificate: Certificate) -> None:
    """A folder may be called like a script."""
    named = certificate.checkpoint.model_copy(update={"name": "<script>alert(1)</script>"})
    table = certificate.model_copy(update={"checkpoint": named})._repr_html_()
    assert "<script" not in table
    assert "&lt;script&gt;" in table
