"""The prompts that analyses look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prosafeprune.ability import find_task, read_task
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.prompts import Prompt, PromptClass, PromptSet, bundled_prompts, read_prompts, require_splits_disjoint
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.requests.measuring import TASK_NAMES
from prosafeprune.setup.prepare import PromptSets, calibration_prompts

Split = Literal["calibration", "validation", "test"]
SPLITS: tuple[Split, ...] = ("calibration", "validation", "test")
GENERAL = "general"


@dataclass(frozen=True)
class AnalysisPrompts:
    """All prompts of a run; no prompt stands in two splits."""

    calibration: PromptSets
    """What subspaces, probes and directions are made from."""
    validation: PromptSets
    """What layers and strengths may be chosen by."""
    test: PromptSets
    """What findings are shown on: those of the test sets, and the bundled benign ones."""
    test_sets: Sequence[EvaluationSet]
    """The sets that C.R. and S.S. are measured on."""
    general: PromptSet | None
    """Prompts of everyday use, when there are any."""

    def of(self, split: Split) -> PromptSets:
        """Return the three classes of a split."""
        return {"calibration": self.calibration, "validation": self.validation, "test": self.test}[split]

    def hashes(self, splits: Sequence[str]) -> dict[str, str | None]:
        """Return digests of the sets of some splits, by split and class; None for general prompts there are none of."""
        found: dict[str, str | None] = {
            f"{split} {name.in_words} prompts": one.sha256
            for split in SPLITS
            if split in splits
            for name, one in self.of(split).items()
        }
        if GENERAL in splits:
            found["general prompts"] = self.general.sha256 if self.general is not None else None
        return found


def read_analysis_prompts(request: AnalysisRequest) -> AnalysisPrompts:
    """Read all prompts that the request names, the bundled ones where it names none.

    Raises:
        InputError: a file, dataset or benchmark cannot be read, there are fewer prompts than the rank, or a prompt
            stands in two splits.
    """
    calibration = calibration_prompts(request, request.rank, request.seed)
    validation = {name: bundled_prompts(name, "validation") for name in PromptClass}
    test_sets = choose_sets(
        SetChoice(
            suite=request.suite,
            benchmarks=request.benchmark,
            prompt_field=request.prompt_field,
            data_dir=request.data_dir,
            samples=request.benchmark_samples,
            seed=request.seed,
        )
    )
    test = {name: _joined(name, test_sets, request) for name in PromptClass}
    require_splits_disjoint(list(calibration.values()), list(validation.values()), list(test.values()))
    return AnalysisPrompts(calibration, validation, test, test_sets, _general(request))


def _joined(prompt_class: PromptClass, sets: Sequence[EvaluationSet], request: AnalysisRequest) -> PromptSet:
    """Return the prompts of all sets of one class as one set; the bundled test prompts where there is no such set."""
    of_class = [one.prompts for one in sets if one.prompt_class is prompt_class]
    if not of_class:
        bundled = bundled_prompts(prompt_class, "test")
        return bundled.sample(request.benchmark_samples or len(bundled), request.seed)
    unique = {prompt.text: prompt for prompts in of_class for prompt in prompts}
    return PromptSet(prompt_class, " + ".join(one.source for one in of_class), tuple(unique.values()))


def _general(request: AnalysisRequest) -> PromptSet | None:
    if request.general is None:
        return None
    if request.general in TASK_NAMES:
        questions = read_task(find_task(request.general), request.data_dir, request.benchmark_samples, request.seed)
        prompts = tuple(Prompt(question.prompt) for question in questions)
        return PromptSet(PromptClass.BENIGN, request.general, prompts)
    try:
        found = read_prompts(request.general, PromptClass.BENIGN, request.prompt_field)
    except InputError as error:
        raise InputError(f"--general: {error}") from error
    named = PromptSet(found.prompt_class, Path(request.general).name, found.prompts)
    return named.sample(request.benchmark_samples or len(named), request.seed)
