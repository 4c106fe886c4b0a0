"""Prompts that are more than one plain user turn: what the chat template renders, as one type."""

import json
from collections.abc import Iterable
from typing import Any, Self

from prosafeprune.text import is_blank

Turn = tuple[str, str]
"""A role (``system``, ``user`` or ``assistant``) and its text."""
ROLES = ("system", "user", "assistant")
THINKING = "thinking"
"""Field of the last message of a prompt that the model answers after thinking, whatever it does otherwise."""


class Conversation(str):
    """A prompt with a system prompt or earlier turns; the last turn is the user's.

    Stored answers, seeds and hashes are keyed by the text of a prompt. That of a conversation is the JSON of its
    messages, so wherever a prompt goes, a conversation goes too; only what renders, judges or shows a prompt looks at
    its turns. A prompt of a single user turn is the plain text of that turn, unless the model is to think first.
    """

    turns: tuple[Turn, ...]
    thinks: bool
    """Whether the model thinks before it answers this prompt, although it does not otherwise."""

    def __new__(cls, text: str) -> Self:
        """Take the JSON of the messages, as :func:`as_prompt` writes it."""
        made = super().__new__(cls, text)
        messages = json.loads(text)
        made.turns = tuple((message["role"], message["content"]) for message in messages)
        made.thinks = messages[-1].get(THINKING) is True
        return made


def as_prompt(turns: Iterable[Turn], *, thinks: bool = False) -> str:
    """Return the prompt of these turns: plain text for a single user turn, otherwise a conversation.

    Before a prompt that ``thinks`` is answered, the model thinks; it is a conversation in any case.

    Raises:
        ValueError: they are not an optional system turn, then turns of user and assistant, the last one the user's.
    """
    turns = tuple(turns)
    roles = [role for role, _ in turns]
    if not roles or roles[-1] != "user":
        raise ValueError("the last turn must be the user's")
    if any(role not in ROLES for role in roles):
        raise ValueError(f"a role must be one of {', '.join(ROLES)}")
    if "system" in roles[1:]:
        raise ValueError("only the first turn may be the system's")
    if any(is_blank(words) for _, words in turns):
        raise ValueError("a turn is empty")
    if len(turns) == 1 and not thinks:
        return turns[0][1]
    messages: list[dict[str, Any]] = [*messages_of_turns(turns)]
    if thinks:
        messages[-1][THINKING] = True
    return Conversation(json.dumps(messages, ensure_ascii=False))


def stored_prompt(text: str) -> str:
    """Return the prompt whose text was read back from a file: a conversation where it is the JSON of one."""
    if not text.startswith('[{"role": "'):
        return text
    try:
        messages = json.loads(text)
        turns = [(message["role"], message["content"]) for message in messages]
        prompt = as_prompt(turns, thinks=messages[-1].get(THINKING) is True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text
    return prompt if prompt == text else text


def messages_of_turns(turns: Iterable[Turn]) -> list[dict[str, str]]:
    """Return turns in OpenAI's format."""
    return [{"role": role, "content": words} for role, words in turns]


def turns_of(prompt: str) -> tuple[Turn, ...]:
    """Return the turns of a prompt; of plain text, a single one of the user."""
    return prompt.turns if isinstance(prompt, Conversation) else (("user", prompt),)


def split_system(prompt: str) -> tuple[str | None, tuple[Turn, ...]]:
    """Return the system prompt of a prompt, or None, and its other turns."""
    turns = turns_of(prompt)
    return (turns[0][1], turns[1:]) if turns[0][0] == "system" else (None, turns)


def last_turn(prompt: str) -> str:
    """Return what the user says last."""
    return turns_of(prompt)[-1][1]


def thinks(prompt: str) -> bool:
    """Return whether the model thinks before it answers this prompt, although it does not otherwise."""
    return isinstance(prompt, Conversation) and prompt.thinks


def with_thinking(prompt: str) -> str:
    """Return the prompt that the model answers after thinking."""
    return as_prompt(turns_of(prompt), thinks=True)


def with_last_turn(prompt: str, words: str) -> str:
    """Return the prompt with other words in the user's last turn."""
    return as_prompt([*turns_of(prompt)[:-1], ("user", words)], thinks=thinks(prompt))


def transcript(prompt: str, most: int | None = None) -> str:
    """Return the prompt for a reader: plain text as it is, a conversation with the role before each turn.

    With ``most`` characters, longer turns are cut, each to its share of them, so that the last one is always shown.
    """
    turns = turns_of(prompt)
    share = None if most is None else max(1, most // len(turns))
    texts = [words if share is None or len(words) <= share else words[:share].rstrip() + " [cut]" for _, words in turns]
    if len(turns) == 1:
        return texts[0]
    return "\n".join(f"{role.capitalize()}: {text}" for (role, _), text in zip(turns, texts, strict=True))


def read_turns(row: Any) -> tuple[Turn, ...]:
    """Return the turns in a list of OpenAI's messages, each with ``role`` and text as ``content``.

    Raises:
        ValueError: it is something else; the message says what.
    """
    if isinstance(row, str):  # a cell of a CSV file
        try:
            row = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise ValueError("must be a list of messages, in a CSV file as JSON") from error
    if not isinstance(row, list | tuple) or not all(isinstance(message, dict) for message in row):
        raise ValueError("must be a list of messages")
    for message in row:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise ValueError("must have role and content, both text, in each message")
    return tuple((message["role"], message["content"].strip()) for message in row)
