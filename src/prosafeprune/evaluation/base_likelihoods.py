"""Likelihoods of measured answers under the base model, which reveal word salad that the text alone does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
    owners: dict[Key, LineStore] = {}  # of a prompt in two sets, the first: the answer is that set's
    answers: dict[Key, str] = {}
    verdicts: dict[Key, Verdict] = {}
    for one, scores in zip(measured.sets, stores, strict=True):
        for repeat, (texts, judged) in enumerate(zip(one.answers_by_repeat, one.verdicts_by_repeat, strict=True)):
            keys = [(repeat, prompt) for prompt in one.prompts.texts]
            owners = {**dict.fromkeys(keys, scores), **owners}
            answers |= zip(keys, texts, strict=True)
            verdicts |= zip(keys, judged, strict=True)
    scored = {key for key, verdict in verdicts.items() if not verdict.answer_class.refuses}
    waiting = [key for key in verdicts if key in scored and key not in owners[key]]
    if waiting:
        loaded = base_model()
        with reporter.stage("Likelihoods under the base model", len(waiting)) as advance:
            for start in range(0, len(waiting), CHUNK):
                chunk = waiting[start : start + CHUNK]
                exchanges = [Exchange(key[1], answers[key]) for key in chunk]
                found = mean_log_likelihoods(loaded, exchanges, batch_size, advance)
                for key, score in zip(chunk, found, strict=True):
                    nats = {} if score is None else {"answer_nats": score.answer, "prompt_nats": score.prompt}
                    owners[key].add(key[0], key[1], **nats)
    known = [_read_score(owners[key], key) if key in scored else None for key in verdicts]
    marked = dict(zip(verdicts, with_likelihoods(list(verdicts.values()), known), strict=True))

    def marked_set(one: JudgedSet) -> JudgedSet:
        repeats = range(len(one.verdicts_by_repeat))
        rows = [[marked[repeat, prompt] for prompt in one.prompts.texts] for repeat in repeats]
        return replace(one, verdicts_by_repeat=rows)

    return Measurement([marked_set(one) for one in measured.sets])


def _read_score(scores: LineStore, key: Key) -> Likelihood | None:
    row = scores[key]
    return Likelihood(row["answer_nats"], row["prompt_nats"]) if "answer_nats" in row else None
