"""The tokens that stand for refusal words.

A word may begin an answer or follow a space, with a small or a capital letter. Each of these forms counts when it is
one token of the tokenizer; the first piece of a longer form would count for other words too ("can" for "cannot").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.result import Table, make_table
from prosafeprune.errors import InputError


@dataclass(frozen=True)
class RefusalWords:
    """Forms of the words, and the tokens that each form is made of."""

    forms: tuple[tuple[str, str, tuple[int, ...]], ...]
    """The word, the form and its token ids."""

    @property
    def counted_ids(self) -> list[int]:
        """The ids of the forms that are one token, each once."""
        return list(dict.fromkeys(ids[0] for _, _, ids in self.forms if len(ids) == 1))

    def table(self) -> Table:
        """Return the forms, one a row."""
        rows = [
            (word, form, " ".join(map(str, ids)), "yes" if len(ids) == 1 else "no") for word, form, ids in self.forms
        ]
        return make_table("tokens", "Forms of the refusal words", ("word", "form", "token_ids", "counted"), rows)

    def as_arrays(self) -> Observation:
        """Return the forms as arrays that an observation can keep."""
        words, forms, ids = zip(*self.forms, strict=True)
        return {
            "words": np.array(words),
            "forms": np.array(forms),
            "ids": np.array([" ".join(map(str, i)) for i in ids]),
        }

    @classmethod
    def from_arrays(cls, seen: Observation) -> RefusalWords:
        """Return the forms that an observation kept."""
        rows = zip(seen["words"], seen["forms"], seen["ids"], strict=True)
        return cls(tuple((str(word), str(form), tuple(map(int, str(ids).split()))) for word, form, ids in rows))


def find_refusal_words(tokenizer: Any, words: Sequence[str]) -> RefusalWords:
    """Return all forms of the words in a tokenizer's terms.

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
            f"None of {', '.join(words)} is a single token of this model's tokenizer. Give others with --refusal-words."
        )
    return found
