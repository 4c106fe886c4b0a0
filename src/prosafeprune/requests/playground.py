"""What a user asks of ``playground``, as one validated object."""

from __future__ import annotations

from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import AnswerOptions, ModelOptions
from prosafeprune.requests.search import FloorOptions


class PlaygroundRequest(FloorOptions, AnswerOptions, ModelOptions, JudgeOptions):
    """The base model and the judge; and, for models that are saved, their length of answers and safety floor."""
