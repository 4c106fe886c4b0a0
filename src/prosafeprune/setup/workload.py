"""The work of a run, by stage, estimated from its prompts alone, and what a run was estimated to take and took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from prosafeprune.evaluation.base_likelihoods import SAMPLED
from prosafeprune.method.plan import Plan
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import Budget
from prosafeprune.setup.prepare import PreparedRun
from prosafeprune.text import data_size, duration

CHARACTERS_PER_TOKEN = 4
TEMPLATE_TOKENS = 10
"""Tokens of the chat template after each prompt; those before it are run once for all prompts."""
POLISH_PROMPTS, POLISH_TOKENS, POLISH_EPOCHS, POLISH_VALIDATION = 96, 96, 2, 48
"""What ``--polish`` takes: prompts of each class, tokens of an answer, passes over the pairs, and tokens of answers to
validation prompts."""
POLISH_VALIDATED, POLISH_STRENGTHS = 144, 5
"""Validation prompts of each class, and strengths that answer them."""
BASE_ANSWERS = "answers of the base model"
PRUNED_ANSWERS = "answers of the pruned model"
PROMPTED_ANSWERS = "answers behind a system prompt"
LIKELIHOODS = "likelihoods under the base model"
MEASURING_STAGES = (BASE_ANSWERS, PROMPTED_ANSWERS, PRUNED_ANSWERS, LIKELIHOODS)
"""The last stages of a run, by their titles in lower case; the second only where it is measured."""
MEASURED = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
SHOWN_STAGES = 4
"""How many stages of a finished run are named with their times, the longest first."""


@dataclass(frozen=True)
class Stage:
    """Part of a run."""

    name: str
    read: float
    """Tokens read, in passes through the complete model: a pass through half of the layers counts half."""
    written: float = 0.0
    """Maximum tokens generated."""
    seconds: float = 0.0
    """Time that does not depend on the machine: a budget in minutes."""


@dataclass(frozen=True)
class Speed:
    """Tokens per second of one model on one machine."""

    reading: float
    writing: float
    """Over all rows of a batch."""

    def seconds(self, stage: Stage) -> float:
        """Return the longest time a stage may take, in seconds."""
        return stage.read / self.reading + stage.written / self.writing + stage.seconds


def stages_of(
    prepared: PreparedRun, plan: Plan | None, layers: int | None, *, search_only: bool = False
) -> list[Stage]:
    """Return what a run does after the model is loaded; without a plan it searches for one.

    Args:
        plan: given or found earlier.
        search_only: no model is pruned and measured in the end.
    """
    recipe = prepared.recipe
    stages = [] if plan is not None else _search(prepared, recipe)
    if search_only:
        return stages
    depth = (max(plan.layers) + 1) / layers if plan is not None and layers else 1.0
    tested = [test_set.prompts for test_set in (*prepared.evaluation, *prepared.spot_check)]
    answers = _answers(tested, recipe.max_new_tokens)
    calibration = _tokens(prepared.calibration.values())
    if plan is not None:
        stages.append(Stage("activations", depth * calibration))
    if recipe.unmeasured:
        return stages
    if recipe.polish:
        stages.append(_polish(prepared))
    stages.append(Stage(BASE_ANSWERS, *answers))
    if prepared.prompted:  # the system prompt is shared, and so read once
        asked = [test_set.prompts for test_set in prepared.prompted]
        stages.append(Stage(PROMPTED_ANSWERS, *_answers(asked, recipe.max_new_tokens)))
    stages.append(Stage(PRUNED_ANSWERS, *answers))
    if recipe.memory == "low":
        return stages
    # Refusals are not scored, and how many there will be is unknown; of a set with broken answers all others are.
    shares = [min(1.0, 2 * SAMPLED / len(prompts)) for prompts in tested]
    scored = [sum(_answers([prompts], recipe.max_new_tokens)) for prompts in tested]
    read = sum(share * tokens for share, tokens in zip(shares, scored, strict=True))
    return [*stages, Stage(LIKELIHOODS, read)]


def answers_stage(sets: Iterable[PromptSet], tokens: int) -> Stage:
    """Return the answers of a model to some sets, of ``tokens`` tokens each."""
    return Stage("answers", *_answers(sets, tokens))


def search_seconds_left(prepared: PreparedRun, base_seconds: float) -> float:
    """Return about how long the rest of a search takes, given what the base model's validation answers took.

    More accurate than the first estimate, which assumes answers of full length: refusals are short.
    """
    _, base, *rest = _search(prepared, prepared.recipe)
    per_token = base_seconds / (base.read + base.written)
    return sum(per_token * (stage.read + stage.written) + stage.seconds for stage in rest)


def _search(prepared: PreparedRun, recipe: Recipe) -> list[Stage]:
    scored = [prepared.validation[prompt_class] for prompt_class in MEASURED]
    confirmed = [prepared.confirmation[prompt_class] for prompt_class in MEASURED]
    short = _answers(scored, recipe.short_answer)
    full = _answers(confirmed, recipe.max_new_tokens)
    budget, measured = Budget(recipe.budget), recipe.confirmations
    trials = 0 if budget.trials is None else budget.trials
    both, seconds = (short[0] + full[0], short[1] + full[1]), budget.seconds or 0.0
    stages = [
        Stage("activations", _tokens(prepared.calibration.values())),
        Stage("validation answers of the base model", *both),
    ]
    if recipe.strategy == "paper":  # measures every plan that it tries
        return [*stages, Stage("search", trials * both[0], trials * both[1], seconds=seconds)]
    return [
        *stages,
        Stage("search", trials * short[0], trials * short[1], seconds=seconds),
        Stage("best plans", measured * full[0], measured * full[1]),
    ]


def _polish(prepared: PreparedRun) -> Stage:
    """Return training on own answers and its validation: a pass back through the model costs twice a pass forward."""
    prompts = [of_class.sample(POLISH_PROMPTS, seed=0) for of_class in prepared.calibration.values()]
    read, written = _answers(prompts, POLISH_TOKENS)
    asked = [prepared.confirmation[prompt_class].sample(POLISH_VALIDATED, seed=0) for prompt_class in MEASURED]
    validated = [POLISH_STRENGTHS * count for count in _answers(asked, POLISH_VALIDATION)]
    trained = 3 * POLISH_EPOCHS * (read + written)
    return Stage("polish", read + trained + validated[0], written + validated[1])


def _tokens(sets: Iterable[PromptSet]) -> float:
    return sum(tokens_of(text) for prompts in sets for text in prompts.texts)


def tokens_of(text: str) -> float:
    """Return about how many tokens of a prompt are read."""
    return len(text) / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS


def _answers(sets: Iterable[PromptSet], tokens: int) -> tuple[float, float]:
    """Return the tokens read and written for answers of ``tokens`` tokens."""
    listed = list(sets)
    return _tokens(listed), float(tokens * sum(map(len, listed)))


class Cost(BaseModel):
    """Time and memory of a run: estimated before the long work, or taken."""

    seconds: float
    memory: float | None
    """Bytes; None where it is unknown."""
    stages: dict[str, float]
    """Seconds by stage."""

    @classmethod
    def estimated(cls, stages: Iterable[Stage], speed: Speed, memory: float | None) -> Cost:
        """Return the most that these stages take on a machine."""
        times = {stage.name: speed.seconds(stage) for stage in stages}
        return cls(seconds=sum(times.values()), memory=memory, stages=times)

    def describe(self) -> str:
        """Return an estimate in one line."""
        parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in self.stages.items())
        needed = f" Memory: about {data_size(self.memory)}." if self.memory is not None else ""
        return f"At most about {duration(self.seconds)} on this machine: {parts}.{needed}"


class CostRecord(BaseModel):
    """What a run was estimated to take after loading, and what it took."""

    estimated: Cost
    taken: Cost

    def describe(self) -> str:
        """Return both in one line, with the stages that took most of the time."""
        longest = sorted(self.taken.stages.items(), key=lambda stage: -stage[1])[:SHOWN_STAGES]
        parts = ", ".join(f"{name.lower()} {duration(seconds)}" for name, seconds in longest if seconds >= 1)
        pairs = ((self.taken.memory, "took"), (self.estimated.memory, "estimated"))
        memory = ", ".join(f"{word} {data_size(size)}" for size, word in pairs if size is not None)
        took = f"Took {duration(self.taken.seconds)}" + (f" ({parts})" if parts else "")
        seconds = f"{took}, estimated at most {duration(self.estimated.seconds)}."
        return f"{seconds} Memory: {memory}." if memory else seconds
