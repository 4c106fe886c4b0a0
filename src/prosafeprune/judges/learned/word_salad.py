"""Word salad: text-like tokens without meaning, from damaged weights or sampling at too high a temperature.

Three small statistics of ordinary answers score an answer's tokens: which words and which pairs of neighbouring words
occur in a large corpus (bits at hashed indices), how plausible it is that one *kind* of word follows another (a
bigram model over some hundred classes: the most frequent words, and the endings of all others), and how plausible the
letters are (a trigram model). Salad made of common words fails the second, salad of word pieces the third. Each score
is averaged over the answer and over its worst stretch, since answers also collapse half-way. Names, code and rare
subjects lower the scores too, hence several features, boosted trees over them, and a threshold set on clean text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prosafeprune.judges.brokenness import CODE_BLOCK
from prosafeprune.judges.learned.trees import FIELDS, BoostedTrees

WORD_BITS = 18
PAIR_BITS = 21
STRETCH = 32
"""Tokens, or pairs of them, in a stretch; letters come in stretches of ``STRETCH_OF_LETTERS``."""
STRETCH_OF_LETTERS = 160
LEAST_WORDS = 8
"""Shorter texts are not classified."""
MOST_WORDS = 400
TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[.!?;:,()\[\]{}<>/\\|@#$%^&*+=~\"`-]|\n")
NUMBER = "0"
DIGIT = re.compile(r"\d")
STAND_IN = "it"
"""What a name of a thing is read as: it stands where a noun does."""
INLINE_CODE = re.compile(r"`[^`\n]{1,200}`")
NAMED_THING = re.compile(
    r"https?://\S+|www\.\S+|(?<!\S)[~.]{0,2}(?:/[\w.@%+-]+)+/?|\b[\w-]+(?:/[\w.-]+){2,}"  # addresses, paths
    r"|(?<![\w-])[A-Za-z]:\\\S+|\b\w+(?:\.\w+)*\(\)"  # paths on Windows, functions
    r"|\b[A-Za-z]\w*_\w+\b|\b[\w-]{2,}\.(?:py|js|ts|sh|txt|json|ya?ml|toml|csv|conf|cfg|ini|md|html?|css|exe|log|docx?"
    r"|xlsx?|pdf|png|jpe?g|zip|gz|c|cpp|h|rs|go|java|rb|sql)\b"  # names with underscores, files
    r"|\b(?:[A-Z][a-z]?\d*){1,8}\d(?:[A-Z][a-z]?\d*){0,8}\b"  # formulas of substances
)
OPTION = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*(?:=\S+)?(?=[\s.,;:)]|\Z)")
QUANTITY = re.compile(
    r"[~\u2248\u00b1<>+-]?\d[\d.,:/\u00d7x^\u2013-]*\s?(?:[\u00b0\u00ba]\s?[CFK]?\b|[%\u2030\u20ac\u00a3]|(?:[kmcnMGT\u00b5\u03bc]?(?:m|g|l|L|s|A|V|W|Hz|J"
    r"|B|b|Pa|mol|Wh|eV|bps|N)|mins?|hrs?|h|lbs?|oz|tsp|tbsp|cups?|ml|mL|kcal|cal|ppm|psi|mmHg|atm|rpm|fps|dpi|px|ft|yd"
    r"|mph|kph|km/h|dB|bar|USD|EUR|GBP|gal|qt|pt|GB|MB|KB|TB|Mbps|Gbps|ms|ns)\d?(?:\s?[/\u00b7]\s?\w{1,4}\d?)?\b(?!'))"
)
"""A number with its unit: one number to the statistics."""
SIGNS = frozenset("()[]{}<>/\\|@#$%^&*+=~`")
FREQUENT = 220
"""Number of words and signs with a separate class."""
ENDINGS = 48
"""Classes of other words by a hash of their last two letters, once in lower case and once capitalised."""
CLASSES = FREQUENT + 2 * ENDINGS
LETTERS = 28
"""Not a letter, a to z, another letter."""
SCALE = 16
"""Steps per nat of the stored log-likelihoods, which are one byte each."""
FEATURES = (
    "words",
    "words, worst",
    "pairs",
    "pairs, worst",
    "pairs, second half",
    "steps",
    "steps, worst",
    "steps, second half",
    "letters",
    "letters, worst",
    "frequent",
    "frequent, worst",
    "capitals",
    "marks",
    "odd case",
    "length",
    "signs",
    "numbers",
    "foreign letters",
)
SHAPE = np.dtype(
    [
        ("hash", np.uint32),
        ("ending", np.uint32),
        *((name, np.bool_) for name in ("is word", "odd case", "capital", "sign")),
    ]
)
"""What the statistics ask of a token: its hash, its class if it is not frequent, and what it looks like."""
TABLES = ("words", "pairs", "frequent", "steps", "letters")

Bits = NDArray[np.uint8]
Hashes = NDArray[np.uint32]
Shapes = NDArray[np.void]
"""Arrays of dtype ``SHAPE``."""
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class TextStatistics:
    """What ordinary text looks like."""

    words: Bits
    """The words of clean text: one bit each at 2**WORD_BITS hashed indices, packed."""
    pairs: Bits
    """The pairs of neighbouring tokens, in the same format, at 2**PAIR_BITS indices."""
    frequent: Hashes
    """Hashes of the most frequent tokens, sorted, (FREQUENT,)."""
    steps: NDArray[np.int8]
    """How much likelier a class is after another than anywhere, in nats times SCALE, (CLASSES, CLASSES)."""
    letters: NDArray[np.int8]
    """Log-likelihood of a letter after two others, in nats times SCALE, (LETTERS**3,)."""

    def features(self, text: str) -> NDArray[np.float32] | None:
        """Return one number for each of ``FEATURES``, or None for a text that is too short, or is mostly code."""
        tokens = tokens_of(text)
        shapes = shapes_of(tokens)
        is_word = shapes["is word"]
        count = int(is_word.sum())
        if count - tokens.count(STAND_IN) < LEAST_WORDS:
            return None
        hashes = shapes["hash"]
        known = has_bits(self.words, hashes)[is_word]
        pairs = has_bits(self.pairs, hash_pairs(hashes))[is_word[:-1] | is_word[1:]]
        classes = classes_of(shapes, self.frequent)
        steps = self.steps[classes[:-1], classes[1:]] / np.float32(SCALE)
        codes = letter_codes(" ".join(compress(tokens, is_word.tolist())))
        letters = self.letters[trigrams(codes)] / np.float32(SCALE)
        frequent = classes[is_word] < FREQUENT
        inside = shapes["capital"][1:][is_word[1:] & is_word[:-1]]
        return np.array(
            [
                mean(known),
                worst_stretch(known, STRETCH),
                mean(pairs),
                worst_stretch(pairs, STRETCH),
                mean(pairs[len(pairs) // 2 :]),
                mean(steps),
                worst_stretch(steps, STRETCH),
                mean(steps[len(steps) // 2 :]),
                mean(letters),
                worst_stretch(letters, STRETCH_OF_LETTERS),
                mean(frequent),
                worst_stretch(frequent, STRETCH),
                mean(inside),
                (len(tokens) - count) / len(tokens),
                np.count_nonzero(shapes["odd case"]) / count,
                min(1.0, count / 100),
                np.count_nonzero(shapes["sign"]) / len(tokens),
                tokens.count(NUMBER) / len(tokens),
                mean(codes == LETTERS - 1),
            ],
            dtype=np.float32,
        )


@dataclass(frozen=True)
class SaladDetector:
    """Finds word salad in English text."""

    statistics: TextStatistics
    trees: BoostedTrees
    threshold: float

    def is_salad(self, text: str) -> bool:
        """Return whether a text is word salad, or turns into it for at least one stretch."""
        return self.are_salad([text])[0]

    def are_salad(self, texts: Sequence[str]) -> list[bool]:
        """Return for each text whether it is word salad; the trees are fastest with many texts at once."""
        found = [self.statistics.features(text) for text in texts]
        tested = [features for features in found if features is not None]
        logits = iter(self.trees.logits(np.stack(tested))[:, 0].tolist() if tested else [])
        return [features is not None and next(logits) > self.threshold for features in found]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], threshold: float) -> SaladDetector:
        """Return the detector whose arrays are named ``salad.*``."""
        return cls(
            TextStatistics(**{name: arrays[f"salad.{name}"] for name in TABLES}),
            BoostedTrees.from_arrays({name: arrays[f"salad.trees.{name}"] for name in FIELDS}),
            threshold,
        )


def tokens_of(text: str) -> list[str]:
    """Return words, numbers (all as one token) and punctuation, without code blocks, names of things and units."""
    found = TOKEN.findall(_without_technical(CODE_BLOCK.sub("\n", text)[:4000].replace("\u2019", "'")))[:MOST_WORDS]
    return [NUMBER if token[0].isdigit() else token for token in found]


def _without_technical(text: str) -> str:
    """Return a text with a word in place of what follows other rules than sentences: code, paths, units.

    Ordinary answers are read in the same way, so a text of nothing but such things is not ordinary either.
    """
    text = INLINE_CODE.sub(STAND_IN, text) if "`" in text else text
    if any(sign in text for sign in "/_.(\\") or DIGIT.search(text):
        text = NAMED_THING.sub(STAND_IN, text)
    text = OPTION.sub(STAND_IN, text) if " -" in text else text
    return QUANTITY.sub(NUMBER, text) if DIGIT.search(text) else text


def shapes_of(tokens: Sequence[str]) -> Shapes:
    """Return the ``SHAPE`` of each token."""
    return np.frombuffer(b"".join(map(_shape, tokens)), SHAPE)


@lru_cache(maxsize=2**14)
def _shape(token: str) -> bytes:
    """Return the shape of one token; most tokens of an answer were in others."""
    first, rest = token[0], token[1:]
    ending = zlib.crc32(token[-2:].lower().encode()) % ENDINGS
    shape = (
        zlib.crc32(token.lower().encode()),
        FREQUENT + ending + ENDINGS * first.isupper(),
        first.isalpha(),
        first.isalpha() and rest.lower() != rest and not token.isupper(),
        first.isupper(),
        token in SIGNS,
    )
    return np.array(shape, SHAPE).tobytes()


def hash_tokens(tokens: Sequence[str]) -> Hashes:
    """Return one hash for each token, regardless of case."""
    hashes: Hashes = shapes_of(tokens)["hash"]
    return hashes


def hash_pairs(hashes: Hashes) -> Hashes:
    """Return one hash for each pair of neighbours."""
    mixed = (hashes[:-1] * np.uint32(0x9E3779B1)) ^ (hashes[1:] * np.uint32(0x85EBCA77))
    result: Hashes = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    return result


def classes_of(shapes: Shapes, frequent: Hashes) -> NDArray[np.intp]:
    """Return each token's class: its own if it is frequent, else one by ending and capital."""
    classes = np.minimum(np.searchsorted(frequent, shapes["hash"]), len(frequent) - 1)
    return np.where(frequent[classes] == shapes["hash"], classes, shapes["ending"])


