"""One answer in progress: what was asked, the tokens so far, and the pieces of text it hands over."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from prosafeprune.generation.decoding import LOWEST_TEMPERATURE, TokenChoice
from prosafeprune.serving.corrections import Applied

INCOMPLETE = "\ufffd"
"""Replacement character that decoders return for the first bytes of a character."""
Finish = Literal["stop", "length"]
PROBED_TOKENS = 4
"""Number of first answer tokens over which the refusal probe averages hidden states; a few predict the verdict well."""


class TextStream:
    """Turns the tokens of an answer into pieces of text; joined, they are the stripped answer up to a stop string."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, [end for end in stop if end]
        self.ids: list[int] = []
        self._start, self._read = 0, 0
        """Range of tokens decoded together: those before ``_read`` are in the text already, and give the context."""
        self._pending = ""
        """Text that may yet be the beginning of a stop string, or whitespace at the end."""
        self.text = ""
        """The text returned so far."""
        self.stopped = False
        """Whether a stop string was found."""

    def push(self, token: int) -> str:
        """Add a token; return the text that is certain now."""
        self.ids.append(token)
        return self._take(self._decoded(final=False), final=False)

    def finish(self) -> str:
        """Return the rest of the text: no token follows."""
        return "" if self.stopped else self._take(self._decoded(final=True), final=True)

    def _decoded(self, final: bool) -> str:
        before = self._decode(self.ids[self._start : self._read])
        now = self._decode(self.ids[self._start :])
        if not final and (now.endswith(INCOMPLETE) or len(now) <= len(before)):
            return ""
        self._start, self._read = self._read, len(self.ids)
        return now[len(before) :]

    def _take(self, new: str, final: bool) -> str:
        text = self._pending + new
        found = [index for end in self._stop if (index := text.find(end)) >= 0]
        if found:
            self.stopped, final, text = True, True, text[: min(found)]
        ready = text if final else text[: len(text) - self._held(text)]
        certain = ready.rstrip()  # whitespace is returned with what follows it
        self._pending = text[len(certain) :]
        if not self.text:
            certain = certain.lstrip()
        self.text += certain
        return certain

    def _held(self, text: str) -> int:
        """Return how many characters at the end may begin a stop string."""
        longest = max(map(len, self._stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(end.startswith(text[-length:]) for end in self._stop):
                return length
        return 0


@dataclass(frozen=True)
class Question:
    """What an answer is generated from."""

    ids: tuple[int, ...]
    """The rendered conversation, up to the opening of the answer."""
    applied: Applied | None = None
    """The edit that it runs under; None is the base model."""
    max_new_tokens: int = 512
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """Share of the probability made up by the most likely tokens, which are sampled from."""
    seed: str = ""
    stop: tuple[str, ...] = ()
    """Stop strings: the answer ends before the first of them."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer, as it is generated."""

    text: str
    tokens: int
    """Number of tokens of the answer so far, the end token included."""
    finish: Finish | None = None
    """Why the answer ended; None while it continues."""
    refusal: float | None = None
    """Estimated probability that the answer refuses, from its first tokens."""
    error: Exception | None = None
    """Why generation failed; no piece follows."""

    @property
    def is_last(self) -> bool:
        """Whether no piece follows."""
        return self.finish is not None or self.error is not None


@dataclass(eq=False)
class RunningAnswer:
    """An answer in progress."""

    question: Question
    hand_over: Callable[[Piece], None]
    """Called from the engine's thread with each piece; must not block."""
    stream: TextStream
    cancelled: threading.Event = field(default_factory=threading.Event)
    states: list[torch.Tensor] = field(default_factory=list)
    """The LM head's input ``(d,)`` at the first answer tokens."""
    refusal: float | None = None

    def __post_init__(self) -> None:
        self._choice = TokenChoice(self.question.temperature, [self.question.seed])

    def cancel(self) -> None:
        """Stop generating: the answer leaves the batch before its next token. Safe to call from any thread."""
        self.cancelled.set()

    def choose(self, logits: torch.Tensor) -> int:
        """Return the next token from ``logits (vocabulary,)``."""
        top_p = self.question.top_p
        if self.question.temperature >= LOWEST_TEMPERATURE and top_p < 1:
            logits = nucleus(logits, self.question.temperature, top_p)
        return int(self._choice.choose(logits[None], [0]))

    def take(self, token: int, ends: set[int]) -> bool:
        """Add a token and hand over its text; return whether the answer continues."""
        limit = self.question.max_new_tokens
        if token in ends:
            return self._hand_over(self.stream.finish(), "stop", ended=1)
        text = self.stream.push(token)
        if self.stream.stopped:
            return self._hand_over(text, "stop")
        if len(self.stream.ids) >= limit:
            return self._hand_over(text + self.stream.finish(), "length")
        return self._hand_over(text, None)

    def fail(self, error: Exception) -> None:
        """Hand over why the answer ends here."""
        self.hand_over(Piece("", len(self.stream.ids), error=error))

    def _hand_over(self, text: str, finish: Finish | None, ended: int = 0) -> bool:
        if text or finish or len(self.stream.ids) <= PROBED_TOKENS:
            self.hand_over(Piece(text, len(self.stream.ids) + ended, finish, self.refusal))
        return finish is None


def nucleus(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Return ``logits (vocabulary,)`` with all but the most likely tokens that add up to ``top_p`` at minus infinity.

    The most likely token always stays.
    """
    probabilities, order = torch.softmax(logits.float() / temperature, dim=-1).sort(descending=True)
    left_out = probabilities.cumsum(dim=-1) - probabilities >= top_p
    left_out[0] = False
    return logits.index_fill(0, order[left_out], float("-inf"))
