"""What the generative guard models have in common; each has its own question and reply format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prosafeprune.judge.verdict import Exchange, Verdict

Respond = Callable[[Sequence[Exchange]], Iterator[tuple[int, str | Verdict]]]
"""Yields each exchange's index with the guard's reply, or with a verdict if it cannot be asked."""


class GuardJudge:
    """Distinguishes refusal from compliance, and harmful from harmless answers; has no class for partial refusals."""

    def __init__(self, name: str, respond: Respond, read: Callable[[str], Verdict]) -> None:
        self.name = name
        self._respond, self._read = respond, read

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order.

        Raises:
            InputError: the server cannot be reached, or out of memory with a single exchange.
        """
        replies = dict(self._respond(exchanges))
        in_order = [replies[row] for row in range(len(exchanges))]
        return [reply if isinstance(reply, Verdict) else self._read(reply) for reply in in_order]
