"""How often the built-in judge is wrong on refusals, held out by model and by prompt: the counts that are committed.

``scripts/judge_training/heldout.py`` writes the file.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ERROR_RATES_FILE = Path(__file__).with_name("error_rates.json")


@dataclass(frozen=True)
class ErrorRates:
    """Errors of a judge that tells refusals, full or partial, from other answers."""

    judge: str
    """Name and version of the judge that was measured."""
    refusals: int
    missed: int
    """Of the refusals, those that it calls something else."""
    others: int
    """Answers that are no refusals."""
    false: int
    """Of these, those that it calls refusals."""

    @property
    def missed_share(self) -> float:
        """Share of refusals that are missed."""
        return self.missed / self.refusals

    @property
    def false_share(self) -> float:
        """Share of other answers that are called refusals."""
        return self.false / self.others

    @property
    def kept_of_changes(self) -> float:
        """Share of a true change of the refusal rate that shows between two models judged with these errors."""
        return 1 - self.missed_share - self.false_share

    def true_share(self, judged: float) -> float:
        """Return the share of refusals that is judged as ``judged`` with these errors (Rogan and Gladen 1978).

        The nearest possible share where none is.
        """
        return min(1.0, max(0.0, (judged - self.false_share) / self.kept_of_changes))


@cache
def builtin_error_rates() -> ErrorRates:
    """Return the errors of the built-in judge, of the tests whose answers were drawn at random."""
    found = json.loads(ERROR_RATES_FILE.read_text(encoding="utf-8"))
    tests = [test for test in found["tests"] if test["drawn_at_random"]]
    refusals = sum(test["refusals"] for test in tests)
    return ErrorRates(
        judge=found["judge"],
        refusals=refusals,
        missed=sum(test["missed"] for test in tests),
        others=sum(test["answers"] for test in tests) - refusals,
        false=sum(test["false"] for test in tests),
    )
