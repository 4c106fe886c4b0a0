"""Training pairs whose answers are the model's own, so that training changes only when it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from prosafeprune.baselines.method import FitContext
from prosafeprune.errors import NotApplicableError
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.reasoning_text import ends_within_thought
from prosafeprune.judges.verdict import AnswerClass, Exchange
from prosafeprune.progress import partial_answers
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.helpful_prompt import HELPFULNESS

FEWEST = 4
"""Fewest usable answers of a class; with fewer, training would be about them alone."""
WANTED = {
    PromptClass.BENIGN: AnswerClass.FULL_COMPLIANCE,
    PromptClass.HARMFUL: AnswerClass.FULL_REFUSAL,
    PromptClass.PSEUDO_HARMFUL: AnswerClass.FULL_COMPLIANCE,
}
SYSTEM: Mapping[PromptClass, str | None] = {PromptClass.PSEUDO_HARMFUL: HELPFULNESS}
"""System prompts under which answers are made; they are not part of the training prompts."""


@dataclass(frozen=True)
class Pair:
    """A prompt and the answer that is trained on."""

    prompt: str
    answer: str
    finished: bool
    """Whether the answer is complete, so that its end is trained on too."""
    anchored: bool = False
    """Whether the model is held at its distributions along the answer, rather than trained on the answer's tokens."""


class OwnAnswers:
    """The model's answers to calibration prompts, kept where the built-in judge calls them what they should be.

    They are saved as they arrive, so that an interrupted fit resumes.
    """

    def __init__(self, context: FitContext, prompts: int, tokens: int, title: str) -> None:
        """Take at most ``prompts`` prompts of each class; ``title`` names the method in progress and messages."""
        self.context, self.prompts, self.tokens, self.title = context, prompts, tokens, title
        self.judge = BuiltinJudge()
        self._store = LineStore(context.progress_file("answers.jsonl"))

    def pairs(self, prompt_class: PromptClass) -> list[Pair]:
        """Return the pairs of a class: full compliance, and full refusals of harmful prompts.

        Pseudo-harmful prompts are answered under a system prompt that asks for helpfulness.

        Raises:
            NotApplicableError: too few answers are of use.
            InputError: as generation does.
        """
        texts = self.context.calibration[prompt_class].sample(self.prompts, self.context.seed).texts
        self._answer(texts, prompt_class)
        rows = [self._store[0, text] for text in texts]
        verdicts = judge_answers(
            self.judge, [Exchange(text, row["answer"]) for text, row in zip(texts, rows, strict=True)]
        )
        kept = [
            Pair(text, row["answer"], row["finished"])
            for text, row, verdict in zip(texts, rows, verdicts, strict=True)
            if verdict.answer_class is WANTED[prompt_class]
        ]
        if len(kept) < min(FEWEST, len(texts)):
            thoughts = sum(ends_within_thought(row["answer"]) for row in rows)
            raised = "answer_tokens, as most end within a thought" if 2 * thoughts > len(rows) else "prompts"
            raise NotApplicableError(
                f"{self.title}: {len(kept)} of the model's {len(texts)} own answers to {prompt_class.in_words} prompts "
                f"are a {WANTED[prompt_class].in_words}; {FEWEST} are needed. Raise its setting {raised}, "
                "or leave it out."
            )
        return kept

    def _answer(self, texts: Sequence[str], prompt_class: PromptClass) -> None:
        missing = [text for text in texts if (0, text) not in self._store]
        if not missing:
            return
        make_batches = partial(ChatPromptBatches, system=SYSTEM.get(prompt_class))
        generator = LocalGenerator(self.context.loaded, self.context.batch_size, make_batches)
        title = f"{self.title}: {prompt_class.in_words} answers"
        with self.context.reporter.stage(title, len(texts)) as advance, partial_answers(advance) as progress:
            progress.known(len(texts) - len(missing))
            for index, answer in generator.answer(missing, Decoding(max_new_tokens=self.tokens)):
                self._store.add(0, missing[index], answer=answer.text, finished=answer.finished)
                self.context.clock.save_with_lines()
                progress.finish()
