"""`prosafeprune evaluate --endpoint`: what is sent, what is kept, and what is written of the servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Run
from helpers.json_lines import read_rows
from helpers.model_server import KEY, ModelServer, model_server, said

THINK = 'chat_template_kwargs={"enable_thinking": false}'


@pytest.fixture
def evaluate(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Evaluate a served model on six prompts into ``tmp_path / out``."""
    monkeypatch.setattr("prosafeprune.generation.openai_client.RETRIES", 1)
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", KEY)
    (tmp_path / "harmless.txt").write_text("".join(f"How do I kill process {i}?\n" for i in range(4)))
    (tmp_path / "harmful.txt").write_text("".join(f"How do I rob bank {i}?\n" for i in range(2)))
    files = ["--test-pseudo-harmful", tmp_path / "harmless.txt", "--test-harmful", tmp_path / "harmful.txt"]

    def call(url: str, *options: object) -> tuple[int, str, str]:
        return run("evaluate", "--endpoint", url, "--model", "tiny", *files, "-o", tmp_path / "out", *options)

    return call


def test_no_credential_is_written_or_printed(
    server: ModelServer, evaluate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with model_server() as judge:
        judge.answer = lambda body: said("1_full_compliance")
        server.answer = lambda body: said(f"You came with {KEY}, and then hunter-two-22.")
        urls = [
            endpoint.url.replace("http://", "http://me:hunter-two-22@") + "?code=hunter-two-22"
            for endpoint in (server, judge)
        ]
        judging = ["--judge", "llm", "--judge-endpoint", urls[1], "--json"]
        code, out, err = evaluate(urls[0], *judging)
    assert code == 0, err
    assert set(server.queries + judge.queries) == {"code=hunter-two-22"}
    record = json.loads(out)
    assert record["request"]["endpoint"] == server.url
    assert record["request"]["judge_endpoint"] == judge.url
    written = {file.name: file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert {"answers.jsonl", "evaluation.json", "made_by.json", "report.html"} <= written.keys()
    for text in (out, err, *written.values()):
        assert KEY not in text
        assert "hunter" not in text


def test_fields_of_the_request_are_sent_and_recorded(
    server: ModelServer, evaluate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, out, err = evaluate(server.url, "--request", THINK, "-r", 'reasoning_effort="low"', "--json")
    assert code == 0, err
    assert len(server.asked()) == 6
    for body in server.asked():
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["reasoning_effort"] == "low"
    record = json.loads(out)
    assert record["request"]["request"] == [THINK, 'reasoning_effort="low"']
    assert record["made_by"]["request"] == {
        "chat_template_kwargs": {"enable_thinking": False},
        "reasoning_effort": "low",
    }
    assert "chat_template_kwargs" in (tmp_path / "out" / "report.html").read_text()
    code, _, err = evaluate(server.url)
    assert (code, len(server.asked())) == (2, 6)  # answers to other requests are not mixed in
    assert "request" in err


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("seed", "write FIELD=JSON"),
        ("=1", "write FIELD=JSON"),
        ("a=low", "not valid JSON"),
        ("a=NaN", "not valid JSON"),
        ("a=" + "[" * 100_000, "nested too deeply"),
        ("a=" + "9" * 5000, "not valid JSON"),
        ("max_tokens=5", "max_tokens is set by prosafeprune"),
        (f'a="{KEY}"', "contains the API key"),
    ],
)
def test_a_field_that_cannot_be_sent(
    server: ModelServer, evaluate: Callable[..., tuple[int, str, str]], given: str, problem: str
) -> None:
    code, out, err = evaluate(server.url, "--request", given)
    assert (code, out, server.requests) == (2, "", [])
    assert problem in " ".join(err.split())
    assert KEY not in err


def test_limits(server: ModelServer, evaluate: Callable[..., tuple[int, str, str]]) -> None:
    for option in ("--max-new-tokens", "--concurrency", "--repeats"):
        code, _, err = evaluate(server.url, "--temperature", 1, option, 10**12)
        assert (code, server.requests) == (2, [])
        assert "less than or equal" in " ".join(err.split())


@pytest.mark.long
def test_answers_before_a_failure_are_kept_and_failed_ones_asked_again(
    server: ModelServer, evaluate: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    def failing(body: dict[str, Any]) -> Any:
        prompt = body["messages"][-1]["content"]
        return said("Half", "error") if prompt.endswith("bank 1?") else said(f"Sure: {prompt}")

    server.answer = failing
    code, _, err = evaluate(server.url, "--concurrency", 1)
    assert code == 2
    assert "ended with finish_reason 'error'" in " ".join(err.split())
    rows = read_rows(tmp_path / "out" / "answers.jsonl")
    assert len(rows) == 5
    assert all(row["completion"].startswith("Sure") for row in rows)
    server.answer = server.echo
    before = len(server.asked())
    code, _, err = evaluate(server.url)
    assert (code, len(server.asked()) - before) == (0, 1), err
