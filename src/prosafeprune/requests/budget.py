"""How long a search may take."""

from __future__ import annotations

import re
import time


class Budget:
    """A number of trials (``60``) or of minutes (``10m``)."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|minutes?)?", text.strip())
        amount = float(found[1]) if found else 0.0
        if found is None or amount <= 0 or (found[2] is None and not amount.is_integer()):
            raise ValueError(f"'{text}' is neither a number of trials such as 60 nor of minutes such as 10m")
        self.trials = None if found[2] else int(amount)
        self.seconds = 60 * amount if found[2] else None
        self.started = time.monotonic()

    def is_spent(self, trials: int) -> bool:
        """Tell whether ``trials`` in all, or the time since the start of this run, are enough."""
        if self.trials is not None:
            return trials >= self.trials
        return self.seconds is not None and time.monotonic() - self.started >= self.seconds

    def share_of_time(self) -> float:
        """Return which share of the minutes has gone by, 0 where trials are counted."""
        return (time.monotonic() - self.started) / self.seconds if self.seconds is not None else 0.0

    @property
    def total(self) -> int:
        """Steps for a progress bar: trials or seconds."""
        return self.trials if self.trials is not None else int(self.seconds or 0)

    def steps_done(self, trials: int) -> int:
        """Return how many of ``total`` are spent."""
        return trials if self.trials is not None else int(time.monotonic() - self.started)
