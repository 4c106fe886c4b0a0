"""Likelihoods of measured answers under the base model, which reveal word salad that the text alone does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import CHUNK, OF_ANSWER, Measurement, is_about
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.judges.base_model_likelihood import Likelihood, mean_log_likelihoods, with_likelihoods
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.text import text_hash

SAMPLED = 32
"""Number of answers of each set that are scored first. Scoring all takes as long as generating them."""


def with_base_likelihoods(
    measured: Measurement,
    stores: Sequence[LineStore],
    base_model: Callable[[], LoadedModel],
    batch_size: int | Literal["auto"],
    reporter: Reporter,
) -> Measurement:
    """Return a measurement whose verdicts carry log-likelihoods under the base model, but those of refusals.

    Of each set, ``SAMPLED`` answers are scored, evenly spread, and the others only where one of these is word salad or
    the judge found a broken answer. If 5 % of the answers were word salad, the sample would have one with a probability
    of 81 %, and the text alone finds 94 % of them (docs/judges.md). Those of word salad become broken.

    Args:
        stores: one per set, which may be the same; they receive the missing scores as they arrive.
        base_model: returns the base model, unedited in memory; called only if a score is missing.

    Raises:
        InputError: the model cannot be loaded, out of memory, or the scores cannot be written.
    """
    answered = _all_answered(measured, stores)
    by_set: list[list[Key]] = [[] for _ in measured.sets]
    for key, given in answered.items():
        if not given.verdict.answer_class.refuses:
            by_set[given.set_number].append(key)
    score = _Scoring(answered, base_model, batch_size, reporter).score
    score([key for keys in by_set for key in keys[:: max(1, len(keys) // SAMPLED)]])
    marked = _marked(answered)
    broken = [any(marked[key].answer_class is AnswerClass.BROKEN for key in keys) for keys in by_set]
    score([key for keys, has_broken in zip(by_set, broken, strict=True) if has_broken for key in keys])
    return _with_marked(measured, answered)


def with_stored_likelihoods(measured: Measurement, scores: LineStore) -> Measurement:
    """Return a measurement whose verdicts carry the log-likelihoods that are stored; none is computed."""
    return _with_marked(measured, _all_answered(measured, [scores] * len(measured.sets)))


@dataclass(frozen=True)
class _Answered:
    """What is known of a prompt in one repeat."""

    set_number: int
    scores: LineStore
    """Has the answer's score, or receives it."""
    answer: str
    verdict: Verdict

    def read_score(self, key: Key) -> Likelihood | None:
        """Return the answer's score; None without one, for a refusal, and for an answer too short to be scored."""
        is_needed = not self.verdict.answer_class.refuses
        return stored_likelihood(self.scores, key) if is_needed and self.is_scored(key) else None

    def is_scored(self, key: Key) -> bool:
        """Return whether this answer has a score, and not only an earlier one to the same prompt."""
        return is_about(self.scores, key, self.answer)


@dataclass(frozen=True)
class _Scoring:
    """Scores answers that have no score yet, storing each as it arrives."""

    answered: Mapping[Key, _Answered]
    base_model: Callable[[], LoadedModel]
    batch_size: int | Literal["auto"]
    reporter: Reporter

    def score(self, keys: Sequence[Key]) -> None:
        """Score some of the answers. Raises InputError as :func:`with_base_likelihoods` does."""
        waiting = [key for key in keys if not self.answered[key].is_scored(key)]
        if not waiting:
            return
        loaded = self.base_model()
        with self.reporter.stage("Likelihoods under the base model", len(waiting)) as advance:
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                exchanges = [Exchange(key[1], self.answered[key].answer) for key in chunk]
                found = mean_log_likelihoods(loaded, exchanges, self.batch_size, advance)
                for key, score in zip(chunk, found, strict=True):
                    named = {OF_ANSWER: text_hash(self.answered[key].answer)}
                    nats = {} if score is None else {"answer_nats": score.answer, "prompt_nats": score.prompt}
                    self.answered[key].scores.add(key[0], key[1], **nats, **named)


def stored_likelihood(scores: LineStore, key: Key) -> Likelihood | None:
    """Return a stored score; None for an answer that was too short to be scored."""
    row = scores[key]
    return Likelihood(row["answer_nats"], row["prompt_nats"]) if "answer_nats" in row else None


def _all_answered(measured: Measurement, stores: Sequence[LineStore]) -> dict[Key, _Answered]:
    answered: dict[Key, _Answered] = {}
    for number, (judged_set, scores) in enumerate(zip(measured.sets, stores, strict=True)):
        runs = zip(judged_set.answers_by_repeat, judged_set.verdicts_by_repeat, strict=True)
        for repeat, (answers, verdicts) in enumerate(runs):
            for prompt, answer, verdict in zip(judged_set.prompts.texts, answers, verdicts, strict=True):
                # Of a prompt in two sets, the first: the answer is that set's.
                answered.setdefault((repeat, prompt), _Answered(number, scores, answer, verdict))
    return answered


def _with_marked(measured: Measurement, answered: Mapping[Key, _Answered]) -> Measurement:
    """Return a measurement with the scores there are in its verdicts."""
    marked = _marked(answered)

    def marked_set(judged_set: JudgedSet) -> JudgedSet:
        repeats = range(len(judged_set.verdicts_by_repeat))
        rows = [[marked[repeat, prompt] for prompt in judged_set.prompts.texts] for repeat in repeats]
        return replace(judged_set, verdicts_by_repeat=rows)

    return Measurement([marked_set(judged_set) for judged_set in measured.sets])


def _marked(answered: Mapping[Key, _Answered]) -> dict[Key, Verdict]:
    """Return the verdicts with the scores there are."""
    verdicts = [given.verdict for given in answered.values()]
    scores = [given.read_score(key) for key, given in answered.items()]
    return dict(zip(answered, with_likelihoods(verdicts, scores), strict=True))
