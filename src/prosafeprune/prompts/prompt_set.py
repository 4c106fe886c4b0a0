"""A named set of prompts of one class."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class PromptClass(StrEnum):
    """The three prompt classes of the paper, written s, u and p in its equations."""

    BENIGN = "benign"
    HARMFUL = "harmful"
    PSEUDO_HARMFUL = "pseudo_harmful"

    @property
    def in_words(self) -> str:
        """The class as it is written in running text."""
        return self.value.replace("_", "-")


@dataclass(frozen=True)
class Prompt:
    """One user request, with its category, if any."""

    text: str
    category: str = ""
    line: int = 0
    """Line number in its file, from 1; 0 if it is not from a file."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one class, with the name of their source (``bundled calibration``, a file, a dataset id)."""

    prompt_class: PromptClass
    source: str
    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)

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

    def sample(self, size: int, seed: int) -> PromptSet:
        """Return at most ``size`` prompts, drawn without replacement, in their original order.

        The draw depends only on the seed and the number of prompts. A set no larger than ``size`` is returned as it is.
        """
        if len(self) <= size:
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self)), size))
        return PromptSet(self.prompt_class, self.source, tuple(self.prompts[i] for i in chosen))
