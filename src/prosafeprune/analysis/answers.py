"""Answers to the test prompts by a model that is edited in memory, had once for each edit and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judge import Judge
from prosafeprune.method.plan import Edit
from prosafeprune.progress import Reporter
from prosafeprune.search.editing import apply_edits


class KeptAnswers:
    """Measurements of one model under many edits; analyses that ask for the same edits share the answers."""

    def __init__(
        self,
        folder: Path,
        model: Mapping[str, Any],
        decoding: Decoding,
        judge: Callable[[], Judge],
        generator: Callable[[], Generator],
        reporter: Reporter,
    ) -> None:
        """Keep answers under ``folder``.

        Args:
            folder: a folder of its own is made in it for each edit.
            model: what tells the model and the way it runs from others.
            decoding: how answers are drawn.
            judge: gives the judge when it is needed.
            generator: gives what answers for the model when an answer is missing.
            reporter: told of progress.
        """
        self.folder, self.model, self.decoding = folder, model, decoding
        self.judge, self.generator, self.reporter = judge, generator, reporter

    def missing(self, edited: Mapping[str, Any], sets: Sequence[EvaluationSet]) -> int:
        """Return how many prompts of these sets the model with these edits has not answered yet."""
        path = self._path(edited)
        kept = self._open(edited).answers if path.exists() else ()
        return sum((0, text) not in kept for one in sets for text in one.prompts.texts)

    def measure(
        self, edited: Mapping[str, Any], edits: Sequence[Edit], sets: Sequence[EvaluationSet], title: str
    ) -> Measurement:
        """Return the judged answers to these sets with the edits in the weights, which are then put back.

        Args:
            edited: all that decides the edits, such as the plan and the hashes of its calibration prompts, as JSON
                values; empty for none.
            edits: the edits.
            sets: the prompts.
            title: what progress is told under.

        Raises:
            InputError: as the generator and the judge do, or the folder cannot be written to.
        """
        kept, judge = self._open(edited), self.judge()
        with apply_edits(edits):
            collect_answers(kept.answers, self.generator, sets, self.decoding, 1, self.reporter, title)
        return collect_verdicts(kept.verdicts(judge.name), kept.answers, judge, sets, 1, self.reporter)

    def _open(self, edited: Mapping[str, Any]) -> EvaluationFolder:
        path = self._path(edited)
        path.mkdir(parents=True, exist_ok=True)
        return EvaluationFolder(path, self._made_by(edited))

    def _path(self, edited: Mapping[str, Any]) -> Path:
        told = json.dumps(self._made_by(edited), sort_keys=True)
        return self.folder / hashlib.sha256(told.encode()).hexdigest()[:16]

    def _made_by(self, edited: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.model, **self.decoding.model_dump(), "edited": dict(edited)}
