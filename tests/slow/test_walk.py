"""The README and the guides, walked: every command they show is run on a tiny model, and the files they name are there.

So is every block of Python that needs no model of the hub; one that defines a class is the module ``my_module``.

``make walk`` runs it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from checks.commands import shown_commands, shown_python
from checks.repository import read
from helpers.fixture_types import Run
from helpers.model_server import ModelServer, said
from helpers.page_walk import EXIT_CODES, FIRST, ready, write_surroundings

pytestmark = pytest.mark.slow

TRAFFIC = "docs/your_traffic.md"
PAGES = [
    "README.md",
    "docs/quickstart.md",
    "docs/your_domain.md",
    "docs/upload.md",
    "docs/evaluation.md",
    "docs/adapters.md",
    "docs/large_models.md",
    "docs/judges.md",
    TRAFFIC,
    "docs/formats.md",
    "docs/troubleshooting.md",
    "docs/playground.md",
    "docs/serving.md",
    "docs/baselines.md",
    "docs/analysis.md",
    "docs/many_machines.md",
    "docs/extending.md",
]
ONLY_IN_THE_EXAMPLE = {"partial refusal", "incapable", "broken", "undetermined"}
"""Rows of output shown that the log here gives no reason for."""
LISTED = {
    "README.md": ("### What is in the output", "pruned"),
    "docs/evaluation.md": ("## What comes out", "evaluation-MODEL"),
}
"""Sections whose first table lists the files of an output, and the folder that the page's commands have written."""
NOT_BY_APPLY = {"prosafeprune_cost.json"}
"""What ``prune`` writes and ``apply``, the last of README's commands to write its folder, does not."""
SHOWN = re.compile(r"^(?:│ (?P<label>[^│]*\S) +│|(?P<line>\d+ groups of .*))", re.MULTILINE)
"""A row of a table that a page shows as output, by its first cell; or a line of output."""
FILE = re.compile(r"`([\w.]+\.(?:json|jsonl|html|md))`")


@pytest.mark.usefixtures("few_prompts")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_runs(
    page: str, run: Run, server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_surroundings(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prosafeprune.jobs.search.select_point", lambda *_: 1)
    monkeypatch.setattr("prosafeprune.interactive.web_server.run_server", lambda *_, **__: None)  # would not end
    monkeypatch.setattr("builtins.input", end_of_input)
    if page != TRAFFIC:  # which names no model: that of the server is taken
        server.models = None  # any name is served
    server.answer = lambda body: said("2") if "from 0 to 5" in json.dumps(body) else server.echo(body)
    text = read(Path(page))
    shown = [one.text for one in shown_commands(Path(page), text) if one.whole]
    blocks = [one.text for one in shown_python(Path(page), text)]
    if classes := [block for block in blocks if re.search(r"^class ", block, re.MULTILINE)]:
        (tmp_path / "my_module.py").write_text("\n".join(classes))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "my_module", raising=False)
    given = [command for folder, command in FIRST.items() if folder in " ".join(shown)]
    printed = []
    for command in (*given, *shown):
        arguments = ready(command, server.url)
        if arguments is not None:
            code, out, err = run(*arguments)
            assert code == EXIT_CODES.get(" ".join(arguments[:2]), 0), err
            printed.append(out + err)
    assert printed
    for block in blocks:
        if any(f'"{model}"' in block for model in ("MODEL", "pruned")) and "Qwen/" not in block:
            # The few prompts here are too few for the default rank.
            ranked = block.replace('"layers", "probe")', '"layers", "probe", rank=4)')
            exec(compile(ranked, page, "exec"), {"__name__": "a_page"})
    if page == TRAFFIC and arguments is not None:
        monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "nothing-kept"))
        printed.append(run.ok(*arguments, "--dry-run")[0])  # of its last command, as the page shows it: before it ran
        assert shown_output(text) - shown_output("\n".join(printed)) <= ONLY_IN_THE_EXAMPLE
    if page in LISTED:
        section, folder = LISTED[page]
        missing = listed_files(text, section) - {file.name for file in (tmp_path / folder).iterdir()}
        assert missing <= NOT_BY_APPLY


def end_of_input(prompt: str) -> str:
    """Stand for a user of ``chat`` who leaves at once."""
    raise EOFError


def shown_output(text: str) -> set[str]:
    """Return the first cells of tables and the lines of output in a text, with # for numbers."""
    return {re.sub(r"\d+", "#", found["label"] or found["line"]).strip() for found in SHOWN.finditer(text)}


def listed_files(text: str, section: str) -> set[str]:
    """Return the file names in the first column of the first table of a section."""
    rows = [line for line in text.split(section, 1)[1].split("\n#")[0].splitlines() if line.startswith("|")]
    return {name for row in rows for name in FILE.findall(row.split("|")[1])}
