"""Decoding of answers that keeps the markers of a chain of thought, which many tokenizers declare as special tokens.

A decoder that drops special tokens would drop these too, and the thought would read as part of the answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from prosafeprune.prompts.thought_markers import CLOSING, NAMELESS, NAMES_THOUGHT, OPENING, PAIRS


class AnswerDecoder:
    """Decodes a model's answers, with its thoughts in ``<think>`` and ``</think>``."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.kept = thought_tokens(getattr(tokenizer, "get_added_vocab", dict)())

    def __call__(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, without special tokens other than the markers of thoughts."""
        if self.kept.keys().isdisjoint(ids):
            return self._plain(ids)
        runs = groupby(ids, key=lambda token: token in self.kept)
        return "".join("".join(self.kept[i] for i in run) if kept else self._plain(list(run)) for kept, run in runs)

    def _plain(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def thought_tokens(added: Mapping[str, int]) -> dict[int, str]:
    """Return the text to show for each token that opens or closes a thought, given a tokenizer's added tokens."""
    shown = {added[name]: name for name in added if NAMELESS.fullmatch(name)}
    for opening, closing in _pairs(name for name in added if NAMES_THOUGHT.search(name)):
        shown |= {added[opening]: OPENING, added[closing]: CLOSING}
    return shown


def _pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    known = set(names)
    found = []
    for closing in sorted(known):
        openings = (closing.replace(inside, instead, 1) for inside, instead in PAIRS)
        opening = next((token for token in openings if token != closing and token in known), None)
        if opening is not None:
            found.append((opening, closing))
    return found
