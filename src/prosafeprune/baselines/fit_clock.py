"""The seconds that a fit takes, over all its sessions, also those that were killed."""

import json
import time
from pathlib import Path

from prosafeprune.files.staging import write_whole
from prosafeprune.files.text_file import read_json_object

WITH_LINES = 5.0
"""Seconds between saves next to a file that grows by lines: each save waits for the disk."""


class FitClock:
    """The time of a fit so far, kept in a file next to its progress: a killed session has no chance to write it.

    It is saved with the progress, so what a killed session loses are the seconds since the last save.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Start; ``file`` may have the seconds of earlier sessions, None keeps nothing.

        Raises:
            InputError: the file is damaged.
        """
        self.file = file
        known = read_json_object(file, "time of a fit").get("seconds") if file is not None and file.exists() else None
        self._before = float(known) if isinstance(known, int | float) else 0.0
        self._started = time.perf_counter()
        self._saved = self._started

    @property
    def seconds(self) -> float:
        """The seconds of all sessions so far."""
        return self._before + time.perf_counter() - self._started

    def save(self) -> None:
        """Write the seconds so far. Raises InputError when they cannot be written."""
        if self.file is not None:
            write_whole(self.file, json.dumps({"seconds": self.seconds}))
            self._saved = time.perf_counter()

    def save_with_lines(self) -> None:
        """Do so unless that was moments ago. Raises InputError as :meth:`save` does."""
        if time.perf_counter() - self._saved >= WITH_LINES:
            self.save()
