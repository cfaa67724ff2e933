"""Hooks of mkdocs.yml: pages from outside docs/, references made from the code, and links that lead to either."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from typer import rich_utils
from typer.testing import CliRunner

import certify
from certify.cli.app import COMMANDS, app

ROOT = Path(__file__).parents[1]
OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the repository that are pages of the site."""
ORIGIN = {page: source for source, page in OUTSIDE.items()}
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in OUTSIDE.items()}
    made |= {"command-line.md": _commands(), "api-reference.md": _names()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to pages of the site; what lies in the repository alone is named, and is no link."""
    source = Path(ORIGIN.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def moved(link: re.Match[str]) -> str:
        text, (path, hash_, fragment) = link[1], link[2].partition("#")
        if re.match(r"[a-z]+:", path) or not path:
            return link[0]
        there = os.path.normpath(source.parent / path)
        inside = OUTSIDE.get(there, there.removeprefix("docs/") if there.startswith("docs/") else None)
        if inside is None or (ROOT / there).is_dir():
            return text if text.startswith("`") else f"{text} (`{there}`)"
        back = os.path.relpath(inside, Path(page.file.src_uri).parent)
        return f"[{text}]({back}{hash_}{fragment})"

    parts = FENCE.split(markdown)
    return "".join(part if FENCE.fullmatch(part) else LINK.sub(moved, part) for part in _joined(parts))


def _joined(parts: list[str]) -> list[str]:
    """Put code in a line back into its text, which may be a link's; code in blocks stays apart."""
    joined = [""]
    for part in parts:
        if part.startswith("```"):
            joined += [part, ""]
        else:
            joined[-1] += part
    return joined


def _commands() -> str:
    """Return every command's help, as wide as the page is."""
    rich_utils.MAX_WIDTH = 78
    names = ["", *(command.__name__.replace("_", "-") for _, command, _ in COMMANDS)]
    text = "# Command line\n\nWhat `--help` prints, made from the commands when this page was built.\n"
    for name in names:
        shown = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="certify", catch_exceptions=False).output
        lines = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        text += f"\n## certify {name}".rstrip() + f"\n\n```text\n{lines}\n```\n"
    return text


def _names() -> str:
    """Return the directives for every exported name; docstrings are read, not imported, so that torch is not needed."""
    names = [name for name in certify.__all__ if name != "__version__"]
    return "# API reference\n\nThe names that `certify` exports; [in a table](api.md).\n\n" + "\n\n".join(
        f"::: certify.{name}" for name in names
    )
