"""The notebooks in examples/, executed from top to bottom on a tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import pytest
from checks.repository import ROOT
from helpers.fixture_types import Make

pytestmark = pytest.mark.slow

EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))


def code_cells(notebook: Path) -> list[tuple[str, bool]]:
    """Return the source of each code cell, and whether it is the one with parameters."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), "parameters" in cell["metadata"].get("tags", ())) for cell in code]


@pytest.mark.usefixtures("few_prompts")
@pytest.mark.parametrize("notebook", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_runs(
    notebook: Path,
    checkpoint: Make,
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    settings: dict[str, Any] = {"max_new_tokens": 3, "rank": 4, "device": "cpu", "progress": False, **prompt_files}
    if notebook.stem == "look_inside":  # whose analyses generate no answers
        del settings["max_new_tokens"]
    tiny = {"MODEL": str(checkpoint("llama")), "LAYERS": "1", "LAYER": 1, "SETTINGS": settings}
    main = ModuleType("__main__")  # where a class that a notebook defines is found
    monkeypatch.setitem(sys.modules, "__main__", main)
    for number, (source, has_parameters) in enumerate(code_cells(notebook)):
        exec(compile(source, f"{notebook.name}, code cell {number}", "exec"), main.__dict__)
        if has_parameters:
            assert {name for name in tiny if name in main.__dict__} >= {"MODEL", "SETTINGS"}
            main.__dict__.update({name: value for name, value in tiny.items() if name in main.__dict__})
    expected = "tables peak" if notebook.stem == "look_inside" else "C.R."
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("notebook", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert len({cell["id"] for cell in cells}) == len(cells)
