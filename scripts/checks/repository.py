"""The files of the repository, as git tracks them, and the text of its Markdown pages."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return every file in the working tree that git does not ignore, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file())


def markdown_pages() -> list[Path]:
    """Return the pages that people read: those at the root and in docs/."""
    pages = [path for path in tracked_files() if path.suffix == ".md"]
    return [path for path in pages if len(path.parts) == 1 or path.parts[0] in ("docs", "examples")]


def read(page: Path) -> str:
    """Return the text of a file named relative to the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def lines_with_fences(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Yield line number, line, and the language of the code block around it: None outside, "" where none is named.

    The lines that open and close a block are left out.
    """
    language: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            language = line.strip("`").strip() if language is None else None
        else:
            yield number, line, language
