"""Measuring a model on prompt sets: its answers are collected once, stored and judged."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prosafeprune.evaluation.judged_set import JudgedSet, is_desired
from prosafeprune.evaluation.scores import Scores, of_class, score
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.judges import Exchange, Judge, RulesJudge, Verdict, judge_answers
from prosafeprune.judges.builtin import unmeasured_languages
from prosafeprune.progress import PartialAnswers, Reporter, partial_answers
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.requests.search import SHORT_ANSWER
from prosafeprune.text import text_hash

CHUNK = 64
"""Answers judged at a time: verdicts of slow judges are stored as they arrive."""
OF_ANSWER = "answer_sha256"
"""In a stored row about an answer: which one it is about. Older rows lack it."""


@dataclass(frozen=True)
class Measurement:
    """One model measured on prompt sets."""

    sets: list[JudgedSet]

    @property
    def scores(self) -> Scores:
        """C.R., S.S. and T.S. of these answers."""
        return score(self.sets)

    def of(self, prompt_class: PromptClass) -> list[JudgedSet]:
        """Return the sets of one class, in order, without those of policies."""
        return of_class(self.sets, prompt_class)


NOTHING = Measurement([])


def collect_answers(
    answers: LineStore,
    make_generator: Callable[[], Generator],
    sets: Sequence[EvaluationSet],
    decoding: Decoding,
    repeats: int,
    reporter: Reporter,
    title: str,
) -> None:
    """Collect the missing answers, storing each as it arrives. Repeats differ in their seed.

    The generator is created only if an answer is missing.

    Raises:
        InputError: as the generator does.
    """
    waiting = [key for key in _keys(sets, repeats) if key not in answers]
    if not waiting:
        return
    live = LiveScores(sets)
    with reporter.stage(title, len(waiting), live.__str__) as advance, partial_answers(advance) as progress:
        _answer(answers, make_generator(), waiting, decoding, live, progress)


def collect_set_by_set(
    stores: Sequence[LineStore],
    make_generator: Callable[[EvaluationSet], Generator],
    sets: Sequence[EvaluationSet],
    decoding: Decoding,
    reporter: Reporter,
    title: str,
) -> LineStore:
    """Collect the missing answers of each set separately, in its own batches, as one stage.

    So the answers to a set do not depend on what else is measured, not even in the last bits.

    Args:
        stores: one per set; each answer is stored as it arrives.
        make_generator: called for each set with missing answers.

    Returns:
        All answers together, in memory. Of a prompt in two sets, the first set's.

    Raises:
        InputError: as the generator does.
    """
    pairs = list(zip(stores, sets, strict=True))
    waiting = [[key for key in _keys([evaluation_set], 1) if key not in answers] for answers, evaluation_set in pairs]
    live = LiveScores(())
    now = ""

    def status() -> str:
        return f"{live}  {now}".strip()

    if any(waiting):
        total = sum(map(len, waiting))
        with reporter.stage(title, total, status) as advance, partial_answers(advance) as progress:
            for (answers, evaluation_set), missing in zip(pairs, waiting, strict=True):
                if missing:
                    now, live = evaluation_set.name, LiveScores([evaluation_set])
                    _answer(answers, make_generator(evaluation_set), missing, decoding, live, progress)
    merged = LineStore()
    for answers, evaluation_set in reversed(pairs):
        merged.rows |= {key: answers[key] for key in _keys([evaluation_set], 1)}
    return merged


def _answer(
    answers: LineStore,
    generator: Generator,
    waiting: Sequence[Key],
    decoding: Decoding,
    live: "LiveScores",
    progress: PartialAnswers,
) -> None:
    """Generate and store the missing answers; each repeat has its own seed."""
    for repeat in sorted({repeat for repeat, _ in waiting}):
        prompts = [prompt for other, prompt in waiting if other == repeat]
        drawing = decoding.model_copy(update={"seed": decoding.seed + repeat})
        for index, answer in generator.answer(prompts, drawing):
            store_answer(answers, repeat, prompts[index], answer)
            live.add(prompts[index], answer.text)
            progress.finish()


def store_answer(answers: LineStore, repeat: int, prompt: str, answer: Answer) -> None:
    """Store an answer with its cost, where known. Raises InputError when it cannot be written."""
    known = {"tokens": answer.tokens, "seconds": answer.seconds}
    costs = {name: value for name, value in known.items() if value is not None}
    answers.add(repeat, prompt, completion=answer.text, finished=answer.finished, **costs)


def collect_verdicts(
    verdicts: LineStore,
    answers: LineStore,
    judge: Judge,
    sets: Sequence[EvaluationSet],
    repeats: int,
    reporter: Reporter,
) -> Measurement:
    """Collect the missing verdicts, storing them as they arrive, and return all of them by set.

    A verdict on an answer that was since generated again, because its row was removed, is missing too.

    Raises:
        InputError: as the judge does.
    """
    waiting = [key for key in _keys(sets, repeats) if not is_about(verdicts, key, str(answers[key]["completion"]))]
    with reporter.stage(f"Judging with {judge.name}", len(waiting)) as advance:
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            exchanges = [Exchange(key[1], str(answers[key]["completion"])) for key in chunk]
            for (repeat, prompt), exchange, verdict in zip(
                chunk, exchanges, judge_answers(judge, exchanges), strict=True
            ):
                verdicts.add(repeat, prompt, **verdict.as_row(), **{OF_ANSWER: text_hash(exchange.answer)})
            advance(len(chunk))
    return gather(answers, verdicts, sets, repeats)


def is_about(rows: LineStore, key: Key, answer: str) -> bool:
    """Return whether there is a stored verdict or score, and of this answer as far as it says."""
    return key in rows and rows[key].get(OF_ANSWER) in (None, text_hash(answer))


def warn_of_short_answers(max_new_tokens: int, reporter: Reporter) -> None:
    """Warn, before the long work, of answers too short for most to show whether they refuse."""
    if max_new_tokens < SHORT_ANSWER:
        reporter.warning(
            f"--max-new-tokens {max_new_tokens}: most answers show whether they refuse only after about {SHORT_ANSWER} "
            "tokens, so many verdicts will be wrong or missing. Give more."
        )


def warn_of_languages(measured: Sequence[Measurement], reporter: Reporter) -> None:
    """Warn, in one line, of answers in languages that the built-in judge was not measured in."""
    verdicts = [
        verdict
        for measurement in measured
        for each in measurement.sets
        for run in each.verdicts_by_repeat
        for verdict in run
    ]
    warning = unmeasured_languages(verdicts)
    if warning:
        reporter.warning(warning)


def gather(answers: LineStore, verdicts: LineStore, sets: Sequence[EvaluationSet], repeats: int) -> Measurement:
    """Group stored answers and verdicts by set."""
    return Measurement(
        [
            JudgedSet(
                evaluation_set,
                [
                    [str(answers[repeat, text]["completion"]) for text in evaluation_set.prompts.texts]
                    for repeat in range(repeats)
                ],
                [
                    [_verdict(verdicts[repeat, text], evaluation_set) for text in evaluation_set.prompts.texts]
                    for repeat in range(repeats)
                ],
            )
            for evaluation_set in sets
        ]
    )


def _verdict(row: Mapping[str, Any], evaluation_set: EvaluationSet) -> Verdict:
    """Return a stored verdict; a policy asks for refusals, whatever S.S. counts, since its prompts are harmless."""
    verdict = Verdict.from_row(row)
    return replace(verdict, safety="refusal") if evaluation_set.is_policy else verdict


@dataclass
class LiveScores:
    """C.R. and S.S. so far by the rules judge, for the progress display only.

    A rate is shown once half of the class is answered: short answers finish first, and refusals are short.
    """

    sets: Sequence[EvaluationSet]
    counts: dict[PromptClass, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.judge = RulesJudge()
        rated = [evaluation_set for evaluation_set in self.sets if not evaluation_set.is_policy]
        self.classes = {
            text: evaluation_set.prompt_class for evaluation_set in rated for text in evaluation_set.prompts.texts
        }
        self.sizes = Counter(self.classes.values())

    def add(self, prompt: str, answer: str) -> None:
        """Count one more answer."""
        if prompt not in self.classes:
            return
        prompt_class = self.classes[prompt]
        good = is_desired(prompt_class, judge_answers(self.judge, [Exchange(prompt, answer)])[0])
        successes, total = self.counts.get(prompt_class, (0, 0))
        self.counts[prompt_class] = (successes + good, total + 1)

    def __str__(self) -> str:
        names = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S.", PromptClass.BENIGN: "benign"}
        rates = ((prompt_class, *self.counts.get(prompt_class, (0, 0))) for prompt_class in names)
        shown = [
            (names[prompt_class], good / total)
            for prompt_class, good, total in rates
            if 0 < self.sizes[prompt_class] <= 2 * total
        ]
        return "  ".join(f"{name} {100 * share:.0f} %" for name, share in shown)


def _keys(sets: Sequence[EvaluationSet], repeats: int) -> Iterator[Key]:
    """Return an iterator over every repeat of every prompt; a prompt in two sets appears once."""
    texts = dict.fromkeys(text for evaluation_set in sets for text in evaluation_set.prompts.texts)
    return ((repeat, text) for repeat in range(repeats) for text in texts)
