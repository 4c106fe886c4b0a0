"""The tasks on which the paper measures general ability (appendices B.2 and B.3), one declaration each."""

from dataclasses import dataclass
from typing import Literal

from prosafeprune.errors import InputError

# Appendix B.3, "Prompt Templates for General Dataset Evaluation", reconstructed from the text of the PDF: it shows
# italics as stars in "*...\boxed{X}* (where ...", and of each "\n" before "Question:" and "{question}" only the "n" is
# left. The paper does not give the layout of the options; here each has its own line, after its letter.
NUMBER_TEMPLATE = (
    "You are given a question. Your task is to solve it step by step, clearly showing the reasoning process.\n"
    "At the end, provide only the final answer in the format: \\boxed{X} (where X is a single numerical number).\n"
    "Question:\n"
    "{question}"
)
OPTION_TEMPLATE = (
    "You are given a multiple-choice question. Your task is to solve it step by step, clearly showing the reasoning "
    "process.\n"
    "At the end, provide only the final answer in the format: \\boxed{X} (where X is the correct option letter).\n"
    "Question:\n"
    "{question}"
)


@dataclass(frozen=True)
class AbilityTask:
    """A dataset of questions with known answers, and its prompt template."""

    name: str
    title: str
    dataset: str
    """The dataset's id on the hub."""
    configuration: str | None
    split: str
    file_name: str
    """Name of the file in a local folder; a partial copy may have a suffix before ``.jsonl``."""
    answers_with: Literal["option", "number"]
    answer_field: str
    samples: int | None
    """Number of questions that the paper samples; None for all."""

    def fill(self, question: str) -> str:
        """Return the prompt for a question that includes its options."""
        return (NUMBER_TEMPLATE if self.answers_with == "number" else OPTION_TEMPLATE).replace("{question}", question)


TASKS = {
    task.name: task
    for task in (
        AbilityTask(  # Hendrycks et al. 2021 (ICLR), MIT
            name="mmlu",
            title="MMLU (dev)",
            dataset="cais/mmlu",
            configuration="all",
            split="dev",
            file_name="mmlu_dev.jsonl",
            answers_with="option",
            answer_field="answer",
            samples=None,  # the paper counts 280; the split has 5 questions for each of 57 subjects, 285
        ),
        AbilityTask(  # Talmor et al. 2019 (NAACL), MIT
            name="commonsenseqa",
            title="CommonsenseQA (validation)",
            dataset="tau/commonsense_qa",
            configuration=None,
            split="validation",
            file_name="commonsenseqa_dev.jsonl",
            answers_with="option",
            answer_field="answerKey",
            samples=200,
        ),
        AbilityTask(  # Cobbe et al. 2021 (arXiv:2110.14168), MIT
            name="gsm8k",
            title="GSM8K (test)",
            dataset="openai/gsm8k",
            configuration="main",
            split="test",
            file_name="gsm8k_test.jsonl",
            answers_with="number",
            answer_field="answer",
            samples=200,
        ),
    )
}


def find_task(name: str) -> AbilityTask:
    """Return the task of that name. Raises InputError when there is none."""
    if name not in TASKS:
        raise InputError(f"{name}: unknown task. Choose from {', '.join(TASKS)}.")
    return TASKS[name]
