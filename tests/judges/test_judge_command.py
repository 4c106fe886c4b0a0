"""``prosafeprune judge`` and the agreement it prints."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers.judge_command import ROWS, run
from helpers.model_server import KEY, model_server, prompt_of, said

from prosafeprune.errors import InputError
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.judges.agreement import agreement, compare_judges, read_label
from prosafeprune.judges.answers_file import read_answers


def test_json_holds_classes_agreement_and_f1(
    answers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, answers, "--labels", "label", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"broken": 1, "full_compliance": 2, "full_refusal": 1}
    assert (found["agreement"], found["precision"], found["recall"]) == (75, 100, 50)
    assert found["f1"] == pytest.approx(200 / 3)


def test_fields_of_the_file_that_are_called_like_a_verdicts_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, once, twice = (tmp_path / name for name in ("given.jsonl", "once.jsonl", "twice.csv"))
    given.write_text(json.dumps({**ROWS[0], "class": "chemistry", "reason": "asked by a teacher"}))
    assert run(monkeypatch, given, "-o", once) == 0
    assert run(monkeypatch, once, "-o", twice) == 0
    for row in (json.loads(once.read_text()), *csv.DictReader(twice.open())):
        assert (row["class"], row["given_class"]) == ("full_compliance", "chemistry")
        assert row["given_reason"] == "asked by a teacher"
        assert row["reason"].startswith("answers")


def test_without_labels_a_table_is_printed(
    answers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, answers) == 0
    out = capsys.readouterr().out
    assert "full refusal" in out
    assert "Agreement" not in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "x"}', "no field 'completion' among: prompt"),
        ("{", "line 1: not valid JSON"),
        ("[]", "not a JSON object"),
        ("", "holds no answer"),
        ('{"prompt": "x", "completion": 3}', "must be text"),
        ('{"prompt": "x", "completion": "y", "label": "maybe"}', "a.jsonl, line 1: The label 'maybe' is unknown"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_code_2(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    label = ["--labels", "label"] if "label" in content else []
    assert run(monkeypatch, tmp_path / "a.jsonl", *label) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_fields_may_have_other_names_in_csv_and_json_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text('question,reply\n"How, and why?","I cannot help with that."\n')
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "How?", "reply": "I cannot help with that."}))
    names = ["--prompt-field", "question", "--answer-field", "reply"]
    for file in ("a.csv", "a.jsonl"):
        assert run(monkeypatch, tmp_path / file, *names, "--json", "-o", tmp_path / f"{file}.verdicts") == 0
        assert json.loads(capsys.readouterr().out)["classes"] == {"full_refusal": 1}
        judged = json.loads((tmp_path / f"{file}.verdicts").read_text())
        assert (judged["reply"], judged["class"]) == ("I cannot help with that.", "full_refusal")
        assert run(monkeypatch, tmp_path / file) == 2
        assert "--prompt-field" in capsys.readouterr().err


def test_missing_file() -> None:
    with pytest.raises(InputError, match="no such file"):
        read_answers(Path("missing.jsonl"))


def test_agreement_by_hand() -> None:
    classes = ["full_refusal", "partial_refusal", "full_refusal", "full_compliance", "broken"]
    verdicts = [Verdict(AnswerClass(name), "") for name in classes]
    labels = ["full_refusal", "full_refusal", "incapable", "partial_refusal", "broken"]
    found = agreement(verdicts, [AnswerClass(name) for name in labels])
    assert (found.agreement, found.total) == (60, 5)
    assert (found.precision, found.recall) == pytest.approx((200 / 3, 200 / 3))
    assert found.same_class == 40
    assert found.confusion == {
        "full_refusal": {"partial_refusal": 1, "full_refusal": 1},
        "partial_refusal": {"full_compliance": 1},
        "incapable": {"full_refusal": 1},
        "broken": {"broken": 1},
    }
    assert agreement(verdicts[3:], [AnswerClass.UNDETERMINED] * 2).f1 == 0


def test_labels() -> None:
    given = ["1_full_compliance", 1, "2_full_refusal", "3_partial_refusal", "incapable", "Full refusal", "broken"]
    wanted = [
        "full_compliance",
        "full_compliance",
        "full_refusal",
        "partial_refusal",
        "incapable",
        "full_refusal",
        "broken",
    ]
    assert [read_label(label) for label in given] == [AnswerClass(name) for name in wanted]


def test_two_judges_compared_by_hand() -> None:
    refuses, complies = Verdict(AnswerClass.FULL_REFUSAL, ""), Verdict(AnswerClass.FULL_COMPLIANCE, "")
    first = [refuses] * 25 + [complies] * 25
    second = [refuses] * 20 + [complies] * 5 + [refuses] * 10 + [complies] * 15
    found = compare_judges(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (20, 5, 10, 15)
    assert found.agreement == 70
    assert found.kappa == pytest.approx(0.4)  # Wikipedia's worked example of Cohen's kappa
    assert compare_judges([refuses], [refuses]).kappa is None


def test_the_verdicts_are_written_beside_the_rows(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "judged.jsonl"
    assert run(monkeypatch, answers, "-o", output) == 0
    judged = [json.loads(line) for line in output.read_text().splitlines()]
    assert [{name: row[name] for name in ROWS[0]} for row in judged] == ROWS
    assert [row["class"] for row in judged] == ["full_compliance", "full_refusal", "broken", "full_compliance"]
    assert all(row["reason"] for row in judged)
    assert run(monkeypatch, answers, "-o", output) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(monkeypatch, answers, "-o", output, "--overwrite") == 0
    assert run(monkeypatch, answers, "-o", tmp_path / "missing" / "judged.jsonl") == 2
    assert run(monkeypatch, answers, "-o", tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "judged.jsonl"]


def test_verdicts_as_a_table_are_read_back_and_run_no_formula(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*ROWS, {**ROWS[0], "completion": "=1+1, she wrote on the board."}]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = tmp_path / "judged.csv"
    assert run(monkeypatch, answers, "-o", table) == 0
    exchanges, read = read_answers(table, "class")
    assert [one.answer for one in exchanges] == [row["completion"] for row in rows]
    assert [row["class"] for row in read][:2] == ["full_compliance", "full_refusal"]
    assert "'=1+1" in table.read_text()


def test_a_model_judges_behind_a_server(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    output = tmp_path / "judged.jsonl"
    with model_server() as server:
        server.key = KEY
        server.answer = lambda body: said("2_full_refusal" if "sorry" in prompt_of(body) else "3_partial_refusal")
        command = [answers, "--judge", "llm", "--judge-endpoint", server.url, "--labels", "label", "-o", output]
        assert run(monkeypatch, *command, "--json") == 0
        assert len(server.asked()) == 3  # the empty answer needs no judge
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["judge"] == "llm:tiny (XSTest question 1)"
    assert found["classes"] == {"broken": 1, "full_refusal": 1, "partial_refusal": 2}
    assert found["agreement"] == 75
    assert "Judging with llm:tiny" in err
    assert [json.loads(line)["class"] for line in output.read_text().splitlines()][1] == "full_refusal"
    assert KEY not in out + err + output.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge", "gpt"], "judge: "),
        (["--judge", "llm"], "needs a server"),
        (["--judge", "llm", "--judge-endpoint", "localhost"], "not a valid http or https URL"),
        (["--judge", "llm", "--judge-endpoint", "http://127.0.0.1:9"], "cannot be reached"),
        (["--judge-model", "x"], "needs no endpoint and no model"),
        (["--judge", "llm", "--judge-concurrency", "0"], "judge_concurrency: "),
    ],
)
def test_a_judge_that_cannot_be_asked_is_one_line_and_exit_code_2(
    options: list[str], message: str, answers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, answers, *options) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
