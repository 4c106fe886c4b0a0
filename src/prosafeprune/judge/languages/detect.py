"""The language of an answer, from its script and its commonest words."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

from prosafeprune.judge.brokenness import CODE_BLOCK
from prosafeprune.judge.languages.speech_acts import KANA, supported_languages

SUPPORTED = supported_languages()
"""Languages in which the judge was measured (docs/judges.md); answers in others are undetermined."""
UNKNOWN = "another language"

_TABLE = tomllib.loads((files(__package__) / "common_words.toml").read_text(encoding="utf-8"))
WORDS = {language: frozenset(words.split()) for language, words in _TABLE.items()}
LETTERS_OF_OTHERS = {
    "Latin": re.compile(r"[ąćęłńśźżđřěůőűğışțșăơưạảấầậắằặẹẻẽếềệịọỏốồộớờợụủứừựỳỷỹħġċāēīūļņķģ]", re.I),
    "Cyrillic": re.compile(r"[іїєґўјљњћђџқңғүұһәө]", re.I),
    "Arabic": re.compile(r"[پچژگڑٹڈےںہھۀیک]"),
}
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
HAN = re.compile(r"[\u3400-\u9fff]")
SCRIPTS = {
    "Latin": re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "East Asian": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]"),
    "other": re.compile(
        r"[\u0370-\u03ff\u0530-\u05ff\u0900-\u109f\u10a0-\u10ff\u1200-\u137f\u1780-\u17ff\uac00-\ud7af]"
    ),
}
SHARE_OF_COMMON_WORDS = 0.15
"""Least share of common words in running text; code and lists of names have fewer."""
SAMPLE = 600
"""Characters that are examined."""


def language_of(answer: str) -> str:
    """Return the code of a supported language, or ``UNKNOWN``; numbers, code and very short text count as English."""
    text = (CODE_BLOCK.sub(" ", answer).strip() or answer)[:SAMPLE]
    if text.isascii():
        return _latin(text)
    counts = {name: len(script.findall(text)) for name, script in SCRIPTS.items()}
    counts["East Asian"] *= 3  # An ideograph carries about as much as a word's beginning.
    script = max(counts, key=lambda name: counts[name])
    if not counts[script] or script == "Latin":
        return _latin(text)
    if script == "East Asian":
        return "ja" if 12 * len(KANA.findall(text)) > len(HAN.findall(text)) else "zh"
    if script == "other" or LETTERS_OF_OTHERS[script].search(text):
        return UNKNOWN
    return "ru" if script == "Cyrillic" else "ar"


def is_any_language(answer: str) -> bool:
    """Return whether a text has as many common words of a known language as running text, or another script."""
    text = (CODE_BLOCK.sub(" ", answer).strip() or answer)[:SAMPLE]
    if sum(len(SCRIPTS[name].findall(text)) for name in SCRIPTS if name != "Latin") > 0.2 * len(text):
        return True
    words = [word.lower() for word in WORD.findall(text)]
    return any(sum(word in common for word in words) >= SHARE_OF_COMMON_WORDS * len(words) for common in WORDS.values())


def _latin(text: str) -> str:
    words = [word.lower().replace("’", "'") for word in WORD.findall(text)]
    hits = {language: sum(word in common for word in words) for language, common in WORDS.items()}
    best = max(SUPPORTED, key=lambda language: hits.get(language, -1))
    others = {language: count for language, count in hits.items() if language not in SUPPORTED}
    rival = max(others, key=lambda language: others[language])
    margin = 1.0 if LETTERS_OF_OTHERS["Latin"].search(text) else 1.3
    if others[rival] >= max(2, SHARE_OF_COMMON_WORDS * len(words)) and others[rival] > margin * hits[best]:
        return UNKNOWN
    if hits[best] < 0.1 * len(words):
        return "en" if text.isascii() else UNKNOWN
    few = len(words) > 3 and len(WORDS[best].intersection(words)) < 2  # a variable called "a" is no Portuguese
    return "en" if few or hits["en"] == hits[best] else best
