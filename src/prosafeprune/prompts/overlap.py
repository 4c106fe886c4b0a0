"""Prompts that appear in two sets that must be disjoint, equal or nearly so."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import PromptSet

NEAR_EQUAL = 0.8
"""Jaccard similarity of words from which two prompts count as the same. Contrast pairs, which differ in the one word
that makes a request harmful, are below it: "How do I kill a Python process?" and "How do I kill a Linux process?" have
6 of 8 words in common, 0.75."""


ALIKE = 0.6
"""Jaccard similarity of words from which two prompts are in one group, which is held out together."""


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

    def position(prompts: PromptSet, row: int) -> tuple[str, int, str]:
        return prompts.source, prompts.prompts[row].line or row + 1, prompts.prompts[row].text

    pairs = _similar_rows(first.texts, second.texts, NEAR_EQUAL)
    return [Overlap(*position(first, i), *position(second, j)) for i, j in pairs]


def without_overlaps(prompts: PromptSet, others: Sequence[PromptSet]) -> tuple[PromptSet, list[Overlap]]:
    """Return a set without the prompts that are also in one of ``others``, and those prompts."""
    found = [overlap for other in others for overlap in find_overlaps(prompts, other)]
    dropped = {overlap.first_text for overlap in found}
    kept = tuple(prompt for prompt in prompts if prompt.text not in dropped)
    return PromptSet(prompts.prompt_class, prompts.source, kept), found


def hold_out(prompts: PromptSet, share: float, seed: int) -> tuple[PromptSet, PromptSet]:
    """Return two sets that together are this one: the first to calibrate on, the second with about ``share`` of it.

    Prompts that are alike, directly or through others, are in the same set.

    Raises:
        InputError: all prompts are alike, or there is only one.
    """
    groups = _groups_of_alike(prompts.texts)
    if len(groups) < 2:
        raise InputError(
            f"{prompts.source}: all its prompts are alike, so none can be held out. Give more, or leave out --hold-out."
        )
    random.Random(seed).shuffle(groups)
    held: set[int] = set()
    for group in groups[1:]:  # at least one group is left to calibrate on
        if held and len(held) + len(group) / 2 > share * len(prompts):
            break
        held |= set(group)

    def part(is_held: bool) -> PromptSet:
        rows = tuple(one for row, one in enumerate(prompts) if (row in held) is is_held)
        return PromptSet(prompts.prompt_class, prompts.source, rows)

    return part(False), part(True)


def require_disjoint(calibration: Sequence[PromptSet], evaluation: Sequence[PromptSet]) -> None:
    """Check that no prompt used to calibrate is used to evaluate, and that no two calibration classes share one.

    Raises:
        InputError: naming the offending lines.
    """
    overlaps = [found for one in calibration for two in evaluation for found in find_overlaps(one, two)]
    for i, one in enumerate(calibration):
        overlaps += [found for two in calibration[i + 1 :] for found in find_overlaps(one, two)]
    if overlaps:
        shown = "; ".join(describe_overlap(overlap) for overlap in overlaps[:5])
        more = f"; and {len(overlaps) - 5} more" if len(overlaps) > 5 else ""
        raise InputError(
            f"{len(overlaps)} prompts appear in two sets that must be disjoint: {shown}{more}. "
            "Remove them from one of the two, or pass --drop-overlaps: a model must not be measured on its calibration "
            "prompts."
        )


def require_splits_disjoint(
    calibration: Sequence[PromptSet], validation: Sequence[PromptSet], test: Sequence[PromptSet]
) -> None:
    """Check that no prompt appears in two splits. Raises InputError as :func:`require_disjoint` does."""
    require_disjoint(calibration, [*test, *validation])
    for prompts in validation:
        require_disjoint([prompts], test)


def describe_overlap(overlap: Overlap) -> str:
    """Return both prompts of an overlap in one line."""

    def described(source: str, line: int, text: str) -> str:
        return f"{source} line {line} {text[:60] + '...' if len(text) > 60 else text!r}"

    first = described(overlap.first_source, overlap.first_line, overlap.first_text)
    return f"{first} = {described(overlap.second_source, overlap.second_line, overlap.second_text)}"


def _groups_of_alike(texts: Sequence[str]) -> list[list[int]]:
    """Return the rows of the texts by group: the connected components of similarity."""
    pairs = _similar_rows(texts, texts, ALIKE)
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    graph = csr_matrix(([1] * len(pairs), (rows, columns)), shape=(len(texts), len(texts)))
    count, labels = connected_components(graph, directed=False)
    return [[row for row, label in enumerate(labels) if label == group] for group in range(count)]


def _similar_rows(first: Sequence[str], second: Sequence[str], least: float) -> list[tuple[int, int]]:
    """Return the pairs of texts, one of each list, whose words have at least this Jaccard similarity."""
    vocabulary: dict[str, int] = {}
    one = _word_matrix(first, vocabulary)
    two = _word_matrix(second, vocabulary)
    one.resize(one.shape[0], len(vocabulary))
    common = (one @ two.T).tocoo()
    sizes_one, sizes_two = np.asarray(one.sum(axis=1)).ravel(), np.asarray(two.sum(axis=1)).ravel()
    jaccard = common.data / (sizes_one[common.row] + sizes_two[common.col] - common.data)
    similar = jaccard >= least
    return sorted(zip(common.row[similar].tolist(), common.col[similar].tolist(), strict=True))


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
