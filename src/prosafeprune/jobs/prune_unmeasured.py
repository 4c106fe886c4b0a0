"""``prune --memory low``: a model larger than memory, pruned layer by layer and written without being measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.checkpoint.writer import EditedTensors, copy_companions, locate_among
from prosafeprune.editing.edits import EditMeasures
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import read_lineage
from prosafeprune.evaluation.prompts_record import calibration_record
from prosafeprune.files.staging import claimed_output
from prosafeprune.jobs.prune import write_documents
from prosafeprune.jobs.safety_gate import unmeasured_output
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import EncodedPrompt, set_thinking
from prosafeprune.model.device_placement import device_name
from prosafeprune.model.model_files import checkpoint_bytes
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource
from prosafeprune.model.stored_names import warn_of_unused
from prosafeprune.progress import SILENT, Reporter, ignore
from prosafeprune.report.edit_record import model_record, shareable
from prosafeprune.report.record import UnmeasuredRecord
from prosafeprune.report.run_record import run_record
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.calibrate import ClassRows, encode_classes
from prosafeprune.setup.load import inspect_anatomy, require_layers
from prosafeprune.setup.machine import memory_bytes
from prosafeprune.setup.prepare import PreparedRun, checkpoint_folder, given_plan, prepare_run
from prosafeprune.streaming.layer_passes import LayerPasses
from prosafeprune.streaming.meta_model import MetaModel, load_meta_model
from prosafeprune.streaming.needs import estimate_needs, most_rows
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint
from prosafeprune.streaming.streamed_weights import StreamedWeights
from prosafeprune.text import data_size

FITS = 3
"""A model fits when this many times its weights are free: as float32 they are twice as large as in half precision."""


@dataclass(frozen=True)
class PruneUnmeasuredResult:
    """What was written, without being measured."""

    record: UnmeasuredRecord
    output: Path
    """The folder written."""


def run_prune_unmeasured(
    recipe: Recipe, output: Path | None, *, overwrite: bool = False, reporter: Reporter = SILENT
) -> PruneUnmeasuredResult:
    """Prune the given layers of the recipe's model with one layer in memory at a time, and write it unmeasured.

    Raises:
        InputError: something in the recipe or the model cannot be used, or there is no output.
    """
    recipe.require_unmeasured()
    if output is None:
        raise InputError("--memory low measures nothing, so it needs a folder to write. Give --output.")
    prepared = prepare_run(recipe, output, overwrite, reporter)
    assert prepared.output is not None
    source = prepared.source
    require_streamable(source)
    weights, available = checkpoint_bytes(source.path), memory_bytes()[1]
    if FITS * weights < available:
        prepared.reporter.warning(
            f"{source.name} has {data_size(weights)} of weights, and {data_size(available)} of memory are free: "
            "without --memory low and --unmeasured it is measured, and held to the safety floor."
        )
    with (
        claimed_output(prepared.output, overwrite),
        checkpoint_folder(source, prepared.output, prepared.reporter) as folder,
        unmeasured_output(prepared.output, recipe, overwrite=overwrite) as staging,
    ):
        copy_companions(folder, staging)
        checkpoint = StreamedCheckpoint(folder, staging)
        pruning = prune_streamed(prepared, folder, checkpoint, staging)
        # What was read and hashed is the base model's own files, unless they had to be dequantised.
        hashes = None if source.is_converted else checkpoint.hashes
        record = pruning.record(model_hash(source.path, known=hashes))
        write_documents(staging, record, source, folder)
    return PruneUnmeasuredResult(record, prepared.output)


def require_streamable(source: ModelSource) -> None:
    """Raise InputError when a model cannot be pruned layer by layer, or is itself pruned and was never measured."""
    if source.is_gguf:
        raise InputError(
            f"{source.name}: a GGUF is converted in memory. For --memory low give a folder of safetensors."
        )
    read_lineage(source.path)


def prune_streamed(
    prepared: PreparedRun, folder: Path, checkpoint: StreamedCheckpoint, staging: Path
) -> LayerwisePruning:
    """Prune the checkpoint in ``folder``, the base model's or what was dequantised from it, into its copy ``staging``.

    Raises:
        InputError: the model cannot be run layer by layer, or has no layer of that number.
    """
    recipe, source = prepared.recipe, prepared.source
    meta = load_meta_model(
        folder,
        source.name,
        device=recipe.device,
        dtype=recipe.dtype,
        trust_remote_code=recipe.trust_remote_code,
        system=recipe.system,
    )
    set_thinking(meta.tokenizer, recipe.thinking, source.name)
    anatomy = inspect_anatomy(meta.model, prepared.reporter)
    plan = given_plan(recipe)
    assert plan is not None  # checked by the recipe
    require_layers(plan, anatomy)
    weights = StreamedWeights(meta, anatomy, checkpoint)
    warn_of_unused(weights.unused, source.name, prepared.reporter)
    pruning = LayerwisePruning(prepared, plan, meta, anatomy, weights)
    pruning.prune(staging)
    with prepared.reporter.stage("Copying the rest", checkpoint.remaining) as advance:
        checkpoint.finish(advance, weights.finite)
    return pruning


class LayerwisePruning:
    """One pass of the calibration prompts through the layers, each edited once it has run."""

    def __init__(
        self, prepared: PreparedRun, plan: Plan, meta: MetaModel, anatomy: Anatomy, weights: StreamedWeights
    ) -> None:
        self.prepared, self.plan, self.meta, self.anatomy, self.weights = prepared, plan, meta, anatomy, weights
        self.prompts: list[EncodedPrompt]
        self.class_rows: ClassRows
        self.prompts, self.class_rows = encode_classes(meta.tokenizer, prepared.calibration)
        self.batch_size = BatchSize(prepared.recipe.batch_size, meta.device)
        self.batch_size.cap(most_rows(meta, anatomy, self.prompts))
        self.edited: list[str] = []
        self.measures: list[EditMeasures] = []
        self.experts: list[ExpertCount] = []

    def prune(self, staging: Path) -> None:
        """Run the layers up to the last planned one, and write the edited tensors of the planned ones."""
        needs = estimate_needs(self.meta, self.anatomy, self.weights, self.plan, self.prompts, self.batch_size.size)
        for line in needs.describe():
            self.prepared.reporter.note(line)
        passes = LayerPasses(self.meta, self.anatomy, self.prompts)
        # 0 is the padding token of batches.
        self.weights.load_around_layers({0}.union(*(prompt.ids for prompt in self.prompts)))
        layers = range(max(self.plan.layers) + 1)
        with self.prepared.reporter.stage("Layers, one at a time", len(layers)) as advance:
            for layer in layers:
                self._pass(layer, passes, staging)
                advance(1)

    def record(self, sha256: str) -> UnmeasuredRecord:
        """Return the record, given the hash of the base model."""
        prepared, meta = self.prepared, self.meta
        return UnmeasuredRecord(
            model=model_record(prepared.source, meta.folder, sha256, meta.tokenizer, meta.stored_dtype),
            lineage=read_lineage(prepared.source.path).steps,
            plan=self.plan,
            recipe=shareable(prepared.recipe),
            calibration=calibration_record(prepared.calibration),
            edited_tensors=sorted(self.edited),
            submodules=self.measures,
            experts=self.experts,
            run=run_record(device_name(meta.device), meta.run_dtype, self.inputs),
        )

    def _pass(self, layer: int, passes: LayerPasses, staging: Path) -> None:
        is_planned = layer in self.plan.layers
        with self.weights.layer(layer) as held:
            self.inputs: PooledInputs = collect_pooled_inputs(
                self.meta.model,
                self.anatomy,
                self.prompts,
                [self.plan.pooling],
                [layer] if is_planned else [],
                self.batch_size,
                ignore,
                passes.segment(layer),
            )[self.plan.pooling]
            if not is_planned:
                return
            anatomy = self.anatomy.without_zeros([layer])  # only now are its weights in memory
            for name in anatomy.skipped.keys() - self.anatomy.skipped.keys():
                self.prepared.reporter.warning(f"{name}: left as it is ({anatomy.skipped[name].value}).")
            require_layers(self.plan.of_layer(layer), anatomy)
            with torch.inference_mode():
                edits = make_edits(anatomy, self.plan.of_layer(layer), self.inputs, self.class_rows, ignore)
            edited = [edit.submodule for edit in edits]
            tensors = EditedTensors(self.meta.folder, locate_among(held, edited), edits)
            tensors.overwrite(staging, ignore)
        self.experts += count_experts(anatomy.of_layer(layer), edited)
        self.edited += tensors.names
        self.measures += [edit.measures for edit in edits]
