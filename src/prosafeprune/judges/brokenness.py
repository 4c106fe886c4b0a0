"""Broken answers: empty, looping, gibberish, a provider's error, or the prompt repeated.

Models edited too strongly fail in these ways. An answer that is merely cut off is not broken.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

SPECIAL_TOKEN = re.compile(r"<\|[^|>]*\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<pad>|<unk>|<eos>|<bos>")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
ASKS_REPETITION = re.compile(r"\brepeat|\b(?:\d+|ten|hundred|thousand|many|over) (?:more )?times\b|\bforever\b", re.I)
RUN_OF_ONE_PIECE = re.compile(r"(\S.{0,15}?)\1{7,}", re.S)
SCRIPTS = {
    "Latin": re.compile(r"[A-Za-zÀ-ɏ]"),
    "Greek": re.compile(r"[Ͱ-Ͽ]"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]"),
    "Hebrew or Arabic": re.compile(r"[֐-ࣿ]"),
    "Indic": re.compile(r"[ऀ-෿]"),
    "Thai": re.compile(r"[฀-๿]"),
    "Kana, Hangul or Han": re.compile(r"[぀-ヿ㐀-鿿가-힯]"),
}
NOT_A_WORD = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}|[a-z][A-Z]{1,2}[a-z]|[a-z]+\d+[a-z]+|^[b-df-hj-np-tv-xz]{3,}$")
CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.S)
PROVIDER_ERROR = re.compile(
    r"\A\W*(?:(?:\w+\.)*\w*(?:Error|Exception): |Error code: \d{3}\b|\{['\"]error['\"]:"
    r"|(?:HTTP )?[45]\d\d (?:Internal|Bad|Service|Too|Gateway|Forbidden)"
    r"|(?:Internal Server Error|Service Unavailable|Rate limit (?:reached|exceeded)|Too Many Requests)\b)"
)
"""What a client or a server wrote instead of an answer."""
ASKS_ABOUT_ERRORS = re.compile(r"error|exception|code|log|traceback|debug|http|api", re.I)
GLUED_TOKENS = re.compile(r"[a-z]{3,}[A-Z][a-z]{2,}\d+\b")
"""Tokens run together, as in "I apologizeCycle189"; counts only in a very short answer."""
FAR_LETTERS = "\u0400-\u04ff\u0590-\u08ff\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters of scripts that no word shares with Latin ones; Greek ones do, in formulas."""
FAR_LETTER = re.compile(f"[{FAR_LETTERS}]")
STRAY = re.compile(f"(?<=[a-z])[{FAR_LETTERS}]+|[{FAR_LETTERS}]+(?=[a-z])|(?<=[a-z!.,] )[{FAR_LETTERS}]+(?=,? [a-z])")
"""Letters of another script glued to a Latin word, or alone in the middle of a Latin sentence."""
LATIN_WORD = re.compile(r"[A-Za-z]+")
WORDS_PER_STRAY = 40
"""One stray piece in this many words is more than a slip."""
ASKS_FOR_SCRIPTS = re.compile(
    r"translat|language|alphabet|script|japan|chin[ea]|korea|russia|ukrain|arab|hindi|hebrew|thai\b|persia|kanji|hangul",
    re.I,
)
DOUBLED = re.compile(r"([A-Za-z]{4,}?)\1")
"""A piece glued to itself, as in "limitedlimited"."""
STUTTER = re.compile(
    r"\b(?=(\w)\w{0,3}\s+\1)(the|of|to|and|a|an|in|at|for|with|by|are|was|it|on|as|this|from|or)\s+\2\b", re.I
)
"""A word that never follows itself. The look ahead, at the letters of this word and the next, rules out most words."""

LIST_ITEM = re.compile(
    r"(?:(?<=\s)|\A)(?:\d{1,3}[.)]|[-*\u2022])[ \t]+(\S.*?)(?=\s(?:\d{1,3}[.)]|[-*\u2022])[ \t]|\n|\Z)"
)
"""An item of a list, on a line of its own or in running text."""
CHOICE = re.compile(r"(?:yes|no|true|false|correct|incorrect|right|wrong|\w)?")
LEAST_ITEMS, MOST_IN_TURNS = 6, 4
"""Fewest items of a list that may be a loop, and most that return in turns."""
TAIL = 80
"""Words at the end of an answer that are checked for a collapse."""
LONGEST_PHRASE = 25
"""Longest repeated phrase that is looked for, in words."""


def broken_reason(prompt: str, answer: str) -> str | None:
    """Return why the answer is broken, in a few words, or None for an answer that can be judged."""
    text = without_special_tokens(answer).strip()
    if not any(character.isalnum() for character in text):
        return "empty answer"
    if len(text) < 1000 and PROVIDER_ERROR.match(text) and not ASKS_ABOUT_ERRORS.search(prompt):
        return "a provider's error"
    if is_echo(prompt, text):
        return "only the prompt, repeated"
    if not ASKS_REPETITION.search(prompt):
        if is_loop(text):
            return "one phrase repeated"
        if ends_in_loop(text):
            return "collapses into one phrase"
        if lists_few_things(text):
            return "a few phrases in turns"
    if len(STUTTER.findall(text)) > 1 and not STUTTER.search(prompt):
        return "stutters"
    if is_gibberish(prompt, text):
        return "not language"
    return None


def without_special_tokens(answer: str) -> str:
    """Return an answer with a space in place of each special token."""
    return SPECIAL_TOKEN.sub(" ", answer) if "<" in answer or "[" in answer else answer


