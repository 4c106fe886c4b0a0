"""The language of an answer, from its script and its most common words."""

import re
import tomllib
from importlib.resources import files

from prosafeprune.judges.brokenness import CODE_BLOCK
from prosafeprune.judges.languages.speech_acts import KANA, supported_languages

SUPPORTED = supported_languages()
"""Languages in which the judge was measured (docs/judges.md); answers in others are undetermined."""
UNKNOWN = "another language"

_TABLE = tomllib.loads((files(__package__) / "common_words.toml").read_text(encoding="utf-8"))
WORDS = {language: frozenset(words.split()) for language, words in _TABLE.items()}
LANGUAGES_OF = {
    word: [language for language, words in WORDS.items() if word in words]
    for word in frozenset().union(*WORDS.values())
}
"""The languages in which a word is common."""
LETTERS_OF_OTHERS = {
    "Latin": re.compile(r"X", re.I),
    "Cyrillic": re.compile(r"[іїєґўјљњћђџқңғүұһәө]", re.I),
    "Arabic": re.compile(r"[پچژگڑٹڈےںہھۀیک]"),
}
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
HAN = re.compile(r"[\u3400-\u9fff]")
OTHERS_IN_DEVANAGARI = re.compile(
    r"[\u0933]|\u0906\u0939\u0947|\u0928\u093e\u0939\u0940|(?:^|\s)\u091b(?:\s|\u0928\u094d|\u0964)"
)
"""Marathi and Nepali."""
SCRIPTS = {
    "Latin": re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "East Asian": re.compile(r"[\u3040-\u30ff\u3400-\u9fff]"),
    "Devanagari": re.compile(r"[\u0900-\u097f]"),
    "Hangul": re.compile(r"[\uac00-\ud7af]"),
    "other": re.compile(r"[\u0370-\u03ff\u0530-\u05ff\u0980-\u109f\u10a0-\u10ff\u1200-\u137f\u1780-\u17ff]"),
}
OF_SCRIPT = {"Cyrillic": "ru", "Arabic": "ar", "Devanagari": "hi", "Hangul": "ko"}
LETTERS = {
    "de": re.compile(r"[\u00e4\u00f6\u00fc\u00df]", re.I),
    "fr": re.compile(r"[\u00e8\u00ea\u00f9\u0153\u00e7]|\b[cdjlnst]['\u2019](?=[a-z\u00e9\u00ea\u00e0])", re.I),
    "es": re.compile(r"[\u00f1\u00bf\u00a1]", re.I),
    "it": re.compile(r"[\u00e8\u00f2\u00f9\u00ec]\b|\b(?:un|all|dell|nell|sull)['\u2019]", re.I),
    "pt": re.compile(r"[\u00e3\u00f5\u00e7]", re.I),
    "pl": re.compile(r"[\u0105\u0107\u0119\u0142\u0144\u015b\u017a\u017c]", re.I),
    "tr": re.compile(r"[\u011f\u0131\u015f\u011e\u0130\u015e]"),
    "nl": re.compile(r"ij\b|\b\w+(?:aa|ee|oo|uu)\w", re.I),
}
"""Letters that speak for a language in Latin script, each counted as half a common word."""
INFLECTED = ("pl", "tr")
"""Languages with few common words and many letters of their own."""
SHARE_OF_COMMON_WORDS = 0.15
"""Least share of common words in running text; code and lists of names have fewer."""
SEVERAL = 4
"""Different common words in a text of two or three lines that is in a language."""
SAMPLE = 600
"""Characters that are examined."""
FEW = 3
"""Words that, in letters without accents, tell nothing of the language."""
HINT = 1.5
"""Common words that the prompt's language is worth: answers are mostly in it."""


def language_of(answer: str, prompt: str = "") -> str:
    """Return the code of a supported language, or ``UNKNOWN``; numbers, code and very short text count as English.

    Where a short answer in Latin script leaves it open, the prompt's language decides.
    """
    text = (CODE_BLOCK.sub(" ", answer).strip() or answer)[:SAMPLE]
    if text.isascii():
        return _latin(text, prompt)
    counts = {name: len(script.findall(text)) for name, script in SCRIPTS.items()}
    counts["East Asian"] *= 3  # An ideograph carries about as much as a word's beginning.
    script = max(counts, key=lambda name: counts[name])
    if not counts[script] or script == "Latin":
        return _latin(text, prompt)
    if script == "East Asian":
        return "ja" if 12 * len(KANA.findall(text)) > len(HAN.findall(text)) else "zh"
    others = OTHERS_IN_DEVANAGARI if script == "Devanagari" else LETTERS_OF_OTHERS.get(script)
    if script == "other" or (others is not None and others.search(text)):
        return UNKNOWN
    return OF_SCRIPT[script]


def is_other_language(answer: str) -> bool:
    """Return whether a text has another script, or the common words of a known language other than English."""
    text = (CODE_BLOCK.sub(" ", answer).strip() or answer)[:SAMPLE]
    if sum(len(SCRIPTS[name].findall(text)) for name in SCRIPTS if name != "Latin") > 0.2 * len(text):
        return True
    if any(len(LETTERS[language].findall(text)) > 0.02 * len(text) for language in INFLECTED):
        return True
    words = [word.lower() for word in WORD.findall(text)]
    several = min(SEVERAL, 1 + len(words) // 10)  # "s s ( back s" has one common word of Swedish, many times
    return any(
        count >= SHARE_OF_COMMON_WORDS * len(words) and len(WORDS[language].intersection(words)) >= several
        for language, count in _hits(words).items()
        if language != "en"
    )


def _hits(words: list[str]) -> dict[str, float]:
    """Return how many of the words are common ones of each language."""
    hits = dict.fromkeys(WORDS, 0.0)
    for word in words:
        for language in LANGUAGES_OF.get(word, ()):
            hits[language] += 1
    return hits


def _latin(text: str, prompt: str) -> str:
    words = [word.lower().replace("\u2019", "'") for word in WORD.findall(text)]
    hits = _hits(words)
    if not text.isascii():
        for language, letters in LETTERS.items():
            hits[language] += 0.5 * len(letters.findall(text))
    asked = _latin(prompt[:SAMPLE], "") if prompt else "en"
    if len(words) <= FEW and text.isascii() and asked == "en" and prompt.isascii():
        return "en"  # "No." is also Spanish and Italian
    if asked not in ("en", UNKNOWN):
        hits[asked] += HINT
    best = max((language for language in SUPPORTED if language in hits), key=lambda language: hits[language])
    others = {language: count for language, count in hits.items() if language not in SUPPORTED}
    rival = max(others, key=lambda language: others[language])
    margin = 1.0 if LETTERS_OF_OTHERS["Latin"].search(text) else 1.3
    different = len(WORDS[rival].intersection(words))  # "a", many times, is also English
    if different >= 2 and others[rival] >= SHARE_OF_COMMON_WORDS * len(words) and others[rival] > margin * hits[best]:
        return UNKNOWN
    if hits[best] < 0.1 * len(words):
        return "en" if text.isascii() else UNKNOWN
    few = len(words) > 3 and len(WORDS[best].intersection(words)) < 2  # a variable called "a" is no Portuguese
    return "en" if (few and text.isascii() and best != asked) or hits["en"] >= hits[best] else best
