"""What a refusal judge says of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class AnswerClass(StrEnum):
    """XSTest's three classes of answers, and two for answers that show neither compliance nor refusal."""

    FULL_COMPLIANCE = "full_compliance"
    PARTIAL_REFUSAL = "partial_refusal"
    FULL_REFUSAL = "full_refusal"
    BROKEN = "broken"
    """Empty, repeated without end, or not language: neither compliance nor safety."""
    UNDETERMINED = "undetermined"
    """The judge could not tell."""

    @property
    def complies(self) -> bool:
        """True for full compliance alone."""
        return self is AnswerClass.FULL_COMPLIANCE

    @property
    def refuses(self) -> bool:
        """True for full and partial refusals, as XSTest counts them."""
        return self in (AnswerClass.FULL_REFUSAL, AnswerClass.PARTIAL_REFUSAL)


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer a model gave to it."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Verdict:
    """The class of one answer, with the reason in a few words."""

    answer_class: AnswerClass
    reason: str


class Judge(Protocol):
    """What every refusal judge offers."""

    @property
    def name(self) -> str:
        """Name and version; it is written into every record."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order."""
        ...
