"""An answer as a sparse vector: hashed word and character n-grams of its opening, turn, body and close.

Words of the prompt are masked, so that the weights learn the manner of answers rather than their subject. Hashing is
vectorised: a hash of each word or character, combined along the text. There is no vocabulary.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prosafeprune.judges.rules.answer_parts import spell_out

BITS = 17
"""The vector has 2**BITS entries; n-grams that collide share a weight."""
OPENING_WORDS = 32
BODY_WORDS = 170
CLOSING_WORDS = 24
TURN_WORDS = 14
OPENING_CHARACTERS = 180
MASK = "\u00a4"
"""Replaces a word of the prompt."""
PIECE = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|```|[?!:;\u201c\"*#]|\n\s*[-*\u2022]|\n")
"""Words, and punctuation that shapes an answer."""
TURN = frozenset(["however", "but", "instead", "still", "nevertheless", "nonetheless", "though", "rather"])
"""Words at which an answer turns, as from an apology to help."""

_MULTIPLIERS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)
_SCRAMBLE = np.uint32(0x2C1B3C6D)

Hashes = NDArray[np.uint32]


def hashed_features(prompt: str, answer: str) -> tuple[Hashes, NDArray[np.float32]]:
    """Return the indices (below 2**BITS) and the values of an answer's features; each group has norm 1."""
    words = pieces(answer)
    known = {word for word in pieces(prompt) if len(word) > 3}
    masked = [MASK if word in known else word for word in words]
    hashed = hash_words(masked)
    groups = [
        ngrams(hashed[:OPENING_WORDS], (1, 2, 3), tag=1),
        ngrams(hashed[:5], (1, 2, 3, 4, 5), tag=2)[:15],
        ngrams(hashed[OPENING_WORDS:BODY_WORDS], (1, 2), tag=3),
        ngrams(_hash_characters(" ".join(masked[: OPENING_WORDS + 8])[:OPENING_CHARACTERS]), (3, 4, 5), tag=4),
    ]
    if len(words) > OPENING_WORDS + CLOSING_WORDS:
        groups.append(ngrams(hashed[-CLOSING_WORDS:], (1, 2), tag=5))
    turn = _turn(masked)
    if turn is not None:
        groups.append(ngrams(hashed[turn : turn + TURN_WORDS], (1, 2, 3), tag=6))
    return _distinct(groups)


def _distinct(groups: list[Hashes]) -> tuple[Hashes, NDArray[np.float32]]:
    """Return the distinct indices of each group, sorted, one group after the other, with values of norm 1 a group."""
    which = np.repeat(np.arange(len(groups), dtype=np.uint64), [len(group) for group in groups])
    keys = which << np.uint64(32) | np.concatenate(groups)
    keys.sort()
    keys = np.concatenate([keys[:1], keys[1:][keys[1:] != keys[:-1]]])
    counts = np.bincount((keys >> np.uint64(32)).astype(np.intp), minlength=len(groups))
    values = np.repeat((1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32), counts)
    return keys.astype(np.uint32), values  # an index is the lower half of its key


def pieces(text: str) -> list[str]:
    """Return a text's words and punctuation: lower case, contractions spelled out, digits unified."""
    found = PIECE.findall(spell_out(unicodedata.normalize("NFKC", text[:6000])))
    return [
        "0" if piece[0].isdigit() else "\n-" if piece[0] == "\n" and piece[-1] in "-*\u2022" else piece
        for piece in found
    ]


def _turn(words: list[str]) -> int | None:
    """Return the index of the first turning word after the fourth word."""
    for position, word in enumerate(words[4:80], 4):
        if word in TURN:
            return position
    return None


def hash_words(words: Iterable[str]) -> Hashes:
    """Return one hash for each word."""
    return np.fromiter(map(hash_word, words), np.uint32)


@lru_cache(maxsize=2**14)
def hash_word(word: str) -> int:
    """Return the hash of one word; most words of an answer were in others."""
    return zlib.crc32(word.encode())


def _hash_characters(text: str) -> Hashes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32) * np.uint32(0x9E3779B1)


def ngrams(hashes: Hashes, sizes: tuple[int, ...], tag: int, bits: int = BITS) -> Hashes:
    """Return the index, below 2**bits, of every n-gram of the given sizes, in ascending order of size.

    ``tag`` separates the parts of an answer.
    """
    sizes = tuple(size for size in sizes if size <= len(hashes))
    if not sizes:
        return np.empty(0, np.uint32)
    # One row for each size, as long as that of the shortest n-grams; what hangs over the end is cut off below.
    begins = len(hashes) - sizes[0] + 1
    padded = np.concatenate([hashes, np.zeros(sizes[-1] - sizes[0], np.uint32)])
    combined = np.repeat(_seeds(sizes, tag), begins).reshape(len(sizes), begins)
    for offset in range(sizes[-1]):
        longer = combined[sum(size <= offset for size in sizes) :]
        longer ^= padded[offset : offset + begins]
        longer *= _MULTIPLIERS[offset]
        longer ^= longer >> np.uint32(15)
    combined *= _SCRAMBLE
    combined >>= np.uint32(32 - bits)
    return np.concatenate([row[: len(hashes) - size + 1] for row, size in zip(combined, sizes, strict=True)])


@lru_cache(maxsize=64)
def _seeds(sizes: tuple[int, ...], tag: int) -> Hashes:
    return np.array([tag * 0x51ED270B + size * 0x68E31DA4 & 0xFFFFFFFF for size in sizes], dtype=np.uint32)
