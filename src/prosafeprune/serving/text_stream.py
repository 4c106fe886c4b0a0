"""Text that arrives token by token: characters are complete, stop strings end it, outer whitespace is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"
"""What decoders give for the first bytes of a character."""


class TextStream:
    """Turns the tokens of an answer into pieces of text; joined, they are the stripped answer up to a stop string."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, [one for one in stop if one]
        self.ids: list[int] = []
        self._start, self._read = 0, 0
        """Of the tokens decoded together: those before ``_read`` are in the text already, and give the context."""
        self._pending = ""
        """Text that may yet be the beginning of a stop string, or whitespace at the end."""
        self.text = ""
        """What was returned so far."""
        self.stopped = False
        """Whether a stop string was found."""

    def push(self, token: int) -> str:
        """Add a token; return the text that is certain now."""
        self.ids.append(token)
        return self._take(self._decoded(final=False), final=False)

    def finish(self) -> str:
        """Return the rest of the text: no token follows."""
        return "" if self.stopped else self._take(self._decoded(final=True), final=True)

    def _decoded(self, final: bool) -> str:
        before = self._decode(self.ids[self._start : self._read])
        now = self._decode(self.ids[self._start :])
        if not final and (now.endswith(INCOMPLETE) or len(now) <= len(before)):
            return ""
        self._start, self._read = self._read, len(self.ids)
        return now[len(before) :]

    def _take(self, new: str, final: bool) -> str:
        text = self._pending + new
        found = [index for one in self._stop if (index := text.find(one)) >= 0]
        if found:
            self.stopped, final, text = True, True, text[: min(found)]
        ready = text if final else text[: len(text) - self._held(text)]
        certain = ready.rstrip()  # whitespace is returned with what follows it
        self._pending = text[len(certain) :]
        if not self.text:
            certain = certain.lstrip()
        self.text += certain
        return certain

    def _held(self, text: str) -> int:
        """Return how many characters at the end may begin a stop string."""
        longest = max(map(len, self._stop), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(one.startswith(text[-length:]) for one in self._stop):
                return length
        return 0
