"""Prompts that a person has reviewed: which class each row of a reviewed file is for."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.prompts.conversation import last_turn, transcript
from prosafeprune.prompts.prompt_rows import PromptRow
from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.prompts.rows import Row
from prosafeprune.prompts.sources import prompt_of_row, read_prompts
from prosafeprune.text import beginning

REVIEW = "review"
"""The field with the finding of the review; a row without it was not from a log, and is taken as it is."""
HARMLESS, HARMFUL, UNSURE, OPEN = "harmless", "harmful", "unsure", "open"
"""The findings; ``open`` is that of candidates that nobody has reviewed."""
DECIDED = (HARMLESS, HARMFUL, UNSURE)
FINDINGS = (*DECIDED, OPEN)
LABELS = ("label", "class")
"""Fields by which a file may say that a row is of the other kind. Calibrating on it would teach the opposite."""
WORDS = {"harmful": HARMFUL, "unsafe": HARMFUL, "harmless": HARMLESS, "safe": HARMLESS, "benign": HARMLESS}
"""What such a field may say; or the name of a field that says it by true or false, such as ``is_harmful``."""
TRUTH = {**dict.fromkeys(("true", "yes", "1", "1.0"), True), **dict.fromkeys(("false", "no", "0", "0.0"), False)}
OTHER = {HARMLESS: HARMFUL, HARMFUL: HARMLESS}
OF_CLASS = {PromptClass.HARMFUL: HARMFUL, PromptClass.PSEUDO_HARMFUL: HARMLESS, PromptClass.BENIGN: HARMLESS}


def is_for(prompt_class: PromptClass) -> Callable[[Row], bool]:
    """Return whether a row is for a class: it has no field ``review``, or the finding of that class in it."""
    wanted = OF_CLASS[prompt_class]
    return lambda row: review_of(row) in (None, wanted)


def review_of(row: Mapping[str, Any]) -> str | None:
    """Return the finding of the review of a row, in lower case; None for a row without one."""
    name = next(filter(is_review, row), None)
    return None if name is None else str(row[name]).strip().lower()


def is_review(name: str) -> bool:
    """Return whether a field holds the finding of a review; in tables made by hand, case and spaces vary."""
    return name.strip().lower() == REVIEW


def read_reviewed(source: str, prompt_class: PromptClass, field: str = "prompt") -> PromptSet:
    """Read a user's prompts as :func:`read_prompts` does; of a reviewed file, those of the class alone.

    Raises:
        InputError: as :func:`read_prompts`, the finding of a review is unknown, a prompt has conflicting reviews, a row
            is labelled as of the other kind, or the review found no prompt of the class.
    """
    is_of_class, wanted, left_out = is_for(prompt_class), OF_CLASS[prompt_class], 0
    findings, labels = _FirstFindings(), _Labels(source, wanted)

    def keep(row: Row) -> bool:
        nonlocal left_out
        finding = review_of(row)
        if finding not in (None, "", "none", *FINDINGS):  # misspelt, it would be left out in silence
            raise InputError(
                f"{source}: a row has {REVIEW} = {beginning(str(finding), 40)!r}, and there are: "
                f"{', '.join(FINDINGS)}. Correct it; or rename the field if it is no review of the prompt."
            )
        kept = is_of_class(row)
        left_out += not kept
        _require_no_conflict(findings, row, field, finding or wanted, source)
        if kept and finding is None:
            labels.require_not_other(row)
        return kept

    try:
        prompts = read_prompts(source, prompt_class, field, keep)
    except InputError as error:
        if not left_out or "has no prompts" not in str(error):
            raise
        raise InputError(
            f"{source}: none of its {left_out} prompts is reviewed as {wanted}. Review them on the "
            "page of prompts mine, or rate them with prompts rate."
        ) from error
    labels.require_clear()
    return prompts


@dataclass(frozen=True)
class ConflictingReviews:
    """Two rows of one file that have the same prompt and different findings."""

    source: str
    prompt: str
    findings: tuple[str, str]
    lines: tuple[int, int]

    def describe(self) -> str:
        """Return the prompt and its findings in one line."""
        said = [f"{finding} in line {line}" for finding, line in zip(self.findings, self.lines, strict=True)]
        return f"{self.source} {beginning(transcript(self.prompt), 60)!r}: reviewed as {' and as '.join(said)}"


def conflicting_reviews(rows: Sequence[PromptRow], source: str) -> list[ConflictingReviews]:
    """Return each prompt of a file that has conflicting reviews; :func:`read_reviewed` refuses such a file."""
    first, found = _FirstFindings(), dict[str, ConflictingReviews]()
    for row in rows:
        finding = review_of(row.fields) or OPEN
        earlier = first.conflict(row.prompt, finding, row.line)
        if earlier is not None and row.prompt not in found:
            found[row.prompt] = ConflictingReviews(source, row.prompt, (earlier[0], finding), (earlier[1], row.line))
    return list(found.values())


class _FirstFindings:
    """The first finding of each prompt, and its line; files of two sessions put together may disagree."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[str, int]] = {}

    def conflict(self, prompt: str, finding: str, line: int = 0) -> tuple[str, int] | None:
        """Return the first finding of a prompt and its line if it is another one than this, else None."""
        if finding not in DECIDED:  # nobody has reviewed the row
            return None
        first = self._of.setdefault(prompt, (finding, line))
        return first if first[0] != finding else None


