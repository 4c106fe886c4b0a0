"""General ability: questions from every layout, graded answers, and the scores they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.json_lines import write_rows

from prosafeprune.ability.questions import AbilityQuestion, read_task, task_questions
from prosafeprune.ability.score import grade, task_score
from prosafeprune.ability.tasks import TASKS, find_task
from prosafeprune.errors import InputError
from prosafeprune.generation.backend import Answer

CITIES = {"A": "London", "B": "Paris", "C": "Rome"}


def rows(task: str) -> list[dict[str, Any]]:
    """Rows in all layouts that there are of a task."""
    if task == "gsm8k":
        return [
            {"question": "How many eggs?", "answer": "9 * 2 = <<9*2=18>>18\n#### 2,125"},
            {"question": "How warm?", "answer": "#### -10"},
        ]
    texts = ["London", "Paris", "Rome", "Bern"]
    return [
        {"subject": "maps", "question": "Capital of France?", "choices": texts, "answer": 1, "answerKey": "B"},
        {"question": "Capital of France?", "choices": texts, "answer": "B", "answerKey": "B"},
        {
            "question": "Capital of France?",
            "choices": {"label": ["A", "B", "C", "D"], "text": texts},
            "answer": "B",
            "answerKey": "B",
        },
    ]


@pytest.mark.parametrize("task", ["mmlu", "commonsenseqa"])
def test_every_layout_gives_the_same_question_in_the_papers_words(task: str) -> None:
    questions = task_questions(TASKS[task], rows(task))
    assert {question.prompt for question in questions} == {
        "You are given a multiple-choice question. Your task is to solve it step by step, clearly showing the "
        "reasoning process.\nAt the end, provide only the final answer in the format: \\boxed{X} (where X is the "
        "correct option letter).\nQuestion:\nCapital of France?\nA. London\nB. Paris\nC. Rome\nD. Bern"
    }
    assert {question.gold for question in questions} == {"B"}
    assert [question.id for question in questions] == [f"{task}:1", f"{task}:2", f"{task}:3"]


def test_a_question_with_a_number_for_an_answer() -> None:
    one, two = task_questions(TASKS["gsm8k"], rows("gsm8k"))
    assert one.prompt == (
        "You are given a question. Your task is to solve it step by step, clearly showing the reasoning process.\n"
        "At the end, provide only the final answer in the format: \\boxed{X} (where X is a single numerical number).\n"
        "Question:\nHow many eggs?"
    )
    assert (one.gold, two.gold, one.options) == ("2125", "-10", {})


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("gsm8k", {"question": "How many?"}, "no field 'answer' among: question"),
        ("gsm8k", {"question": "How many?", "answer": "some"}, "'answer' ends in no number"),
        ("gsm8k", {"question": " ", "answer": "#### 3"}, "'question' is empty or not text"),
        ("mmlu", {"question": "Which?", "choices": "A, B", "answer": 0}, "'choices' is not a list"),
        ("mmlu", {"question": "Which?", "choices": ["one"], "answer": 0}, "'choices' is not a list"),
        ("mmlu", {"question": "Which?", "choices": ["one", None], "answer": 0}, "'choices' is not a list"),
        ("mmlu", {"question": "Which?", "choices": {"label": 5, "text": ["a", "b"]}}, "'choices' is not a list"),
        ("mmlu", {"question": "Which?", "choices": ["one", "two"], "answer": "9" * 5000}, "which is not one of"),
        ("mmlu", {"question": "Which?", "choices": ["one", "two"], "answer": "\u00b2"}, "which is not one of"),
        ("mmlu", {"question": "Which \ud83d?", "choices": ["one", "two"], "answer": 0}, "lone surrogate"),
        ("gsm8k", {"question": "How many?", "answer": "#### " + "9" * 5000}, "ends in no number"),
        ("mmlu", {"question": "Which?", "choices": {"text": ["one", "two"]}, "answer": 0}, "'choices' is not a list"),
        (
            "mmlu",
            {"question": "Which?", "choices": ["one", "two"], "answer": 2},
            "'answer' is 2, which is not one of A, B",
        ),
        (
            "commonsenseqa",
            {"question": "Which?", "choices": ["one", "two"], "answerKey": ""},
            "which is not one of A, B",
        ),
    ],
)
def test_rows_that_are_no_questions(task: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        task_questions(TASKS[task], [*rows(task)[:1], row])
    assert str(caught.value).startswith(f"{TASKS[task].title}, question 2: ")
    assert "\n" not in str(caught.value)


def test_samples_are_seeded_and_keep_their_order(tmp_path: Path) -> None:
    write_rows(tmp_path / "gsm8k_test.jsonl", [{"question": f"{i} eggs?", "answer": f"#### {i}"} for i in range(300)])
    paper = read_task("gsm8k", tmp_path)
    assert len(paper) == 200
    assert [int(question.gold) for question in paper] == sorted(int(question.gold) for question in paper)
    assert [question.id for question in paper] == [f"gsm8k:{int(question.gold) + 1}" for question in paper]
    assert read_task("gsm8k", str(tmp_path), samples=9) == read_task("gsm8k", tmp_path, samples=9)
    assert read_task("gsm8k", tmp_path, samples=9) != read_task("gsm8k", tmp_path, samples=9, seed=1)
    assert len(read_task("gsm8k", tmp_path, samples=1000)) == 300


def test_files_by_their_name_or_a_longer_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "commonsenseqa_dev_600.jsonl", rows("commonsenseqa"))
    assert len(read_task("commonsenseqa", tmp_path)) == 3
    write_rows(tmp_path / "commonsenseqa_dev_100.jsonl", rows("commonsenseqa"))
    with pytest.raises(InputError, match=r"_100.jsonl, commonsenseqa_dev_600.jsonl could each be"):
        read_task("commonsenseqa", tmp_path)
    write_rows(tmp_path / "commonsenseqa_dev.jsonl", rows("commonsenseqa")[:1])
    assert len(read_task("commonsenseqa", tmp_path)) == 1


def test_missing_data_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no mmlu_dev.jsonl .*load_dataset\('cais/mmlu', 'all', split='dev'\)"):
        read_task("mmlu", tmp_path)
    (tmp_path / "mmlu_dev.jsonl").write_text("\n")
    with pytest.raises(InputError, match="has no questions"):
        read_task("mmlu", tmp_path)
    (tmp_path / "mmlu_dev.jsonl").write_text("{broken\n")
    with pytest.raises(InputError, match="line 1: not valid JSON"):
        read_task("mmlu", tmp_path)
    with pytest.raises(InputError, match="unknown task. Choose from mmlu, commonsenseqa, gsm8k"):
        find_task("arc")

    import datasets

    def unreachable(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match=r"tau/commonsense_qa cannot be loaded .*\(no route\).*--data-dir"):
        read_task("commonsenseqa")


def test_the_hub_is_asked_for_the_papers_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(name: str, configuration: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, configuration, split))
        return rows("gsm8k") if "gsm8k" in name else rows("mmlu")

    monkeypatch.setattr(datasets, "load_dataset", load)
    for task in TASKS:
        assert read_task(task)
    assert asked == [
        ("cais/mmlu", "all", "dev"),
        ("tau/commonsense_qa", None, "validation"),
        ("openai/gsm8k", "main", "test"),
    ]


def question(number: int, gold: str, options: dict[str, str] | None = None) -> AbilityQuestion:
    return AbilityQuestion("eggs", f"eggs:{number}", "How many?", gold, options or {})


def test_answers_are_graded_and_task_scored() -> None:
    questions = [question(1, "18"), question(2, "0.5"), question(3, "7"), question(4, "7")]
    answers = [
        Answer(r"\boxed{18.00}", True),
        Answer(r"It is \boxed{\frac{1}{2}} and so", False),
        Answer(r"\boxed{8}", True),
        Answer("Let us think step by", False),
    ]
    graded = [grade(one, two.text, finished=two.finished) for one, two in zip(questions, answers, strict=True)]
    assert [(answer.task, answer.finished) for answer in graded] == [("eggs", answer.finished) for answer in answers]
    assert [answer.correct for answer in graded] == [True, True, False, False]
    assert [answer.parsed for answer in graded] == ["18", "0.5", "8", None]
    score = task_score(graded)
    assert (score.task, score.unparsed, score.cut) == ("eggs", 1, 2)
    assert (score.accuracy.percent, score.accuracy.successes, score.accuracy.total) == (50, 2, 4)
    assert score.accuracy.low < 50 < score.accuracy.high


def test_an_option_is_graded_by_its_letter() -> None:
    asked = question(1, "B", CITIES)
    assert grade(asked, r"\boxed{B) Paris}").correct
    assert grade(asked, r"\boxed{Paris}").correct
    assert not grade(asked, r"\boxed{A}").correct
    unread = grade(asked, "I like cities.")
    assert (unread.parsed, unread.correct) == (None, False)
