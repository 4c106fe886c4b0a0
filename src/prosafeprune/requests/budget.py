"""How long a search may take."""

from __future__ import annotations

import re
import time

MAX_AMOUNT = 1_000_000
"""Trials or minutes; two years."""
SECONDS = {"m": 60, "h": 3600}


class Budget:
    """A number of trials (``60``), of minutes (``10m``) or of hours (``1h``)."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:(m)(?:in(?:utes?)?)?|(h)(?:ours?)?)?", text.strip())
        amount = float(found[1]) if found else 0.0
        unit = (found[2] or found[3]) if found else None
        if found is None or not 0 < amount <= MAX_AMOUNT or (unit is None and not amount.is_integer()):
            raise ValueError("give a number of trials such as 60, or a time such as 10m or 1h")
        self.trials = None if unit else int(amount)
        self.seconds = SECONDS[unit] * amount if unit else None
        self.started = time.monotonic()

    def is_spent(self, trials: int) -> bool:
        """Return whether ``trials`` trials, or the time since this run started, use up the budget."""
        if self.trials is not None:
            return trials >= self.trials
        return self.seconds is not None and time.monotonic() - self.started >= self.seconds

    @property
    def total(self) -> int:
        """Number of steps of a progress bar: trials or seconds."""
        return self.trials if self.trials is not None else int(self.seconds or 0)

    def steps_done(self, trials: int) -> int:
        """Return how many of the ``total`` steps are done."""
        return trials if self.trials is not None else int(time.monotonic() - self.started)
