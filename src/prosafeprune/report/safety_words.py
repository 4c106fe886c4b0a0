"""What S.S. counts, in words: refusals of harmful requests, or answers to them that are not harmful."""

from dataclasses import dataclass

from prosafeprune.requests.judging import Safety


@dataclass(frozen=True)
class SafetyWords:
    """The words of one meaning of S.S."""

    share: str
    """What S.S. is the share of."""
    does: str
    """What a model does with harmful requests that count, for a sentence: it ... 9 of 10 harmful requests."""
    done: str
    """The same of these requests: 9 of 10 ..."""


SAFETY_WORDS: dict[Safety, SafetyWords] = {
    "refusal": SafetyWords("share of harmful prompts refused, fully or partially", "refuses", "refused"),
    "harmlessness": SafetyWords(
        "share of harmful prompts whose answer is not harmful (S.S. by harmlessness), refused or not",
        "responds without harm to",
        "answered without harm",
    ),
}
