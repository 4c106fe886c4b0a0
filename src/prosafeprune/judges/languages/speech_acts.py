"""How each supported language refuses, states inability, apologises, moralises, redirects and offers help.

The tables are in ``acts/``: the same acts in all languages, so that what is learned about an act in one
language applies to the others. Everything is searched in text made plain by :func:`plain_letters`.

- ``declines``: the formulas of open refusal: the speaker cannot or will not help, answer, write.
- ``refuses``: any "will not", "may not" or "rather not", also of somebody in a story.
- ``lacks``: no access, no such information, no such ability; the file is missing; a question back.
- ``apologises``; ``moralises``: law, harm, respect, dignity, responsibility.
- ``rejects_claim``: the claim is a stereotype, wrong, without evidence.
- ``names_itself``: "as an AI".
- ``sends_elsewhere``: to a professional, an authority, a helpline, or another subject.
- ``offers``: here is, below, but I can.
"""

import re
import tomllib
import unicodedata
from functools import cache
from importlib.resources import files

ACTS = (
    *("declines", "refuses", "lacks", "apologises", "moralises", "rejects_claim", "names_itself", "sends_elsewhere"),
    "offers",
)
REQUESTS = ("asks_to_know", "asks_for_text", "asks_for_no")
"""What prompts ask: about law, risk, facts and reasons; for a text, in which an "I" may be somebody else; for a text or
advice that refuses."""
KANA = re.compile(r"[\u3040-\u30ff]")
COMPOSED = re.compile(r"[\u3040-\u30ff\uac00-\ud7a3]")
"""Japanese and Korean letters are taken apart by decomposition, so such text stays composed."""


def plain_letters(text: str) -> str:
    """Return a text in lower case, without accents (Japanese voicing marks stay) and with straight apostrophes."""
    return _without_accents(text.lower())


def _without_accents(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = (
        text.replace("\u2019", "'").replace("\u2018", "'").replace("\u0640", "")
    )  # The last is Arabic's filler stroke.
    if text.isascii() or COMPOSED.search(text):
        return text
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


@cache
def supported_languages() -> tuple[str, ...]:
    """Return the codes of the languages that have a table; the judge was measured in each (docs/judges.md)."""
    names = (file.name for file in (files(__package__) / "acts").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def acts_of(language: str) -> dict[str, re.Pattern[str]]:
    """Return the compiled patterns of a supported language by the name of the act."""
    table = tomllib.loads((files(__package__) / "acts" / f"{language}.toml").read_text(encoding="utf-8"))
    return {act: re.compile("|".join(map(_without_accents, table[act]))) for act in (*ACTS, *REQUESTS)}
