"""What an analysis still has to compute on a model, and how fast that model runs: an estimate of its time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.generation import Decoding
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.progress import ignore
from prosafeprune.requests.analyze import AnalyzeRequest

TIMED_PROMPTS, TIMED_TOKENS = 8, 8


@dataclass(frozen=True)
class Workload:
    """Forward passes, answers and other computation. What analyses share is named, so that a sum counts it once."""

    shared_passes: Mapping[str, int] = field(default_factory=dict)
    """Number of prompts to run forward once, by the name of what is collected."""
    shared_answers: frozenset[tuple[str, str]] = frozenset()
    """Prompts to answer, each with the condition it is answered under."""
    own_passes: int = 0
    own_answers: int = 0
    seconds: float = 0.0
    """Time for everything else, on a slow core."""

    @property
    def passes(self) -> int:
        """All prompts to run forward once."""
        return sum(self.shared_passes.values()) + self.own_passes

    @property
    def answers(self) -> int:
        """All prompts to answer."""
        return len(self.shared_answers) + self.own_answers

    def __add__(self, other: Workload) -> Workload:
        return Workload(
            {**self.shared_passes, **other.shared_passes},
            self.shared_answers | other.shared_answers,
            self.own_passes + other.own_passes,
            self.own_answers + other.own_answers,
            self.seconds + other.seconds,
        )


class ModelSpeed:
    """Seconds per forward pass and per answer, each measured when first needed."""

    def __init__(self, local: LocalModel, anatomy: Anatomy, request: AnalyzeRequest, prompts: Sequence[str]) -> None:
        self.local, self.anatomy, self.request, self.prompts = local, anatomy, request, list(prompts[:TIMED_PROMPTS])

    def seconds(self, workload: Workload) -> float:
        """Return an estimate of the time that ``cost`` takes with this model on this machine."""
        passes = workload.passes * self.seconds_per_pass if workload.passes else 0.0
        answers = workload.answers * self.seconds_per_answer if workload.answers else 0.0
        return passes + answers + workload.seconds

    @cached_property
    def seconds_per_pass(self) -> float:
        """Time to run a prompt forward once."""
        loaded = self.local.loaded
        encoded = encode_prompts(loaded.tokenizer, self.prompts)
        size, layers = BatchSize(self.request.batch_size, loaded.device), range(self.anatomy.num_layers)
        started = time.monotonic()
        collect_pooled_inputs(loaded.model, self.anatomy, encoded, [Pooling.SEQUENCE], layers, size, ignore)
        return (time.monotonic() - started) / len(encoded)

    @cached_property
    def seconds_per_answer(self) -> float:
        """Time of an answer of full length: reading the prompt and the first token, plus that of each further token."""
        longest = self.request.max_new_tokens
        self._time_answers(self.prompts[:1], 1)  # warm up: a GPU's libraries start slowly, once
        first = self._time_answers(self.prompts, 1)
        further = min(TIMED_TOKENS, longest) - 1
        if further == 0:
            return first
        per_token = (self._time_answers(self.prompts, 1 + further) - first) / further
        return first + (longest - 1) * max(per_token, 0.0)

    def _time_answers(self, prompts: Sequence[str], tokens: int) -> float:
        """Return the seconds per answer of at most ``tokens`` tokens."""
        started = time.monotonic()
        with torch.inference_mode():
            for _ in self.local.generator().answer(prompts, Decoding(max_new_tokens=tokens)):
                pass
        return (time.monotonic() - started) / len(prompts)
