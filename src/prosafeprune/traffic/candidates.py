"""Refused turns as candidates for calibration: without near-duplicates, and no more than a person can review."""

import hashlib
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prosafeprune.judges.verdict import Verdict
from prosafeprune.prompts.near_duplicates import NearDuplicateIndex, words_of
from prosafeprune.prompts.overlap import NEAR_EQUAL
from prosafeprune.prompts.reviewed import OPEN, REVIEW
from prosafeprune.traffic.turns import LoggedTurn

LONGEST = 3200
"""Maximum characters of a request that are compared; of a longer one, its beginning and its end are."""

_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_MONTHS = "january february march april may june july august september october november december"
DATE_WORDS = frozenset(form for name in f"{_DAYS} {_MONTHS}".split() for form in (name, name[:3]))
"""English names of days and months, also abbreviated."""


class Candidates:
    """Collects refused turns. Of near-duplicates the first is kept, and counted.

    If there are more than ``limit``, those with the lowest hash of their words are kept: a random sample, the same in
    every run and wherever in the log they are. Texts are on disk, so memory grows with ``limit`` alone.

    Turns are near-duplicates if the words of their requests are (Jaccard similarity of at least 0.8) and the earlier
    requests of their conversations and their system prompts have the same words, but for numbers and names of days and
    months: a request may be refused wrongly under one system prompt and rightly under another.
    """

    def __init__(self, limit: int, spool: BinaryIO) -> None:
        """Take the limit, at least 1, and an empty binary file to write to and read from."""
        self.limit = limit
        self.dropped = 0
        """Refused turns outside the sample."""
        self._spool = spool
        self._index = NearDuplicateIndex(NEAR_EQUAL)
        self._context: dict[int, str] = {}
        self._times: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._highest: list[tuple[int, int]] = []
        """A heap of the hashes, negated, with the keys of their candidates."""
        self._next = 0

    def __len__(self) -> int:
        return len(self._times)

    def add(self, turn: LoggedTurn, verdict: Verdict) -> None:
        """Take a refused turn, with the verdict on its answer."""
        words, context = words_of(_bounded(turn.prompt)), _context(turn)
        for key in self._index.find(words):
            if self._context[key] == context:
                self._times[key] += 1
                return
        rank = _hash("\n".join([context, *sorted(words)]))
        if len(self) >= self.limit:
            if rank >= -self._highest[0][0]:
                self.dropped += 1
                return
            self._forget(heapq.heappop(self._highest)[1])
        key, self._next = self._next, self._next + 1
        self._index.add(key, words)
        self._context[key], self._times[key] = context, 1
        heapq.heappush(self._highest, (-rank, key))
        self._places[key] = self._spool.seek(0, 2)
        self._spool.write(json.dumps(_row(turn, verdict), ensure_ascii=False).encode() + b"\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the candidates as rows of a prompt file, those refused most often first, then in the log's order."""
        for key in sorted(self._times, key=lambda key: (-self._times[key], key)):
            self._spool.seek(self._places[key])
            yield {**json.loads(self._spool.readline()), "times": self._times[key]}

    def _forget(self, key: int) -> None:
        self.dropped += self._times[key]
        self._index.remove(key)
        for kept in (self._context, self._times, self._places):
            del kept[key]


def write_candidates(path: Path, candidates: Candidates) -> None:
    """Write the candidates as JSON lines. Raises OSError."""
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in candidates.rows())


def _row(turn: LoggedTurn, verdict: Verdict) -> dict[str, Any]:
    return {
        "prompt": turn.prompt,
        "messages": [{"role": role, "content": text} for role, text in turn.messages],
        "completion": turn.answer,
        **verdict.as_row(),
        "log": turn.log,
        "line": turn.line,
        REVIEW: OPEN,
    }


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} {text[-LONGEST // 2 :]}"


def _context(turn: LoggedTurn) -> str:
    """Return a digest of the words of system prompt and earlier requests; empty where there is neither.

    Today's date, which many system prompts have, does not count.
    """
    said = [(role, words_of(text)) for role, text in turn.messages[:-1] if role != "assistant"]
    if not said:
        return ""
    lines = [
        f"{role} {' '.join(sorted(word for word in words if role == 'user' or not _in_date(word)))}"
        for role, words in said
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _in_date(word: str) -> bool:
    return word in DATE_WORDS or any(character.isdigit() for character in word)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
