"""Lines of JSON behind their CRC-32, so that any flipped bit is seen."""

from __future__ import annotations

import json
import zlib
from typing import Any

from certify.records import canonical_json


def sealed(value: Any) -> bytes:
    """Return the line of ``value``, without its end."""
    text = canonical_json(value).encode()
    return b"%08x %s" % (zlib.crc32(text), text)


def unsealed(line: bytes) -> Any:
    """Return what was sealed, None for a line that does not fit its checksum."""
    checksum, _, text = line.partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else None
