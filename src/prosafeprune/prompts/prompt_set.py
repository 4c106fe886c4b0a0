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
    """One request of a user, with the category it was filed under, if any."""

    text: str
    category: str = ""
    line: int = 0
    """Where it stands in its file, from 1; 0 when it is from none."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one class, with the name of where they came from (``bundled calibration``, a file, a dataset id)."""

    prompt_class: PromptClass
    source: str
    prompts: tuple[Prompt, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    @property
    def texts(self) -> list[str]:
        """The texts alone, in order."""
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

        The draw depends on the seed and the number of prompts alone. A set no larger than ``size`` comes back whole.
        """
        if len(self) <= size:
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self)), size))
        return PromptSet(self.prompt_class, self.source, tuple(self.prompts[i] for i in chosen))