class _Labels:
    """What the rows of a file without a review say of themselves in other fields, where the file is of one kind."""

    def __init__(self, source: str, wanted: str) -> None:
        self.source, self.wanted = source, wanted
        self._values: dict[str, set[str]] = {}
        """By each field of ``LABELS``, its values so far."""

    def require_not_other(self, row: Row) -> None:
        """Raise InputError when a row is labelled as of the other kind."""
        for name, value in row.items():
            field, said = re.sub(r"[\s-]+", "_", name.strip().lower()), str(value).strip().lower()
            if field in LABELS:
                self._values.setdefault(name, set()).add(said)
                kind = WORDS.get(said)
            else:
                kind, is_so = WORDS.get(field.removeprefix("is_")), TRUTH.get(said)
                if kind is not None:
                    kind = None if is_so is None else kind if is_so else OTHER[kind]
            if kind == OTHER[self.wanted]:
                raise InputError(
                    f"{self.source}: a row has {name} = {beginning(repr(value), 40)}, and the file is read as "
                    f"{self.wanted} prompts. Remove such rows; or rename {name} to review, with harmful or harmless in "
                    "it: others are left out."
                )

    def require_clear(self) -> None:
        """Raise InputError when a field splits the rows in two by numbers or truth values: which are harmful?"""
        for name, values in self._values.items():
            if len({TRUTH.get(value) for value in values}) == 2 and values <= TRUTH.keys():
                raise InputError(
                    f"{self.source}: {name} is {' in some rows and '.join(sorted(values))} in others, which does not "
                    f"say which of them are {self.wanted}, and all are read as such. Rename {name} to review, with "
                    "harmful or harmless in it; or to something else if it is about something else."
                )


def _require_no_conflict(findings: _FirstFindings, row: Row, field: str, finding: str, source: str) -> None:
    """Note the finding of a row by its prompt.

    Raises:
        InputError: an earlier row has the same prompt and another finding.
    """
    try:
        prompt = prompt_of_row(row, [field], source)
    except InputError:  # if the row is kept, it is reported where it is read, with its line
        return
    earlier = findings.conflict(prompt, finding)
    if earlier is not None:
        raise InputError(
            f"{source}: a prompt is reviewed as {earlier[0]} and as {finding}: {beginning(last_turn(prompt), 60)!r}. "
            "Keep one of its rows."
        )
