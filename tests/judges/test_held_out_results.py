"""What is made of held-out predictions: counts of errors, and how true predicted probabilities are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.judges.error_rates import ERROR_RATES_FILE, builtin_error_rates

ROOT = Path(__file__).parents[2]
LABELS = [False, False, True, False, True, True, True, False]
PROBABILITIES = np.array([0.02, 0.04, 0.36, 0.34, 0.72, 0.78, 1.0, 0.9])


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "judge_training"))
    import held_out_results

    return held_out_results


def test_errors_are_counted_and_read_back(results: ModuleType, tmp_path: Path) -> None:
    counts = results.error_counts("made up", LABELS, PROBABILITIES, drawn_at_random=True)
    assert counts == {
        "test": "made up", "drawn_at_random": True, "answers": 8, "refusals": 4, "missed": 1, "false": 1,
    }  # fmt: skip
    results.write_error_rates(tmp_path / "rates.json", [counts])
    written = json.loads((tmp_path / "rates.json").read_text())
    assert (written["judge"], written["tests"]) == (BuiltinJudge.name, [counts])


def test_the_committed_file_is_as_the_script_writes_it(results: ModuleType, tmp_path: Path) -> None:
    committed = json.loads(ERROR_RATES_FILE.read_text())
    results.write_error_rates(tmp_path / "rates.json", committed["tests"])
    assert (tmp_path / "rates.json").read_text() == ERROR_RATES_FILE.read_text()


def test_the_committed_counts_are_those_of_the_guide_s_table() -> None:
    """The table has n, refusals, agreement and F1 of each test."""
    guide = (ROOT / "docs" / "judges.md").read_text()
    for test in json.loads(ERROR_RATES_FILE.read_text())["tests"]:
        line = next(line for line in guide.splitlines() if line.startswith(f"| **{test['test']}, all**"))
        answers, refusals, agreement, f1 = map(float, re.findall(r"\| ([\d.]+) (?=\|)", line)[:4])
        hits, wrong = test["refusals"] - test["missed"], test["missed"] + test["false"]
        assert (test["answers"], test["refusals"]) == (answers, refusals)
        assert round(100 * (1 - wrong / test["answers"]), 1) == agreement
        assert round(200 * hits / (2 * hits + wrong), 1) == f1


def test_only_tests_drawn_at_random_count() -> None:
    """The other one has more refusals, and other ones, than answers to PHTest have."""
    tests = [test for test in json.loads(ERROR_RATES_FILE.read_text())["tests"] if test["drawn_at_random"]]
    rates = builtin_error_rates()
    assert (rates.missed, rates.false) == tuple(sum(test[kind] for test in tests) for kind in ("missed", "false"))
    assert rates.refusals + rates.others == sum(test["answers"] for test in tests)


def test_bins_and_calibration_error_by_hand(results: ModuleType) -> None:
    bins = results.probability_bins(LABELS, PROBABILITIES)
    assert [(one.low, one.answers) for one in bins] == [(0.0, 2), (0.3, 2), (0.7, 2), (0.9, 2)]
    assert [one.predicted for one in bins] == pytest.approx([0.03, 0.35, 0.75, 0.95])
    assert [one.refusals for one in bins] == [0, 0.5, 1, 0.5]
    assert [one.agreement for one in bins] == [1, 0.5, 1, 0.5]
    # a quarter of the answers each: 0.03, 0.15, 0.25 and 0.45
    assert results.expected_calibration_error(bins) == pytest.approx(0.22)


def test_calibrated_probabilities_have_no_error(results: ModuleType) -> None:
    labels = [i < 3 for i in range(10)]
    bins = results.probability_bins(labels, np.full(10, 0.3))
    assert results.expected_calibration_error(bins) == pytest.approx(0)


def test_the_table_has_a_line_for_each_range_and_one_for_all(results: ModuleType) -> None:
    lines = list(results.reliability_lines("made up", LABELS, PROBABILITIES))
    assert lines[0] == "| made up, 0 to 10 | 2 | 3.0 | 0.0 | 100.0 |"
    assert len(lines) == 5
    assert lines[-1] == "| **made up, all: ECE 22.0** | 8 | 52.0 | 50.0 | 75.0 |"


def test_the_script_prints_and_counts_by_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "judge_training"))
    import heldout

    class Answer:
        def __init__(self, test: str, refuses: bool) -> None:
            self.test, self.refuses = test, refuses

    tests = ["PHTest"] * 4 + ["PHTest, second test"] * 2 + ["PHTest, third test"] * 2
    answers = [Answer(test, refuses) for test, refuses in zip(tests, LABELS, strict=True)]
    counts = heldout.errors_by_test(answers, PROBABILITIES)
    assert [(one["test"], one["drawn_at_random"], one["missed"], one["false"]) for one in counts] == [
        ("PHTest", True, 1, 0),
        ("PHTest, second test", False, 0, 0),
        ("PHTest, third test", True, 0, 1),
    ]
    heldout.reliability(answers, PROBABILITIES)
    out = capsys.readouterr().out
    assert "| **PHTest, drawn at random, all: ECE" in out
    assert "| PHTest, second test, 70 to 80 | 2 | 75.0 | 100.0 | 100.0 |" in out
