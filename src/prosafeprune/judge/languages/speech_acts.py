"""How each supported language refuses, lacks means, apologises, moralises, sends elsewhere and offers.

The table is ``speech_acts.toml``: the same acts in all languages, so that what is learnt of an act in one language
serves the others. Everything is searched in text made plain by :func:`plain_letters`.

- ``refuses``: the speaker will not, may not or would rather not.
- ``lacks``: no access, no such information, no such ability; the file is missing; a question back.
- ``apologises``; ``moralises``: law, harm, respect, dignity, responsibility.
- ``sends_elsewhere``: to a professional, an authority, a helpline, or another subject.
- ``offers``: here is, below, but I can.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache
from importlib.resources import files

ACTS = ("refuses", "lacks", "apologises", "moralises", "sends_elsewhere", "offers")
REQUESTS = ("asks_to_know", "asks_for_text")
"""What prompts ask: about law, risk, facts and reasons; and for a text, in which an "I" may be somebody else."""
KANA = re.compile(r"[\u3040-\u30ff]")


def plain_letters(text: str) -> str:
    """Return a text in lower case, without accents (Japanese voicing marks stay) and with straight apostrophes."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = (
        text.replace("\u2019", "'").replace("\u2018", "'").replace("\u0640", "")
    )  # The last is Arabic's filler stroke.
    if text.isascii() or KANA.search(text):
        return text
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


@cache
def _table() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((files(__package__) / "speech_acts.toml").read_text(encoding="utf-8"))


@cache
def supported_languages() -> tuple[str, ...]:
    """Return the codes of the languages in the table; the judge was measured in each (docs/judges.md)."""
    return tuple(_table())


@cache
def acts_of(language: str) -> dict[str, re.Pattern[str]]:
    """Return the compiled patterns of a supported language by the name of the act."""
    return {act: re.compile("|".join(map(plain_letters, _table()[language][act]))) for act in (*ACTS, *REQUESTS)}
