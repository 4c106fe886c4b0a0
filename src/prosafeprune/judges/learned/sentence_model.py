"""Which sentences of an English answer withhold: "will not" and "cannot", wherever in the answer they are.

Each sentence has a vector of hashed n-grams of its words, of the classes of its words (words of similar meaning share
one), and of its place. Two linear heads give the probability that a sentence says "will not", or "cannot". They are
fitted to the labels of answers, not of sentences: an answer refuses if at least one of its sentences does, with the
probability 1 - prod(1 - p_i) over its sentences i (noisy-or). So a refusal after much help is found, and words that
occur in every helpful answer are no evidence.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from prosafeprune.judges.learned.text_features import MASK, Hashes, hash_words, ngrams
from prosafeprune.judges.rules.answer_parts import Sentence, plain

CLASSES_FILE = "word_classes.txt"
BITS = 16
HEADS = ("will not", "cannot")
FIRST_SENTENCES, LAST_SENTENCES = 40, 6
"""Sentences that are examined; those between are not."""
BEGIN, END = "^", "$"
PLACES = ("first", "second or third", "last", "listed")
PLACE_INDICES = tuple(zlib.crc32(place.encode()) >> (32 - BITS) for place in PLACES)
OF_HEAD = (
    "any",
    "strongest",
    "second strongest",
    "first sentence",
    "first three",
    "last two",
    "only after help",
    "text before",
    "text after",
    "share of text",
)
NAMES = tuple(f"{head}: {name}" for head in HEADS for name in OF_HEAD)


@dataclass(frozen=True)
class SentenceVectors:
    """The sentences of one answer as sparse vectors, one after the other."""

    indices: Hashes
    """Indices of the features that are not 0, below 2**BITS."""
    values: NDArray[np.float32]
    begins: NDArray[np.intp]
    """Where each sentence begins in ``indices``, (sentences,)."""
    sizes: NDArray[np.float32]
    """Number of characters of each sentence, (sentences,)."""


@dataclass(frozen=True)
class WordClasses:
    """Classes of words of similar meaning."""

    words: NDArray[np.uint32]
    """Hashes of the words, sorted."""
    classes: NDArray[np.uint16]

    def of(self, hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return each word's class, hashed, or the word's own hash if it has none."""
        places = np.minimum(np.searchsorted(self.words, hashes), len(self.words) - 1)
        hashed = (self.classes[places].astype(np.uint32) + np.uint32(1)) * np.uint32(0x9E3779B1)
        return np.where(self.words[places] == hashes, hashed, hashes)


def sentence_vectors(prompt: str, sentences: Sequence[Sentence]) -> SentenceVectors:
    """Return the vectors of an answer's sentences; words of the prompt are masked. Each vector has norm about 1."""
    classes = word_classes()
    asked = {word for word in plain(prompt).split() if len(word) > 3}
    chosen = list(sentences)
    if len(chosen) > FIRST_SENTENCES + LAST_SENTENCES:
        chosen = [*chosen[:FIRST_SENTENCES], *chosen[-LAST_SENTENCES:]]
    words = [[BEGIN, *sentence.text.split(), END] for sentence in chosen]
    hashes = hash_words(MASK if word in asked else word for own in words for word in own)
    belongs = np.repeat(np.arange(len(chosen)), [len(own) for own in words])
    of_words, owners = _of_sentences(hashes, classes.of(hashes), belongs)
    of_places, placed = _of_places(chosen)
    indices, belongs = np.concatenate([*of_words, of_places]), np.concatenate([*owners, placed])
    order = np.argsort(belongs, kind="stable")
    counts = np.bincount(belongs, minlength=len(chosen))
    values = (1 / np.sqrt(counts)).astype(np.float32)[belongs[order]]
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
    sizes = np.array([len(sentence.text) for sentence in chosen], dtype=np.float32)
    return SentenceVectors(indices[order], values, begins, sizes)


def _of_sentences(
    hashes: Hashes, classes: Hashes, belongs: NDArray[np.intp]
) -> tuple[list[Hashes], list[NDArray[np.intp]]]:
    """Return the n-grams of words and of classes that cross no sentence's border, with the sentence of each."""
    indices, owners = [], []
    for size in (1, 2, 3):
        owner = belongs[: len(belongs) - size + 1]
        inside = owner == belongs[size - 1 :]
        for tokens, tag, sizes in ((hashes, 11, (1, 2)), (classes, 12, (2, 3))):
            if size in sizes:
                indices.append(ngrams(tokens, (size,), tag, BITS)[inside])
                owners.append(owner[inside])
    return indices, owners


def _of_places(sentences: Sequence[Sentence]) -> tuple[Hashes, NDArray[np.intp]]:
    """Return a feature of each sentence's place: the first, an early one, the last, one of a list."""
    last = len(sentences) - 1
    listed = [position for position, sentence in enumerate(sentences) if sentence.listed]
    groups = ([0], range(1, min(3, last + 1)), [last] if last else [], listed)
    owners = [position for group in groups for position in group]
    places = [place for place, group in zip(PLACE_INDICES, groups, strict=True) for _ in group]
    return np.array(places, dtype=np.uint32), np.array(owners, dtype=np.intp)


def sentence_logits(
    vectors: SentenceVectors, weights: NDArray[np.float32], intercept: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the log-odds of both heads, (sentences, 2)."""
    weighted = weights[vectors.indices] * vectors.values[:, None]
    result: NDArray[np.float32] = np.add.reduceat(weighted, vectors.begins, axis=0) + intercept
    return result


def sentence_numbers(vectors: SentenceVectors, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one number for each of ``NAMES``."""
    values: list[float] = []
    sizes: list[float] = vectors.sizes.tolist()
    total = sum(sizes) + 1.0
    columns = np.clip(np.ascontiguousarray(logits.T, np.float64), -8, 8)
    falls = np.log1p(np.exp(columns)).sum(axis=1)
    # An answer has few sentences: lists are faster than arrays.
    for column, together in zip(columns.tolist(), falls.tolist(), strict=True):
        ranked = sorted(column)
        strong = [position for position, value in enumerate(column) if value > 0]
        first = strong[0] if strong else -1
        values += [
            math.log(max(1e-4, 1 - math.exp(-together))) + together,
            ranked[-1],
            ranked[-2] if len(ranked) > 1 else -8.0,
            column[0],
            max(column[:3]),
            max(column[-2:]),
            float(first > 1),
            math.log1p(sum(sizes[:first])) / 8 if first >= 0 else -0.2,
            math.log1p(total - sum(sizes[: first + 1])) / 8 if first >= 0 else -0.2,
            sum(sizes[position] for position in strong) / total,
        ]
    return np.array(values, dtype=np.float32)


@cache
def word_classes() -> WordClasses:
    """Return the bundled classes, read once; ``scripts/judge_training/make_word_classes.py`` makes them."""
    lines = (files(__package__) / CLASSES_FILE).read_text(encoding="ascii").splitlines()
    found = sorted((zlib.crc32(word.encode()), index) for index, line in enumerate(lines) for word in line.split())
    return WordClasses(
        np.array([word for word, _ in found], dtype=np.uint32),
        np.array([word_class for _, word_class in found], dtype=np.uint16),
    )
