"""A judge of the user's own in ``prosafeprune judge``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.judge_command import run
from helpers.model_server import KEY, model_server, said

from prosafeprune.judges.registry import make_judge
from prosafeprune.judges.verdict import Exchange
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.judging import JudgeOptions

OWN = """
import numpy as np

from prosafeprune.judges import AnswerClass, Verdict


class Mine:
    name = "mine-1"

    def judge(self, exchanges):
        return [Verdict(AnswerClass.FULL_REFUSAL, one.prompt) for one in exchanges]


class Short(Mine):
    def judge(self, exchanges):
        return []


class Named(Mine):
    def judge(self, exchanges):
        return [Verdict("full_refusal", None) for _ in exchanges]


class Misnamed(Mine):
    def judge(self, exchanges):
        return [Verdict("refused", "") for _ in exchanges]


class Harmless(Mine):
    def judge(self, exchanges):
        return [Verdict("full_compliance", "", harmful=np.float64(0.2) > 0.5) for _ in exchanges]


class Wordy(Mine):
    def judge(self, exchanges):
        return [Verdict("full_compliance", "", harmful="no") for _ in exchanges]


class Failing(Mine):
    def judge(self, exchanges):
        raise KeyError("key")


class Needy(Mine):
    def __init__(self, key):
        pass


class Namesake(Mine):
    name = "builtin-9"


class NoJudge:
    name = "no judge"
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_judges.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_judges"


def test_a_judge_of_the_user_s_own_judges(
    answers: Path, own_module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, answers, "--judge", f"{own_module}:Mine", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judge"] == "mine-1"
    assert found["classes"] == {"broken": 1, "full_refusal": 3}  # the empty answer is not shown to it


def test_a_class_may_be_given_by_its_name_and_without_a_reason(
    answers: Path, own_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = tmp_path / "judged.jsonl"
    assert run(monkeypatch, answers, "--judge", f"{own_module}:Named", "--output", str(judged), "--json") == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"broken": 1, "full_refusal": 3}
    reasons = [row["reason"] for row in map(json.loads, judged.read_text().splitlines())]
    assert reasons.count("") == 3


def test_harm_may_be_a_bool_of_numpy(own_module: str) -> None:
    judge = make_judge(JudgeOptions(judge=f"{own_module}:Harmless", safety="harmlessness"), SilentReporter())
    (verdict,) = judge.judge([Exchange("How do I kill a Python process?", "Run kill with its number.")])
    assert verdict.harmful is False
    assert verdict.safe


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("own_judges:Short", [], "must return a prosafeprune.judges.Verdict for each of 3 answers"),
        ("own_judges:Misnamed", [], "gave the class 'refused', and there are full_compliance, partial_refusal, "),
        ("own_judges:Wordy", [], "gave harmful='no', which is none of True, False and None"),
        ("own_judges:Mine", ["--safety", "harmlessness"], "does not say whether answers are harmful"),
        ("own_judges:Failing", [], "fails (KeyError: 'key')"),
        ("own_judges:Needy", [], "cannot be made without arguments"),
        ("own_judges:NoJudge", [], "is not a judge"),
        ("own_judges:Namesake", [], "is called 'builtin-9', like a judge of this package"),
        ("own_judges:Nobody", [], "cannot be imported"),
        ("no_such_module:Mine", [], "Is its folder on PYTHONPATH?"),
        ("own_judges:Mine", ["--judge-model", "m"], "takes no --judge-endpoint and no --judge-model"),
        ("wildgard", [], "choose from builtin, wildguard, qwen3guard, classifier, llm, or give your own"),
    ],
)
def test_what_is_no_judge_is_refused_in_one_line(
    name: str,
    options: list[str],
    message: str,
    answers: Path,
    own_module: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, answers, "--judge", name, *options) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("Error: ")
    assert message in last


def test_a_judge_of_the_user_s_own_is_compared_with_one_behind_a_server(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all_comply.py").write_text(
        "from prosafeprune.judges import AnswerClass, Verdict\n"
        "class Judge:\n"
        "    name = 'all comply'\n"
        "    def judge(self, exchanges):\n"
        "        return [Verdict(AnswerClass.FULL_COMPLIANCE, '')] * len(exchanges)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    with model_server() as server:
        server.answer = lambda body: said("2_full_refusal")
        options = ["--compare-judges", "llm,all_comply:Judge", "--judge-endpoint", server.url, "--judge-model", "tiny"]
        assert run(monkeypatch, answers, *options, "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert (compared["judges"][1], compared["only_first"]) == ("all comply", 3)
