"""Pruning, applying an adapter, measuring, comparing and analysing as one Python call each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prosafeprune.analysis.catalogue import find_entries
from prosafeprune.jobs.analyze import run_analyze
from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
from prosafeprune.jobs.apply import ApplyResult, run_apply
from prosafeprune.jobs.compare import CompareResult, run_compare
from prosafeprune.jobs.evaluate import Evaluation, run_evaluate
from prosafeprune.jobs.prune import run_prune
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.prune_unmeasured import PruneUnmeasuredResult, run_prune_unmeasured
from prosafeprune.jobs.safety_gate import require_safe
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluationRequest
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.requests.validation import validate_settings
from prosafeprune.terminal import TerminalReporter


def prune(
    model: str | Path,
    output: str | Path | None = None,
    *,
    layers: str | int | tuple[int, ...] | None = None,
    recipe: str | Path | None = None,
    search: str | Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> PruneResult:
    """Prune a model, measure it before and after, and write the result to ``output``.

    Args:
        model: a local folder, a hub id or a .gguf file.
        output: folder to write; without one the result is only measured, and ``result.loaded`` holds the pruned model.
        layers: decoder layers to prune, counted from 0, e.g. ``"14-17"``, ``16`` or ``(14, 16)``; without them, layers
            and strengths are searched for.
        recipe: a YAML file of settings; what is given here goes before it.
        search: folder of a search, to go on with; beside the output by default.
        choose: number of a point of the finished search in ``search`` to make.
        ray: address of a Ray cluster whose workers try the plans of a search.
        overwrite: replace a model folder that is there already.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.Recipe`: ``strength``, ``rank``, ``pooling``, ``samples``,
            ``seed``, ``harmful``, ``benign``, ``pseudo_harmful``, ``device``, ``dtype``, ``batch_size`` and more.

    Raises:
        InputError: the model, a prompt file or a setting cannot be used.
        NoPlanError: a search found no plan that complies more than the source and keeps the safety floor.
        SafetyFloorError: an output was asked for and the result lost more than ``max_safety_drop`` points of S.S.
    """
    asked = make_recipe(recipe, model=str(model), layers=layers, **settings)
    with TerminalReporter(quiet=not progress) as reporter:
        result = run_prune(
            asked,
            Path(output) if output is not None else None,
            overwrite=overwrite,
            search_folder=Path(search) if search is not None else None,
            choose=choose,
            ray=ray,
            reporter=reporter,
        )
    if output is not None:
        require_safe(result)
    return result


def prune_unmeasured(
    model: str | Path,
    output: str | Path,
    *,
    layers: str | int | tuple[int, ...] | None = None,
    recipe: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> PruneUnmeasuredResult:
    """Prune given layers of a model larger than memory, and write it without knowing whether it still refuses.

    One decoder layer is in memory at a time. Measure the result behind a server before use, with :func:`evaluate` and
    its ``endpoint``.

    Args:
        model: a local folder of safetensors, or a hub id.
        output: folder to write.
        layers: decoder layers to prune, counted from 0; here or in the recipe.
        recipe: a YAML file of settings; what is given here goes before it.
        overwrite: replace a model folder that is there already.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.Recipe` that tells how to prune.

    Raises:
        InputError: the model, a prompt file or a setting cannot be used.
    """
    asked = make_recipe(recipe, model=str(model), layers=layers, **settings, memory="low", unmeasured=True)
    with TerminalReporter(quiet=not progress) as reporter:
        return run_prune_unmeasured(asked, Path(output), overwrite=overwrite, reporter=reporter)


def apply(
    adapter: str | Path,
    base: str | Path,
    output: str | Path,
    *,
    strength: float | tuple[float, ...] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> ApplyResult:
    """Make the pruned checkpoint from an adapter that ``prune`` wrote and the model it was made from.

    Args:
        adapter: its folder or hub id.
        base: the base model: a local folder, a hub id or a .gguf file; its hash is checked.
        output: folder to write.
        strength: one for all layers or one for each, other than the adapter's; the pruned model is then measured.
        overwrite: replace a model folder that is there already.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.requests.apply.ApplyRequest`: ``device``,
            ``max_safety_drop``, ``max_new_tokens``, ``judge`` and more. None is read from the adapter.

    Raises:
        InputError: the adapter is not ours, damaged or of another base, or a setting cannot be used.
        SafetyFloorError: the pruned model lost more than ``max_safety_drop`` points of S.S., as measured now or, at
            the adapter's own strength, by its record.
    """
    request = validate_settings(ApplyRequest, {"model": str(base), "strength": strength, **settings})
    with TerminalReporter(quiet=not progress) as reporter:
        applied = run_apply(str(adapter), request, Path(output), overwrite=overwrite, reporter=reporter)
    if applied.measured is not None:
        require_safe(applied.measured)
    return applied


def evaluate(
    model: str | Path,
    output: str | Path,
    *,
    against: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Evaluation:
    """Measure a model, keeping answers and verdicts in ``output``; what is there already is not done again.

    Args:
        model: a local folder, a hub id, a .gguf file or a LoRA adapter; with ``endpoint=...``, its name there.
        output: folder for answers, verdicts and the record.
        against: folder of an earlier evaluation to compare with.
        overwrite: throw away what is in ``output``.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.EvaluationRequest`: ``suite``, ``benchmark``, ``data_dir``,
            ``judge``, ``max_new_tokens``, ``temperature``, ``repeats``, ``ability``, ``source`` and more.

    Raises:
        InputError: the model, a prompt file, a benchmark, a judge or a setting cannot be used.
    """
    request = validate_settings(EvaluationRequest, {"model": str(model), **settings})
    with TerminalReporter(quiet=not progress) as reporter:
        return run_evaluate(
            request,
            Path(output),
            against=Path(against) if against is not None else None,
            overwrite=overwrite,
            reporter=reporter,
        )


def compare(
    model: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str] | str | None = None,
    layers: str | int | tuple[int, ...] | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> CompareResult:
    """Measure a model in several ways of answering, keeping everything in ``output``.

    Args:
        model: a local folder, a hub id, a .gguf file or a LoRA adapter.
        output: folder for one evaluation of each method, the table and the record; what is there is not done again.
        methods: names such as ``"default,scan"``, or ``"module:Class"`` for one of your own; all that there are by
            default.
        layers: decoder layers that prosafeprune prunes; without them and without ``search`` or ``pruned``, a plan is
            searched for.
        ray: address of a Ray cluster whose workers answer.
        overwrite: throw away what is in ``output``.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.CompareRequest`: ``settings``, ``suite``, ``benchmark``,
            ``data_dir``, ``judge``, ``max_new_tokens``, ``strength``, ``search``, ``pruned`` and more.

    Raises:
        InputError: the model, a prompt file, a benchmark, a judge, a method or a setting cannot be used.
    """
    given = {"model": str(model), "methods": methods, "layers": layers, **settings}
    request = validate_settings(CompareRequest, given)
    with TerminalReporter(quiet=not progress) as reporter:
        return run_compare(request, Path(output), overwrite=overwrite, ray=ray, reporter=reporter)


def analyze(
    model: str | Path,
    output: str | Path,
    *names: str,
    against: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> list[FinishedAnalysis]:
    """Analyse a model, keeping numbers and figures in ``output``; what is there already is not done again.

    Args:
        model: a local folder, a hub id, a .gguf file or a LoRA adapter.
        output: folder with one folder in it for each analysis.
        *names: analyses, such as ``"probe"``; all that the settings allow when none is named.
        against: a pruned checkpoint or an adapter made from the model, to compare it with.
        overwrite: throw away what is in ``output``.
        progress: show progress on stderr.
        **settings: any other field of :class:`prosafeprune.AnalysisRequest`: ``layer``, ``submodule``, ``rank``,
            ``pooling``, ``benchmark``, ``data_dir``, ``general``, ``refusal_words`` and more.

    Returns:
        For each analysis its tables, what its figures are drawn from, and its folder.

    Raises:
        InputError: a model, a prompt file, a name or a setting cannot be used.
        FailedAnalysesError: an InputError with those that are ``finished``, after an analysis failed by itself.
    """
    asked = {"model": str(model), "against": str(against) if against is not None else None, **settings}
    request = validate_settings(AnalysisRequest, asked)
    entries = find_entries(names, everything=not names)
    with TerminalReporter(quiet=not progress) as reporter:
        return run_analyze(request, entries, Path(output), everything=not names, overwrite=overwrite, reporter=reporter)
