"""The report of a model that was not saved: gone once a later run of the same output saves one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers.written_models import written

from prosafeprune.jobs.safety_gate import (
    SafetyFloorError,
    measured_output,
    output_measured_inside,
    unmeasured_output,
)
from prosafeprune.report.not_saved import write_not_saved
from prosafeprune.report.page import Headline, Mark, Page
from prosafeprune.report.record import Record, UnmeasuredRecord, read_record
from prosafeprune.requests.recipe import make_recipe

PAGE = Page("Not saved", Headline(Mark.BAD, "Not saved", "It lost too many refusals."))
UNMEASURED = make_recipe(model="m", layers=1, memory="low", unmeasured=True)
Gate = Callable[[Path, Record], AbstractContextManager[Path]]
GATES: dict[str, Gate] = {
    "measured before": lambda out, record: measured_output(out, record, overwrite=False),
    "measured inside": lambda out, _: output_measured_inside(out, overwrite=False),
    "not measured": lambda out, _: unmeasured_output(out, UNMEASURED, overwrite=False),
}


@pytest.mark.parametrize("gate", GATES)
def test_what_is_saved_removes_the_report_of_an_earlier_run_that_was_not(tmp_path: Path, gate: str) -> None:
    record = read_record(written(tmp_path / "made"))
    saved = record if gate != "not measured" else _unmeasured(record)
    out, other = tmp_path / "out", tmp_path / "other"
    report, of_another = write_not_saved(out, PAGE), write_not_saved(other, PAGE)
    with GATES[gate](out, record) as folder:
        saved.write(folder)
        assert report.exists()  # until the model is complete
    assert out.is_dir() and not report.exists()
    assert of_another.exists()


def test_a_run_that_does_not_save_either_keeps_the_report(tmp_path: Path) -> None:
    lost = read_record(written(tmp_path / "made", refused=80))
    report = write_not_saved(tmp_path / "out", PAGE)
    with pytest.raises(SafetyFloorError), output_measured_inside(tmp_path / "out", overwrite=False) as folder:
        lost.write(folder)
    assert report.exists()


def test_a_file_of_that_name_that_is_someone_elses_stays(tmp_path: Path) -> None:
    record = read_record(written(tmp_path / "made"))
    foreign = tmp_path / "out-not-saved.html"
    foreign.write_text("<!DOCTYPE html><p>my notes</p>")
    with measured_output(tmp_path / "out", record, overwrite=False) as folder:
        record.write(folder)
    assert foreign.read_text() == "<!DOCTYPE html><p>my notes</p>"


def _unmeasured(record: Record) -> UnmeasuredRecord:
    shared = {name: getattr(record, name) for name in UnmeasuredRecord.model_fields if name in Record.model_fields}
    return UnmeasuredRecord(**{**shared, "measured": False, "recipe": UNMEASURED, "not_measured": "Nothing."})
