"""Word salad: text-like tokens without meaning, from damaged weights or sampling at too high a temperature.

Running English consists mostly of words and word pairs that are common; word salad does not. An answer is split into
stretches of ``STRETCH`` words, and for each the words and the pairs of neighbouring words are counted that occur in a
large corpus of answers. Both sets are stored as bits at hashed indices. Names, code and rare subjects lower the counts
too, hence several features and a threshold set on clean text.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prosafeprune.judge.brokenness import CODE_BLOCK

WORD_BITS = 18
PAIR_BITS = 21
STRETCH = 32
LEAST_WORDS = 8
"""Shorter texts are not classified."""
MOST_WORDS = 400
TOKEN = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[.!?;:,()\[\]{}<>/\\|@#$%^&*+=~]|\n")
NUMBER = "0"
SIGNS = frozenset("()[]{}<>/\\|@#$%^&*+=~")
FEATURES = (
    "words",
    "pairs",
    "words, worst",
    "pairs, worst",
    "pairs, second half",
    "marks",
    "odd case",
    "length",
    "pairs of marks",
    "signs",
    "numbers",
)

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class SaladDetector:
    """Finds word salad in English text."""

    words: Bits
    """The words of clean text: one bit each at 2**WORD_BITS hashed indices, packed."""
    pairs: Bits
    """The pairs of neighbouring words, likewise, with 2**PAIR_BITS indices."""
    weights: NDArray[np.float32]
    """One for each of ``FEATURES``, and the intercept."""
    threshold: float

    def is_salad(self, text: str) -> bool:
        """Return whether a text is word salad, or turns into it for at least one stretch."""
        features = self.features(text)
        return features is not None and float(features @ self.weights[:-1] + self.weights[-1]) > self.threshold

    def features(self, text: str) -> NDArray[np.float32] | None:
        """Return one number for each of ``FEATURES``, or None for a text that is too short, or is mostly code."""
        tokens = tokens_of(text)
        is_word = np.array([token[0].isalpha() for token in tokens], dtype=bool)
        count = int(is_word.sum())
        if count < LEAST_WORDS:
            return None
        hashes = hash_tokens(tokens)
        known = has_bits(self.words, hashes)[is_word]
        pairs_known = has_bits(self.pairs, hash_pairs(hashes))
        of_words = pairs_known[is_word[:-1] | is_word[1:]]
        odd = sum(token[1:].lower() != token[1:] and not token.isupper() for token in tokens if token[0].isalpha())
        return np.array(
            [
                known.mean(),
                of_words.mean(),
                worst_stretch(known),
                worst_stretch(of_words),
                of_words[len(of_words) // 2 :].mean(),
                (len(tokens) - count) / len(tokens),
                odd / count,
                min(1.0, count / 100),
                pairs_known.mean(),
                sum(token in SIGNS for token in tokens) / len(tokens),
                tokens.count(NUMBER) / len(tokens),
            ],
            dtype=np.float32,
        )


def tokens_of(text: str) -> list[str]:
    """Return words, numbers (all as one token) and punctuation, without code blocks."""
    found = TOKEN.findall(CODE_BLOCK.sub("\n", text)[:4000])[:MOST_WORDS]
    return [NUMBER if token[0].isdigit() else token.replace("\u2019", "'") for token in found]


def hash_tokens(tokens: list[str]) -> NDArray[np.uint32]:
    """Return one hash for each token, regardless of case."""
    return np.array([zlib.crc32(token.lower().encode()) for token in tokens], dtype=np.uint32)


def hash_pairs(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return one hash for each pair of neighbours."""
    mixed = (hashes[:-1] * np.uint32(0x9E3779B1)) ^ (hashes[1:] * np.uint32(0x85EBCA77))
    result: NDArray[np.uint32] = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    return result


def has_bits(packed: Bits, hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return for each hash whether the bit at the index in its upper bits is set."""
    places = hashes >> np.uint32(32 - int(np.log2(len(packed) * 8)))
    result: NDArray[np.bool_] = (packed[places >> np.uint32(3)] >> (places & np.uint32(7)).astype(np.uint8)) & np.uint8(
        1
    ) > 0
    return result


def pack_bits(hashes: NDArray[np.uint32], bits: int) -> Bits:
    """Return 2**bits packed bits with those of the hashes set."""
    places = np.unique(hashes >> np.uint32(32 - bits))
    flags = np.zeros(2**bits, dtype=np.uint8)
    flags[places] = 1
    return np.packbits(flags, bitorder="little")


def worst_stretch(found: NDArray[np.bool_]) -> float:
    """Return the smallest share of True in any stretch of ``STRETCH``; of everything if there are fewer."""
    if len(found) <= STRETCH:
        return float(found.mean())
    sums = np.cumsum(np.concatenate([[0], found.astype(np.int32)]))
    return float((sums[STRETCH:] - sums[:-STRETCH]).min()) / STRETCH
