"""Likelihoods of measured answers under the base model, which reveal word salad that the text alone does not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import CHUNK, Measurement
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.judge import Exchange
from prosafeprune.judge.base_model_likelihood import Likelihood, mean_log_likelihoods, with_likelihoods
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter


def with_base_likelihoods(
    measured: Measurement,
    stores: Sequence[LineStore],
    base_model: Callable[[], LoadedModel],
    batch_size: int | Literal["auto"],
    reporter: Reporter,
) -> Measurement:
    """Return a measurement whose verdicts carry log-likelihoods under the base model, but those of refusals.

    Those of word salad become broken.

    Args:
        stores: one per set, which may be the same; they receive the missing scores as they arrive.
        base_model: returns the base model, unedited in memory; called only if a score is missing.

    Raises:
        InputError: the model cannot be loaded, out of memory, or the scores cannot be written.
    """
    pairs = list(zip(measured.sets, stores, strict=True))
    waiting: list[_Waiting] = []
    for one, scores in pairs:
        asked = {(each.scores is scores, each.key) for each in waiting}
        waiting += [
            _Waiting(scores, *row) for row in _scored(one) if row[0] not in scores and (True, row[0]) not in asked
        ]
    if waiting:
        loaded = base_model()
        with reporter.stage("Likelihoods under the base model", len(waiting)) as advance:
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                found = mean_log_likelihoods(loaded, [Exchange(each.key[1], each.answer) for each in chunk], batch_size)
                for each, score in zip(chunk, found, strict=True):
                    nats = {} if score is None else {"answer_nats": score.answer, "prompt_nats": score.prompt}
                    each.scores.add(each.key[0], each.key[1], **nats)
                advance(len(chunk))
    return _marked(pairs)


@dataclass(frozen=True)
class _Waiting:
    """An answer without a score yet."""

    scores: LineStore
    key: Key
    answer: str


def _scored(judged: JudgedSet) -> Iterator[tuple[Key, str]]:
    """Yield repeat and prompt with the answer, of answers that are no refusals."""
    answers = (answer for run in judged.answers_by_repeat for answer in run)
    verdicts = (verdict for run in judged.verdicts_by_repeat for verdict in run)
    for key, answer, verdict in zip(_keys(judged), answers, verdicts, strict=True):
        if not verdict.answer_class.refuses:
            yield key, answer


def _marked(pairs: Sequence[tuple[JudgedSet, LineStore]]) -> Measurement:
    """Return the measurement with the scores in its verdicts; what counts as word salad depends on all of them."""
    verdicts = [verdict for one, _ in pairs for run in one.verdicts_by_repeat for verdict in run]
    keys = [(scores, key) for one, scores in pairs for key in _keys(one)]
    scored = {(id(scores), key) for one, scores in pairs for key, _ in _scored(one)}
    known = [_read_score(scores, key) if (id(scores), key) in scored else None for scores, key in keys]
    marked = iter(with_likelihoods(verdicts, known))
    return Measurement(
        [
            replace(one, verdicts_by_repeat=[[next(marked) for _ in run] for run in one.verdicts_by_repeat])
            for one, _ in pairs
        ]
    )


def _keys(judged: JudgedSet) -> Iterator[Key]:
    """Yield repeat and prompt of every verdict, in order."""
    for repeat in range(len(judged.verdicts_by_repeat)):
        yield from ((repeat, prompt) for prompt in judged.prompts.texts)


def _read_score(scores: LineStore, key: Key) -> Likelihood | None:
    row = scores[key]
    return Likelihood(row["answer_nats"], row["prompt_nats"]) if "answer_nats" in row else None
