"""An adapter that this package wrote, read back. It may come from someone else, so it is treated as data.

Only facts are taken from its record: the plan, hashes and measurements. The settings of its recipe are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from prosafeprune.checkpoint.adapter import unstacked
from prosafeprune.checkpoint.expert_factors import unstacked_experts
from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import Lineage
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.method.plan import Plan, require_strength
from prosafeprune.model.adapters import KEY_PREFIX, find_folder
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.model_files import require_plain_files
from prosafeprune.model.model_hash import file_hash, model_hash
from prosafeprune.model.parameter_adapters import wrapper_names
from prosafeprune.model.source import ADAPTER_WEIGHTS, ModelSource
from prosafeprune.model.submodule import Submodule
from prosafeprune.report.edit_record import template_hash
from prosafeprune.report.record import Record, read_record
from prosafeprune.report.record_consistency import floor_from_rates, is_consistent


@dataclass(frozen=True)
class OwnAdapter:
    """An adapter that this package wrote, complete and unchanged."""

    name: str
    folder: Path
    record: Record
    plan: Plan
    tensors: Mapping[str, torch.Tensor]

    def require_base(self, source: ModelSource) -> None:
        """Raise InputError when ``source`` is not the model that the adapter was made from."""
        found, wanted = model_hash(source.path), self.record.model.sha256
        if found != wanted:
            raise InputError(
                f"{source.name}: is not the model that the adapter was made from ({Path(self.record.model.name).name}, "
                f"sha256 {wanted[:12]}; this one has {found[:12]}). Give that one, unchanged."
            )

    def require_tokenizer(self, source: ModelSource, tokenizer: Any) -> None:
        """Raise InputError when a base model has another chat template or tokenizer: the figures are not its own."""
        if template_hash(tokenizer) != self.record.model.chat_template_sha256:
            raise InputError(
                f"{source.name}: its chat template is not the one that the adapter was measured with. Give the base "
                "model with that one, or make the adapter again."
            )
        if not self.record.model.has_tokenizer_of(source.path):
            raise InputError(
                f"{source.name}: its tokenizer files or generation_config.json are not those that the adapter was "
                "measured with. Give the base model with those, or make the adapter again."
            )

    def require_lineage(self, lineage: Lineage) -> None:
        """Raise InputError when the base model was pruned before and the adapter's record says something else."""
        if lineage.steps and lineage.steps != self.record.lineage:
            raise InputError(
                f"{self.name}: its base model was pruned before, which its record does not say. Make the adapter again."
            )

    def plan_at(self, strength: float | tuple[float, ...] | None) -> Plan:
        """Return the adapter's plan at another strength; at its own for None.

        Raises:
            InputError: there are more or fewer strengths than layers, one is larger than the plan's projection takes,
                or a layer that was not edited would be.
        """
        plan = self.plan
        if strength is None:
            return plan
        if isinstance(strength, tuple) and len(strength) != len(plan.layers):
            raise InputError(f"strength: {len(strength)} strengths are given for {len(plan.layers)} layers.")
        try:
            require_strength(strength, plan.projection)
        except ValueError as error:
            raise InputError(f"{error}.") from error
        scaled = plan.model_copy(update={"strength": strength})
        unscalable = [layer for layer in plan.layers if plan.strength_of(layer) == 0 < scaled.strength_of(layer)]
        if unscalable:
            raise InputError(
                f"The adapter has strength 0 in layer {unscalable[0]}, so it has no edit to scale there. Prune again."
            )
        return scaled

    def edits(self, plan: Plan, anatomy: Anatomy) -> list[LowRankEdit]:
        """Return the adapter's edits at the strengths of ``plan``, submodule by submodule.

        Raises:
            InputError: the adapter's factors are not exactly those of its plan for this model.
        """
        beyond = [layer for layer in plan.layers if layer >= anatomy.num_layers]
        if beyond:
            raise InputError(
                f"{self.name}: its record names layer {beyond[0]}, and the model has {anatomy.num_layers} layers."
            )
        groups: dict[str, list[Submodule]] = {}
        for layer in plan.layers:
            for submodule in anatomy.of_layer(layer):
                groups.setdefault(submodule.parameter_name, []).append(submodule)
        wrappers = wrapper_names(group[0] for group in groups.values() if group[0].expert is not None)
        edits: list[LowRankEdit] = []
        unused = set(self.tensors)
        for parameter, group in groups.items():
            module_name = wrappers.get(parameter, group[0].module_name)
            names = [f"{KEY_PREFIX}{module_name}.lora_{name}.weight" for name in "BA"]
            # Of a layer whose experts too few prompts reach, none is edited.
            is_planned = self.plan.strength_of(group[0].layer) > 0 and group[0].expert is None
            if is_planned or not unused.isdisjoint(names):
                edits += self._edits_of(names, plan, group)
            unused -= set(names)
        if unused:
            raise InputError(
                f"{self.name}: has factors for {min(unused)}, which its plan does not prune. Make it again."
            )
        return edits

    def _edits_of(self, names: Sequence[str], plan: Plan, group: Sequence[Submodule]) -> list[LowRankEdit]:
        factors = [self.tensors.get(name) for name in names]
        if factors[0] is None or factors[1] is None:
            raise InputError(
                f"{self.name}: has no factors for {group[0].parameter_name}. Fetch or make the adapter again."
            )
        old, new = self.plan.strength_of(group[0].layer), plan.strength_of(group[0].layer)
        change = LowRankChange(factors[0] if old == new else factors[0] * (new / old), factors[1])
        if group[0].expert is not None:
            parts = unstacked_experts(change, group, plan.rank)
        else:
            parts = list(zip(group, unstacked(change, group, plan.rank), strict=True))
        return [LowRankEdit(submodule, part) for submodule, part in parts]


def open_adapter(adapter: str) -> OwnAdapter:
    """Read an adapter and its record.

    Raises:
        InputError: there is none, it is not one of ours, or its weights are not those of its record.
    """
    folder = find_folder(adapter)
    if not folder.is_dir():
        raise InputError(f"{adapter}: no such folder. Give the folder of an adapter that 'prune' wrote.")
    require_plain_files(folder, adapter)
    record = read_record(folder)
    if not is_consistent(record):
        raise InputError(f"{adapter}: the counts in its record contradict each other. Fetch or make it again.")
    if record.floor is None:
        record = record.model_copy(update={"floor": floor_from_rates(record)})
    if record.plan is None:
        raise InputError(
            f"{adapter}: was made from a fit, not by pruning. Apply that fit again: at another --strength, or with "
            "--format checkpoint."
        )
    if record.adapter_sha256 is None:
        raise InputError(f"{adapter}: is a pruned model, not an adapter. Use it as it is.")
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file() or file_hash(file) != record.adapter_sha256:
        raise InputError(f"{file}: is missing, damaged or not the file of its record. Fetch or make it again.")
    try:
        tensors = load(file.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{file}: is not a safetensors file. Fetch or make it again.") from error
    wrong = [name for name, tensor in tensors.items() if not (tensor.is_floating_point() and tensor.isfinite().all())]
    if wrong:
        raise InputError(f"{file}: {min(wrong)} has values that are not finite numbers. Fetch or make it again.")
    return OwnAdapter(adapter, folder, record, record.plan, tensors)
