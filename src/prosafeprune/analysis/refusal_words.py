"""The tokens of refusal words.

A word may begin an answer or follow a space, in lower case or capitalised. Each of these forms counts if it is a single
token; the first piece of a longer form also begins other words ("can" for "cannot").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prosafeprune.analysis.result import Observation, ResultTable, make_table
from prosafeprune.errors import InputError


@dataclass(frozen=True)
class RefusalWords:
    """Forms of the words, with the tokens of each form."""

    forms: tuple[tuple[str, str, tuple[int, ...]], ...]
    """The word, the form and its token ids."""

    @property
    def counted_ids(self) -> list[int]:
        """The ids of the single-token forms, each once."""
        return list(dict.fromkeys(ids[0] for _, _, ids in self.forms if len(ids) == 1))

    def table(self) -> ResultTable:
        """Return the forms, one per row."""
        rows = [
            (word, form, " ".join(map(str, ids)), "yes" if len(ids) == 1 else "no") for word, form, ids in self.forms
        ]
        return make_table("tokens", "Forms of the refusal words", ("word", "form", "token_ids", "counted"), rows)

    def as_arrays(self) -> Observation:
        """Return the forms as arrays of an observation."""
        words, forms, ids = zip(*self.forms, strict=True)
        return {
            "words": np.array(words),
            "forms": np.array(forms),
            "ids": np.array([" ".join(map(str, i)) for i in ids]),
        }

    @classmethod
    def from_arrays(cls, observation: Observation) -> RefusalWords:
        """Return the forms from an observation."""
        rows = zip(observation["words"], observation["forms"], observation["ids"], strict=True)
        return cls(tuple((str(word), str(form), tuple(map(int, str(ids).split()))) for word, form, ids in rows))


def find_refusal_words(tokenizer: Any, words: Sequence[str]) -> RefusalWords:
    """Return all forms of the words with their tokens.

    Raises:
        InputError: no form of any word is a single token.
    """
    forms = []
    for word in words:
        for form in dict.fromkeys(space + case for space in ("", " ") for case in (word, word[0].upper() + word[1:])):
            forms.append((word, form, tuple(tokenizer(form, add_special_tokens=False)["input_ids"])))
    found = RefusalWords(tuple(forms))
    if not found.counted_ids:
        raise InputError(
            f"None of {', '.join(words)} is a single token of this model's tokenizer. Pass others with --refusal-words."
        )
    return found
