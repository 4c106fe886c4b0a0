"""`prune --from`: the sources and the number of the earlier calibration prompts are taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make
from helpers.json_lines import write_prompts
from helpers.prune_runs import SETTINGS, prune
from helpers.stored_records import stored_record

from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import EarlierPruning
from prosafeprune.evaluation.pruning_record import MeasuredPruning
from prosafeprune.jobs.push import existing_output
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import prepare_run

FEW = {"samples": 20, "rank": 2, "only_mine": False}


class Notes(SilentReporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def earlier(**recipe: Any) -> EarlierPruning:
    record = MeasuredPruning.model_validate(stored_record(recipe={"max_new_tokens": 64, **recipe}))
    return EarlierPruning(Path("cured"), record, {})


def test_settings_of_the_earlier_record_count_unless_given() -> None:
    both = earlier(calibration="beyond", samples=1080)
    assert both.calibration_settings(set()) == {"calibration": "beyond", "samples": 1080}
    assert both.calibration_settings({"samples", "seed"}) == {"calibration": "beyond"}
    assert both.calibration_settings({"calibration"}) == {"samples": 1080}
    assert earlier().calibration_settings(set()) == {}  # of an older release


@pytest.mark.parametrize("source", ["paper", "all", "https://evil.example/prompts"])
def test_a_record_does_not_decide_that_prompts_are_downloaded(source: str) -> None:
    found = earlier(calibration=source)
    with pytest.raises(InputError, match=r"--from cured: was calibrated with --calibration .* Give that option"):
        found.calibration_settings(set())
    assert found.calibration_settings({"calibration"}) == {}


@pytest.mark.long
def test_a_model_calibrated_beyond_one_english_turn_is_so_calibrated_again(checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint("llama")
    prune(source, tmp_path / "first", {}, **FEW, calibration="beyond")
    new = write_prompts(tmp_path / "new.jsonl", [f"Write of killer queen {number * number}." for number in range(4)])
    given = {**SETTINGS, "only_mine": False, "rank": 2, "pseudo_harmful": new, "earlier": str(tmp_path / "first")}
    given = {name: value for name, value in given.items() if name not in ("samples", "calibration")}
    notes = Notes()
    asked = make_recipe(model=str(source), **given)
    prepared = prepare_run(asked, None, False, notes)
    assert (prepared.recipe.calibration, prepared.recipe.samples) == ("beyond", 20)
    assert "/first was: --calibration beyond and --samples 20." in notes.lines[0]
    used = prepared.calibration["pseudo_harmful"]  # type: ignore[index]
    assert (len(used), "bundled beyond calibration" in used.source) == (20, True)
    bundled = prepare_run(make_recipe(model=str(source), **given, calibration="bundled"), None, False, notes)
    assert (bundled.recipe.calibration, bundled.recipe.samples) == ("bundled", 20)
    assert [line.split(" was: ")[1] for line in notes.lines if line.startswith("Calibrated as")][1] == (
        "--samples 20. To change that, give the option."
    )
    same = prepare_run(make_recipe(model=str(source), **given, calibration="beyond", samples=20), None, False, Notes())
    assert same.calibration == prepared.calibration
    result = prune(
        source, tmp_path / "second", {"pseudo_harmful": new}, **{**FEW, "samples": None}, earlier=tmp_path / "first"
    )
    assert (result.record.recipe.calibration, result.record.recipe.samples) == ("beyond", 20)
    assert existing_output(tmp_path / "second", asked) is not None  # the upload alone is left
    assert existing_output(tmp_path / "second", asked.model_copy(update={"seed": 1})) is None
