"""Which folder counts as written by an earlier run of a request, so that ``--push`` uploads it as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.adapter_runs import MEASURING, apply, base_and_adapter, prune
from helpers.fixture_types import Make
from helpers.json_lines import write_prompts
from helpers.pages import search_record
from helpers.tiny_models import TEMPLATE
from helpers.written_models import PLAN, written_of

from prosafeprune.files.resumable_folder import MADE_BY
from prosafeprune.jobs.push import existing_output
from prosafeprune.jobs.search import search_identity
from prosafeprune.model.model_hash import model_hash
from prosafeprune.plan_search.search_record import RECORD
from prosafeprune.progress import SILENT
from prosafeprune.report.record import CopyScores, read_record
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import prepare_run


def test_only_a_folder_of_the_same_request_counts_as_written(tmp_path: Path, checkpoint: Make) -> None:
    """Models and files of the same names in other folders are other ones."""
    base = checkpoint("llama")
    prompts = write_prompts(tmp_path / "own.jsonl", [f"Tell me of lock {number * number}." for number in range(20)])
    folder = written_of(base, tmp_path / "out", pseudo_harmful=prompts)
    same = make_recipe(model=str(base), layers="1-2", pseudo_harmful=prompts)
    assert existing_output(folder, same) is not None
    assert existing_output(folder, make_recipe(model=str(base), layers="1", pseudo_harmful=prompts)) is None
    assert existing_output(tmp_path / "nothing", same) is None
    other = Path(shutil.copytree(checkpoint("qwen2"), tmp_path / "elsewhere" / base.name))
    assert existing_output(folder, make_recipe(model=str(other), layers="1-2", pseudo_harmful=prompts)) is None
    write_prompts(tmp_path / "own.jsonl", [f"Tell me of key {number * number}." for number in range(20)])
    assert existing_output(folder, same) is None


def test_a_folder_made_under_another_chat_template_does_not_count(tmp_path: Path, checkpoint: Make) -> None:
    base = Path(shutil.copytree(checkpoint("llama"), tmp_path / "base"))
    folder, asked = written_of(base, tmp_path / "out"), make_recipe(model=str(base), layers="1-2")
    assert existing_output(folder, asked) is not None
    (base / "chat_template.jinja").write_text(TEMPLATE.replace("kind", "rude"))
    assert existing_output(folder, asked) is None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_folder_made_with_another_tokenizer_does_not_count(name: str, tmp_path: Path, checkpoint: Make) -> None:
    base = Path(shutil.copytree(checkpoint("llama"), tmp_path / "base"))
    folder, asked = written_of(base, tmp_path / "out"), make_recipe(model=str(base), layers="1-2")
    (base / "notes.txt").write_text("of no effect")
    file = base / name
    file.write_text(file.read_text() + "\n")
    assert existing_output(folder, asked) is None
    record = read_record(folder)
    without = record.model.model_copy(update={"tokenizer_sha256": None})  # as in older records
    record.model_copy(update={"model": without}).write(folder)
    assert existing_output(folder, asked) is not None


@pytest.mark.parametrize("is_served", [False, True])
def test_a_copy_that_was_measured_does_not_count_where_a_server_is_to_measure(
    is_served: bool, tmp_path: Path, checkpoint: Make
) -> None:
    """Whether a server measures is no setting of the recipe."""
    base = checkpoint("llama")
    folder, asked = (
        written_of(base, tmp_path / "out", load="4bit"),
        make_recipe(model=str(base), layers="1-2", load="4bit"),
    )
    if is_served:
        made = read_record(folder)
        on_copy = CopyScores(source=made.source, result=made.result)
        made.model_copy(update={"on_copy": on_copy}).write(folder)
    assert existing_output(folder, asked, is_served=is_served) is not None
    assert existing_output(folder, asked, is_served=not is_served) is None


def test_only_a_folder_of_the_chosen_plan_counts_as_written(
    tmp_path: Path, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe in a record does not say which plan of a search was chosen."""
    base, kept = checkpoint("llama"), tmp_path / "search"
    folder, asked = written_of(base, tmp_path / "out", layers=None), make_recipe(model=str(base))
    found = search_record()
    found.made_by = {"model": model_hash(base)}
    found.points[1] = found.points[1].model_copy(update={"plan": PLAN})
    kept.mkdir()
    prepared = prepare_run(asked, None, overwrite=False, reporter=SILENT)
    (kept / MADE_BY).write_text(json.dumps(search_identity(prepared, read_record(folder).judge)))
    (kept / RECORD).write_text(found.model_dump_json())
    assert existing_output(folder, asked, search=kept, choose=2) is not None
    assert existing_output(folder, asked, search=kept, choose=1) is None
    assert existing_output(folder, asked, search=kept) is not None  # whichever it was: this search is not finished
    for selected, is_same in ((1, False), (2, True)):
        of_search = found.model_copy(update={"chosen": selected})
        monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.finished_search", lambda *_, it=of_search: it)
        assert (existing_output(folder, asked, search=kept) is not None) is is_same


@pytest.mark.long
def test_what_another_adapter_made_does_not_count_as_written(tmp_path: Path) -> None:
    base, adapter = base_and_adapter(tmp_path)
    apply(adapter, base, tmp_path / "out")
    asked = ApplyRequest.model_validate({"model": str(base), **MEASURING})
    assert existing_output(tmp_path / "out", asked, str(adapter)) is not None
    # What was written under another safety floor is not what is asked for now.
    assert existing_output(tmp_path / "out", ApplyRequest(model=str(base)), str(adapter)) is None
    for other in ({"layers": "0,2", "strength": (0.8, 0.4)}, {"layers": "0,2", "seed": 1, "samples": 6}):
        folder = tmp_path / f"other-{len(other)}"
        files = {name: str(tmp_path / f"{name}.jsonl") for name in ("benign", "harmful", "pseudo_harmful")}
        prune(base, folder, files, **other)
        assert existing_output(tmp_path / "out", asked, str(folder)) is None
