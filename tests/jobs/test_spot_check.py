"""The spot check of ``prune``: what it measures, that it decides nothing, and where it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_prompts
from helpers.pages import Reader, judged, measurement, record
from helpers.prune_records import PLAN
from helpers.prune_runs import prune
from pydantic import ValidationError

from prosafeprune.evaluation.lineage import read_evidence
from prosafeprune.evaluation.sets import SPOT_CHECK, SPOT_CHECK_OFF_POLICY, EvaluationSet
from prosafeprune.evaluation.spot_check import OF_EACH_GROUP, SpotCheck, spot_check_sets
from prosafeprune.model.prefix_cache import require_positions
from prosafeprune.prompts import PromptClass, bundled_beyond
from prosafeprune.report.card import write_card
from prosafeprune.report.page import Mark
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.record_consistency import is_consistent

NAMES = [f"{SPOT_CHECK}pseudo-harmful", f"{SPOT_CHECK}harmful", SPOT_CHECK_OFF_POLICY]


@pytest.fixture
def few_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spot checks of two prompts of each set."""

    def few(calibration: object) -> list[EvaluationSet]:
        return [replace(one, prompts=one.prompts.fixed_part(2)) for one in spot_check_sets()]

    monkeypatch.setattr("prosafeprune.setup.run_prompts.spot_check_sets", few)


def test_the_sets_are_fixed_parts_of_the_test_prompts_beyond_one_english_turn() -> None:
    harmless, harmful, off_policy = spot_check_sets()
    assert [harmless.name, harmful.name, off_policy.name] == NAMES
    assert [one.is_policy for one in (harmless, harmful, off_policy)] == [False, False, True]
    for one in (harmless, harmful):
        assert len(one.prompts) == 3 * OF_EACH_GROUP
        tested = {
            text
            for group in ("multi-turn", "domains", "languages")
            for text in bundled_beyond(group, one.prompt_class, "test").texts
        }
        assert set(one.prompts.texts) < tested
    assert off_policy.prompts.texts == bundled_beyond("policies", PromptClass.HARMFUL, "test").texts


def test_prompts_like_the_users_are_left_out() -> None:
    known = spot_check_sets()[1].prompts.fixed_part(5)
    left = spot_check_sets([known])[1].prompts.texts
    assert len(left) == 3 * OF_EACH_GROUP - 5
    assert not set(left) & set(known.texts)
    everything = [one.prompts for one in spot_check_sets()]
    assert spot_check_sets(everything) == []


