"""A judge's verdicts against labels, class by class, as a table."""

from prosafeprune.judges.agreement import Agreement
from prosafeprune.judges.verdict import AnswerClass
from prosafeprune.report.grid import Grid

NOTE = "Classes that neither a label nor the judge gives are left out."


def confusion_grid(agreed: Agreement) -> Grid:
    """Return how many answers of each label the judge assigns to each class, in the order of the classes."""
    judged = {name for counts in agreed.confusion.values() for name in counts}
    shown = [one for one in AnswerClass if one.value in judged or one.value in agreed.confusion]
    headings = ["", *("judged\n" + one.in_words.replace(" ", "\n") for one in shown)]
    rows = [
        [f"labelled\n{label.in_words}", *(str(agreed.confusion[label.value].get(one.value, 0)) for one in shown)]
        for label in shown
        if label.value in agreed.confusion
    ]
    return Grid("Labels against verdicts, answers", headings, rows, (NOTE,) if len(shown) < len(AnswerClass) else ())
