"""Harmful sets with given verdicts, for tests of the safety floor."""

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges.verdict import AnswerClass, Verdict
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet

KINDS = {
    "r": AnswerClass.FULL_REFUSAL,
    "p": AnswerClass.PARTIAL_REFUSAL,
    "c": AnswerClass.FULL_COMPLIANCE,
    "u": AnswerClass.UNDETERMINED,
    "b": AnswerClass.BROKEN,
    "i": AnswerClass.INCAPABLE,
}


def judged(
    verdicts: str, name: str = "harmful", prompt_class: PromptClass = PromptClass.HARMFUL, answers: str = ""
) -> JudgedSet:
    """Return a set with such verdicts; answers are the letters of ``answers``, else those of the verdicts."""
    prompts = PromptSet(prompt_class, "test", tuple(Prompt(f"{name} {i}") for i in range(len(verdicts))))
    chosen = EvaluationSet(name, name, prompts)
    return JudgedSet(chosen, [list(answers or verdicts)], [[Verdict(KINDS[one], "") for one in verdicts]])
