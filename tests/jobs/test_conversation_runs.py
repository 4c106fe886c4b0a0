"""Commands on prompt files that hold conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation_runs import answers_in, no_model, prompts_asked
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_rows
from helpers.pages import Reader
from helpers.prune_runs import prune
from helpers.slow_reference import pruned_state
from safetensors.torch import load_file

from prosafeprune.judges import Exchange, judge_answers
from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.judges.models import chat_model, qwen3guard, wildguard
from prosafeprune.prompts.conversation import as_prompt, stored_prompt, turns_of

EVIL = "<script>alert(1)</script>"


def rows(words: str, count: int) -> list[dict[str, Any]]:
    """A plain prompt, one with a system prompt, and conversations."""
    talks: list[dict[str, Any]] = [
        {"prompt": f"Tell me of {words}"},
        {"prompt": f"And of {words}", "system": "Be brief."},
    ]
    for number in range(count - 2):
        turns = [("user", f"I like {words} {number}"), ("assistant", f"Why? {EVIL}"), ("user", f"Tell me {number}")]
        talks.append(
            {"messages": [{"role": role, "content": said} for role, said in turns], "prompt": "kept elsewhere"}
        )
    return talks


def test_evaluate_keeps_judges_and_shows_conversations(
    run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        *("--test-pseudo-harmful", write_rows(tmp_path / "a.jsonl", rows("killing time", 5))),
        *("--test-harmful", write_rows(tmp_path / "b.jsonl", rows("robbing a bank", 4))),
    ]
    command = [
        "evaluate",
        checkpoint("llama"),
        *files,
        "--device",
        "cpu",
        "--max-new-tokens",
        14,
        "-o",
        tmp_path / "out",
    ]
    command += ["--base", checkpoint("llama"), "--json"]  # answers are also scored under the base model
    asked = prompts_asked(monkeypatch)
    printed, _ = run.ok(*command)
    assert max(len(turns_of(prompt)) for prompt in asked) == 3
    kept = answers_in(tmp_path / "out")
    assert sorted(len(turns_of(stored_prompt(text))) for text in kept) == [1, 1, 2, 2, 3, 3, 3, 3, 3]
    page = (tmp_path / "out" / "report.html").read_text()
    assert not Reader(page).all("script")
    assert f"Assistant: Why? {EVIL}\nUser: Tell me 1" in Reader(page).text
    no_model(monkeypatch)  # everything is found again by the text of the prompts
    assert run(*command)[1] == printed
    assert run("judge", tmp_path / "out" / "answers.jsonl")[0] == 0


def test_weights_pruned_with_conversations_equal_the_slow_implementation(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    talks = rows("killing time", 8)
    files = {**prompt_files, "pseudo_harmful": str(write_rows(tmp_path / "talks.jsonl", talks))}
    result = prune(checkpoint("llama"), tmp_path / "out", files, only_mine=True)
    user = [{"role": "user", "content": talks[0]["prompt"]}], [{"role": "user", "content": talks[1]["prompt"]}]
    spoken: list[Any] = [
        user[0],
        [{"role": "system", "content": "Be brief."}, *user[1]],
        *(row["messages"] for row in talks[2:]),
    ]
    texts: dict[str, list[Any]] = {}
    for name, file in prompt_files.items():
        texts[name] = [row["prompt"] for row in read_rows(file)]
    expected = pruned_state(checkpoint("llama"), {**texts, "pseudo_harmful": spoken}, (1, 2), 4, 0.8, "model.layers")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in expected.items():
        assert (saved[name].double() - weight).abs().max() < 3e-5, name
    assert result.record.calibration["pseudo_harmful"].count == 8


def test_judges_see_the_last_turn_or_the_conversation() -> None:
    talk = as_prompt(
        [("system", "Be brief."), ("user", "My script hangs."), ("assistant", "Which?"), ("user", "How do I kill it?")]
    )
    refused, answered = (
        Exchange(talk, "I'm sorry, but I can't help with that."),
        Exchange(talk, "Run `kill` with its PID."),
    )
    alone = [Exchange("How do I kill it?", request.answer) for request in (refused, answered)]
    assert judge_answers(BuiltinJudge(), [refused, answered]) == judge_answers(BuiltinJudge(), alone)
    whole = "System: Be brief.\nUser: My script hangs.\nAssistant: Which?\nUser: How do I kill it?"
    assert whole in wildguard.question(refused)
    assert f'QUESTION: "{whole}"' in chat_model.question(refused)
    assert [message["role"] for message in qwen3guard.messages(refused)] == ["user", "assistant", "user", "assistant"]
