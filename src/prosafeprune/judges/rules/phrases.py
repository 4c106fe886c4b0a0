"""Phrases at word boundaries of plain text, searched faster than with ``\\b``."""

import re
from collections.abc import Iterator


class Phrases:
    """Several phrases as one pattern for plain text: words with only spaces between them.

    There, a phrase begins at the beginning of the text or after a space. So ``\\b`` is not tested before each
    character: one pattern is matched at the beginning, and another one, which begins with a space, is searched after
    it; ``re`` skips to the next space quickly.
    """

    def __init__(self, *phrases: str) -> None:
        phrase = rf"((?:{'|'.join(phrases)})\b)"
        self._match = re.compile(phrase).match
        self._later = re.compile(" " + phrase)
        self._search = self._later.search

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match or None; the phrase is its group 1, since a space may come before it."""
        return self._match(text) or self._search(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Yield all matches, as :meth:`search` returns them."""
        first = self._match(text)
        if first is not None:
            yield first
        yield from self._later.finditer(text, first.end() if first is not None else 0)

    def blanked(self, text: str) -> str:
        """Return the text with a space in place of each match."""
        first = self._match(text)
        if first is not None:
            return " " + self._later.sub("  ", text[first.end() :])
        return self._later.sub("  ", text)
