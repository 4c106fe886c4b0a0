"""What an analysis is: it looks at one model at a time, and then says what it saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prosafeprune.analysis.result import Findings
from prosafeprune.requests.analyze import AnalysisRequest

if TYPE_CHECKING:
    from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
    from prosafeprune.analysis.context import Context

Observation = dict[str, np.ndarray]
"""What was seen of one model: named arrays, kept on disk so that an interrupted run does not look again."""


@dataclass(frozen=True)
class Work:
    """What an analysis still has to do on a model, for an estimate of its time."""

    passes: int = 0
    """Prompts to run forward once."""
    answers: int = 0
    """Prompts to answer."""
    seconds: float = 0.0
    """Whatever else it computes, on a slow core."""

    def __add__(self, other: Work) -> Work:
        return Work(self.passes + other.passes, self.answers + other.answers, self.seconds + other.seconds)


class Analysis(ABC):
    """One of the paper's analyses. Its name, title and place in the paper stand in the catalogue."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Fields of the request that its result depends on, besides models, prompts, pooling, dtype, device and seed."""
    reads: ClassVar[tuple[str, ...]] = ("calibration", "test")
    """Splits that its result depends on: calibration, validation, test, general."""
    compares: ClassVar[bool] = True
    """Whether it looks at the pruned model too, when there is one."""

    def splits(self, request: AnalysisRequest) -> tuple[str, ...]:
        """Return the splits of prompts that the result of a request depends on."""
        return self.reads

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:  # noqa: B027 - most have nothing to check
        """Raise InputError when request or prompts do not allow it; asked before any model is loaded."""

    @abstractmethod
    def work(self, context: Context) -> Work:
        """Return what ``observe`` would have to do now; what the context already holds costs nothing."""

    @abstractmethod
    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Look at the context's model, and leave it as it was found.

        Args:
            context: the model, the prompts and what has been collected.
            before: what was seen of the source, when the pruned model is looked at.

        Raises:
            InputError: the model or the prompts do not allow it.
        """

    @abstractmethod
    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return tables and figures of what was seen of the source and, if there is one, of the pruned model."""
