"""What a run will do, how long it takes and what it needs: as one line after loading, or as tables of a dry run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prosafeprune.jobs.calibrated_plan import KnownPlan, known_plan
from prosafeprune.jobs.ways_of_pruning import ways_grid
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.model.chat_template import render, set_thinking
from prosafeprune.model.device_placement import choose_device, device_name
from prosafeprune.model.loading import choose_dtype, dtype_name, load_tokenizer
from prosafeprune.model.source import ModelSource, early_config
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptSet
from prosafeprune.report.grid import Grid
from prosafeprune.report.plan_facts import plan_layers
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.adapter_support import require_adapter_support
from prosafeprune.setup.load import LoadedRun
from prosafeprune.setup.machine import free_disk, measure_speed
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.prepare import PreparedRun, bytes_needed, prepare_run
from prosafeprune.setup.run_memory import memory_needed
from prosafeprune.setup.source_shape import SourceShape
from prosafeprune.setup.workload import Cost, Speed, Stage, stages_of
from prosafeprune.text import data_size, duration

LONG_RUN = 3600.0
"""Seconds from which settings for a shorter run are named."""
SHORTER = {"samples": 160, "confirmations": 2, "max_new_tokens": 48, "test_samples": 100}
"""The smallest settings with which results were still good: docs/results.md, "The demo"."""
OF_A_SEARCH, OF_MEASURING = ("confirmations",), ("test_samples",)
LOADED_PER_SECOND = 1e9
"""Bytes of weights read, checked and hashed per second; fewer from a slow disk."""


def estimated_cost(run: LoadedRun, plan: Plan | None) -> Cost:
    """Return the time of each stage of a run whose model is loaded, and the memory needed."""
    loaded = run.loaded
    shape = ModelShape.of_folder(loaded.folder, early_config(str(loaded.folder), None) or {})
    speed = measure_speed(shape.passed, shape.size.hidden, loaded.run_dtype, loaded.device)
    ratio = shape.bytes_per_weight(loaded.run_dtype.itemsize / loaded.stored_dtype.itemsize, loaded.load)
    on_gpu = loaded.device.type == "cuda"
    memory = memory_needed(run, plan, shape.size, ratio, on_gpu=on_gpu, number_bytes=loaded.run_dtype.itemsize)
    return Cost.estimated(stages_of(run, plan, run.anatomy.num_layers), speed, memory)


def shorter_run(recipe: Recipe, seconds: float, *, is_searched: bool, search_only: bool = False) -> str | None:
    """Return a line with settings that make a long run shorter; None where it is short, or they are set already."""
    given = recipe.model_dump(include=set(SHORTER))
    smaller = {name: value for name, value in SHORTER.items() if given[name] is None or given[name] > value}
    confirms = is_searched and recipe.strategy == "auto"  # the paper's strategy measures all
    without = (() if confirms else OF_A_SEARCH) + (OF_MEASURING if search_only else ())
    options = [f"--{name.replace('_', '-')} {value}" for name, value in smaller.items() if name not in without]
    if seconds < LONG_RUN or not options or recipe.is_draft:
        return None
    budget = " --budget bounds the search alone." if is_searched else ""
    return f"A shorter run, at wider intervals: {' '.join(options)}.{budget}"


def planned(
    recipe: Recipe,
    output: Path | None,
    *,
    overwrite: bool = False,
    search: Path | None = None,
    choose: int | None = None,
    source: ModelSource | None = None,
    is_served: bool = False,
    reporter: Reporter,
) -> tuple[PreparedRun, KnownPlan, str]:
    """Return the run that ``run_prune`` would make of these arguments, its plan, and the name of its judge.

    Args:
        source: the base model, if it was found before.
        is_served: whether a server measures the model as stored, with ``--serve-with``.

    Raises:
        InputError: as ``run_prune`` would before it loads the model.
        NoPlanError: the search is finished and found no plan.
    """
    prepared = prepare_run(recipe, output, overwrite, reporter, source=source)
    if is_served:
        prepared = prepared.of_a_copy()
    if recipe.format == "adapter":
        require_adapter_support(prepared.source, trust_remote_code=recipe.trust_remote_code)
    judge = make_judge(prepared.recipe, prepared.reporter)
    return prepared, known_plan(prepared, judge.name, search, choose, hashed=False), judge.name


def dry_run(prepared: PreparedRun, known: KnownPlan, judge: str, *, search_only: bool = False) -> list[Grid]:
    """Return what a run would do, as tables: plan and sizes, prompts, and the time of each stage."""
    found = SourceShape.of(prepared.source)
    facts = _facts(prepared, found, known, judge, search_only)
    stages = stages_of(prepared, known.plan, found.shape.size.layers, search_only=search_only)
    speed = _speed(found, prepared.recipe)
    tables = [
        Grid("Nothing is loaded or written", ["", ""], facts),
        _prompts(prepared, is_searched=known.plan is None, search_only=search_only),
        _times(prepared, known.plan, found, stages, speed, search_only=search_only),
    ]
    return tables if search_only else [*tables, ways_grid(prepared, known.plan, found, speed)]


def speed_on(source: ModelSource, options: ModelOptions) -> Speed:
    """Return the speed of a model on this machine, of a mixture of experts by the weights that a token passes."""
    return _speed(SourceShape.of(source), options)


def _speed(found: SourceShape, options: ModelOptions) -> Speed:
    device = choose_device(options.device)
    run_dtype = choose_dtype(options.dtype, found.dtype, device)
    return measure_speed(found.shape.passed, found.shape.size.hidden, run_dtype, device)


def _facts(
    prepared: PreparedRun, found: SourceShape, known: KnownPlan, judge: str, search_only: bool
) -> list[list[str]]:
    recipe = prepared.recipe
    size = found.shape.size
    weights = f"{data_size(size.weight_bytes)} of weights"
    if found.conversion is not None:
        weights = f"{data_size(found.conversion.stored)} of weights, {data_size(size.weight_bytes)} in 16 bits"
    rows = [
        ["model", f"{prepared.source.name}: {size.layers or '?'} layers, {weights}"],
        ["plan", _plan_in_words(recipe, known)],
        *_measuring(recipe, judge),
    ]
    if search_only:
        return rows
    if prepared.output is None:
        return [*rows, ["output", "none: the pruned model is measured, and nothing is written"]]
    needed, free = bytes_needed(prepared.source, recipe.format), free_disk(prepared.output.parent)
    return [*rows, ["output", f"{prepared.output}: {data_size(needed)} at most, {data_size(free)} free"]]


def _measuring(recipe: Recipe, judge: str) -> list[list[str]]:
    if recipe.unmeasured:
        return [["answers", "none: nothing is measured (--unmeasured)"], ["safety floor", "none"]]
    return [
        ["answers", f"at most {recipe.max_new_tokens} tokens, judged by {judge}"],
        ["safety floor", f"S.S. may fall by less than {recipe.max_safety_drop:g} points ({recipe.floor})"],
    ]


def _plan_in_words(recipe: Recipe, known: KnownPlan) -> str:
    plan = known.plan
    if plan is None:
        most = "all" if recipe.strategy == "paper" else f"the best {recipe.confirmations}"
        effort = f"budget {recipe.budget}, {most} plans measured"
        return f"searched for: {effort}; kept in {known.folder or 'the cache'}"
    words = f"layers:strength {plan_layers(plan)}, {plan.operator_in_words}"
    return words if known.search is None else f"{words}, found by the search in {known.folder}"


def _prompts(prepared: PreparedRun, *, is_searched: bool, search_only: bool) -> Grid:
    def row(use: str, prompts: PromptSet) -> list[str]:
        return [use, prompts.prompt_class.in_words, str(len(prompts)), prompts.source]

    headings = ["used for", "class", "prompts", "from"]
    rows = [row("calibration", prompts) for prompts in prepared.calibration.values()]
    if is_searched or prepared.recipe.polish:
        for name, prompts in prepared.validation.items():
            both = (*prompts.prompts, *prepared.confirmation[name].prompts)
            rows.append(row("validation", replace(prompts, prompts=both)))
    if prepared.recipe.unmeasured or search_only:  # a search sees no test prompts
        return Grid("Prompts", headings, rows)
    rows += [row("measuring", test_set.prompts) for test_set in prepared.evaluation]
    rows += [row("spot check", test_set.prompts) for test_set in prepared.spot_check]
    rows += [row("behind a system prompt", test_set.prompts) for test_set in prepared.prompted]
    if prepared.recipe.memory != "low":  # servers do not give all probabilities
        rows.append(row("benign KL", prepared.benign))
    return Grid("Prompts", headings, rows)


def _times(
    prepared: PreparedRun,
    plan: Plan | None,
    found: SourceShape,
    stages: Sequence[Stage],
    speed: Speed,
    *,
    search_only: bool,
) -> Grid:
    recipe = prepared.recipe
    device = choose_device(recipe.device)
    model, run_dtype = found.shape.size, choose_dtype(recipe.dtype, found.dtype, device)
    before = {"loading": model.weight_bytes / LOADED_PER_SECOND}
    if found.conversion is not None:
        before = {"conversion to 16 bits": found.conversion.seconds(model.weight_bytes), **before}
    ratio = found.shape.bytes_per_weight(run_dtype.itemsize / found.dtype.itemsize, recipe.load)
    memory = memory_needed(prepared, plan, model, ratio, on_gpu=device.type == "cuda", number_bytes=run_dtype.itemsize)
    cost = Cost.estimated(stages, speed, memory)
    times = {**before, **cost.stages, "all, at most about": sum(before.values()) + cost.seconds}
    rows = [[name, duration(seconds)] for name, seconds in times.items()]
    copied = f" A copy in {recipe.load[0]} bits (--load) takes longer." if recipe.load is not None else ""
    notes = [f"Computed from a second of matrix products in {dtype_name(run_dtype)} on {device_name(device)}.{copied}"]
    if memory is not None and recipe.memory != "low":  # what that takes is in the table of ways
        notes.append(f"Memory: about {data_size(memory)}.")
    if hint := shorter_run(recipe, cost.seconds, is_searched=plan is None, search_only=search_only):
        notes.append(hint)
    if not prepared.source.is_gguf:
        tokenizer = load_tokenizer(
            prepared.source.path, prepared.source.name, trust_remote_code=recipe.trust_remote_code, system=recipe.system
        )
        set_thinking(tokenizer, recipe.thinking, prepared.source.name)
        notes.append(f"A prompt as the model sees it: {render(tokenizer, prepared.benign.texts[0])!r}")
    return Grid("Time by stage", ["stage", "time"], rows, notes, marked=(len(rows) - 1,))
