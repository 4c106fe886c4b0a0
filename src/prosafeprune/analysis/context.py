"""What analyses share: one model, its prompts, and everything collected from it, each collected once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.analysis.analysis_prompts import GENERAL, AnalysisPrompts
from prosafeprune.analysis.answer_store import AnswerStore, Condition
from prosafeprune.analysis.last_states import LastStates, collect_last_states
from prosafeprune.analysis.time_estimate import ModelSpeed, Workload
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.targets import LocalModel
from prosafeprune.generation import Decoding
from prosafeprune.judges import Judge
from prosafeprune.judges.registry import make_judge
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.prompts.bundled import Split
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.load import inspect_anatomy


@dataclass(frozen=True)
class Pooled:
    """Pooled inputs of every submodule for the three classes of a split."""

    inputs: PooledInputs
    class_rows: ClassRows

    def activations(self, submodule: Submodule, prompt_class: PromptClass) -> np.ndarray:
        """Return the pooled outputs of a submodule for the prompts of one class, ``(prompts, d_out)``, float64."""
        outputs = self.inputs.outputs(submodule, submodule.weight(), self.class_rows[prompt_class])
        activations: np.ndarray = outputs.T.detach().cpu().double().numpy()
        return activations


class Context:
    """One model under analysis."""

    def __init__(
        self, request: AnalyzeRequest, prompts: AnalysisPrompts, local: LocalModel, folder: Path, reporter: Reporter
    ) -> None:
        """Analyse ``local``, which is loaded only when something has to be collected; save answers in ``folder``."""
        self.request, self.prompts, self.local, self.reporter = request, prompts, local, reporter
        self.answers = AnswerStore(
            folder,
            local.made_by(),
            Decoding(max_new_tokens=request.max_new_tokens),
            lambda: self.judge,
            local.generator,
            reporter,
        )
        self._pooled: dict[Split, Pooled] = {}
        self._states: dict[str, LastStates] = {}

    @property
    def loaded(self) -> LoadedModel:
        """The model in memory. Raises InputError when it cannot be loaded."""
        return self.local.loaded

    @cached_property
    def anatomy(self) -> Anatomy:
        """The submodules that every prompt runs through: experts are pruned, but not analysed."""
        return self._full_anatomy.without_experts()

    @cached_property
    def _full_anatomy(self) -> Anatomy:
        return inspect_anatomy(self.loaded.model, self.reporter)

    @cached_property
    def judge(self) -> Judge:
        """The refusal judge."""
        return make_judge(self.request, self.reporter)

    @cached_property
    def speed(self) -> ModelSpeed:
        """How fast the model runs here."""
        prompts = self.prompts.calibration[PromptClass.PSEUDO_HARMFUL].texts
        return ModelSpeed(self.local, self.anatomy, self.request, prompts)

    @cached_property
    def calibration_hashes(self) -> dict[str, str]:
        """What edits depend on besides the plan: the hashes of the calibration prompts."""
        return {name.value: prompts.sha256 for name, prompts in self.prompts.calibration.items()}

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
            pooling = self.request.pooling
            inputs, class_rows = collect_inputs(
                self.loaded,
                self.anatomy,
                self.prompts.of(split),
                [pooling],
                range(self.anatomy.num_layers),
                self.request.batch_size,
                self.reporter,
                split=split,
            )
            self._pooled[split] = Pooled(inputs[pooling], class_rows)
        return self._pooled[split]

    def last_states(self, split: Split) -> Mapping[PromptClass, LastStates]:
        """Return the states of the last prompt token after every layer, for the three classes of a split."""
        return {
            name: self._last_states(_states_key(split, name), prompt_set)
            for name, prompt_set in self.prompts.of(split).items()
        }

    def general_states(self) -> LastStates | None:
        """Return the same for the general prompts, or None without them."""
        return self._last_states(GENERAL, self.prompts.general) if self.prompts.general is not None else None

    @cached_property
    def edits(self) -> OperatorCache:
        """Makes the edits of plans from the calibration prompts; the model must have its original weights when asked.

        Raises:
            InputError: the model has experts, which a plan prunes too.
        """
        if self._full_anatomy.has_experts:
            raise InputError(
                f"{self.loaded.name}: has experts, whose edits cannot be analysed. Leave out the analyses that prune."
            )
        pooled = self.pooled("calibration")
        return OperatorCache(self.anatomy, {self.request.pooling: pooled.inputs}, pooled.class_rows)

    def pooled_workload(self, *splits: Split) -> Workload:
        """Return what collecting the pooled inputs of these splits would cost now."""
        missing = (split for split in splits if split not in self._pooled)
        return Workload({f"pooled {split}": sum(map(len, self.prompts.of(split).values())) for split in missing})

    def states_workload(self, *splits: Split, general: bool = False) -> Workload:
        """Return what collecting the last states of these splits, and of the general prompts, would cost now."""
        wanted = {
            _states_key(split, name): prompt_set
            for split in splits
            for name, prompt_set in self.prompts.of(split).items()
        }
        if general and self.prompts.general is not None:
            wanted[GENERAL] = self.prompts.general
        return Workload(
            {f"states {key}": len(prompt_set) for key, prompt_set in wanted.items() if key not in self._states}
        )

    def answers_workload(self, conditions: Sequence[Condition], sets: Sequence[EvaluationSet]) -> Workload:
        """Return what answering these sets under each condition would cost now."""
        return Workload(
            shared_answers=frozenset().union(*(self.answers.missing(condition, sets) for condition in conditions))
        )

    def _last_states(self, key: str, prompts: PromptSet) -> LastStates:
        if key not in self._states:
            encoded = encode_prompts(self.loaded.tokenizer, prompts.texts)
            size = BatchSize(self.request.batch_size, self.loaded.device)
            with self.reporter.stage(f"Last states, {key.replace('_', '-')}", len(encoded)) as advance:
                self._states[key] = collect_last_states(self.loaded, self.anatomy, encoded, size, advance)
        return self._states[key]


def _states_key(split: Split, prompt_class: PromptClass) -> str:
    return f"{split} {prompt_class}"
