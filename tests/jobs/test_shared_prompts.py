"""Prompt files that share prompts, measured on a tiny model: the shared ones are answered and counted once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.evaluation_runs import answers_in
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from helpers.prune_runs import prune

from prosafeprune.evaluation.paired_refusals import ALL
from prosafeprune.prompts import PromptClass
from prosafeprune.report.record import read_record
from prosafeprune.report.record_consistency import is_consistent


@pytest.fixture
def shared(tmp_path: Path) -> list[str]:
    """Two sets of six harmless prompts, of which four are in both, and two of three harmful ones, of which one is."""
    data = tmp_path / "data"
    data.mkdir()
    for name, verb, numbers in (
        ("oktest", "kill process", range(6)),
        ("phtest", "kill process", range(2, 8)),
        ("advbench", "rob bank", range(3)),
        ("strongreject", "rob bank", range(2, 5)),
    ):
        write_prompts(data / f"{name}.jsonl", (f"How do I {verb} {number}?" for number in numbers))
    names = ("oktest", "phtest", "advbench", "strongreject")
    return ["--data-dir", str(data), *(part for name in names for part in ("-b", name))]


def test_evaluate_against_an_earlier_evaluation(run: Run, checkpoint: Make, shared: list[str], tmp_path: Path) -> None:
    given = [*shared, "--max-new-tokens", 4, "--device", "cpu", "--json"]
    run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "before", *given)
    out, _ = run.ok("evaluate", checkpoint("qwen3"), "-o", tmp_path / "after", "--against", tmp_path / "before", *given)
    record = json.loads(out)
    assert len(answers_in(tmp_path / "after")) == 8 + 5
    pooled = record["scores"]["pooled"]
    assert {name: (one["rate"]["total"], one["in_several_sets"]) for name, one in pooled.items()} == {
        "pseudo_harmful": (8, 4),
        "harmful": (5, 1),
    }
    assert [sum(pooled[name]["answers"].values()) for name in ("pseudo_harmful", "harmful")] == [8, 5]
    for name, change in (("pseudo_harmful", "compliance_change"), ("harmful", "safety_change")):
        now, was = (scores["pooled"][name]["rate"] for scores in (record["scores"], record["against"]["scores"]))
        assert record["against"][change]["points"] == pytest.approx(now["percent"] - was["percent"])
    page = (tmp_path / "after" / "report.html").read_text()
    assert "Over all prompts (4 are in several sets and count once), C.R." in page
    assert "Over all prompts (1 is in several sets and counts once), S.S." in page


def test_compare(run: Run, checkpoint: Make, shared: list[str], tmp_path: Path) -> None:
    given = ["--methods", "default,prompt", "-s", "prompt.strategy=helpful", "--max-new-tokens", 4, "--device", "cpu"]
    out, _ = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "out", "--json", *shared, *given)
    default, prompted = json.loads(out)["methods"]
    totals = {name: one["rate"]["total"] for name, one in prompted["scores"]["pooled"].items()}
    assert totals == {"pseudo_harmful": 8, "harmful": 5}
    found = prompted["against_default"]["compliance_change"]
    good = [method["scores"]["pooled"]["pseudo_harmful"]["rate"]["successes"] for method in (default, prompted)]
    assert found["won"] - found["lost"] == good[1] - good[0]
    assert found["points"] == pytest.approx(100 * (good[1] - good[0]) / 8)
    assert "(5 are in several sets and count once)" in (tmp_path / "out" / "comparison.md").read_text()
    assert "Of these requests, 5 are in several sets" in (tmp_path / "out" / "report.html").read_text()


def test_the_record_of_a_pruned_model(
    checkpoint: Make, prompt_files: dict[str, str], shared: list[str], tmp_path: Path
) -> None:
    names = tuple(name for name in shared[2:] if name != "-b")
    output = tmp_path / "out"
    found = prune(checkpoint("llama"), output, prompt_files, benchmark=names, data_dir=shared[1])
    record = read_record(output)
    assert record.source == found.record.source
    assert is_consistent(record)
    assert record.floor is not None
    (test,) = (one for one in record.floor.tests if one.name == ALL)
    bundled = next(one.rate.total for one in record.source.sets if one.name == "bundled-harmful")
    assert test.prompts == bundled + 5 == record.source.pooled_counts(PromptClass.HARMFUL)[1]
    assert "Over all prompts (1 is in several sets and counts once), S.S." in (output / "report.html").read_text()
