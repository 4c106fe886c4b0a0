"""One answer in progress: what was asked, the tokens so far, and the pieces of text it hands over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

from prosafeprune.generation.decoding import LOWEST_TEMPERATURE, TokenChoice
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.text_stream import TextStream

Finish = Literal["stop", "length"]
PROBED_TOKENS = 4
"""First answer tokens whose mean state the refusal probe reads: after a few, it predicts the verdict well."""


@dataclass(frozen=True)
class Question:
    """What an answer is generated from."""

    ids: tuple[int, ...]
    """The rendered conversation, up to the opening of the answer."""
    applied: Applied | None = None
    """The edit that it runs under; None is the base model."""
    max_new_tokens: int = 512
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Sample from the most likely tokens that make up this share of the probability."""
    seed: str = ""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer, as it is generated."""

    text: str
    tokens: int
    """Of the answer so far, the end token included."""
    finish: Finish | None = None
    """Why the answer ended; None while it goes on."""
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
        """Add a token and hand over its text; return whether the answer goes on."""
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