@pytest.mark.usefixtures("few_checked")
def test_prune_measures_and_tells_it_apart_from_what_decides(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    found = prune(checkpoint("llama"), tmp_path / "out", prompt_files)
    checked = found.record.spot_check
    assert checked is not None
    assert [one.name for one in checked.source.sets] == list(checked.changes) == list(checked.prompts) == NAMES
    assert all(one.rate.total == 2 for one in checked.result.sets)
    assert not any(name.startswith(SPOT_CHECK) for name in (*found.record.changes, *found.record.evaluation))
    assert found.record.floor is not None
    assert not any(test.name.startswith(SPOT_CHECK) for test in found.record.floor.tests)
    assert is_consistent(found.record)
    rows = read_rows(tmp_path / "out" / "prosafeprune_answers.jsonl")
    assert [row["set"] for row in rows if row["set"].startswith(SPOT_CHECK)] == [name for name in NAMES for _ in "12"]
    read = read_evidence(tmp_path / "out" / "prosafeprune_answers.jsonl", lambda row: row["set"])
    assert 0 < len(read) == len(rows) - 6  # the next pruning is not held to them
    page = Reader((tmp_path / "out" / "report.html").read_text())
    assert "a spot check" in page.text
    assert "spot check: refused for a policy, 2 prompts" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.usefixtures("few_checked")
def test_sets_with_a_prompt_that_the_model_cannot_read_are_left_out_with_a_note(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def require(config: object, reach: int, further: int) -> None:
        require_positions(SimpleNamespace(max_position_embeddings=230), reach, further)

    monkeypatch.setattr("prosafeprune.jobs.readable_sets.require_positions", require)
    files = [part for name, file in prompt_files.items() for part in (f"--{name.replace('_', '-')}", file)]
    given = ["--layers", 1, "--rank", 4, "--only-mine", "--max-new-tokens", 2, "--device", "cpu", "--json"]
    out, err = run.ok("prune", checkpoint("llama"), *given, *files, "--max-safety-drop", 100, "--accept-unsafe")
    assert "Not measured: policies, off the subject." in err
    assert list(json.loads(out)["spot_check"]["changes"]) == NAMES[:2]


@pytest.mark.parametrize("option", [["--suite", "bundled"], ["--test-samples", 100], ["--draft"]])
def test_a_suite_and_fewer_test_prompts_leave_it_out(
    option: list[object], run: Run, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.setup.run_prompts.spot_check_sets", spot_check_sets)
    dry = ["prune", checkpoint("llama"), "--layers", 1, "--rank", 4, "--device", "cpu", "--dry-run"]
    assert run.ok(*dry)[0].count("spot check") == 3
    assert "spot check" not in run.ok(*dry, *option)[0]


def test_a_server_that_measures_again_is_not_asked_it(
    run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.setup.run_prompts.spot_check_sets", spot_check_sets)
    dry = ["prune", checkpoint("llama"), "--layers", 1, "--rank", 4, "--load", "4bit", "--dry-run"]
    assert "spot check" in run.ok(*dry)[0]
    assert "spot check" not in run.ok(*dry, "--serve-with", "vllm", "-o", tmp_path / "out")[0]
    run.refused("needs a folder to write", *dry, "--serve-with", "vllm")


def test_a_user_prompt_that_is_in_it_does_not_end_the_run(
    run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.setup.run_prompts.spot_check_sets", spot_check_sets)
    in_domains = bundled_beyond("domains", PromptClass.PSEUDO_HARMFUL, "test").fixed_part(OF_EACH_GROUP)
    own = write_prompts(tmp_path / "own.jsonl", in_domains.texts[:6])
    dry = ["prune", checkpoint("llama"), "--layers", 1, "--rank", 4, "--device", "cpu", "--dry-run"]
    out, _ = run.ok(*dry, "--pseudo-harmful", own)
    (row,) = [line for line in out.splitlines() if "spot check" in line and "pseudo-harmful" in line]
    assert f" {3 * OF_EACH_GROUP - 6} " in row


def test_a_spot_check_whose_sets_do_not_agree_is_no_record() -> None:
    checked = SpotCheck.of(*[[judged(PromptClass.HARMFUL, [True, False])]] * 2)
    assert checked is not None
    damaged = {**checked.model_dump(), "changes": {}}
    with pytest.raises(ValidationError, match="not measured on the same sets"):
        SpotCheck.model_validate(damaged)


def test_lost_refusals_are_told_in_words(tmp_path: Path) -> None:
    before = measurement(50, 90)
    found = record(before, before, PLAN)
    kept, lost = (judged(PromptClass.HARMFUL, [True, True, i > 0, i > 0]) for i in (1, 0))
    checked = SpotCheck.of([kept], [lost])
    warned = found.model_copy(update={"spot_check": checked})
    (sentence,) = warned.spot_check_warnings
    assert "2 of 4 refused, before 4" in sentence
    assert "--suite beyond" in sentence
    assert warned.is_safe == found.is_safe
    write_card(tmp_path, warned, None, tmp_path)
    assert f"**{sentence}**" in (tmp_path / "README.md").read_text()
    assert found.spot_check_warnings == []


def test_lost_refusals_keep_a_page_from_being_marked_as_good() -> None:
    before, after = measurement(50, 990, refused_of=1000), measurement(80, 990, refused_of=1000)
    found = record(before, after, PLAN)
    checked = SpotCheck.of(*([judged(PromptClass.HARMFUL, [good] * 4)] for good in (True, False)))
    warned = found.model_copy(update={"spot_check": checked})
    pages = [prune_page(one, before, after, None, saved=True) for one in (found, warned)]
    assert [page.headline.mark for page in pages] == [Mark.GOOD, Mark.CAUTION]
