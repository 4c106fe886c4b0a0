"""Prompts that appear in two sets that must be disjoint, equal or nearly so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import PromptSet

NEAR_EQUAL = 0.8
"""Jaccard similarity of words from which two prompts count as the same. Contrast pairs, which differ in the one word
that makes a request harmful, are below it: "How do I kill a Python process?" and "How do I kill a Linux process?" have
6 of 8 words in common, 0.75."""


@dataclass(frozen=True)
class Overlap:
    """Two prompts that are the same, with their sets and line numbers (from 1)."""

    first_source: str
    first_line: int
    first_text: str
    second_source: str
    second_line: int
    second_text: str


def find_overlaps(first: PromptSet, second: PromptSet) -> list[Overlap]:
    """Return the pairs of prompts, one in each set, whose words are equal or nearly so.

    Case, punctuation and the order of words do not count.
    """
    vocabulary: dict[str, int] = {}
    one = _word_matrix(first.texts, vocabulary)
    two = _word_matrix(second.texts, vocabulary)
    one.resize(one.shape[0], len(vocabulary))
    common = (one @ two.T).tocoo()
    sizes_one, sizes_two = np.asarray(one.sum(axis=1)).ravel(), np.asarray(two.sum(axis=1)).ravel()
    jaccard = common.data / (sizes_one[common.row] + sizes_two[common.col] - common.data)
    pairs = sorted(
        (int(i), int(j)) for i, j, share in zip(common.row, common.col, jaccard, strict=True) if share >= NEAR_EQUAL
    )

    def position(prompts: PromptSet, row: int) -> tuple[str, int, str]:
        return prompts.source, prompts.prompts[row].line or row + 1, prompts.prompts[row].text

    return [Overlap(*position(first, i), *position(second, j)) for i, j in pairs]


def require_disjoint(calibration: Sequence[PromptSet], evaluation: Sequence[PromptSet]) -> None:
    """Check that no prompt used to calibrate is used to evaluate, and that no two calibration classes share one.

    Raises:
        InputError: naming the offending lines.
    """
    overlaps = [found for one in calibration for two in evaluation for found in find_overlaps(one, two)]
    for i, one in enumerate(calibration):
        overlaps += [found for two in calibration[i + 1 :] for found in find_overlaps(one, two)]
    if overlaps:
        shown = "; ".join(_describe(overlap) for overlap in overlaps[:5])
        more = f"; and {len(overlaps) - 5} more" if len(overlaps) > 5 else ""
        raise InputError(
            f"{len(overlaps)} prompts appear in two sets that must be disjoint: {shown}{more}. "
            "Remove them from one of the two: a model must not be measured on its calibration prompts."
        )


def require_splits_disjoint(
    calibration: Sequence[PromptSet], validation: Sequence[PromptSet], test: Sequence[PromptSet]
) -> None:
    """Check that no prompt appears in two splits. Raises InputError as :func:`require_disjoint` does."""
    require_disjoint(calibration, [*test, *validation])
    for prompts in validation:
        require_disjoint([prompts], test)


def _describe(overlap: Overlap) -> str:
    def described(source: str, line: int, text: str) -> str:
        return f"{source} line {line} {text[:60] + '...' if len(text) > 60 else text!r}"

    first = described(overlap.first_source, overlap.first_line, overlap.first_text)
    return f"{first} = {described(overlap.second_source, overlap.second_line, overlap.second_text)}"


def _word_matrix(texts: Sequence[str], vocabulary: dict[str, int]) -> csr_matrix:
    """Return the binary matrix of texts (rows) by words (columns); new words are added to ``vocabulary``."""
    indices: list[int] = []
    starts = [0]
    for text in texts:
        words = re.findall(r"\w+", text.lower()) or [text]
        indices += sorted({vocabulary.setdefault(word, len(vocabulary)) for word in words})
        starts.append(len(indices))
    ones = np.ones(len(indices), dtype=np.int64)
    return csr_matrix((ones, indices, starts), shape=(len(texts), len(vocabulary)))
