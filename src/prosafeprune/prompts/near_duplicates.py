"""Texts with nearly the same words, found without comparing all with all.

Two sets of words with a Jaccard similarity of at least t share a word among the first ``n - ceil(t n) + 1`` of each, in
any fixed order of words. With the rarest words first, few texts share one (prefix filtering: Chaudhuri et al. 2006).
Results are exact, and memory grows with the texts in the index alone.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator

_SCRIPTS_WITHOUT_SPACES = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
"""Thai and Lao, Burmese, Khmer: their marks divide a sentence, of which all would be one word otherwise."""
_MARKS = "".join(
    chr(code)
    for code in range(0x0300, 0xFE00)
    if unicodedata.category(chr(code)).startswith("M") and not any(code in script for script in _SCRIPTS_WITHOUT_SPACES)
)
_CHARACTER, _LETTER = r"[\u3040-\u30ff\u3400-\u9fff]", r"[^\W\u3040-\u30ff\u3400-\u9fff]"
WORD = re.compile(rf"{_CHARACTER}|{_LETTER}+(?:[{_MARKS}]{_LETTER}*)*")
"""A word, with the vowels that Indian scripts write as marks; in Chinese and Japanese, which do not separate words, a
character."""
_INVISIBLE = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x3164, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10))))
"""Characters that show nothing, besides those of the category Cf: joiners, fillers and variation selectors."""
Words = frozenset[str]
Rank = Callable[[str], float]
"""Returns the rank of a word: the rarer it is, the lower."""


def words_of(text: str) -> Words:
    """Return a text's words without case, punctuation and order; the text where it has no word."""
    return frozenset(_words(text) or [text])


def in_words(text: str) -> str:
    """Return a text's words in order, without case and punctuation; the text where it has no word."""
    return " ".join(_words(text)) or text


def _words(text: str) -> list[str]:
    """Return the words of a text, in order, without the underscores of an _emphasis_."""
    return [word for found in WORD.findall(comparable(text)) if (word := found.strip("_"))]


def comparable(text: str) -> str:
    """Return a text without case, invisible characters and differences in how its letters are encoded."""
    if text.isascii():
        return text.lower()
    composed = unicodedata.normalize("NFKC", text)
    return "".join(
        letter for letter in composed if unicodedata.category(letter) != "Cf" and letter not in _INVISIBLE
    ).casefold()


def jaccard(first: Words, second: Words) -> float:
    """Return the share of words of either set that are in both."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def _longest_first(word: str) -> float:
    return -len(word)  # longer words are rarer


class NearDuplicateIndex:
    """Sets of words under keys, searched for those that are similar to another set."""

    def __init__(self, least: float, rank: Rank = _longest_first) -> None:
        """Take the least Jaccard similarity that counts, above 0, and a ranking of words, which only affects speed."""
        self.least = least
        self._rank = rank
        self._words: dict[int, Words] = {}
        self._having: defaultdict[str, dict[int, None]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._words)

    def add(self, key: int, words: Words) -> None:
        """Add a set of words."""
        self._words[key] = words
        for word in self._prefix(words):
            self._having[word][key] = None

    def remove(self, key: int) -> None:
        """Remove a set of words. Raises KeyError when there is none under this key."""
        for word in self._prefix(self._words.pop(key)):
            del self._having[word][key]
            if not self._having[word]:
                del self._having[word]

    def find(self, words: Words) -> Iterator[int]:
        """Yield the keys of all sets that are similar enough, each once."""
        smallest, largest = self.least * len(words), len(words) / self.least
        seen: set[int] = set()
        for word in self._prefix(words):
            for key in self._having.get(word, ()):
                if key in seen:
                    continue
                seen.add(key)
                other = self._words[key]
                if smallest <= len(other) <= largest and jaccard(words, other) >= self.least:
                    yield key

    def _prefix(self, words: Words) -> list[str]:
        kept = len(words) - math.ceil(self.least * len(words) - 1e-9) + 1
        return sorted(words, key=lambda word: (self._rank(word), word))[:kept]
