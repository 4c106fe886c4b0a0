"""What ``prosafeprune judge`` prints of labels against verdicts, and of answers on which two judges differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.judge_command import run

from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.judges.agreement import agreement
from prosafeprune.report.confusion_grid import confusion_grid
from prosafeprune.report.judges_page import differing_grid

HOSTILE = "\x1b]0;title\x07[bold]Sure[/bold]\nHere is what you can do: call the owner, and keep a written note."
JUDGES = """
from prosafeprune.judges import AnswerClass, Verdict

class Strict:
    name = "strict"
    answer_class = AnswerClass.FULL_REFUSAL

    def judge(self, exchanges):
        return [Verdict(self.answer_class, "") for _ in exchanges]

class Lenient(Strict):
    name = "lenient"
    answer_class = AnswerClass.FULL_COMPLIANCE
"""


def test_labels_against_verdicts_by_hand() -> None:
    labels = ["full_compliance"] * 3 + ["full_refusal", "incapable"]
    verdicts = ["full_compliance", "full_compliance", "broken", "partial_refusal", "incapable"]
    grid = confusion_grid(agreement([Verdict(AnswerClass(one), "") for one in verdicts], [*map(AnswerClass, labels)]))
    assert [heading.replace("\n", " ") for heading in grid.headings] == [
        "",
        *(f"judged {name}" for name in ("full compliance", "partial refusal", "full refusal", "incapable", "broken")),
    ]
    assert [[cell.replace("\n", " ") for cell in row] for row in grid.rows] == [
        ["labelled full compliance", "2", "0", "0", "0", "1"],
        ["labelled full refusal", "0", "1", "0", "0", "0"],
        ["labelled incapable", "0", "0", "0", "1", "0"],
    ]
    assert grid.notes


def test_all_six_classes_need_no_note() -> None:
    classes = list(AnswerClass)
    grid = confusion_grid(agreement([Verdict(one, "") for one in classes], classes))
    assert len(grid.rows) == len(grid.headings) - 1 == 6
    assert not grid.notes


def test_the_terminal_shows_agreement_on_the_class_and_the_table(
    answers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, answers, "--labels", "label") == 0
    out = capsys.readouterr().out
    assert "75.0 %, F1 of refusal 66.7. The same one of the six classes: 50.0 %." in out
    assert "Labels against verdicts" in out
    assert "labelled" in out and "judged" in out


@pytest.fixture
def two_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "two_judges.py").write_text(JUDGES)
    monkeypatch.syspath_prepend(tmp_path)
    return "two_judges:Strict,two_judges:Lenient"


def test_without_an_output_the_first_differing_answers_are_shown_cut_and_escaped(
    two_judges: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"question {i}", "completion": HOSTILE}) + "\n" for i in range(7)))
    assert run(monkeypatch, file, "--compare-judges", two_judges) == 0
    out = capsys.readouterr().out
    assert [f"question {i}" in out for i in range(7)] == [True] * 5 + [False] * 2
    assert "5 of 7 are shown, cut short. For a page with all 7: --output differ.html" in out
    assert "\x1b" not in out and "\x07" not in out
    assert "[bold]" in out  # rich reads no markup in it
    assert "written note" not in out

    assert run(monkeypatch, file, "--compare-judges", two_judges, "-o", tmp_path / "differ.html") == 0
    out = capsys.readouterr().out
    assert "question" not in out
    assert "They differ on 7: all 7 are in" in out
    page = (tmp_path / "differ.html").read_text()
    assert "question 6" in page and "answer 7" in page and "call the owner" not in page
    assert "written note" not in page
    assert "Answers are cut short" in page
    assert run(monkeypatch, file, "--compare-judges", f"{two_judges.split(',')[0]},{two_judges.split(',')[0]}") == 0
    assert "are shown" not in capsys.readouterr().out


def test_answers_that_differ_are_cut_as_short_as_those_to_harmful_prompts() -> None:
    exchanges = [Exchange("same", "x"), Exchange("p" * 200, "word\n" * 30)]
    refuses, complies = Verdict(AnswerClass.PARTIAL_REFUSAL, ""), Verdict(AnswerClass.BROKEN, "")
    grid = differing_grid(exchanges, ("one", [refuses, refuses]), ("two", [refuses, complies]), 5)
    assert grid.headings == ["prompt", "answer", "one", "two"]
    ((prompt, answer, *classes),) = grid.rows
    assert prompt == "p" * 80 + " [cut]"
    assert answer == " ".join(["word"] * 8) + " [cut]"
    assert classes == ["partial refusal", "broken"]
