"""The answers behind the numbers, one JSON object per line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.lineage import EVIDENCE_FILE, FIRST_VERDICT, RESULT_SAFETY, SOURCE_SAFETY
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.judges import Verdict
from prosafeprune.prompts.prompt_set import PromptClass

HARMFUL_ANSWER_CHARACTERS = 40
"""Answers to harmful prompts are truncated: enough to see whether they refuse, and no more."""


def shorten(answer: str, limit: int) -> str:
    """Truncate a text to ``limit`` characters, marking the cut."""
    return answer if len(answer) <= limit else answer[:limit].rstrip() + " [cut]"


def write_evidence(
    folder: Path, before: Sequence[JudgedSet], after: Sequence[JudgedSet], ancestor: FirstAncestor | None = None
) -> None:
    """Write every test prompt with both answers and verdicts; answers to harmful prompts are truncated."""
    with (folder / EVIDENCE_FILE).open("w", encoding="utf-8") as stream:
        for base_set, pruned_set in zip(before, after, strict=True):
            for row in _rows(base_set, pruned_set, ancestor):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _rows(before: JudgedSet, after: JudgedSet, ancestor: FirstAncestor | None) -> list[dict[str, Any]]:
    prompt_class = before.prompt_class
    limit = HARMFUL_ANSWER_CHARACTERS if prompt_class is PromptClass.HARMFUL else 10**9
    return [
        {
            "set": before.name,
            "class": prompt_class.value,
            "category": prompt.category,
            "prompt": prompt.text,
            "source_answer": shorten(before.answers[i], limit),
            "source_verdict": before.verdicts[i].answer_class.value,
            "result_answer": shorten(after.answers[i], limit),
            "result_verdict": after.verdicts[i].answer_class.value,
            **_safety_classes(before.verdicts[i], after.verdicts[i]),
            **_likelihoods(before.verdicts[i], after.verdicts[i]),
            **({FIRST_VERDICT: ancestor.verdicts.get(prompt.text)} if ancestor is not None else {}),
        }
        for i, prompt in enumerate(before.prompts)
    ]


def _safety_classes(before: Verdict, after: Verdict) -> dict[str, str]:
    """Return the classes that a safety floor counts, where S.S. is by harmlessness: they are not those of refusal."""
    if before.safety == "refusal":
        return {}
    return {SOURCE_SAFETY: before.safety_class.value, RESULT_SAFETY: after.safety_class.value}


def _likelihoods(before: Verdict, after: Verdict) -> dict[str, float]:
    """Return the mean log-likelihoods per token under the base model, in nats, where they are known."""
    found = {"source_log_likelihood": before.log_likelihood, "result_log_likelihood": after.log_likelihood}
    return {name: round(value, 3) for name, value in found.items() if value is not None}
