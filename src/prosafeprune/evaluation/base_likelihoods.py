"""Likelihoods of measured answers under the base model, which reveal word salad that the text alone does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import CHUNK, Measurement
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.judges import Exchange, Verdict
from prosafeprune.judges.base_model_likelihood import Likelihood, mean_log_likelihoods, with_likelihoods
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
    answered: dict[Key, _Answered] = {}
    for judged_set, scores in zip(measured.sets, stores, strict=True):
        runs = zip(judged_set.answers_by_repeat, judged_set.verdicts_by_repeat, strict=True)
        for repeat, (answers, verdicts) in enumerate(runs):
            for prompt, answer, verdict in zip(judged_set.prompts.texts, answers, verdicts, strict=True):
                # Of a prompt in two sets, the first: the answer is that set's.
                answered.setdefault((repeat, prompt), _Answered(scores, answer, verdict))
    scored = [key for key, given in answered.items() if not given.verdict.answer_class.refuses]
    waiting = [key for key in scored if key not in answered[key].scores]
    if waiting:
        loaded = base_model()
        with reporter.stage("Likelihoods under the base model", len(waiting)) as advance:
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                exchanges = [Exchange(key[1], answered[key].answer) for key in chunk]
                found = mean_log_likelihoods(loaded, exchanges, batch_size, advance)
                for key, score in zip(chunk, found, strict=True):
                    nats = {} if score is None else {"answer_nats": score.answer, "prompt_nats": score.prompt}
                    answered[key].scores.add(key[0], key[1], **nats)
    read = {key: _read_score(answered[key].scores, key) for key in scored}
    marked_verdicts = with_likelihoods([given.verdict for given in answered.values()], [*map(read.get, answered)])
    marked = dict(zip(answered, marked_verdicts, strict=True))

    def marked_set(judged_set: JudgedSet) -> JudgedSet:
        repeats = range(len(judged_set.verdicts_by_repeat))
        rows = [[marked[repeat, prompt] for prompt in judged_set.prompts.texts] for repeat in repeats]
        return replace(judged_set, verdicts_by_repeat=rows)

    return Measurement([marked_set(judged_set) for judged_set in measured.sets])


@dataclass(frozen=True)
class _Answered:
    """What is known of a prompt in one repeat."""

    scores: LineStore
    """Has the answer's score, or receives it."""
    answer: str
    verdict: Verdict


def _read_score(scores: LineStore, key: Key) -> Likelihood | None:
    row = scores[key]
    return Likelihood(row["answer_nats"], row["prompt_nats"]) if "answer_nats" in row else None