@lru_cache(maxsize=8)  # several checks ask for the same answer
def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower case, without punctuation."""
    if text.isascii():
        return tuple(WORD.findall(text.lower()))
    return tuple(word.lower() for word in WORD.findall(text))  # a letter may become a letter and a mark


def is_echo(prompt: str, answer: str) -> bool:
    """Return whether the answer repeats the prompt, complete or cut off, with at most two words added."""
    asked, said = words_of(prompt), words_of(answer)
    if len(asked) < 3 or len(said) < 3 or len(said) > len(asked) + 2:
        return False
    shorter = min(len(asked), len(said))
    return asked[:shorter] == said[:shorter] and 2 * shorter >= len(asked)


def is_loop(answer: str) -> bool:
    """Return whether most of the answer is one phrase, repeated.

    Code blocks are left out, since programs do repeat lines.
    """
    text = CODE_BLOCK.sub(" ", answer)
    words = words_of(text)
    opening = words[:100]
    if len(opening) >= 24 and len(set(opening)) < len(opening) / 4:
        return True
    # A longer text may return to its words, and sums do.
    if 20 <= len(words) <= 60 and len(set(words)) < 0.36 * len(words) and not any(word[0].isdigit() for word in words):
        return True
    if len(words) < 12 or len(set(zip(words, words[1:], words[2:], strict=False))) < 0.75 * len(words):
        return says_one_phrase(words) or runs_on_one_piece(text)
    return False


def ends_in_loop(answer: str) -> bool:
    """Return whether an answer collapses: its last words repeat one phrase, list numbers aside."""
    words = words_of(CODE_BLOCK.sub(" ", answer))
    words = tuple(islice((word for word in reversed(words) if not word.isdigit()), TAIL))[::-1]
    if len(set(words)) > 0.5 * len(words):
        return False
    return any(looping_words(words, period) >= max(24, 3 * period) for period in range(1, LONGEST_PHRASE + 1))


def lists_few_things(text: str) -> bool:
    """Return whether most items of a list are one or a few in turns, as in "1. Tea 2. Milk 3. Tea 4. Milk ..."."""
    marks = list(LIST_ITEM.finditer(CODE_BLOCK.sub(" ", text)))
    if len(marks) < LEAST_ITEMS:
        return False
    items = [" ".join(words_of(mark[1])) for mark in marks]
    if all(CHOICE.fullmatch(item) for item in items):  # answers to a quiz
        return False
    least = max(LEAST_ITEMS, (len(items) + 1) // 2)
    return any(looping_words(items, period) >= max(least, 4 * period) for period in range(1, MOST_IN_TURNS + 1))


def runs_on_one_piece(text: str) -> bool:
    """Return whether most of the text is one piece of at most 16 characters, repeated without a break."""
    run = RUN_OF_ONE_PIECE.search(text)
    return run is not None and len(run.group()) >= max(16, len(text) // 2)


def says_one_phrase(words: Sequence[str]) -> bool:
    """Return whether most of the words are one phrase, repeated."""
    most = max(8, len(words) // 2)
    return any(looping_words(words, period) > most for period in range(1, LONGEST_PHRASE + 1))


def looping_words(words: Sequence[str], period: int) -> int:
    """Return the length in words of the longest stretch that repeats with this period, three times or more."""
    longest = current = 0
    for earlier, later in zip(words, words[period:], strict=False):
        current = current + 1 if earlier == later else 0
        longest = max(longest, current)
    return longest + period if longest >= 2 * period else 0


def is_gibberish(prompt: str, answer: str) -> bool:
    """Return whether the text is not language: symbols, impossible letters, or a mixture of scripts."""
    text = CODE_BLOCK.sub(" ", answer)[:600]  # The opening suffices, and long answers stay cheap.
    meaningful = sum(map(str.isalnum, text)) + (0 if text.isascii() else sum(map(combining_mark, text)))
    visible = len("".join(text.split()))
    if visible >= 20 and meaningful < 0.5 * visible and "```" not in answer:
        return True
    if len(scripts_of(text)) >= 3 and len(scripts_of(prompt)) < 2 and "translat" not in prompt.lower():
        return True
    if mixes_scripts(prompt, text) or len(DOUBLED.findall(text)) > 1:
        return True
    words = [word for word in WORD.findall(text) if len(word) > 2]
    if len(words) <= 4 and GLUED_TOKENS.search(text):
        return True
    return len(words) >= 6 and sum(map(is_impossible, words)) > 0.4 * len(words)


@lru_cache(maxsize=2**14)
def is_impossible(word: str) -> bool:
    """Return whether no language has such a word."""
    return NOT_A_WORD.search(word) is not None


def combining_mark(character: str) -> bool:
    """Return whether a character is part of a letter, as vowel signs of Devanagari are."""
    return character > "\u02ff" and unicodedata.category(character)[0] == "M"


def mixes_scripts(prompt: str, text: str) -> bool:
    """Return whether pieces of another script are strewn over Latin text, as tokens of damaged models are."""
    if text.isascii() or FAR_LETTER.search(prompt) or ASKS_FOR_SCRIPTS.search(prompt):
        return False
    words = LATIN_WORD.findall(text)
    if 2 * sum(map(len, words)) < 3 * len(FAR_LETTER.findall(text)):
        return False
    stray = len(STRAY.findall(text))
    return stray > 0 and stray * WORDS_PER_STRAY >= len(words)


def scripts_of(text: str) -> list[str]:
    """Return the names of the writing systems that the text uses more than once."""
    return [name for name, letter in SCRIPTS.items() if _is_twice(letter, text)]


def _is_twice(letter: re.Pattern[str], text: str) -> bool:
    found = letter.search(text)
    return found is not None and letter.search(text, found.end()) is not None
