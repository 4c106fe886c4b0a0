"""Check that every file, folder and heading that the pages name or link to exists.

    PYTHONPATH=scripts python -m checks.paths

Files of the repository are named from its root or from ``src/prosafeprune/``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from checks.repository import ROOT, lines_with_fences, markdown_pages, read, tracked_files

CODE = re.compile(r"`([^`\s]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
SCRIPT = re.compile(r"\bpython (\S+\.py)\b")
HOMES = ("", "src/prosafeprune")
TOP = ("src", "tests", "docs", "scripts", "benchmarks", "recipes", "examples", ".ci", ".github")
FOREIGN = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "evaluation/classify_completions_gpt.py")
"""Files of other projects."""


@cache
def _known() -> frozenset[str]:
    """Return all files and folders, from the root."""
    return frozenset(str(found) for path in tracked_files() for found in (path, *path.parents))


@cache
def _rooms() -> frozenset[str]:
    """Return the names of the packages in src/prosafeprune."""
    return frozenset(path.parts[2] for path in tracked_files() if path.parts[:2] == ("src", "prosafeprune"))


def names_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and name of each file or folder of ours that a page names, outside links."""
    for number, line, language in lines_with_fences(text):
        if language is not None:
            yield from ((number, name) for name in SCRIPT.findall(line))
            continue
        for name in CODE.findall(line):
            ours = "/" in name and (name.split("/")[0] in TOP or name.split("/")[0] in _rooms())
            if (ours or name.endswith(".py")) and not set(name) & set("*<>{}="):
                yield number, name


def exists(name: str) -> bool:
    """Return whether a file or folder is in the tree; of a file, the name alone will do."""
    if name in FOREIGN or any(str(Path(home, name)) in _known() for home in HOMES):
        return True
    return any(path.name == name for path in tracked_files())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    outside = "\n".join(line for _, line, language in lines_with_fences(read(page)) if language is None)
    plain = (re.sub(r"[`*]", "", heading).strip().lower() for heading in HEADING.findall(outside))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def link_problem(page: Path, target: str) -> str | None:
    """Return what is wrong with a link of a page, or None; addresses on the web are not tried."""
    if "://" in target or target.startswith("mailto:"):
        return None
    name, _, anchor = target.partition("#")
    to = (ROOT / page).parent / name if name else ROOT / page
    if not to.exists():
        return "no such file"
    if anchor and to.suffix == ".md" and anchor not in anchors(to.resolve().relative_to(ROOT)):
        return "no such heading"
    return None


def problems() -> list[str]:
    """Return a line for each name or link that leads nowhere."""
    found = []
    for page in markdown_pages():
        text = read(page)
        found += [f"{page}:{line}: {name}: no such file" for line, name in names_in(text) if not exists(name)]
        for number, line, language in lines_with_fences(text):
            if language is None:
                wrong = ((target, link_problem(page, target)) for target in LINK.findall(line))
                found += [f"{page}:{number}: {target}: {problem}" for target, problem in wrong if problem]
    return found


def main() -> int:
    """Print what is wrong; return the exit code."""
    found = problems()
    print("\n".join(found) if found else "paths: all exist")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
