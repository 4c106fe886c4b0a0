"""Reporters that keep what they are told."""

from prosafeprune.progress import SilentReporter


class KeptNotes(SilentReporter):
    """Keeps notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


class KeptWarnings(SilentReporter):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str) -> None:
        self.lines.append(text)
