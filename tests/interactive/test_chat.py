"""The terminal chat: its commands, what each side remembers, and text that may not control the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prosafeprune.errors import InputError
from prosafeprune.interactive.chat import ChatSession, Side, TerminalScreen, run_chat
from prosafeprune.jobs.served_model import ServedModel


class Shown:
    """A screen that keeps what is shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.answers: list[dict[Side, str]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, sides: Mapping[Side, str]) -> None:
        self.answers.append(dict.fromkeys(sides, ""))

    def add(self, side: Side, text: str) -> None:
        self.answers[-1][side] += text

    def end(self) -> None:
        self.notes.append("end")


def chat(served: ServedModel, *lines: str, **settings: Any) -> tuple[ChatSession, Shown, list[str]]:
    screen, errors, given = Shown(), [], iter(lines)
    session = ChatSession(served, screen, max_new_tokens=6, **settings)

    def read(prompt: str) -> str:
        line = next(given, None)
        if line is None:
            raise EOFError
        return line

    run_chat(session, read, errors.append)
    return session, screen, errors


def test_both_sides_answer_and_each_remembers_its_own(served: ServedModel) -> None:
    session, screen, errors = chat(served, "Hi", "/both", "And you?", "/base", "So?", "/quit", "never read")
    assert errors == []
    assert [list(answers) for answers in screen.answers] == [["pruned"], ["base", "pruned"], ["base"]]
    assert [text for _, text in session.history["pruned"]][::2] == ["Hi", "And you?"]
    assert [text for _, text in session.history["base"]][::2] == ["And you?", "So?"]
    assert session.history["base"][1] == ("assistant", screen.answers[1]["base"])


def test_strength_changes_the_answer_at_once(served: ServedModel) -> None:
    _, screen, _ = chat(
        served, "Hi", "/reset", "/strength 0", "Hi", "/reset", "/strength", "Hi", "/reset", "/base", "Hi"
    )
    own, zero, again, base = (next(iter(answers.values())) for answers in screen.answers)
    assert own == again != zero == base
    assert "pruned@0" in screen.notes


def test_the_last_answer_of_a_conversation_may_fill_the_positions(served: ServedModel) -> None:
    prompt = "a" * 1000
    tokens = len(served.engine.encode([("user", prompt)]))
    session, _, errors = chat(served, prompt + "a" * (2045 - tokens))
    assert errors == []
    assert len(session.history["pruned"]) == 2


def test_system_and_save(served: ServedModel, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    session, _, errors = chat(served, "Hi", "/system Be brief.", "Ho", f"/save {file}", f"/save {file}")
    saved = json.loads(file.read_text())
    assert saved["system"] == session.system == "Be brief."
    assert next(message["content"] for message in saved["conversations"]["pruned"]) == "Ho"
    assert len(errors) == 1
    assert "exists" in errors[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/strength 2", "not from 0 to 1"),
        ("/strength much", "is not a number"),
        ("/plan plan-9", "name one of pruned, plan-2"),
        ("/nothing", "no such command"),
        ("/save", "name a file"),
        ("a" * 5000, "positions"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_chat_goes_on(served: ServedModel, line: str, message: str) -> None:
    session, _screen, errors = chat(served, line, "Hi")
    assert len(errors) == 1
    assert message in errors[0]
    assert len(session.history["pruned"]) == 2


def test_without_a_pruned_model_the_base_model_chats(served: ServedModel) -> None:
    alone = replace(served, edits={}, default=None)
    session, _, errors = chat(alone, "Hi", "/both", "/strength 0.5", "/help")
    assert len(errors) == 2
    assert all("There is no pruned model here" in error for error in errors)
    assert session.state == "base"


def test_an_interrupted_answer_leaves_the_batch(served: ServedModel) -> None:
    class Interrupted(Shown):
        def add(self, side: Side, text: str) -> None:
            raise KeyboardInterrupt

    session = ChatSession(served, Interrupted(), max_new_tokens=1500)
    session.take("Hi")
    while served.engine.load != (0, 0):
        pass
    assert session.history["pruned"][0] == ("user", "Hi")


@pytest.mark.parametrize("terminal", [True, False])
def test_text_is_cleaned_for_the_terminal(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;title\x07\x1b[2J[bold]ok[/bold]\u202e"
    written = io.StringIO()
    screen = TerminalScreen(Console(file=written, force_terminal=terminal, width=80))
    screen.begin({"base": "base"})
    screen.add("base", hostile)
    screen.end()
    screen.begin({"base": "base", "pruned": f"pruned{hostile}"})
    screen.add("base", hostile)
    screen.end()
    shown = capsys.readouterr().out + written.getvalue()
    assert "[bold]ok[/bold]" in shown
    assert "\x1b]0" not in shown
    assert "\x1b[2J[" not in shown.replace("\x1b[2J[bold]ok", "")
    assert "\u202e" not in shown


def test_the_command(
    run: Callable[..., tuple[int, str, str]], checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["Hi", "/help", "/strength 1"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines, None) or (_ for _ in ()).throw(EOFError))
    code, out, err = run("chat", checkpoint("llama"), "--device", "cpu", "--max-new-tokens", "3")
    assert code == 0
    assert "/strength 0.6" in out
    assert "no pruned model" in err


def test_a_missing_model_is_one_line(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("chat", "./none")[0] == InputError.exit_code
