"""One Python function for each command that runs to an end (not ``chat``, ``playground``, ``serve`` and ``demo``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from prosafeprune.analysis.catalogue import find_entries
from prosafeprune.api_tools import check_prompts as check_prompts
from prosafeprune.api_tools import doctor as doctor
from prosafeprune.api_tools import judge as judge
from prosafeprune.api_tools import mine_prompts as mine_prompts
from prosafeprune.api_tools import push as push
from prosafeprune.api_tools import rate_prompts as rate_prompts
from prosafeprune.api_tools import split_prompts as split_prompts
from prosafeprune.jobs.analyze import run_analyze
from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
from prosafeprune.jobs.apply import ApplyResult, run_apply
from prosafeprune.jobs.calibrated_plan import SearchResult, run_search
from prosafeprune.jobs.compare import CompareResult, run_compare
from prosafeprune.jobs.evaluate import Evaluation, run_evaluate
from prosafeprune.jobs.prune import run_prune
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.prune_unmeasured import PruneUnmeasuredResult, run_prune_unmeasured
from prosafeprune.jobs.safety_gate import require_safe
from prosafeprune.requests import typed_settings
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.call_arguments import checked
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.recipe import make_recipe, make_request
from prosafeprune.requests.search import SearchRequest
from prosafeprune.terminal import TerminalReporter

Layers = int | str | Sequence[int] | None


@checked
def prune(
    model: str | Path,
    output: str | Path | None = None,
    *,
    layers: Layers = None,
    recipe: str | Path | None = None,
    search: str | Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.PruneSettings],
) -> PruneResult:
    """Prune a model, measure it before and after, and write it to ``output``.

    Args:
        model: local folder, hub id or .gguf file.
        output: folder to write; without it the pruned model is only measured, and is in ``result.loaded``.
        layers: decoder layers, counted from 0, such as ``"14-17"``, ``16`` or ``(14, 16)``; by default, searched for.
        recipe: YAML file of settings; arguments override it.
        search: folder of a search to use or resume; by default in the cache.
        choose: number of a plan of the finished search in ``search``; by default, the plan that it selected.
        ray: address of a Ray cluster whose workers evaluate the plans of a search.
        overwrite: replace an existing model folder.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.Recipe`.

    Raises:
        InputError: the model, a prompt file or a setting cannot be used.
        NoPlanError: a search found no plan that raises C.R. and keeps the safety floor.
        SafetyFloorError: the pruned model was not shown to keep the safety floor, so it was not written.
    """
    asked, folder = make_recipe(recipe, model=str(model), layers=layers, **settings), _path(output)
    with TerminalReporter(quiet=not progress) as reporter:
        result = run_prune(
            asked, folder, overwrite=overwrite, search_folder=_path(search), choose=choose, ray=ray, reporter=reporter
        )
    if output is not None:
        require_safe(result)
    return result


@checked
def prune_unmeasured(
    model: str | Path,
    output: str | Path,
    *,
    layers: Layers = None,
    recipe: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.PruneUnmeasuredSettings],
) -> PruneUnmeasuredResult:
    """Prune given layers of a model larger than memory, without measuring whether it still refuses.

    One decoder layer is in memory at a time. Before use, serve the pruned model and measure it with :func:`evaluate`
    and its ``endpoint``.

    Args:
        model: local folder of safetensors, or hub id.
        output: folder to write.
        layers: decoder layers to prune, counted from 0; here or in the recipe.
        recipe: YAML file of settings; arguments override it.
        overwrite: replace an existing model folder.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.Recipe`; those for measuring and searching have no effect.

    Raises:
        InputError: the model, a prompt file or a setting cannot be used.
    """
    asked = make_recipe(recipe, model=str(model), layers=layers, memory="low", unmeasured=True, **settings)
    with TerminalReporter(quiet=not progress) as reporter:
        return run_prune_unmeasured(asked, Path(output), overwrite=overwrite, reporter=reporter)


@checked
def search(
    model: str | Path,
    output: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    ray: str | None = None,
    progress: bool = True,
    **settings: Unpack[typed_settings.SearchSettings],
) -> SearchResult:
    """Search for layers and strengths, without writing a model. A search in ``output`` is resumed.

    Args:
        model: local folder, hub id or .gguf file.
        output: folder of the search; by default in the cache.
        recipe: YAML file of settings; arguments override it.
        ray: address of a Ray cluster whose workers evaluate the plans.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.SearchRequest`.

    Returns:
        The record and the folder. ``record.chosen`` is the number of the selected plan, or None. ``prune`` makes the
        model of any plan with ``search=result.output, choose=number`` and the settings of the search.

    Raises:
        InputError: the model, the folder, a prompt file or a setting cannot be used.
        NoPlanError: the base model refuses too little for a loss of safety to show.
    """
    asked = make_request(SearchRequest, recipe, {"model": str(model), **settings})
    with TerminalReporter(quiet=not progress) as reporter:
        return run_search(asked, _path(output), reporter, ray)


@checked
def apply(
    adapter: str | Path,
    base: str | Path,
    output: str | Path,
    *,
    strength: float | Sequence[float] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.ApplySettings],
) -> ApplyResult:
    """Make a checkpoint from an adapter that ``prune`` wrote, or from the fit of a training method, and its base model.

    Args:
        adapter: its folder or hub id; or the folder of ``sft``, ``self-training`` or ``actor`` that ``compare`` or
            ``evaluate`` kept, or the file ``fitted.safetensors`` in it.
        base: the base model: local folder, hub id or .gguf file; its hash is checked.
        output: folder to write.
        strength: one for all layers or one per layer, instead of the adapter's; the pruned model is then measured. Of
            a fit, one factor of what was trained; its model is always measured.
        overwrite: replace an existing model folder.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.ApplyRequest`, such as ``max_safety_drop`` and ``device``.

    Raises:
        InputError: the adapter or fit is not one of ours, is damaged or has another base model; it is the fit of a
            method of which no model is written; or a setting cannot be used.
        SafetyFloorError: the changed model was not shown to keep the safety floor, so it was not written.
    """
    asked = validate_settings(ApplyRequest, {"model": str(base), "strength": strength, **settings})
    with TerminalReporter(quiet=not progress) as reporter:
        applied = run_apply(str(adapter), asked, Path(output), overwrite=overwrite, reporter=reporter)
    if applied.measured is not None:
        require_safe(applied.measured)
    return applied


@checked
def evaluate(
    model: str | Path,
    output: str | Path,
    *,
    against: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.EvaluateSettings],
) -> Evaluation:
    """Measure a model. Answers and verdicts are kept in ``output``, and a run that was interrupted resumes.

    Args:
        model: local folder, hub id, .gguf file or LoRA adapter; with ``endpoint=...``, the model's name there.
        output: folder for answers, verdicts and the record.
        against: folder of an earlier evaluation to compare with.
        overwrite: discard earlier work in ``output``.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.EvaluateRequest`.

    Raises:
        InputError: the model, a prompt file, a benchmark, a judge or a setting cannot be used.
    """
    request = validate_settings(EvaluateRequest, {"model": str(model), **settings})
    with TerminalReporter(quiet=not progress) as reporter:
        return run_evaluate(request, Path(output), against=_path(against), overwrite=overwrite, reporter=reporter)


@checked
def compare(
    model: str | Path,
    output: str | Path,
    *,
    methods: str | Sequence[str] | None = None,
    layers: Layers = None,
    recipe: str | Path | None = None,
    ray: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.CompareSettings],
) -> CompareResult:
    """Measure a model with several methods on the same prompts. A comparison in ``output`` is resumed.

    Args:
        model: local folder, hub id, .gguf file or LoRA adapter.
        output: folder for one evaluation per method, the table and the record.
        methods: names such as ``"default,scan"``, or ``"module:Class"`` for your own; by default, those from
            ``default`` to ``prosafeprune`` in docs/baselines.md.
        layers: decoder layers to prune; without them, ``search`` and ``pruned``, a plan is searched for.
        recipe: YAML file of settings; arguments override it.
        ray: address of a Ray cluster whose workers answer.
        overwrite: discard earlier work in ``output``.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.CompareRequest`.

    Raises:
        InputError: the model, a prompt file, a benchmark, a judge, a method or a setting cannot be used.
    """
    request = make_request(
        CompareRequest, recipe, {"model": str(model), "methods": methods, "layers": layers, **settings}
    )
    with TerminalReporter(quiet=not progress) as reporter:
        return run_compare(request, Path(output), overwrite=overwrite, ray=ray, reporter=reporter)


@checked
def analyze(
    model: str | Path,
    output: str | Path,
    *names: str,
    against: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Unpack[typed_settings.AnalyzeSettings],
) -> list[FinishedAnalysis]:
    """Analyse a model and keep numbers and figures in ``output``. Finished analyses are not repeated.

    Args:
        model: local folder, hub id, .gguf file or LoRA adapter.
        output: folder with one folder per analysis.
        *names: analyses, such as ``"probe"``; by default, all that the settings allow.
        against: a pruned checkpoint or an adapter made from the model, to compare it with.
        overwrite: discard earlier work in ``output``.
        progress: show progress on stderr.
        **settings: other fields of :class:`prosafeprune.AnalyzeRequest`.

    Returns:
        For each analysis, in the order of ``names``, its tables, what its figures are drawn from, and its folder.

    Raises:
        InputError: a model, a prompt file, a name or a setting cannot be used.
        FailedAnalysesError: an analysis failed; ``finished`` has the others.
    """
    asked = {"model": str(model), "against": str(against) if against is not None else None, **settings}
    request, entries = validate_settings(AnalyzeRequest, asked), find_entries(names, everything=not names)
    with TerminalReporter(quiet=not progress) as reporter:
        finished = run_analyze(
            request, entries, Path(output), everything=not names, overwrite=overwrite, reporter=reporter
        )
    return sorted(finished, key=lambda one: names.index(one.entry.name)) if names else finished


def _path(value: str | Path | None) -> Path | None:
    return Path(value) if value is not None else None
