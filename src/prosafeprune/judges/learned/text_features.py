"""An answer as a sparse vector: hashed word and character n-grams of its opening, turn, body and close.

Words of the prompt are masked, so that the weights learn the manner of answers rather than their subject. Hashing is
vectorised: a hash of each word or character, combined along the text. There is no vocabulary.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
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
PARTS = {
    "opening": (1, (1, 2, 3)),
    "first words": (2, (1, 2, 3, 4, 5)),
    "body": (3, (1, 2)),
    "characters": (4, (3, 4, 5)),
    "close": (5, (1, 2)),
    "turn": (6, (1, 2, 3)),
}
"""Parts of an answer, in the order of their features: the tag and the sizes of each part's n-grams."""
PIECE = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|```|[?!:;\u201c\"*#]|\n\s*[-*\u2022]|\n")
"""Words, and punctuation that shapes an answer."""
TURN = frozenset(["however", "but", "instead", "still", "nevertheless", "nonetheless", "though", "rather"])
"""Words at which an answer turns, as from an apology to help."""

_MULTIPLIERS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1], dtype=np.uint32)
_SCRAMBLE = np.uint32(0x2C1B3C6D)

Hashes = NDArray[np.uint32]


def hashed_features(prompts: Sequence[str], answers: Sequence[str]) -> list[tuple[Hashes, NDArray[np.float32]]]:
    """Return the indices (below 2**BITS) and the values of each answer's features; each group has norm 1.

    All answers are hashed at once: numpy takes longer to begin with a short array than to go through it.
    """
    if not answers:
        return []
    masked = [_masked(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    hashed = hash_words(word for words in masked for word in words)
    ends = np.cumsum([len(words) for words in masked], dtype=np.intp).tolist()
    characters = [" ".join(words[: OPENING_WORDS + 8])[:OPENING_CHARACTERS] for words in masked]
    spans: dict[str, list[slice]] = {part: [] for part in PARTS}
    for words, end in zip(masked, ends, strict=True):
        begin = end - len(words)
        turn = _turn(words)
        spans["opening"].append(slice(begin, min(begin + OPENING_WORDS, end)))
        spans["first words"].append(slice(begin, min(begin + 5, end)))
        spans["body"].append(slice(begin + OPENING_WORDS, min(begin + BODY_WORDS, end)))
        spans["close"].append(slice(end - CLOSING_WORDS if len(words) > OPENING_WORDS + CLOSING_WORDS else end, end))
        spans["turn"].append(slice(end if turn is None else begin + turn, min(begin + (turn or 0) + TURN_WORDS, end)))
    groups = []
    for part, (tag, sizes) in PARTS.items():
        if part == "characters":
            tokens, lengths = _hash_characters("".join(characters)), list(map(len, characters))
        else:
            slices = [hashed[span] for span in spans[part]]
            tokens, lengths = np.concatenate(slices), list(map(len, slices))
        groups.append(ngrams_within(tokens, np.repeat(np.arange(len(answers)), lengths), sizes, tag, BITS))
    return _distinct(groups, len(answers))


def _masked(prompt: str, answer: str) -> list[str]:
    """Return the words and punctuation of an answer, those of the prompt masked."""
    known = {word for word in pieces(prompt) if len(word) > 3}
    return [MASK if word in known else word for word in pieces(answer)]


def _distinct(
    groups: Sequence[tuple[Hashes, NDArray[np.intp]]], answers: int
) -> list[tuple[Hashes, NDArray[np.float32]]]:
    """Return each answer's distinct indices, sorted in each group, one group after the other, each with norm 1."""
    keys = np.concatenate(  # the answer, the group (one of fewer than 8), the index
        [
            (owners << 3 | which).astype(np.uint64) << np.uint64(32) | indices
            for which, (indices, owners) in enumerate(groups)
        ]
    )
    keys.sort()
    keys = np.concatenate([keys[:1], keys[1:][keys[1:] != keys[:-1]]])
    counts = np.bincount((keys >> np.uint64(32)).astype(np.intp), minlength=answers << 3)
    values = np.repeat((1 / np.sqrt(np.maximum(counts, 1))).astype(np.float32), counts)
    ends = np.cumsum(counts.reshape(answers, -1).sum(axis=1))[:-1]
    indices = keys.astype(np.uint32)  # the lower half of a key
    return list(zip(np.split(indices, ends), np.split(values, ends), strict=True))


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


def ngrams_within(
    hashes: Hashes, owners: NDArray[np.intp], sizes: tuple[int, ...], tag: int, bits: int
) -> tuple[Hashes, NDArray[np.intp]]:
    """Return the n-grams of several sequences, one after the other in ``hashes``, and the owner of each.

    ``owners`` says which sequence a hash belongs to; no n-gram crosses a border.
    """
    indices, belongs = [], []
    for size in sizes:
        owner = owners[: max(0, len(owners) - size + 1)]
        inside = owner == owners[size - 1 :]
        indices.append(ngrams(hashes, (size,), tag, bits)[inside])
        belongs.append(owner[inside])
    return np.concatenate(indices), np.concatenate(belongs)


@lru_cache(maxsize=64)
def _seeds(sizes: tuple[int, ...], tag: int) -> Hashes:
    return np.array([tag * 0x51ED270B + size * 0x68E31DA4 & 0xFFFFFFFF for size in sizes], dtype=np.uint32)
