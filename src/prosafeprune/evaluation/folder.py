"""The folder of an evaluation: what made the answers, the answers, the verdicts, the results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import ResumableFolder

SESSIONS = "sessions.json"
DIVERGENCES = "divergences.json"
RESULT = "evaluation.json"


class EvaluationFolder(ResumableFolder):
    """Answers and verdicts as they come, for one model and one way of decoding.

    Another judge, further benchmarks or more repeats may come later; what is there is used again.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        super().__init__(path, made_by)
        self.answers = LineStore(path / "answers.jsonl")

    def ability(self, tokens: int) -> LineStore:
        """Return the answers of at most ``tokens`` tokens to questions of general ability so far."""
        return LineStore(self.path / f"ability-{tokens}.jsonl")

    def verdicts(self, judge: str) -> LineStore:
        """Return the verdicts of one judge so far."""
        return LineStore(self.path / verdicts_file(judge))

    def sessions(self) -> list[dict[str, Any]]:
        """Return how the model ran each time it answered."""
        return [dict(session) for session in self.read_list(SESSIONS) or []]

    def add_session(self, described: Mapping[str, Any] | None) -> None:
        """Keep how the model ran this time; nothing when it did not have to."""
        if described is not None:
            self.write(SESSIONS, [*self.sessions(), described])

    def kept_divergence(self, source: str) -> Any:
        """Return the divergence from ``source`` that was measured before, or None."""
        return (self.read(DIVERGENCES) or {}).get(source)

    def keep_divergence(self, source: str, found: Any) -> None:
        """Keep the divergence from ``source``."""
        self.write(DIVERGENCES, {**(self.read(DIVERGENCES) or {}), source: found})


def verdicts_file(judge: str) -> str:
    """Return the name of the file with a judge's verdicts."""
    return f"verdicts-{re.sub(r'[^A-Za-z0-9.-]+', '-', judge)}.jsonl"


def read_kept(path: Path, judge: str) -> tuple[LineStore, LineStore]:
    """Return the answers of an earlier evaluation and the judge's verdicts on them.

    Raises:
        InputError: no such evaluation, or not judged by this judge.
    """
    if not (path / "answers.jsonl").is_file():
        raise InputError(f"{path}: is no evaluation. Give a folder that `prosafeprune evaluate` wrote.")
    verdicts = path / verdicts_file(judge)
    if not verdicts.is_file():
        raise InputError(
            f"{path}: was not judged by {judge}. Run its evaluation again with this judge; its answers are kept."
        )
    return LineStore(path / "answers.jsonl"), LineStore(verdicts)
