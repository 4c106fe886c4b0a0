"""What each way of pruning a model takes on this machine: the last table of a dry run."""

from __future__ import annotations

from prosafeprune.method.plan import Plan
from prosafeprune.model.device_placement import choose_device
from prosafeprune.model.loading import choose_dtype
from prosafeprune.report.grid import Grid
from prosafeprune.setup.adapter_support import adapter_refusal
from prosafeprune.setup.path_costs import PathCost, path_costs
from prosafeprune.setup.prepare import PreparedRun
from prosafeprune.setup.run_memory import scoring_memory, streamed_memory
from prosafeprune.setup.source_shape import SourceShape
from prosafeprune.setup.workload import Speed, stages_of
from prosafeprune.text import data_size, duration

FEW_LAYERS = 6
"""Layers of a plan that is not known yet."""


def ways_grid(prepared: PreparedRun, plan: Plan | None, found: SourceShape, speed: Speed) -> Grid:
    """Return what each way of pruning takes.

    Args:
        plan: given, or of a finished search.
        found: the sizes of the model.
        speed: of the model on this machine.
    """
    recipe, source = prepared.recipe, prepared.source
    on_gpu = choose_device(recipe.device).type == "cuda"
    run_dtype = choose_dtype(recipe.dtype, found.dtype, choose_device(recipe.device))
    count = found.shape.size.layers or 1
    given = plan or Plan(layers=tuple(range(count // 2, min(count, count // 2 + FEW_LAYERS))), rank=recipe.rank)
    refusal = adapter_refusal(source, trust_remote_code=recipe.trust_remote_code)
    costs = path_costs(
        found.shape,
        {"search": stages_of(prepared, None, count), "layers": stages_of(prepared, given, count)},
        speed,
        prompts=sum(map(len, prepared.calibration.values())),
        layers=len(given.layers),
        rank=given.rank,
        ratio=run_dtype.itemsize / found.dtype.itemsize,
        scoring=scoring_memory(recipe, found.shape.size, on_gpu=on_gpu, number_bytes=run_dtype.itemsize),
        streamed=streamed_memory(prepared, found.shape, on_gpu=on_gpu, number_bytes=run_dtype.itemsize),
        on_gpu=on_gpu,
        conversion=found.conversion,
        takes_adapter=refusal is None,
    )
    notes = [f"From config.json and the headers of the weights; given layers: {len(given.layers)}."]
    if found.conversion is not None:
        notes.append("The model is first written in 16 bits; that copy is counted in disk, reads and time.")
    if refusal is not None:
        notes.append(f"No adapter: {refusal}")
    written = "--dequantise" if recipe.dequantise else recipe.format
    asked = f"{'search' if plan is None else 'given layers'}, {written}"
    marked = [] if recipe.load or recipe.memory == "low" else [i for i, cost in enumerate(costs) if cost.name == asked]
    rows = [_row(cost) for cost in costs]
    return Grid("What each way takes", ["way", "memory", "disk", "read", "time"], rows, notes, marked=marked)


def _row(cost: PathCost) -> list[str]:
    time = duration(cost.seconds) if cost.seconds is not None else "not measured"
    return [cost.name, *map(data_size, (cost.memory, cost.disk, cost.read)), time]
