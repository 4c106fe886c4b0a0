"""Prompts that appear in two sets that must be disjoint, equal or nearly so."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from prosafeprune.errors import InputError
from prosafeprune.prompts.conversation import Conversation, last_turn, split_system, transcript, turns_of
from prosafeprune.prompts.near_duplicates import NearDuplicateIndex, words_of
from prosafeprune.prompts.prompt_set import PromptSet
from prosafeprune.text import beginning

NEAR_EQUAL = 0.8
"""Jaccard similarity of words from which two prompts count as the same. Contrast pairs, which differ in the one word
that makes a request harmful, are below it: "How do I kill a Python process?" and "How do I kill a Linux process?" have
6 of 8 words in common, 0.75."""


OWN_REQUEST = 8
"""Distinct words from which the last turn of a conversation is a request that stands without the turns before it."""
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
        prompt = prompts.prompts[row]
        return prompt.source or prompts.source, prompt.line or row + 1, prompt.text

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
    groups = groups_of_alike(prompts.texts)
    if len(groups) < 2:
        raise InputError(
            f"{prompts.source}: all its prompts are alike, so none can be held out. Give more, or leave out --hold-out."
        )
    random.Random(seed).shuffle(groups)
    others, goal = groups[1:], share * len(prompts)  # at least one group is left to calibrate on
    held: set[int] = set()
    for group in others:
        if len(held) + len(group) <= goal:
            held |= set(group)
    for group in sorted(others, key=len):  # one more if that comes closer, or if there is none yet
        if group[0] not in held and (not held or len(held) + len(group) / 2 <= goal):
            held |= set(group)

    def part(is_held: bool) -> PromptSet:
        rows = tuple(prompt for row, prompt in enumerate(prompts) if (row in held) is is_held)
        return PromptSet(prompts.prompt_class, prompts.source, rows)

    return part(False), part(True)


def require_disjoint(calibration: Sequence[PromptSet], evaluation: Sequence[PromptSet]) -> None:
    """Check that no prompt used to calibrate is used to evaluate, and that no two calibration classes share one.

    Raises:
        InputError: naming the offending lines.
    """
    overlaps = [found for used in calibration for tested in evaluation for found in find_overlaps(used, tested)]
    for i, used in enumerate(calibration):
        overlaps += [found for other in calibration[i + 1 :] for found in find_overlaps(used, other)]
    if overlaps:
        shown = "; ".join(describe_overlap(overlap) for overlap in overlaps[:5])
        more = f"; and {len(overlaps) - 5} more" if len(overlaps) > 5 else ""
        counted = (
            "A pair of prompts, equal or nearly so, is"
            if len(overlaps) == 1
            else (f"{len(overlaps)} pairs of prompts, equal or nearly so, are")
        )
        raise InputError(
            f"{counted} in two sets that must be disjoint: "
            f"{shown}{more}. Remove them from one of the two, or pass --drop-overlaps: a prompt has one class, and a "
            "model must not be measured on its calibration prompts."
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

    def described(source: str, line: int, prompt: str) -> str:
        return f"{source} line {line} {beginning(transcript(prompt), 60)!r}"

    first = described(overlap.first_source, overlap.first_line, overlap.first_text)
    return f"{first} = {described(overlap.second_source, overlap.second_line, overlap.second_text)}"


def groups_of_alike(texts: Sequence[str]) -> list[list[int]]:
    """Return the rows of the texts by group: the connected components of similarity, in order of their first rows."""
    pairs = _similar_rows(texts, texts, ALIKE)
    rows, columns = [i for i, _ in pairs], [j for _, j in pairs]
    from scipy.sparse import csr_matrix  # slow to load, and few commands group prompts
    from scipy.sparse.csgraph import connected_components

    graph = csr_matrix(([1] * len(pairs), (rows, columns)), shape=(len(texts), len(texts)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        groups.setdefault(int(label), []).append(row)
    return list(groups.values())


def repeats(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of rows, the earlier first, whose words are equal or nearly so."""
    return [(i, j) for i, j in _similar_rows(texts, texts, NEAR_EQUAL) if i < j]


def _similar_rows(first: Sequence[str], second: Sequence[str], least: float) -> list[tuple[int, int]]:
    """Return the pairs of prompts, one of each list, whose words have at least this Jaccard similarity.

    The words of a conversation are the user's. A single request is also compared with the last turn of a conversation:
    it is the same whatever came before. So are two conversations whose last turns are requests of their own, with
    OWN_REQUEST words or more; "And then?" asks something else after each beginning. Prompts under system prompts that
    differ are not the same.
    """
    pairs = set(_similar_texts([_said(text) for text in first], [_said(text) for text in second], least))
    if any(isinstance(text, Conversation) for text in (*first, *second)):
        last = _similar_texts([last_turn(text) for text in first], [last_turn(text) for text in second], least)
        pairs |= {(i, j) for i, j in last if _asks_the_same(first[i], second[j])}
        pairs = {(i, j) for i, j in pairs if _systems_agree(first[i], second[j], least)}
    return sorted(pairs)


def _said(prompt: str) -> str:
    """Return what the user says in a prompt."""
    return "\n".join(words for role, words in turns_of(prompt) if role == "user")


def _asks_the_same(first: str, second: str) -> bool:
    """Whether two prompts whose last turns are alike ask the same, whatever came before."""
    if _is_one_turn(first) or _is_one_turn(second):
        return True
    return min(len(_words(last_turn(prompt))) for prompt in (first, second)) >= OWN_REQUEST


def _is_one_turn(prompt: str) -> bool:
    return len(split_system(prompt)[1]) == 1


def _systems_agree(first: str, second: str, least: float) -> bool:
    """Whether two prompts have nearly the same system prompt, or one of them has none."""
    one, two = split_system(first)[0], split_system(second)[0]
    return one is None or two is None or bool(_similar_texts([one], [two], least))


def _similar_texts(first: Sequence[str], second: Sequence[str], least: float) -> list[tuple[int, int]]:
    """Return the pairs of texts, one of each list, whose words have at least this Jaccard similarity, in order."""
    one, two = [_words(text) for text in first], [_words(text) for text in second]
    frequency = Counter(word for words in two for word in words)
    index = NearDuplicateIndex(least, frequency.__getitem__)
    for j, words in enumerate(two):
        index.add(j, words)
    return sorted((i, j) for i, words in enumerate(one) for j in index.find(words))


_words = lru_cache(maxsize=20_000)(words_of)
"""The words of a text, cached because each set is compared with several others."""
