"""The README and the guides, walked: every command they show is run on a tiny model, and the files they name are there.

``make walk`` runs it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checks.commands import shown_commands
from checks.repository import read
from helpers.fixture_types import Run
from helpers.model_server import ModelServer
from helpers.page_walk import FIRST, ready, write_surroundings

pytestmark = pytest.mark.slow

PAGES = [
    "README.md",
    "docs/quickstart.md",
    "docs/your_domain.md",
    "docs/upload.md",
    "docs/evaluation.md",
    "docs/adapters.md",
    "docs/large_models.md",
    "docs/judges.md",
]
LISTED = {
    "README.md": ("### What is in the output", "pruned"),
    "docs/evaluation.md": ("## What comes out", "evaluation-MODEL"),
}
"""Sections whose first table lists the files of an output, and the folder that the page's commands have written."""
FILE = re.compile(r"`([\w.]+\.(?:json|jsonl|html|md))`")


@pytest.mark.usefixtures("few_prompts")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(
    page: str, run: Run, server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_surroundings(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prosafeprune.jobs.search.select_point", lambda *_: 1)
    server.models = None  # any name is served
    text = read(Path(page))
    shown = [one.text for one in shown_commands(Path(page), text) if one.whole]
    given = [command for folder, command in FIRST.items() if folder in " ".join(shown)]
    ran = 0
    for command in (*given, *shown):
        arguments = ready(command, server.url)
        if arguments is not None:
            run.ok(*arguments)
            ran += 1
    assert ran > 0
    if page in LISTED:
        section, folder = LISTED[page]
        assert listed_files(text, section) - {file.name for file in (tmp_path / folder).iterdir()} == set()


def listed_files(text: str, section: str) -> set[str]:
    """Return the file names in the first column of the first table of a section."""
    rows = [line for line in text.split(section, 1)[1].split("\n#")[0].splitlines() if line.startswith("|")]
    return {name for row in rows for name in FILE.findall(row.split("|")[1])}
