"""The prompts of an analysis run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.ability import find_task, read_task
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet, bundled_prompts, read_prompts
from prosafeprune.prompts.bundled import Split
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.measuring import TASK_NAMES
from prosafeprune.setup.calibration_sources import require_not_measured
from prosafeprune.setup.prompt_sets import PromptSets, disjoint_prompts, read_calibration

SPLITS: tuple[Split, ...] = ("calibration", "validation", "test")
GENERAL = "general"


@dataclass(frozen=True)
class AnalysisPrompts:
    """All prompts of a run; no prompt is in two splits."""

    calibration: PromptSets
    """Prompts for subspaces, probes and directions."""
    validation: PromptSets
    """Prompts for the selection of layers and strengths."""
    test: PromptSets
    """Prompts for results: those of the test sets, and the bundled benign ones."""
    test_sets: Sequence[EvaluationSet]
    """The sets for C.R. and S.S."""
    general: PromptSet | None
    """Ordinary prompts, if any."""

    def of(self, split: Split) -> PromptSets:
        """Return the three classes of a split."""
        return {"calibration": self.calibration, "validation": self.validation, "test": self.test}[split]

    def hashes(self, splits: Sequence[str]) -> dict[str, str | None]:
        """Return the hashes of the sets of some splits, by split and class; None without general prompts."""
        hashes: dict[str, str | None] = {
            f"{split} {name.in_words} prompts": prompt_set.sha256
            for split in SPLITS
            if split in splits
            for name, prompt_set in self.of(split).items()
        }
        if GENERAL in splits:
            hashes["general prompts"] = self.general.sha256 if self.general is not None else None
        return hashes


def read_analysis_prompts(request: AnalyzeRequest, reporter: Reporter = SILENT) -> AnalysisPrompts:
    """Read all prompts that the request names, and the bundled ones where it names none.

    Raises:
        InputError: a file, dataset or benchmark cannot be read, there are fewer prompts than the rank, or a prompt
            is in two splits.
    """
    given = read_calibration(request, request.rank, request.seed)
    validation: PromptSets = {name: bundled_prompts(name, "validation") for name in PromptClass}
    test_sets = [*given.held_out, *choose_sets(SetChoice.of(request, request.seed))]
    require_not_measured(request, test_sets)
    test = {name: _joined(name, test_sets, request) for name in PromptClass}
    calibration, validation = disjoint_prompts(request, request.rank, given.sets, validation, test.values(), reporter)
    return AnalysisPrompts(calibration, validation, test, test_sets, _general(request))


def _joined(prompt_class: PromptClass, sets: Sequence[EvaluationSet], request: AnalyzeRequest) -> PromptSet:
    """Return the prompts of all sets of a class as one set, or the bundled test prompts without such sets."""
    of_class = [
        evaluation_set.prompts
        for evaluation_set in sets
        if evaluation_set.prompt_class is prompt_class and not evaluation_set.is_policy
    ]
    if not of_class:
        bundled = bundled_prompts(prompt_class, "test")
        return bundled.sample(request.benchmark_samples or len(bundled), request.seed)
    unique = {prompt.text: prompt for prompts in of_class for prompt in prompts}
    return PromptSet(prompt_class, " + ".join(prompt_set.source for prompt_set in of_class), tuple(unique.values()))


def _general(request: AnalyzeRequest) -> PromptSet | None:
    if request.general is None:
        return None
    if request.general in TASK_NAMES:
        questions = read_task(find_task(request.general), request.data_dir, request.benchmark_samples, request.seed)
        prompts = tuple(Prompt(question.prompt) for question in questions)
        return PromptSet(PromptClass.BENIGN, request.general, prompts)
    try:
        read = read_prompts(request.general, PromptClass.BENIGN, request.prompt_field)
    except InputError as error:
        raise InputError(f"--general: {error}") from error
    named = PromptSet(read.prompt_class, Path(request.general).name, read.prompts)
    return named.sample(request.benchmark_samples or len(named), request.seed)
