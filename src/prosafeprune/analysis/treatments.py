"""A model measured again and again, each time with something else done to it in memory; answers are kept as they come.

Every treatment has a folder of its own, named by what it is: analyses that share one share its answers, and an
interrupted analysis goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prosafeprune.ability import Question, TaskScore, ask_questions
from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, Generator, LocalGenerator
from prosafeprune.judge import Judge
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.search.editing import InPlaceEdit, apply_edits


@dataclass(frozen=True)
class Treatment:
    """Something done to the weights for a while."""

    title: str
    """What a person calls it."""
    identity: Mapping[str, Any]
    """What it consists of, as plain JSON values: equal identities have equal answers."""
    make_edits: Callable[[], Sequence[InPlaceEdit]]
    """Called while the model has its source's weights, and only when there is something to measure."""


UNTREATED = Treatment("source", {}, lambda: ())


@dataclass(frozen=True)
class Measuring:
    """How every treatment is measured."""

    sets: Sequence[EvaluationSet]
    judge: Judge
    decoding: Decoding
    batch_size: int | Literal["auto"] = "auto"


class TreatedModel:
    """One model in memory, measured under treatments. Between calls it has its source's weights, to the bit."""

    def __init__(
        self,
        loaded: LoadedModel,
        measuring: Measuring,
        folder: Path,
        made_by: Mapping[str, Any],
        reporter: Reporter,
    ) -> None:
        """Measure nothing yet.

        Args:
            loaded: the model with its source's weights.
            measuring: prompts, judge and decoding.
            folder: where answers are kept; made when needed. No two runs may use it at once.
            made_by: what all answers depend on: model, calibration prompts, dtype and the like, as plain JSON values.
            reporter: told of progress.
        """
        self.loaded, self.measuring, self.folder, self.made_by = loaded, measuring, folder, made_by
        self.reporter = reporter

    def measure(self, treatment: Treatment) -> Measurement:
        """Return what the judge finds in the treated model's answers.

        Raises:
            InputError: as the generator and the judge do, or the folder cannot be used. What was answered is kept.
        """
        kept, sets, judge = self._kept(treatment), self.measuring.sets, self.measuring.judge
        with self._at_work(treatment, kept) as generator:
            collect_answers(
                kept.answers, generator, sets, self.measuring.decoding, 1, self.reporter, f"Answers, {treatment.title}"
            )
        return collect_verdicts(kept.verdicts(judge.name), kept.answers, judge, sets, 1, self.reporter)

    def ability(self, treatment: Treatment, questions: Sequence[Question], tokens: int) -> dict[str, TaskScore]:
        """Return the treated model's accuracy on each task, from answers of at most ``tokens`` tokens.

        Raises:
            InputError: as the generator does, or the folder cannot be used. What was answered is kept.
        """
        kept = self._kept(treatment)
        with self._at_work(treatment, kept) as generator:
            return ask_questions(kept.ability(tokens), generator, questions, tokens, self.reporter)

    def _kept(self, treatment: Treatment) -> EvaluationFolder:
        identity = json.dumps(treatment.identity, sort_keys=True)
        name = hashlib.sha256(identity.encode()).hexdigest()[:16] if treatment.identity else UNTREATED.title
        path = self.folder / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: could not be made ({error.strerror}). Choose another folder.") from error
        decoding = self.measuring.decoding.model_dump()
        return EvaluationFolder(path, {**self.made_by, **decoding, "treatment": treatment.identity})

    @contextmanager
    def _at_work(self, treatment: Treatment, kept: EvaluationFolder) -> Iterator[Callable[[], Generator]]:
        """Give what treats the model when it is first called; the treatment ends with the context."""
        made: list[LocalGenerator] = []
        with ExitStack() as stack:

            def make() -> Generator:
                stack.enter_context(apply_edits(treatment.make_edits()))
                made.append(LocalGenerator(self.loaded, self.measuring.batch_size))
                return made[0]

            try:
                yield make
            finally:
                for generator in made:
                    kept.add_session(generator.describe())
