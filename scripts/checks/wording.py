"""Keep phrases of version 0.1 that no native speaker would write out of the code, the tests and the pages.

    PYTHONPATH=scripts python -m checks.wording

CONTRIBUTING.md has the whole glossary; these are the worst offenders, those that a pattern finds without false alarms.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from checks.repository import read, tracked_files

ROOMS = ("src", "tests", "docs", "benchmarks", "scripts", "examples")
SUFFIXES = (".py", ".md", ".jinja", ".yaml", ".ipynb")
EXEMPT = (Path("scripts/checks/wording.py"), Path("CONTRIBUTING.md"), Path("tests/project/test_wording.py"))

PHRASES = {
    r"gone on with|goes on where": "resume",
    r"cannot be had|could not be had": "is unavailable, fails",
    r"foretold": "estimated",
    r"\b(told|tell) (of|by|what|how|which|to go)\b": "called after each, reported, said",
    r"\btells (of|how|what|which|whether)\b": "reports, returns, says",
    r"stands? in (two|its|the) ": "is in, appears in",
    r"\blie beside\b|\blies beside\b": "is next to",
    r"by itself, by": "alone",
    r"\blikeliest\b": "most likely",
    r"shared head\b": "shared prefix",
    r"\bas (it|they) comes?\b": "as it arrives, as they arrive",
    r"\btell (apart|whether)\b": "distinguish; return whether",
    r"\bmade otherwise\b": "with other settings",
    r"\bwhile the context lasts\b": "inside the context",
    r"\bours to decide\b": "our choice",
}
PATTERN = re.compile("|".join(f"(?P<p{number}>{phrase})" for number, phrase in enumerate(PHRASES)), re.IGNORECASE)


def phrases_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, phrase found, and what to write."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in PATTERN.finditer(line):
            yield number, match.group(), list(PHRASES.values())[int(str(match.lastgroup)[1:])]


def checked_files() -> list[Path]:
    """Return the files whose wording is checked, relative to the root."""
    return [
        path
        for path in tracked_files()
        if path.suffix in SUFFIXES and path not in EXEMPT and (path.parts[0] in ROOMS or len(path.parts) == 1)
    ]


def main() -> int:
    """Print each phrase with its file and line; return the exit code."""
    found = [
        f"{path}:{line}: {phrase!r}: write {better}"
        for path in checked_files()
        for line, phrase, better in phrases_in(read(path))
    ]
    print("\n".join(found) if found else "wording: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
