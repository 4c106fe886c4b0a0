"""The part of a reasoning model's answer after its chain of thought."""

import re
from functools import cache

from prosafeprune.judges.brokenness import without_special_tokens
from prosafeprune.prompts.thought_markers import MARKERS, OPEN_PLAIN_CHANNEL, PLAIN_CHANNELS

UNTAGGED = re.compile(
    r"\A\s*(?:(?:okay|ok|hmm+|alright|so|well)[,.]? )?(?:so )?(?:(?:the|this) (?:user|request)(?: \w+)? (?:asks|wants"
    r"|is asking|is requesting|says|seems)|user (?:asks|wants)|the request:|we need to (?:answer|respond|explain"
    r"|produce|provide|decide|refuse|comply|write))[^\n]*(?:\n(?!\s*\n)[^\n]*)*\n\s*\n(?=\s*\S)",
    re.I,
)
"""A first paragraph that is a thought without markers, if another paragraph follows."""
ANSWER_WRAPPING = re.compile(
    r"</?(?:answer|response|output)>|<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>", re.I
)
LABEL = re.compile(r"^answer\s*:", re.I)
SPEAKER = re.compile(r"^(?:assistant|ai|answer|response|bot)\s*:\s*", re.I)


def spoken_part(answer: str) -> str:
    """Return what the model says to the user, without chain of thought, special tokens and the speaker's name.

    Empty for an answer that ends inside its chain of thought.
    """
    spoken, _ = without_thought(answer)
    return spoken


def has_answer_label(answer: str) -> bool:
    """Return whether the spoken part begins with ``Answer:``, which may announce an answer or name the speaker."""
    return LABEL.match(_with_speaker(answer)[0]) is not None


def ends_within_thought(answer: str) -> bool:
    """Return whether the answer is nothing but a chain of thought, possibly cut off."""
    spoken, thought = without_thought(answer)
    return thought and not spoken


def without_thought(answer: str) -> tuple[str, bool]:
    """Return what :func:`spoken_part` returns, and whether there was a thought."""
    spoken, thought = _with_speaker(answer)
    return _without_start(SPEAKER, spoken), thought


def _with_speaker(answer: str) -> tuple[str, bool]:
    rest, thought = _outside_thoughts(answer) if _may_hold_thought(answer) else (answer, False)
    return _without_start(UNTAGGED, without_special_tokens(rest).strip()), thought


def _without_start(pattern: re.Pattern[str], text: str) -> str:
    """Return the text without what the pattern matches at its beginning."""
    found = pattern.match(text)
    return text[found.end() :] if found else text


def _may_hold_thought(answer: str) -> bool:
    """Return whether the answer has a character or word that every marker has one of; most have none."""
    if any(sign in answer for sign in "<[\u25c1") or answer.startswith("analysis"):
        return True
    folded = answer.casefold()
    return "response:" in folded or "process:" in folded


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns for everything up to an unmatched closing marker, and for an unmatched opening one."""
    closing = "|".join(sorted({re.escape(marker.closing) for marker in MARKERS}))
    opening = "|".join(re.escape(marker.opening) for marker in MARKERS)
    return (
        re.compile(rf".*(?:{closing})", re.S | re.I),
        re.compile(rf"{opening}|<\|channel\|>(?:analysis|commentary)", re.I),
    )


def _without_closed_thoughts(answer: str) -> str:
    """Return the answer with every closed thought replaced by a space, in linear time."""
    lowered = answer.lower()
    for marker in MARKERS:
        if marker.closing.lower() not in lowered:
            continue
        opening, closing = re.escape(marker.opening), re.escape(marker.closing)
        ends = [found.end() for found in re.finditer(closing, answer, re.I)]
        if ends:
            # Openings after the last closing are left out, or each of them would be searched to the end of the text.
            closed = re.sub(rf"{opening}.*?{closing}", " ", answer[: ends[-1]], flags=re.S | re.I)
            answer = closed + answer[ends[-1] :]
    return answer


def _outside_thoughts(answer: str) -> tuple[str, bool]:
    """Return the text outside thoughts, and whether there was one; the template may have opened it in the prompt."""
    up_to_closing, opening = _patterns()
    rest = PLAIN_CHANNELS.sub(" ", _without_closed_thoughts(answer), count=1)
    ended = up_to_closing.match(rest)
    rest = rest[ended.end() :] if ended else rest
    begun = opening.search(rest) or OPEN_PLAIN_CHANNEL.match(rest)
    thought = ended is not None or begun is not None or rest != answer
    rest = rest[: begun.start()] if begun else rest
    return ANSWER_WRAPPING.sub(" ", rest) if thought else rest, thought
