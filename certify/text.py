"""Text that nobody vouches for (names of files, fields of records), shown so that nothing hides in it."""

from __future__ import annotations

import re

from certify.errors import InvalidInput

# C0 and C1 controls, line and paragraph separators, bidirectional overrides, lone surrogates: what moves a cursor,
# starts a line that a build service obeys, or cannot be printed at all.
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return ``text`` with what no terminal shows and what build services obey written out, as ``\\x1b`` and the like.

    Those are the characters that strings of a record may not hold, ``::`` at the start of a line, and ``##[`` and
    ``##vso[`` anywhere: GitHub and Azure take a line with these for a command, whoever wrote it.
    """
    shown = UNSEEN.sub(lambda found: ascii(found.group())[1:-1], text)
    return re.sub(r"#(?=\[|vso\[)", r"\\x23", re.sub(r"^(\s*):(?=:)", r"\1\\x3a", shown))


def refuse_unseen(what: str, name: str) -> str:
    """Return ``name`` if every character of it can be seen.

    Raises:
        InvalidInput: naming the first that cannot.
    """
    if found := UNSEEN.search(name):
        raise InvalidInput(f"{what} {visible(name)}: holds the control character U+{ord(found.group()):04X}: rename it")
    return name


def shortened(text: str, most: int = 200) -> str:
    """Return ``text`` on one line of at most ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
