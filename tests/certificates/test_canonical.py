"""The one JSON text that digests are taken over: pinned, since every identity rests on it."""

from __future__ import annotations

import pytest

from certify.records import canonical_json, digest


def test_the_text_is_pinned() -> None:
    """Sorted keys, no spaces, characters as they are, the shortest text of a float."""
    value = {"b": [1, 2.5, None, True], "a": {"ü": "\u2028→", "x": 1e-12}}
    assert canonical_json(value) == '{"a":{"x":1e-12,"ü":"\u2028→"},"b":[1,2.5,null,true]}'
    assert digest("ü") == "sha256:e4c77d3f26dacb0bcd1ef966781f0988c483f20cb118c5605ccf670c17944c6f"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_what_is_no_number_has_no_text(value: object) -> None:
    """JSON has no spelling for it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)
