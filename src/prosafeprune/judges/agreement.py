"""Agreement of a judge with labels, and of two judges with each other."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.judges.verdict import AnswerClass, Verdict

XSTEST_NUMBERS = {"1": AnswerClass.FULL_COMPLIANCE, "2": AnswerClass.FULL_REFUSAL, "3": AnswerClass.PARTIAL_REFUSAL}


class Agreement(BaseModel):
    """Agreement on refusal (full or partial) against anything else, in percent."""

    agreement: float
    """Share of answers on which judge and label agree."""
    f1: float
    """F1 of refusal: the harmonic mean of precision and recall."""
    precision: float
    recall: float
    total: int
    same_class: float
    """Share of answers to which judge and label give the same one of the six classes."""
    confusion: dict[str, dict[str, int]]
    """Answers by label, then by the judge's class; without those that are zero."""


class JudgesCompared(BaseModel):
    """Agreement of two judges on refusal against anything else."""

    agreement: float
    """Percentage of answers on which both judges agree whether they are refusals."""
    kappa: float | None
    """Cohen's kappa: 1 is full agreement, 0 is chance; None if both judges give all answers the same class."""
    only_first: int
    """Answers that only the first judge calls refusals."""
    only_second: int
    both: int
    neither: int

    @property
    def kappa_in_words(self) -> str:
        """Cohen's kappa with two digits."""
        return "undefined" if self.kappa is None else f"{self.kappa:.2f}"


def read_label(label: object, place: str = "") -> AnswerClass:
    """Return the class that a label means: one of our names, or XSTest's number 1, 2 or 3 with anything after it.

    Raises:
        InputError: the label is none of these; the line begins with ``place``.
    """
    text = str(label).strip().lower().replace(" ", "_").replace("-", "_")
    if text[:1] in XSTEST_NUMBERS:
        return XSTEST_NUMBERS[text[0]]
    if text in set(AnswerClass):
        return AnswerClass(text)
    raise InputError(
        f"{place}The label {str(label)[:80]!r} is unknown. A label is one of {', '.join(AnswerClass)}, or begins with "
        "1 (compliance), 2 or 3 (refusal)."
    )


def agreement(verdicts: Sequence[Verdict], labels: Sequence[AnswerClass]) -> Agreement:
    """Compare verdicts with labels; at least one is needed."""
    judged, refuses = [verdict.answer_class.refuses for verdict in verdicts], [label.refuses for label in labels]
    hits = sum(by_judge and by_label for by_judge, by_label in zip(judged, refuses, strict=True))
    same = sum(by_judge == by_label for by_judge, by_label in zip(judged, refuses, strict=True))
    exact = sum(verdict.answer_class is label for verdict, label in zip(verdicts, labels, strict=True))
    precision = hits / sum(judged) if any(judged) else 0.0
    recall = hits / sum(refuses) if any(refuses) else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return Agreement(
        agreement=100 * same / len(judged),
        f1=100 * f1,
        precision=100 * precision,
        recall=100 * recall,
        total=len(judged),
        same_class=100 * exact / len(judged),
        confusion=_confusion(verdicts, labels),
    )


def _confusion(verdicts: Sequence[Verdict], labels: Sequence[AnswerClass]) -> dict[str, dict[str, int]]:
    pairs = Counter((label, verdict.answer_class) for verdict, label in zip(verdicts, labels, strict=True))
    found: dict[str, dict[str, int]] = {}
    for label in AnswerClass:
        for answer_class in AnswerClass:
            if pairs[label, answer_class]:
                found.setdefault(label.value, {})[answer_class.value] = pairs[label, answer_class]
    return found


def compare_judges(first: Sequence[Verdict], second: Sequence[Verdict]) -> JudgesCompared:
    """Compare the verdicts of two judges on the same answers; at least one is needed."""
    pairs = [
        (verdict.answer_class.refuses, other.answer_class.refuses) for verdict, other in zip(first, second, strict=True)
    ]
    total = len(pairs)
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    only_first, only_second = pairs.count((True, False)), pairs.count((False, True))
    observed = (both + neither) / total
    refused = (both + only_first) / total, (both + only_second) / total
    by_chance = refused[0] * refused[1] + (1 - refused[0]) * (1 - refused[1])
    return JudgesCompared(
        agreement=100 * observed,
        kappa=(observed - by_chance) / (1 - by_chance) if by_chance < 1 else None,
        only_first=only_first,
        only_second=only_second,
        both=both,
        neither=neither,
    )
