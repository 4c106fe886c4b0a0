"""The folder of an evaluation: answers and verdicts as they arrive, what they depend on, and the record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.judges.verdict import Verdict

SESSIONS = "sessions.json"
DIVERGENCES = "divergences.json"
COMPANIONS = "companions"
"""In a divergence or likelihood: the hash of the files next to the base model's weights, such as its chat template."""
ASKED = "asked"
"""In a divergence: the hash of the benign prompts that it was measured on."""
RESULT = "evaluation.json"
ANSWERS = "answers.jsonl"
UNUSUAL = re.compile(r"[^A-Za-z0-9.:/_(), -]")
"""A character of a judge's name that its file's name would lose, and that may be all that tells two judges apart."""
LONGEST_NAME = 150
"""Characters of a judge's name in its file's; a model's folder is part of it."""


class EvaluationFolder(ResumableFolder):
    """Answers and verdicts for one model and one way of decoding.

    Runs with another judge, further benchmarks or more repeats reuse what is there.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        super().__init__(path, made_by)
        self.answers = LineStore(path / ANSWERS, check_answer)

    def ability(self, tokens: int) -> LineStore:
        """Return the answers so far to ability questions, of at most ``tokens`` tokens."""
        return kept_ability(self.path, tokens)

    def verdicts(self, judge: str) -> LineStore:
        """Return the verdicts of one judge so far."""
        return LineStore(self.path / verdicts_file(judge), Verdict.from_row)

    def likelihoods(self, base: str, companions: str | None) -> Likelihoods:
        """Return the log-likelihoods of the answers so far under a base model, as :func:`kept_likelihoods` does."""
        return kept_likelihoods(self.path, base, companions)

    def sessions(self) -> list[dict[str, Any]]:
        """Return how the model ran in each session that produced answers."""
        sessions = self.read_list(SESSIONS) or []
        if not all(isinstance(session, dict) and _are_sizes(session.get("batch_sizes", [])) for session in sessions):
            raise InputError(f"{self.path / SESSIONS}: is damaged. Remove it, or choose another folder.")
        return sessions

    def add_session(self, described: Mapping[str, Any] | None) -> None:
        """Record how the model ran this time; None when it did not have to."""
        if described is not None:
            self.write(SESSIONS, [*self.sessions(), described])

    def knows_divergence(self, base: str, asked: str) -> bool:
        """Return whether the divergence from that base model was measured before, or found not to be defined.

        Where it was measured on other prompts than those with the hash ``asked``, as far as that was recorded, it is
        not known: another ``--seed`` draws others.
        """
        known = self.read(DIVERGENCES) or {}
        if base not in known:
            return False
        stored = known[base]
        return not isinstance(stored, dict) or stored.get(ASKED, asked) == asked

    def stored_divergence(self, base: str, companions: str | None = None) -> Divergence | None:
        """Return the divergence from the base model with the hash ``base``, if measured before, or None.

        So it is where the files next to its weights had another hash than ``companions``, as far as that was recorded.
        """
        stored = (self.read(DIVERGENCES) or {}).get(base)
        if isinstance(stored, dict) and stored.get(COMPANIONS, companions) != companions:
            return None
        try:
            return None if stored is None else Divergence.model_validate(stored)
        except ValueError as error:
            raise InputError(f"{self.path / DIVERGENCES}: is damaged. Remove it, or choose another folder.") from error

    def store_divergence(self, base: str, divergence: Any) -> None:
        """Store the divergence from the base model with the hash ``base``; None where it is not defined."""
        self.write(DIVERGENCES, {**(self.read(DIVERGENCES) or {}), base: divergence})


def kept_ability(path: Path, tokens: int) -> LineStore:
    """Return the answers of at most ``tokens`` tokens to ability questions that an evaluation in ``path`` has."""
    return LineStore(path / f"ability-{tokens}.jsonl", check_answer)


class Likelihoods(LineStore):
    """Log-likelihoods under one base model, chat template included; rows of an earlier version do not name it."""

    def __init__(self, path: Path, companions: str | None) -> None:
        super().__init__(path, _check_likelihoods)
        self.companions = companions
        read = self.rows
        self.rows = {key: row for key, row in read.items() if row.get(COMPANIONS, companions) == companions}
        self.left_out = len(read) - len(self.rows)
        """Rows under the same weights with other files next to them."""

    def add(self, repeat: int, prompt: str, **values: Any) -> None:
        """Add a row, which names the files next to the base model's weights."""
        super().add(repeat, prompt, **values, **{COMPANIONS: self.companions})


def kept_likelihoods(path: Path, base: str, companions: str | None) -> Likelihoods:
    """Return the log-likelihoods under a base model that an evaluation in ``path`` has.

    Args:
        base: hash of its weights.
        companions: hash of the files next to them; rows are left out that were recorded with another.
    """
    return Likelihoods(path / f"likelihoods-{base[:16]}.jsonl", companions)


def check_answer(row: Mapping[str, Any]) -> None:
    """Raise KeyError or TypeError unless a row of a file of answers is one: ``null`` is not the answer "None"."""
    if not isinstance(row["completion"], str):
        raise TypeError("its completion is not text")
    for name in ("tokens", "seconds"):
        if not isinstance(row.get(name, 0), int | float | None):
            raise TypeError(f"its {name} are not numbers")


def _check_likelihoods(row: Mapping[str, Any]) -> None:
    if "answer_nats" not in row:  # too short to be scored
        return
    if not isinstance(row["answer_nats"], int | float) or not isinstance(row["prompt_nats"], int | float | None):
        raise TypeError("its log-likelihoods are no numbers")


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)


def verdicts_file(judge: str) -> str:
    """Return the name of the file with a judge's verdicts; another judge's differs, also in another script."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", judge)
    if UNUSUAL.search(judge) or len(plain) > LONGEST_NAME:
        plain = f"{plain[:LONGEST_NAME]}-{hashlib.sha256(judge.encode(errors='replace')).hexdigest()[:12]}"
    return f"verdicts-{plain}.jsonl"


def open_evaluation(path: Path, judge: str) -> tuple[LineStore, LineStore]:
    """Return the answers of a finished evaluation and the judge's verdicts on them.

    Raises:
        InputError: no such evaluation, or not judged by this judge.
    """
    if not (path / ANSWERS).is_file():
        raise InputError(f"{path}: not an evaluation. Give a folder that `prosafeprune evaluate` wrote.")
    verdicts = path / verdicts_file(judge)
    if not verdicts.is_file():
        raise InputError(
            f"{path}: was not judged by {judge}. Run that evaluation again with this judge; its answers are reused."
        )
    return LineStore(path / ANSWERS, check_answer), LineStore(verdicts, Verdict.from_row)
