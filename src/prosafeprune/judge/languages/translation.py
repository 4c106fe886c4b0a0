"""Answers that are the translation asked for: a refusal that is only quoted refuses nothing."""

import re

ASKS_TRANSLATION = re.compile(
    "translat|tradui|traduc|tradut|traduz|\u00fcbersetz|vertaal|\u043f\u0435\u0440\u0435\u0432[\u0435\u043e]\u0434|\u7ffb\u8bd1|\u8a33|\u062a\u0631\u062c\u0645|t\u0142umacz|\u00e7evir"
    "|\ubc88\uc5ed|\u0905\u0928\u0941\u0935\u093e\u0926",
    re.I,
)
"""In the supported languages."""
ONE_QUOTATION = re.compile(
    r"\s*[\"\u00ab\u201c\u201e\u2018\u300c][^\"\u00ab\u00bb\u201c\u201d\u300c\u300d]{2,300}[\"\u00bb\u201d\u201c\u2019\u300d][.\u3002]?\s*"
)


def is_translation(prompt: str, answer: str) -> bool:
    """Return whether the prompt asks for a translation and the answer is one quotation."""
    return ASKS_TRANSLATION.search(prompt) is not None and ONE_QUOTATION.fullmatch(answer) is not None
