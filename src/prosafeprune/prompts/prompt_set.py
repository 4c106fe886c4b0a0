"""A named set of prompts of one class."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from prosafeprune.errors import InputError
from prosafeprune.prompts.conversation import with_thinking


class PromptClass(StrEnum):
    """The three prompt classes of the paper, written s, u and p in its equations."""

    BENIGN = "benign"
    HARMFUL = "harmful"
    PSEUDO_HARMFUL = "pseudo_harmful"

    @property
    def in_words(self) -> str:
        """The class as it is written in running text."""
        return self.value.replace("_", "-")


def prompt_class_of(name: PromptClass | str) -> PromptClass:
    """Return the class of a name, with a hyphen or an underscore. Raises InputError when there is none of that name."""
    try:
        return PromptClass(name.replace("-", "_"))
    except ValueError as error:
        raise InputError(f"{name!r}: is no class of prompts. Give one of {', '.join(PromptClass)}.") from error


PAIRED = "paired"
"""Kind of the prompts that were written as twins, a harmful and a harmless one that differ in harm alone."""
WILD = "wild"
"""Kind of the prompts in the styles of public benchmarks and logs: machine-written, odd, terse ..."""


@dataclass(frozen=True)
class Prompt:
    """One request, with its category, if any."""

    text: str
    """Plain text, or a conversation (:mod:`prosafeprune.prompts.conversation`)."""
    category: str = ""
    line: int = 0
    """Number of the line in the prompt's file, from 1; 0 without a file."""
    style: str = ""
    """The style of the request (``question``, ``natural``, ``article`` ...); empty when unknown."""
    source: str = ""
    """The source of the prompt, in a set joined from several; empty: that of the set."""

    @property
    def kind(self) -> str:
        """``paired`` or ``wild``, with which a style begins; empty for all others."""
        return next((kind for kind in (PAIRED, WILD) if self.style.startswith(f"{kind}-")), "")


@dataclass(frozen=True, repr=False)
class PromptSet:
    """Prompts of one class, with the name of their source (``bundled calibration``, a file, a dataset id)."""

    prompt_class: PromptClass
    source: str
    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        """Return class, source and number: hundreds of prompts, harmful ones among them, would fill a notebook."""
        return f"PromptSet({self.prompt_class.value}, {self.source!r}, {len(self)} prompts)"

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    @property
    def texts(self) -> list[str]:
        """The texts, in order."""
        return [prompt.text for prompt in self.prompts]

    @property
    def sha256(self) -> str:
        """Digest of the texts in order: two sets with the same digest give the same results."""
        digest = hashlib.sha256()
        for prompt in self.prompts:
            digest.update(prompt.text.encode())
            digest.update(b"\0")
        return digest.hexdigest()

    def with_sources(self) -> PromptSet:
        """Return the set with its source in each prompt that has none, so that it can be joined with others."""
        named = (prompt if prompt.source else replace(prompt, source=self.source) for prompt in self.prompts)
        return replace(self, prompts=tuple(named))

    def by_source(self) -> list[PromptSet]:
        """Return the prompts of each source as a set, in order of their first prompts."""
        parts: dict[str, list[Prompt]] = {}
        for prompt in self.prompts:
            parts.setdefault(prompt.source or self.source, []).append(prompt)
        return [PromptSet(self.prompt_class, source, tuple(prompts)) for source, prompts in parts.items()]

    def spread_over_sources(self, size: int, seed: int) -> PromptSet:
        """Return at most ``size`` prompts: of each source as many as the smallest sources allow, the first ones first.

        A large public set so leaves room for a small file. Of each source they are drawn by :meth:`spread`.
        """
        if len(self) <= size:
            return self
        room, chosen = size, dict[str, PromptSet]()
        parts = self.by_source()
        for index, part in enumerate(sorted(parts, key=len)):
            # A source may get no room where there are more sources than prompts to draw.
            share = room // (len(parts) - index)
            chosen[part.source] = part.spread(share, seed) if share else replace(part, prompts=())
            room -= len(chosen[part.source])
        drawn = tuple(prompt for part in parts for prompt in chosen[part.source])
        return replace(self, prompts=drawn)

    def sample(self, size: int, seed: int) -> PromptSet:
        """Return at most ``size`` prompts, drawn without replacement, in their original order.

        The draw depends only on the seed and the number of prompts. A set no larger than ``size`` is returned as it is.
        """
        if len(self) <= size:
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self)), size))
        return self._subset(chosen)

    def fixed_part(self, size: int) -> PromptSet:
        """Return at most ``size`` prompts, in their original order, always the same; larger parts hold the smaller.

        Two measurements on parts of a set so share the prompts of the smaller one, whatever their seeds.
        """
        drawn = sorted(range(len(self)), key=lambda row: hashlib.sha256(self.prompts[row].text.encode()).digest())
        return self._subset(sorted(drawn[:size]))

    def spread(self, size: int, seed: int) -> PromptSet:
        """Return at most ``size`` prompts, in their original order.

        There are as many of each kind as the smallest kinds allow, and of each style of a kind the same share.
        """
        if len(self) <= size:
            return self
        kinds = sorted(self._by_kind().values(), key=len)
        chosen: list[int] = []
        for index, rows in enumerate(kinds):
            room = (size - len(chosen)) // (len(kinds) - index)
            chosen += self._even(rows, min(1.0, room / len(rows)), seed)
        return self._subset(sorted(chosen))

    def split(self, share: float, seed: int) -> tuple[PromptSet, PromptSet]:
        """Return two disjoint sets that together are this one, the first with about ``share`` of each style.

        Either has at least one prompt of a set with two or more; a set of one prompt is returned twice.
        """
        if len(self) < 2:
            return self, self
        first = self._even(range(len(self)), share, seed) or [0]
        rest = sorted(set(range(len(self))) - set(first)) or [first.pop()]
        return self._subset(sorted(first)), self._subset(rest)

    def with_thinking(self) -> PromptSet:
        """Return the prompts that the model answers after thinking."""
        return replace(self, prompts=tuple(replace(prompt, text=with_thinking(prompt.text)) for prompt in self.prompts))

    def in_both_modes(self) -> PromptSet:
        """Return each prompt without thinking, then each with it (``--thinking both``)."""
        return replace(self, prompts=(*self.prompts, *self.with_thinking().prompts))

    def _by_kind(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, prompt in enumerate(self.prompts):
            rows.setdefault(prompt.kind, []).append(row)
        return rows

    def _even(self, rows: Sequence[int], share: float, seed: int) -> list[int]:
        """Return about ``share`` of these rows, the same share of each style."""
        shuffled = list(rows)
        random.Random(seed).shuffle(shuffled)
        shuffled.sort(key=lambda row: self.prompts[row].style)  # stable: still random within a style
        # Every row at which the running total of shares passes an integer: even over the styles.
        return [row for at, row in enumerate(shuffled) if int((at + 1) * share) > int(at * share)]

    def _subset(self, rows: Sequence[int]) -> PromptSet:
        return PromptSet(self.prompt_class, self.source, tuple(self.prompts[row] for row in rows))
