"""What the base model answers behind a helpful system prompt: the remedy that pruning has to beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.prompting import Prompting
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding
from prosafeprune.generation.local import replicated_generator
from prosafeprune.jobs.kept_answers import measure_once
from prosafeprune.jobs.readable_sets import is_readable
from prosafeprune.judges import Judge
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts.helpful_prompt import HELPFULNESS
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe

METHOD = Prompting.model_validate({"strategy": "helpful"})
"""The baseline ``prompt``, as ``compare -s prompt.strategy=helpful`` measures it."""
TITLE = "Answers behind a system prompt"


@dataclass(frozen=True)
class PromptedAnswers:
    """The base model's judged answers behind the system prompt."""

    measurement: Measurement
    system: str
    """The system prompt; it comes after that of the run, if there is one."""
    tokens: int
    """Its length in tokens, without what the chat template writes around it."""
    batch_sizes: tuple[int, ...]


def prompted_answers(
    base: Mapping[str, Any],
    loaded: LoadedModel,
    sets: Sequence[EvaluationSet],
    judge: Judge,
    request: Recipe | ApplyRequest,
    reporter: Reporter,
) -> PromptedAnswers | None:
    """Return what the base model, which is in memory, answers behind the system prompt; None where it cannot.

    The answers are kept in the cache, as all others are.

    Args:
        base: what the base model's answers depend on besides the prompts.

    Raises:
        InputError: out of memory, or the judge became unreachable.
    """
    tokens = request.max_new_tokens
    if not sets or not all(is_readable(one, loaded, tokens, reporter, HELPFULNESS) for one in sets):
        return None
    make = partial(METHOD.generator, batch_size=request.batch_size, fitted=FittedParts())
    generator = partial(replicated_generator, loaded, make)
    # Nested: the method has a setting ``system``, too, which is not the run's system prompt.
    made_by = {**base, "behind": METHOD.describe(), "words": HELPFULNESS}
    decoding = Decoding(max_new_tokens=tokens)
    measured, sizes = measure_once(made_by, generator, sets, judge, decoding, reporter, TITLE)
    length = len(loaded.tokenizer(HELPFULNESS, add_special_tokens=False)["input_ids"])
    return PromptedAnswers(measured, HELPFULNESS, length, sizes)
