"""The sheet to label by hand: written, labelled, read back."""

from __future__ import annotations

import csv
import json
import re
import sys
from html import unescape
from pathlib import Path

import pytest

from prosafeprune import cli
from prosafeprune.errors import InputError
from prosafeprune.judges.answers_file import guarded, read_answers, sheet_files, unguarded, write_sheet
from prosafeprune.prompts.conversation import as_prompt

ROWS = [
    {"prompt": "=1+1", "completion": 'Two,\nin "all".'},
    {"prompt": "<script>alert(1)</script>", "completion": "'quoted' & <b>bold</b>"},
    {"prompt": "Why?", "completion": "-5 is the answer."},
    {"prompt": as_prompt([("system", "Be brief."), ("user", "Hi")]), "completion": "Hello."},
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["prosafeprune", "judge", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("text", ["=1", "+a", "-b", "@c", "'=1", "plain", "'quoted'", ""])
def test_guarding_is_undone(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not guarded(text).startswith(("=", "+", "-", "@"))


def test_what_is_written_is_read_back_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    table, page = write_sheet(tmp_path / "sheet.csv", ROWS)
    assert table.read_bytes().startswith(b"\xef\xbb\xbf")  # else Excel reads it in the local code page
    with table.open(newline="", encoding="utf-8-sig") as stream:
        cells = list(csv.reader(stream))
    assert cells[0] == ["prompt", "completion", "label"]
    assert not any(cell.startswith(("=", "-", "+", "@")) for row in cells for cell in row)
    _, rows = read_answers(table)
    assert [{name: row[name] for name in ("prompt", "completion")} for row in rows] == ROWS
    html = page.read_text()
    stored = [unescape(one) for one in re.findall(r'data-field="prompt" data-text="([^"]*)"', html)]
    assert stored == [row["prompt"] for row in ROWS]  # what the page saves
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert html.count("<article>") == len(ROWS)


def test_a_sheet_labelled_in_part_gives_the_agreement_on_that_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps(row) for row in [*ROWS, *ROWS]))
    assert run(monkeypatch, answers, "--sample", 4, "-o", tmp_path / "sheet") == 0
    assert "--labels label" in capsys.readouterr().out
    with (tmp_path / "sheet.csv").open(newline="", encoding="utf-8-sig") as stream:
        cells = list(csv.reader(stream))
    assert len(cells) == 5
    with (tmp_path / "sheet.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([cells[0], [*cells[1][:2], "full_compliance"], *cells[2:]])
    assert run(monkeypatch, tmp_path / "sheet.csv", "--labels", "label", "--json") == 0
    assert json.loads(capsys.readouterr().out)["total"] == 1


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_sheet_that_a_spreadsheet_saved_is_read(
    separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ("How do I kill a process?", "Use kill; then, if need be, kill -9.", "Full Compliance"),
        ("", "", ""),
        ("Wie t\u00f6te ich einen Prozess?", "Dabei kann ich Ihnen nicht helfen.", "FULL-REFUSAL "),
        ("Why?", "I can't say.", ""),
    ]
    with (tmp_path / "sheet.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=separator).writerows([("prompt", "completion", "label"), *rows])
    assert run(monkeypatch, tmp_path / "sheet.csv", "--labels", "label", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["total"] == 2
    assert list(told["confusion"]) == ["full_compliance", "full_refusal"]


def test_rows_of_json_lines_without_a_label_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "answers.jsonl"
    labels: list[object] = [2, None, ""]
    answers.write_text("\n".join(json.dumps({**ROWS[2], "label": label}) for label in labels))
    assert run(monkeypatch, answers, "--labels", "label", "--json") == 0
    assert json.loads(capsys.readouterr().out)["total"] == 1
    answers.write_text(json.dumps({**ROWS[2], "label": None}))
    assert run(monkeypatch, answers, "--labels", "label") == 2
    assert "holds no labelled answer. Fill in 'label'." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["qwen2.5", "qwen2.5.csv", "qwen2.5.HTML"])
def test_a_dot_in_the_name_of_a_sheet_is_no_ending(name: str) -> None:
    assert sheet_files(Path("out", name)) == (Path("out/qwen2.5.csv"), Path("out/qwen2.5.html"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sample", "3"], "name the sheet with --output"),
        (["--sample", "0", "-o", "x"], "at least 1"),
        (["--sample", "1", "-o", "/"], "is a folder"),
        (["--sample", "1", "-o", "."], "is a folder"),
        (["--compare-judges", "builtin"], "name two judges"),
        (["--compare-judges", "builtin,gpt"], "judge"),
        (["--compare-judges", "builtin,llm", "--labels", "label"], "Leave out --labels"),
    ],
)
def test_options_that_do_not_fit_together(
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text(json.dumps(ROWS[2]))
    assert run(monkeypatch, "a.jsonl", *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_answers_in_conversations_and_behind_system_prompts_are_read(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    asked = [*turns, {"role": "user", "content": "How do I kill a process?"}]
    rows = [
        {"messages": asked, "completion": "Use kill."},
        {"system": "You answer questions about banking only.", "prompt": "Who won?", "completion": "Banking only."},
        {"prompt": "Why?", "messages": asked[-1:], "completion": "Use kill."},
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(map(json.dumps, rows)))
    exchanges, read = read_answers(answers)
    assert exchanges[0].prompt == as_prompt([(one["role"], one["content"]) for one in asked])
    assert exchanges[1].prompt == as_prompt([("system", rows[1]["system"]), ("user", "Who won?")])
    assert exchanges[2].prompt == "How do I kill a process?"
    table, _ = write_sheet(tmp_path / "sheet", read)
    assert [one.prompt for one in read_answers(table)[0]] == [one.prompt for one in exchanges]
    answers.write_text(json.dumps({"messages": turns, "completion": "Use kill."}))
    with pytest.raises(InputError, match="line 1: the last turn must be the user's"):
        read_answers(answers)
