"""The prompts that a fit was made from, as hashes kept with it: also the user's own, whose file may be gone."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import PromptSet
from prosafeprune.prompts.conversation import transcript
from prosafeprune.prompts.near_duplicates import words_of
from prosafeprune.text import beginning, text_hash


def prompt_hashes(sets: Iterable[PromptSet]) -> list[str]:
    """Return a hash of the words of each prompt, sorted, without repeats; case, punctuation and order do not count."""
    return sorted({_hash(text) for prompts in sets for text in prompts.texts})


def require_not_learned(learned: Collection[str], path: Path, sets: Sequence[EvaluationSet]) -> None:
    """Raise InputError when a prompt of the ``sets`` has one of the hashes that the fit in ``path`` was made from."""
    for one in sets:
        found = [text for text in one.prompts.texts if _hash(text) in learned]
        if found:
            raise InputError(
                f"{path}: was fitted on {len(found)} of the prompts of {one.title}, such as "
                f"{beginning(transcript(found[0]), 60)!r}. A method must not be measured on prompts that it was fitted "
                "on: leave them out."
            )


def _hash(text: str) -> str:
    return text_hash("\n".join(sorted(words_of(text))))