def letter_codes(text: str) -> NDArray[np.intp]:
    """Return 0 for what is not a letter, 1 to 26 for a to z, and 27 for other letters, one for each character."""
    codes = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.intp)
    latin = (codes >= ord("a")) & (codes <= ord("z"))
    return np.where(latin, codes - ord("a") + 1, np.where(codes < 128, 0, LETTERS - 1))


def trigrams(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the index of each three neighbouring codes."""
    result: NDArray[np.intp] = (codes[:-2] * LETTERS + codes[1:-1]) * LETTERS + codes[2:]
    return result


def has_bits(packed: Bits, hashes: Hashes) -> NDArray[np.bool_]:
    """Return for each hash whether the bit at the index in its upper bits is set."""
    places = hashes >> np.uint32(32 - int(np.log2(len(packed) * 8)))
    result: NDArray[np.bool_] = (packed[places >> np.uint32(3)] >> (places & np.uint32(7)).astype(np.uint8)) & np.uint8(
        1
    ) > 0
    return result


def pack_bits(hashes: Hashes, bits: int) -> Bits:
    """Return 2**bits packed bits with those of the hashes set."""
    places = np.unique(hashes >> np.uint32(32 - bits))
    flags = np.zeros(2**bits, dtype=np.uint8)
    flags[places] = 1
    return np.packbits(flags, bitorder="little")


def mean(scores: NDArray[Any]) -> float:
    """Return the mean, 0 of nothing; the general ``np.mean`` takes several times as long for a few words."""
    if not len(scores):
        return 0.0
    total = np.count_nonzero(scores) if scores.dtype == np.bool_ else np.add.reduce(scores)
    return float(total / len(scores))


def worst_stretch(scores: NDArray[Any], length: int) -> float:
    """Return the smallest mean of any ``length`` neighbouring scores; the mean of all if there are fewer."""
    if len(scores) <= length:
        return mean(scores)
    sums = np.cumsum(scores, dtype=np.float64)
    return min(float(sums[length - 1]), float((sums[length:] - sums[:-length]).min())) / length
