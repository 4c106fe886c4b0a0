"""A model's answers to prompt sets, had once, kept, and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prosafeprune.evaluation.judged_set import JudgedSet, as_wished
from prosafeprune.evaluation.scores import Scores, score
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import Key, LineStore
from prosafeprune.generation.backend import Answer, Decoding, Generator
from prosafeprune.judge import Exchange, Judge, RulesJudge, Verdict, judge_answers
from prosafeprune.progress import Reporter
from prosafeprune.prompts.prompt_set import PromptClass

CHUNK = 64
"""Answers judged at a time: verdicts of slow judges are kept as they come."""


@dataclass(frozen=True)
class Measurement:
    """One model measured on prompt sets."""

    sets: list[JudgedSet]

    @property
    def scores(self) -> Scores:
        """C.R., S.S. and T.S. of these answers."""
        return score(self.sets)

    def of(self, prompt_class: PromptClass) -> list[JudgedSet]:
        """Return the sets of one class, in order."""
        return [one for one in self.sets if one.prompt_class is prompt_class]


def measure(
    generator: Generator,
    sets: Sequence[EvaluationSet],
    judge: Judge,
    decoding: Decoding,
    reporter: Reporter,
    title: str,
) -> Measurement:
    """Have answers to all sets, judge them, and keep nothing on disk.

    Raises:
        InputError: as the generator and the judge do.
    """
    answers, verdicts = LineStore(), LineStore()
    collect_answers(answers, lambda: generator, sets, decoding, 1, reporter, title)
    return collect_verdicts(verdicts, answers, judge, sets, 1, reporter)


def collect_answers(
    answers: LineStore,
    make_generator: Callable[[], Generator],
    sets: Sequence[EvaluationSet],
    decoding: Decoding,
    repeats: int,
    reporter: Reporter,
    title: str,
) -> None:
    """Have the answers that are missing, keeping each as it comes. Repeats differ in their seed.

    The generator is made only when an answer is missing.

    Raises:
        InputError: as the generator does.
    """
    waiting = [key for key in _keys(sets, repeats) if key not in answers]
    if not waiting:
        return
    generator = make_generator()
    live = LiveScores(sets)
    with reporter.stage(title, len(waiting), live.__str__) as advance:
        for repeat in range(repeats):
            prompts = [prompt for other, prompt in waiting if other == repeat]
            drawing = decoding.model_copy(update={"seed": decoding.seed + repeat})
            for place, answer in generator.answer(prompts, drawing) if prompts else ():
                keep_answer(answers, repeat, prompts[place], answer)
                live.add(prompts[place], answer.text)
                advance(1)


def keep_answer(answers: LineStore, repeat: int, prompt: str, answer: Answer) -> None:
    """Keep an answer with what is known of its cost. Raises InputError when there is no room."""
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
    """Have the verdicts that are missing, keeping them as they come, and put all together by set.

    Raises:
        InputError: as the judge does.
    """
    waiting = [key for key in _keys(sets, repeats) if key not in verdicts]
    with reporter.stage(f"Judging with {judge.name}", len(waiting)) as advance:
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            exchanges = [Exchange(key[1], str(answers[key]["completion"])) for key in chunk]
            for (repeat, prompt), verdict in zip(chunk, judge_answers(judge, exchanges), strict=True):
                verdicts.add(repeat, prompt, **verdict.as_row())
            advance(len(chunk))
    return gather(answers, verdicts, sets, repeats)


def gather(answers: LineStore, verdicts: LineStore, sets: Sequence[EvaluationSet], repeats: int) -> Measurement:
    """Put kept answers and verdicts together by set."""

    def verdict(key: Key) -> Verdict:
        row = verdicts[key]
        return Verdict.from_row(row)

    return Measurement(
        [
            JudgedSet(
                chosen,
                [[str(answers[repeat, text]["completion"]) for text in chosen.prompts.texts] for repeat in runs],
                [[verdict((repeat, text)) for text in chosen.prompts.texts] for repeat in runs],
            )
            for runs in [range(repeats)]
            for chosen in sets
        ]
    )


@dataclass
class LiveScores:
    """C.R. and S.S. so far, by the rules judge, for the eyes of who waits; they are no result."""

    sets: Sequence[EvaluationSet]
    counts: dict[PromptClass, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.judge = RulesJudge()
        self.classes = {text: one.prompt_class for one in self.sets for text in one.prompts.texts}

    def add(self, prompt: str, answer: str) -> None:
        """Count one more answer."""
        prompt_class = self.classes[prompt]
        good = as_wished(prompt_class, judge_answers(self.judge, [Exchange(prompt, answer)])[0])
        successes, total = self.counts.get(prompt_class, (0, 0))
        self.counts[prompt_class] = (successes + good, total + 1)

    def __str__(self) -> str:
        names = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S.", PromptClass.BENIGN: "benign"}
        shown = [(names[one], *self.counts[one]) for one in names if one in self.counts]
        return "  ".join(f"{name} {100 * successes / total:.0f} %" for name, successes, total in shown)


def _keys(sets: Sequence[EvaluationSet], repeats: int) -> Iterator[Key]:
    """Yield every repeat of every prompt; one that stands in two sets comes once."""
    texts = dict.fromkeys(text for chosen in sets for text in chosen.prompts.texts)
    return ((repeat, text) for repeat in range(repeats) for text in texts)
