"""Answers by a model to which something is done in memory, had once for each such treatment, judged and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.ability import Question, TaskScore, ask_questions
from prosafeprune.editing.edits import Edit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judge import Judge
from prosafeprune.progress import Reporter


@dataclass(frozen=True)
class Treatment:
    """Something done to a model's weights for a while."""

    title: str
    """In a few words, for a person."""
    identity: Mapping[str, Any]
    """All that decides the edits, such as the plan and the hashes of its calibration prompts, as JSON values."""
    make_edits: Callable[[], Sequence[Edit]]
    """Called while the model has its own weights, and only when there is something to answer."""


UNTREATED = Treatment("source", {}, lambda: ())


class KeptAnswers:
    """Measurements of one model under many treatments; analyses that ask for the same one share its answers.

    Between calls the model has its own weights, to the bit.
    """

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
            folder: a folder of its own is made in it for each treatment.
            model: what tells the model and the way it runs from others.
            decoding: how answers are drawn.
            judge: gives the judge when it is needed.
            generator: gives what answers for the model when an answer is missing.
            reporter: told of progress.
        """
        self.folder, self.model, self.decoding = folder, model, decoding
        self.judge, self.generator, self.reporter = judge, generator, reporter
        self.counted: set[tuple[Path, str]] | None = None
        """While several analyses are estimated together: the answers that one of them will have had."""

    def missing(self, treatment: Treatment, sets: Sequence[EvaluationSet]) -> int:
        """Return how many prompts of these sets the treated model has not answered yet."""
        path = self._path(treatment)
        kept = self._open(treatment).answers if path.exists() else ()
        waiting = [(path, text) for one in sets for text in one.prompts.texts if (0, text) not in kept]
        if self.counted is not None:
            waiting = [one for one in waiting if one not in self.counted]
            self.counted.update(waiting)
        return len(waiting)

    def measure(self, treatment: Treatment, sets: Sequence[EvaluationSet]) -> Measurement:
        """Return what the judge finds in the treated model's answers to these sets.

        Raises:
            InputError: as the generator and the judge do, or the folder cannot be written to. What was answered until
                then is kept.
        """
        kept, judge = self._open(treatment), self.judge()
        with self._at_work(treatment, kept) as generator:
            title = f"Answers, {treatment.title}"
            collect_answers(kept.answers, generator, sets, self.decoding, 1, self.reporter, title)
        return collect_verdicts(kept.verdicts(judge.name), kept.answers, judge, sets, 1, self.reporter)

    def ability(self, treatment: Treatment, questions: Sequence[Question], tokens: int) -> dict[str, TaskScore]:
        """Return the treated model's accuracy on each task, from answers of at most ``tokens`` tokens.

        Raises:
            InputError: as the generator does, or the folder cannot be written to. What was answered is kept.
        """
        kept = self._open(treatment)
        with self._at_work(treatment, kept) as generator:
            return ask_questions(kept.ability(tokens), generator, questions, tokens, self.reporter)

    @contextmanager
    def _at_work(self, treatment: Treatment, kept: EvaluationFolder) -> Iterator[Callable[[], Generator]]:
        """Give what treats the model when it is first called; the treatment ends with the context."""
        made: list[Generator] = []
        with ExitStack() as stack:

            def make() -> Generator:
                stack.enter_context(apply_edits(treatment.make_edits()))
                made.append(self.generator())
                return made[0]

            try:
                yield make
            finally:
                for generator in made:
                    kept.add_session(generator.describe())

    def _open(self, treatment: Treatment) -> EvaluationFolder:
        path = self._path(treatment)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: could not be made ({error.strerror}). Choose another folder.") from error
        return EvaluationFolder(path, self._made_by(treatment))

    def _path(self, treatment: Treatment) -> Path:
        told = json.dumps(self._made_by(treatment), sort_keys=True)
        return self.folder / hashlib.sha256(told.encode()).hexdigest()[:16]

    def _made_by(self, treatment: Treatment) -> dict[str, Any]:
        return {**self.model, **self.decoding.model_dump(), "treatment": dict(treatment.identity)}
