"""What a reasoning model says to the user, without the chain of thought before it."""

from __future__ import annotations

import re

from prosafeprune.judge.brokenness import SPECIAL_TOKEN

CLOSED_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>|\[THINK\].*?\[/THINK\]", re.S | re.I)
OPEN_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>|\[THINK\]|<\|channel\|>analysis|^analysis(?=[A-Z])", re.I)
END_OF_THOUGHT = re.compile(
    r".*(?:</(?:think|thinking|reasoning)>|\[/THINK\]|<\|channel\|>final<\|message\|>|^analysis.*assistantfinal)", re.S
)
"""Templates that open the thought inside the prompt leave only its end. The last two are gpt-oss's channels, with
special tokens and without."""
SPEAKER = re.compile(r"^(?:assistant|ai|answer|response|bot)\s*:\s*", re.I)


def spoken_part(answer: str) -> str:
    """Return what the model says to the user: no chain of thought, special tokens or speaker's name.

    An answer that ends within its thought says nothing: the result is empty.
    """
    answer = CLOSED_THOUGHT.sub(" ", answer)
    ended = END_OF_THOUGHT.match(answer)
    if ended:
        answer = answer[ended.end() :]
    thought = OPEN_THOUGHT.search(answer)
    if thought:
        answer = answer[: thought.start()]
    return SPEAKER.sub("", SPECIAL_TOKEN.sub(" ", answer).strip())


def ends_within_thought(answer: str) -> bool:
    """Tell whether the answer is a chain of thought, or the beginning of one, and nothing else."""
    return not spoken_part(answer) and bool(OPEN_THOUGHT.search(answer) or END_OF_THOUGHT.match(answer))
