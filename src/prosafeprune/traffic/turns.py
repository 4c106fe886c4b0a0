"""A user turn with what came before it and the model's answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prosafeprune.text import is_blank

Role = Literal["system", "user", "assistant"]
Message = tuple[Role, str]
"""A role and its text."""


@dataclass(frozen=True)
class LoggedTurn:
    """One request of a user, inside its conversation."""

    messages: tuple[Message, ...]
    """The conversation up to the request, which is the last message."""
    answer: str
    log: str = ""
    """Name of the file that the turn is from."""
    line: int = 0
    """Line, row or sample in that file, from 1."""

    @property
    def prompt(self) -> str:
        """The request."""
        return self.messages[-1][1]


def turns_of(messages: Sequence[Message], answer: str | None = None) -> Iterator[tuple[tuple[Message, ...], str]]:
    """Yield the messages up to each answered user turn of a conversation, and the answer.

    With a separate ``answer``, only the last turn is yielded: in a log of requests, earlier turns have entries of their
    own. Successive messages of one role are joined, an answer in several parts (around calls of tools) as well, and a
    system message after the first turn is left out. So is a user turn without text, such as a picture, with its answer.
    """
    joined = _joined(messages)
    if answer is not None and joined and joined[-1][0] == "assistant":  # its beginning, before a call of a tool
        joined[-1] = ("assistant", _both(joined[-1][1], answer))
    elif answer is not None:
        joined.append(("assistant", answer))
    so_far: list[Message] = []
    is_blank_turn = False
    for index, (role, text) in enumerate(joined, 1):
        is_blank_turn = is_blank(text) if role == "user" else is_blank_turn
        if is_blank_turn:
            continue
        is_answer = role == "assistant" and bool(so_far) and so_far[-1][0] == "user"
        if is_answer and (answer is None or index == len(joined)):
            yield tuple(so_far), text
        so_far.append((role, text))


def _joined(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with those of one role in one; a blank one remains only of a user who says nothing else."""
    joined: list[Message] = []
    for role, text in messages:
        is_late = role == "system" and any(earlier != "system" for earlier, _ in joined)
        if is_late or (role != "user" and is_blank(text)):
            continue
        if joined and joined[-1][0] == role:
            joined[-1] = (role, _both(joined[-1][1], text))
        else:
            joined.append((role, text))
    return joined


def _both(one: str, two: str) -> str:
    return "\n\n".join(text for text in (one, two) if not is_blank(text))
