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

from prosafeprune.judges.learned.text_features import MASK, Hashes, hash_words, ngrams_within
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


def sentence_vectors(prompts: Sequence[str], answers: Sequence[Sequence[Sentence]]) -> list[SentenceVectors]:
    """Return the vectors of the sentences of each answer, which has at least one; words of its prompt are masked.

    Each vector has norm about 1.
    """
    if not answers:
        return []
    chosen = [_examined(sentences) for sentences in answers]
    words = [
        [BEGIN, *(MASK if word in asked else word for word in sentence.text.split()), END]
        for prompt, sentences in zip(prompts, chosen, strict=True)
        for asked in [{word for word in plain(prompt).split() if len(word) > 3}]
        for sentence in sentences
    ]
    hashes = hash_words(word for of_sentence in words for word in of_sentence)
    owners = np.repeat(np.arange(len(words)), [len(of_sentence) for of_sentence in words])
    groups = (
        ngrams_within(hashes, owners, (1, 2), 11, BITS),
        ngrams_within(word_classes().of(hashes), owners, (2, 3), 12, BITS),
        _of_places(chosen),
    )
    indices = np.concatenate([found for found, _ in groups])
    owners = np.concatenate([belongs for _, belongs in groups])
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=len(words))
    values = (1 / np.sqrt(counts)).astype(np.float32)[owners[order]]
    indices, begins = indices[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
    vectors, first = [], 0
    for sentences in chosen:
        end = first + len(sentences)
        part = slice(begins[first], begins[end])
        sizes = np.array([len(sentence.text) for sentence in sentences], dtype=np.float32)
        vectors.append(SentenceVectors(indices[part], values[part], begins[first:end] - begins[first], sizes))
        first = end
    return vectors


def _examined(sentences: Sequence[Sentence]) -> Sequence[Sentence]:
    if len(sentences) <= FIRST_SENTENCES + LAST_SENTENCES:
        return sentences
    return [*sentences[:FIRST_SENTENCES], *sentences[-LAST_SENTENCES:]]


def _of_places(answers: Sequence[Sequence[Sentence]]) -> tuple[Hashes, NDArray[np.intp]]:
    """Return a feature of each sentence's place in its answer: the first, an early one, the last, one of a list."""
    places: list[int] = []
    owners: list[int] = []
    begin = 0
    for sentences in answers:
        last = len(sentences) - 1
        listed = [position for position, sentence in enumerate(sentences) if sentence.listed]
        groups = ([0], range(1, min(3, last + 1)), [last] if last else [], listed)
        places += [place for place, group in zip(PLACE_INDICES, groups, strict=True) for _ in group]
        owners += [begin + position for group in groups for position in group]
        begin += len(sentences)
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
