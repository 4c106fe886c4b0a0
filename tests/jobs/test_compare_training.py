"""Methods that are trained, from end to end: fitted once, with time and losses, kept as a file, used by evaluate."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation_runs import answers_in, no_model
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_rows
from safetensors.torch import load_file

from prosafeprune.baselines.sft import Sft
from prosafeprune.judges import AnswerClass, Exchange, Verdict

SETTINGS = [
    *("actor.alpha=1", "actor.layer=1", "actor.prompts=4", "actor.learning_rate=0.05"),
    *("safe-patching.weights=30,90", "safe-patching.prompts=4", "safe-patching.learning_rate=0.05"),
    "safe-patching.examples_at_once=2",
    *("null-space.strength=30", "sft.prompts=4", "sft.answer_tokens=3", "sft.epochs=1"),
    *("sft.learning_rate=0.05", "abliteration.divergence=10"),
]


def fast(method: str) -> list[str]:
    """Return the options with which a method is fitted in no time."""
    return [part for setting in SETTINGS if setting.startswith(f"{method}.") for part in ("-s", setting)]


class Agreeable:
    """Calls every answer what SFT hopes for."""

    def __init__(self) -> None:
        self.asked = 0

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        classes = (AnswerClass.FULL_COMPLIANCE, AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
        self.asked += 1  # benign, harmful, pseudo-harmful
        return [Verdict(classes[(self.asked - 1) % 3], "") for _ in exchanges]


@pytest.fixture
def agreeable(monkeypatch: pytest.MonkeyPatch) -> Agreeable:
    judge = Agreeable()
    monkeypatch.setattr("prosafeprune.baselines.own_answers.judge_answers", lambda _, exchanges: judge.judge(exchanges))
    return judge


@pytest.mark.long
@pytest.mark.parametrize("name", ["actor", "safe-patching", "null-space", "sft"])
def test_a_trained_method_is_fitted_once_and_serves_evaluate(
    compare: Callable[..., dict[str, Any]],
    run: Run,
    checkpoint: Make,
    sets: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    agreeable: Agreeable,
    name: str,
) -> None:
    record = compare("--methods", f"default,{name}", *fast(name))
    default, method = record["methods"]
    folder = tmp_path / "out" / name
    assert default["cost"]["fit_seconds"] is None
    assert (default["fit_is_model"], method["fit_is_model"]) == (False, name in ("actor", "sft"))
    assert method["cost"]["fit_seconds"] > 0
    assert answers_in(folder) != answers_in(tmp_path / "out" / "default")
    assert not list(folder.glob("fitting-*"))
    html = (tmp_path / "out" / "report.html").read_text()
    is_trained = name in ("actor", "safe-patching", "sft")
    assert is_trained == ("losses" in method["learned"])
    assert "losses" not in (tmp_path / "out" / "comparison.md").read_text()
    assert "to fit" in (tmp_path / "out" / "comparison.md").read_text()
    with monkeypatch.context() as patch:
        no_model(patch)
        assert compare("--methods", f"default,{name}", *fast(name)) == record
    fitted = folder / "fitted.safetensors"
    common = [*sets, "--max-new-tokens", "4", "--device", "cpu", "--method", name]
    run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *common, "--fitted", fitted)
    assert answers_in(tmp_path / "alone") == answers_in(folder)
    alone = (tmp_path / "alone" / "report.html").read_text()
    trainings = [f"{name}, ascent (safety)", f"{name}, descent (compliance)"] if name == "safe-patching" else [name]
    for page in (html, alone):
        assert page.count("loss of each batch before its update") == is_trained * len(trainings)
        assert all((f"{training}: loss of each batch" in page) == is_trained for training in trainings)
    assert json.loads((tmp_path / "alone" / "evaluation.json").read_text())["learned"] == method["learned"]


def test_the_fit_of_the_best_method_becomes_a_model_by_the_command_that_is_printed(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = "prosafeprune.report.comparison_page.appliable_best"
    monkeypatch.setattr(best, lambda record: record.methods[-1])  # whatever a model of noise says
    asked = [*options, "--methods", "default,actor", *fast("actor")]
    _, err = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "out", *asked)
    printed = shlex.join(["prosafeprune", "apply", f"{tmp_path}/out/actor", str(checkpoint("llama")), "-o", "OUTPUT"])
    assert printed in " ".join(err.split())
    words = [tmp_path / "made" if word == "OUTPUT" else word for word in shlex.split(printed)[1:]]
    run.ok(*words, "--max-new-tokens", 2, "--device", "cpu", "--max-safety-drop", 100, "--accept-unsafe")
    assert (tmp_path / "made" / "model.safetensors").exists()
    assert "prosafeprune apply out/actor" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.setattr(best, lambda record: None)
    _, err = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "out", *asked)
    assert "prosafeprune apply" not in err
    assert "prosafeprune apply" not in (tmp_path / "out" / "report.html").read_text()


def test_what_removes_refusals_stays_in_memory(
    compare: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, sets: list[str], tmp_path: Path
) -> None:
    options = ["--methods", "default,abliteration", *fast("abliteration")]
    record = compare(*options)
    folder = tmp_path / "out" / "abliteration"
    assert load_file(folder / "fitted.safetensors") == {}
    assert record["methods"][1]["learned_sha256"] is None
    alone = [*sets, "--device", "cpu", "--method", "abliteration"]
    fitted = ["--fitted", folder / "fitted.safetensors"]
    run.refused("is not kept in files", "evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *alone, *fitted)
    answers = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder / "answers.jsonl").write_text("".join(answers[:-2]))  # as if interrupted: it is fitted again
    again = compare(*options)
    assert [method["scores"] for method in again["methods"]] == [method["scores"] for method in record["methods"]]
    assert load_file(folder / "fitted.safetensors") == {}


def test_a_method_without_answers_to_train_on_is_left_out(compare: Callable[..., dict[str, Any]]) -> None:
    record = compare(
        "--methods", "default,sft", *fast("sft")
    )  # the tiny model's answers are judged as they are: broken
    assert "own answers to benign prompts are a full compliance" in record["left_out"]["sft"]


def test_answers_of_the_user_s_are_not_measured_on(
    run: Run, checkpoint: Make, options: list[str], sets: list[str], tmp_path: Path, agreeable: Agreeable
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "How do I kill process 1?", "response": "With kill 1."}])
    common = [*options, *fast("sft"), "--methods", "sft", "--sft-data", data]
    run.refused("must be disjoint", "compare", checkpoint("llama"), "-o", tmp_path / "out", *common)
    alone = [*sets, "--device", "cpu", "--method", "sft", "--sft-data", data]
    run.refused("must be disjoint", "evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *alone)


def test_answers_of_the_user_s_are_trained_on(
    compare: Callable[..., dict[str, Any]], tmp_path: Path, agreeable: Agreeable
) -> None:
    data = tmp_path / "pairs.csv"
    data.write_text('prompt,instruct_response\nSlay a typo,"Delete it, then save."\nBurn a disc,Use a writer.\n')
    record = compare("--methods", "sft", "--sft-data", data, *fast("sft"))
    (sft,) = record["methods"]
    assert sft["learned"]["pairs"] == {"benign": 4, "harmful": 4, "pseudo_harmful": 2}
    assert sft["settings"]["data_sha256"] == Sft(data=data).data_sha256
    assert any(".a" in name for name in load_file(tmp_path / "out" / "sft" / "fitted.safetensors"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("pairs.txt", "a\n", "are read from .jsonl and .csv"),
        ("pairs.jsonl", "", "has no rows"),
        ("pairs.jsonl", '{"prompt": "a"}\n', "no column 'instruct_response' among: prompt"),
        ("pairs.jsonl", '{"prompt": "a", "response": " "}\n', "'response' is empty or not text"),
        ("pairs.jsonl", '{"prompt": 3, "response": "b"}\n', "'prompt' is empty or not text"),
        ("pairs.jsonl", "{oops\n", "not valid JSON"),
        ("none.csv", None, "no such file"),
    ],
)
def test_pairs_that_cannot_be_read_are_one_line(
    run: Run, checkpoint: Make, sets: list[str], tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    given = [*sets, "--device", "cpu", "--method", "sft", "--sft-data", tmp_path / name]
    err = run.refused(words, "evaluate", checkpoint("llama"), "-o", tmp_path / "out", *given)
    assert len(err.strip().splitlines()) <= 4 and "Traceback" not in err


def test_a_fit_that_was_interrupted_counts_the_time_of_both_sessions(
    compare: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, options: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, agreeable: Agreeable,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:

        def stop(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("prosafeprune.baselines.answer_training.train", stop)
        code, _, _ = run(
            "compare", checkpoint("llama"), "-o", tmp_path / "out", *options, "--methods", "sft", *fast("sft")
        )
        assert code != 0
    clock = tmp_path / "out" / "sft" / "fitting-time.json"
    spent = json.loads(clock.read_text())["seconds"]
    assert spent > 0
    clock.write_text(json.dumps({"seconds": 1000.0}))
    record = compare("--methods", "sft", *fast("sft"))
    assert 1000 < record["methods"][0]["cost"]["fit_seconds"] < 1100
    assert not clock.exists()
