"""What analyses share: one model with its prompts, and what has been collected from it, each thing made once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts, Split
from prosafeprune.analysis.base import Analysis, Work
from prosafeprune.analysis.last_states import LastStates, collect_last_states
from prosafeprune.analysis.sweep_answers import KeptAnswers, Treatment
from prosafeprune.editing.operator_cache import OperatorCache
from prosafeprune.errors import InputError
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.generation import Decoding
from prosafeprune.judge import Judge
from prosafeprune.judge.registry import make_judge
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Reporter, ignore
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.load import inspect_anatomy

TIMED = 8
"""Prompts that are run to learn how fast the model is here."""
TIMED_TOKENS = 8


@dataclass(frozen=True)
class Pooled:
    """Pooled inputs of every submodule for the three classes of a split."""

    inputs: PooledInputs
    class_rows: ClassRows

    def activations(self, submodule: Submodule, prompt_class: PromptClass) -> np.ndarray:
        """Return the pooled outputs of a submodule for the prompts of one class, ``(prompts, d_out)``, float64."""
        weight = submodule.weight()
        outputs = self.inputs.outputs(submodule, weight, self.class_rows[prompt_class])
        found: np.ndarray = outputs.T.detach().cpu().double().numpy()
        return found


class Context:
    """One model under analysis."""

    def __init__(
        self, request: AnalysisRequest, prompts: AnalysisPrompts, local: LocalModel, folder: Path, reporter: Reporter
    ) -> None:
        """Look at ``local``, which is loaded only when something has to be collected; keep answers in ``folder``."""
        self.request, self.prompts, self.local, self.reporter = request, prompts, local, reporter
        self.answers = KeptAnswers(
            folder,
            local.made_by(),
            Decoding(max_new_tokens=request.max_new_tokens),
            lambda: self.judge,
            local.generator,
            reporter,
        )
        self._pooled: dict[Split, Pooled] = {}
        self._states: dict[Split | str, LastStates] = {}
        self._counted: set[str] | None = None
        """While several analyses are estimated together: what one of them will have collected."""

    @property
    def loaded(self) -> LoadedModel:
        """The model in memory. Raises InputError when it cannot be loaded."""
        return self.local.loaded

    @cached_property
    def anatomy(self) -> Anatomy:
        """The submodules that every prompt runs through: experts are pruned, and not analysed."""
        return self._whole_anatomy.without_experts()

    @cached_property
    def _whole_anatomy(self) -> Anatomy:
        return inspect_anatomy(self.loaded.model, self.reporter)

    @cached_property
    def judge(self) -> Judge:
        """The refusal judge."""
        return make_judge(self.request, self.reporter)

    @cached_property
    def calibrated_with(self) -> dict[str, str]:
        """What edits depend on besides the plan: the hashes of the calibration prompts."""
        return {name.value: one.sha256 for name, one in self.prompts.calibration.items()}

    def require_layers(self) -> None:
        """Raise InputError when the request names layers that the model does not have."""
        count, request = self.anatomy.num_layers, self.request
        for option, layers in (("--layers", request.layers or ()), ("--layer", (request.layer or 0,))):
            if max(layers, default=0) >= count:
                raise InputError(f"{option} {max(layers)}: the model has {count} layers, counted 0 to {count - 1}.")

    def pooled(self, split: Split) -> Pooled:
        """Return the pooled inputs of all submodules for the three classes of a split.

        Raises:
            InputError: an input is not finite, or out of memory.
        """
        if split not in self._pooled:
            layers = range(self.anatomy.num_layers)
            found = collect_inputs(
                self.loaded,
                self.anatomy,
                self.prompts.of(split),
                self.request.pooling,
                layers,
                self.request.batch_size,
                self.reporter,
            )
            self._pooled[split] = Pooled(*found)
        return self._pooled[split]

    def last_states(self, split: Split) -> Mapping[PromptClass, LastStates]:
        """Return the states of the last prompt token behind every layer, for the three classes of a split."""
        return {name: self._last_states(f"{split} {name}", one) for name, one in self.prompts.of(split).items()}

    def general_states(self) -> LastStates | None:
        """Return the same for the general prompts; None when there are none."""
        return self._last_states("general", self.prompts.general) if self.prompts.general is not None else None

    @cached_property
    def edits(self) -> OperatorCache:
        """Makes the edits of plans from the calibration prompts; the model must have its own weights when asked.

        Raises:
            InputError: the model has experts, which a plan prunes too.
        """
        if self._whole_anatomy.has_experts:
            raise InputError(
                f"{self.loaded.name}: has experts, whose edits cannot be analysed. Leave out the analyses that prune."
            )
        pooled = self.pooled("calibration")
        return OperatorCache(self.anatomy, {self.request.pooling: pooled.inputs}, pooled.class_rows)

    def measure(self, treatment: Treatment, sets: Sequence[EvaluationSet] | None = None) -> Measurement:
        """Return the treated model's judged answers to the test sets, or to ``sets``; see :class:`KeptAnswers`."""
        return self.answers.measure(treatment, self.prompts.test_sets if sets is None else sets)

    def passes_for_pooled(self, *splits: Split) -> Work:
        """Return what collecting the pooled inputs of these splits would cost now."""
        waiting = [split for split in splits if split not in self._pooled and self._counts(split)]
        return Work(passes=sum(len(one) for split in waiting for one in self.prompts.of(split).values()))

    def passes_for_states(self, *splits: Split, general: bool = False) -> Work:
        """Return what collecting the last states of these splits, and of the general prompts, would cost now."""
        waiting = {f"{split} {name}": one for split in splits for name, one in self.prompts.of(split).items()}
        if general and self.prompts.general is not None:
            waiting["general"] = self.prompts.general
        passes = sum(len(one) for name, one in waiting.items() if name not in self._states and self._counts(name))
        return Work(passes=passes)

    def seconds(self, work: Work) -> float:
        """Return about how long some work will take with this model on this machine."""
        passing = work.passes * self._seconds_a_pass if work.passes else 0.0
        answering = work.answers * self._seconds_an_answer if work.answers else 0.0
        return passing + answering + work.seconds

    def seconds_together(self, analyses: Iterable[Analysis]) -> float:
        """Return about how long analyses will take one after the other; what they share is counted once."""
        self._counted, self.answers.counted = set(), set()
        try:
            return self.seconds(sum(map(self._work, analyses), Work()))
        finally:
            self._counted = self.answers.counted = None

    def _work(self, analysis: Analysis) -> Work:
        try:
            return analysis.work(self)
        except InputError:
            return Work()  # it will fail when its turn comes, and say why

    def _counts(self, collected: str) -> bool:
        if self._counted is None:
            return True
        is_new = collected not in self._counted
        self._counted.add(collected)
        return is_new

    def _last_states(self, key: str, prompts: PromptSet) -> LastStates:
        if key not in self._states:
            encoded = encode_prompts(self.loaded.tokenizer, prompts.texts)
            size = BatchSize(self.request.batch_size, self.loaded.device)
            with self.reporter.stage(f"Last states, {key.replace('_', '-')}", len(encoded)) as advance:
                self._states[key] = collect_last_states(self.loaded, self.anatomy, encoded, size, advance)
        return self._states[key]

    @cached_property
    def _seconds_a_pass(self) -> float:
        encoded = encode_prompts(self.loaded.tokenizer, self._timed_prompts())
        size, layers = BatchSize(self.request.batch_size, self.loaded.device), range(self.anatomy.num_layers)
        started = time.monotonic()
        collect_pooled_inputs(self.loaded.model, self.anatomy, encoded, Pooling.SEQUENCE, layers, size, ignore)
        return (time.monotonic() - started) / len(encoded)

    @cached_property
    def _seconds_an_answer(self) -> float:
        """Time to read a prompt and write a first token, and that of the other tokens, which is told apart."""
        timed, longest = self._timed_prompts(), self.request.max_new_tokens
        self._seconds_answering(timed[:1], 1)  # what is slow only once, such as the start of a GPU's libraries
        first = self._seconds_answering(timed, 1)
        further = min(TIMED_TOKENS, longest) - 1
        if further == 0:
            return first
        a_token = (self._seconds_answering(timed, 1 + further) - first) / further
        return first + (longest - 1) * max(a_token, 0.0)

    def _seconds_answering(self, prompts: Sequence[str], tokens: int) -> float:
        """Return how long an answer of so many tokens takes."""
        started = time.monotonic()
        with torch.inference_mode():
            for _ in self.local.generator().answer(prompts, Decoding(max_new_tokens=tokens)):
                pass
        return (time.monotonic() - started) / len(prompts)

    def _timed_prompts(self) -> list[str]:
        prompts = self.prompts.calibration[PromptClass.PSEUDO_HARMFUL].texts
        return prompts[:TIMED]
