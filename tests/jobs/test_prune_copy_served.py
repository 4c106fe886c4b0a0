"""Pruned by way of a quantised copy, and measured behind a server as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.canned_server import canned_server
from helpers.fixture_types import Run
from helpers.prune_runs import SETTINGS, prune
from helpers.quantised_checkpoints import dense_checkpoint
from helpers.small_sets import FLOOR_TESTED, use_small_sets
from helpers.tiny_models import TEMPLATE, copy_with_template

from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompted_base import prompted_sample
from prosafeprune.jobs.measure_edits import BeforeAfter, MeasuredOn, measure_edits
from prosafeprune.jobs.prune_copy_served import run_prune_copy_served
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.report.record import read_record
from prosafeprune.requests.recipe import Recipe, make_recipe

pytest.importorskip("bitsandbytes")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    use_small_sets(monkeypatch, test=FLOOR_TESTED)
    return canned_server(tmp_path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense_checkpoint(tmp_path_factory.mktemp("stored") / "model", inner=128)


def asked(model: Path, files: dict[str, str]) -> Recipe:
    return make_recipe(model=str(model), load="4bit", **{**SETTINGS, "max_safety_drop": 3.0}, **files)


def safe_on_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model refuses nothing, which no floor can be tested on; the server's answers decide as they are."""
    monkeypatch.setattr(PruneResult, "is_safe", property(lambda self: self.loaded is not None or self.record.is_safe))


def measured_beside(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Return what copies answer besides the sets that decide: the spot check, and the sample behind a system prompt."""
    found: list[tuple[Any, Any]] = []

    def measure(edits: Any, loaded: Any, judge: Any, tests: MeasuredOn, *others: Any) -> BeforeAfter:
        found.append((tests.spot_check, tests.prompted))
        return measure_edits(edits, loaded, judge, tests, *others)

    monkeypatch.setattr("prosafeprune.jobs.prune.measure_edits", measure)
    return found


@pytest.mark.long
def test_what_is_written_is_measured_behind_the_server(
    command: Callable[[str], str],
    stored: Path,
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied = prune(stored, tmp_path / "copied", prompt_files, load="4bit")
    safe_on_the_copy(monkeypatch)
    monkeypatch.setattr("prosafeprune.setup.run_prompts.prompted_sample", prompted_sample)
    beside = measured_beside(monkeypatch)
    result = run_prune_copy_served(asked(stored, prompt_files), tmp_path / "out", command("keeps"))
    record = read_record(tmp_path / "out")
    assert record == result.record
    assert record.source.safety_score == record.result.safety_score == 100
    assert record.decision is not None and record.decision.may_save
    assert record.on_copy is not None
    assert (record.on_copy.source, record.on_copy.result) == (copied.record.source, copied.record.result)
    assert record.benign_divergence is None and result.loaded is None
    assert beside == [((), ())]  # of the copy, it would be dropped
    served = [Path(line.split()[1]).name for line in (tmp_path / "log").read_text().splitlines()]
    assert [name.startswith(".out.partial") for name in served] == [False, True]
    weights = "model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "copied" / weights).read_bytes()
    assert "--serve-with SERVER" in (tmp_path / "out" / "report.html").read_text()
    for page in ("README.md", "report.html"):
        text = " ".join((tmp_path / "out" / page).read_text().split())
        assert "both models were then measured as they are stored, behind a server" in text


@pytest.mark.long
def test_a_model_that_lost_its_refusals_behind_the_server_is_not_saved(
    command: Callable[[str], str],
    stored: Path,
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safe_on_the_copy(monkeypatch)
    result = run_prune_copy_served(asked(stored, prompt_files), tmp_path / "out", command("loses"))
    assert not result.record.is_safe
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    assert "Not saved" in (tmp_path / "out-not-saved.html").read_text()


@pytest.mark.long
def test_a_copy_below_the_floor_is_not_measured_again(
    command: Callable[[str], str], stored: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    recipe = asked(stored, prompt_files).model_copy(update={"accept_unsafe": False})
    result = run_prune_copy_served(recipe, tmp_path / "out", command("keeps"))
    assert not result.is_safe
    assert not (tmp_path / "log").exists() and not (tmp_path / "out").exists()
    assert (tmp_path / "out-not-saved.html").exists()


def test_a_thought_that_no_request_can_end_is_refused_before_anything_is_loaded(
    command: Callable[[str], str], stored: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    template = TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"
    source = copy_with_template(stored, tmp_path / "reasoning", template)
    with pytest.raises(InputError, match="opens a thought whatever it is asked"):
        run_prune_copy_served(asked(source, prompt_files), tmp_path / "out", command("keeps"))


def test_a_server_measures_checkpoints(run: Run, stored: Path, tmp_path: Path) -> None:
    served = ["prune", stored, "-o", tmp_path / "out", "--layers", 1, "--load", "4bit", "--serve-with", "vllm"]
    run.refused("measures a checkpoint behind a server", *served, "--format", "adapter")
    run.refused("Give --output", "prune", stored, "--layers", 1, "--load", "4bit", "--serve-with", "vllm")
