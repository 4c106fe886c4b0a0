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
    system message after the first turn is left out.
    """
    so_far: list[Message] = []
    asked: tuple[Message, ...] = ()
    for role, text in messages:
        if is_blank(text) or (role == "system" and any(earlier != "system" for earlier, _ in so_far)):
            continue
        if role == "assistant" and so_far and so_far[-1][0] == "user":
            asked = tuple(so_far)
        elif role != "assistant" and answer is None and asked:
            yield asked, so_far[-1][1]
            asked = ()
        if so_far and so_far[-1][0] == role:
            so_far[-1] = (role, f"{so_far[-1][1]}\n\n{text}")
        else:
            so_far.append((role, text))
    if answer is None:
        if asked:
            yield asked, so_far[-1][1]
    elif so_far and so_far[-1][0] == "user":
        yield tuple(so_far), answer
