"""Answers of one model under different edits in memory: each generated once, judged and saved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.ability import AbilityQuestion, TaskScore, ask_questions
from prosafeprune.editing.edits import Edit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.cache import digest_of
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judges import Judge
from prosafeprune.progress import Reporter


@dataclass(frozen=True)
class Condition:
    """Edits that a model is measured under, applied in memory and undone."""

    title: str
    """What the condition is called in tables, in a few words."""
    identity: Mapping[str, Any]
    """Everything that determines the edits, such as the plan and the hashes of its calibration prompts, as JSON."""
    make_edits: Callable[[], Sequence[Edit]]
    """Called while the model has its original weights, and only when there is something to answer."""


BASE_MODEL = Condition("base model", {}, lambda: ())


@dataclass(frozen=True)
class AnswerStore:
    """Measurements of one model under many conditions; analyses that ask for the same condition share its answers.

    Between calls the model has its original weights, bit for bit.
    """

    folder: Path
    """Holds one folder for each condition."""
    model: Mapping[str, Any]
    """What identifies the model and the way it runs."""
    decoding: Decoding
    judge: Callable[[], Judge]
    generator: Callable[[], Generator]
    reporter: Reporter

    def missing(self, condition: Condition, sets: Sequence[EvaluationSet]) -> frozenset[tuple[str, str]]:
        """Return the prompts of these sets that are not answered yet, each with the name of the condition's folder."""
        path = self._path(condition)
        saved = self._open(condition).answers if path.exists() else ()
        return frozenset(
            (path.name, text)
            for evaluation_set in sets
            for text in evaluation_set.prompts.texts
            if (0, text) not in saved
        )

    def measure(self, condition: Condition, sets: Sequence[EvaluationSet]) -> Measurement:
        """Return the judged answers to these sets under a condition.

        Raises:
            InputError: generation or judging fails, or the folder cannot be written to. Finished answers are kept.
        """
        saved, judge = self._open(condition), self.judge()
        with self._generator(condition, saved) as generator:
            title = f"Answers, {condition.title}"
            collect_answers(saved.answers, generator, sets, self.decoding, 1, self.reporter, title)
        return collect_verdicts(saved.verdicts(judge.name), saved.answers, judge, sets, 1, self.reporter)

    def ability(self, condition: Condition, questions: Sequence[AbilityQuestion], tokens: int) -> dict[str, TaskScore]:
        """Return the accuracy on each task under a condition, from answers of at most ``tokens`` tokens.

        Raises:
            InputError: generation fails, or the folder cannot be written to. Finished answers are kept.
        """
        saved = self._open(condition)
        with self._generator(condition, saved) as generator:
            return ask_questions(saved.ability(tokens), generator, questions, tokens, self.reporter).scores

    @contextmanager
    def _generator(self, condition: Condition, saved: EvaluationFolder) -> Iterator[Callable[[], Generator]]:
        """Yield a function that applies the edits and returns the generator; the edits are undone with the context."""
        with ExitStack() as stack:

            def make() -> Generator:
                stack.enter_context(apply_edits(condition.make_edits()))
                generator = self.generator()
                stack.callback(lambda: saved.add_session(generator.describe()))
                return generator

            yield make

    def _open(self, condition: Condition) -> EvaluationFolder:
        path = self._path(condition)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be created ({error.strerror}). Choose another folder.") from error
        return EvaluationFolder(path, self._made_by(condition))

    def _path(self, condition: Condition) -> Path:
        return self.folder / digest_of(self._made_by(condition))[:16]

    def _made_by(self, condition: Condition) -> dict[str, Any]:
        return {**self.model, **self.decoding.model_dump(), "treatment": dict(condition.identity)}  # name on disk
