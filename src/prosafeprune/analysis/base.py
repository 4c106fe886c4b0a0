"""The interface of an analysis: it observes one model at a time, then turns the observations into a result."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from prosafeprune.analysis.analysis_prompts import GENERAL, AnalysisPrompts
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import AnalysisResult, Observation
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.requests.analyze import AnalyzeRequest


class Analysis(ABC):
    """One of the paper's analyses. Its name, title and section of the paper are in the catalogue."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Fields of the request that the result depends on, besides models, prompts, pooling, dtype, device and seed."""
    default_splits: ClassVar[tuple[str, ...]] = ("calibration", "test")
    """Prompt splits that the result depends on: calibration, validation, test, general."""
    compares: ClassVar[bool] = True
    """Whether the pruned model, if there is one, is observed too."""

    @property
    def used_settings(self) -> set[str]:
        """Fields of the request that change the result or are checked, besides those that every analysis takes."""
        compared = {"against"} if self.compares else set()
        # Every analysis wants as many calibration prompts of a class as the rank.
        return {"rank", *self.settings, *compared, *({GENERAL} & {*self.default_splits})}

    def splits(self, request: AnalyzeRequest) -> tuple[str, ...]:
        """Return the prompt splits that the result of a request depends on."""
        return self.default_splits

    def judges_answers(self, request: AnalyzeRequest) -> bool:
        """Return whether a judge's verdicts on answers are part of the result of a request."""
        return False

    def further_inputs(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> Mapping[str, str]:
        """Return hashes of what the result depends on besides models, settings and the texts of prompts, by name."""
        return {}

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:  # noqa: B027 - most need no check
        """Raise InputError if the request or the prompts do not allow the analysis; called before a model is loaded."""

    @abstractmethod
    def workload(self, context: Context) -> Workload:
        """Return what ``observe`` would have to compute now; what the context already holds is free."""

    @abstractmethod
    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Observe the context's model and leave it unchanged.

        Args:
            before: the observation of the base model, when the pruned model is observed.

        Raises:
            InputError: the model or the prompts do not allow it.
        """

    @abstractmethod
    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return tables, figures and a summary of the base model and, if it was observed, the pruned model."""
