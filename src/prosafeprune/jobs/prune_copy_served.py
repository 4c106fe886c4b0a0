"""``prune --load --serve-with``: pruned by way of a quantised copy, measured behind servers as it was written."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from prosafeprune.checkpoint.writer import WritableEdits
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.measure import NOTHING, Measurement, warn_of_languages
from prosafeprune.jobs.measure_edits import BeforeAfter
from prosafeprune.jobs.prune import reported_only, run_prune, save_result, write_measured
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.prune_served import measure_served, switched_thinking
from prosafeprune.jobs.safety_gate import SafetyFloorError, output_measured_inside
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import find_source
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.prune_page import prune_page
from prosafeprune.report.record import CopyScores
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.load import LoadedRun
from prosafeprune.setup.prepare import require_servable


def run_prune_copy_served(
    recipe: Recipe,
    output: Path | None,
    command: str,
    *,
    overwrite: bool = False,
    search_folder: Path | None = None,
    choose: int | None = None,
    reporter: Reporter = SILENT,
) -> PruneResult:
    """Prune by way of a quantised copy, then measure base and pruned model behind a server, as they are stored.

    Activations, search and a first measurement are the copy's. If the pruned copy keeps the safety floor, the model is
    written into its staging folder, and what the server measures there decides whether it is saved.

    Args:
        command: serves a folder with an OpenAI-compatible API; has ``{model}`` and ``{port}``.

    Raises:
        InputError: as :func:`run_prune`, or the command cannot be used, or there is no output.
    """
    command = require_servable(recipe, output, command)
    source = find_source(recipe.model, recipe.revision)
    if not source.is_gguf:  # whose template is known once it is converted
        switched_thinking(recipe, source.name, source.path)
    save = partial(_measure_and_save, command=command, overwrite=overwrite)
    return run_prune(
        recipe,
        output,
        overwrite=overwrite,
        search_folder=search_folder,
        choose=choose,
        save=save,
        reporter=reporter,
    )


def _measure_and_save(
    result: PruneResult, run: LoadedRun, edits: WritableEdits, folder: Path, *, command: str, overwrite: bool
) -> PruneResult:
    output, reporter = run.output, run.reporter
    assert output is not None
    if not result.is_safe:  # only its report is written
        return save_result(result, output, edits, run.source, folder, overwrite=overwrite, reporter=reporter)
    _release(run.loaded)
    sha256 = result.record.model.sha256
    title = "Answers of the {} model as stored"
    before = measure_served(run, run.judge, command, folder, {"model": sha256}, title.format("base"))
    try:
        with output_measured_inside(output, overwrite=overwrite) as staging:
            with reporter.stage("Writing", len(edits)) as advance:
                edits.write(staging, advance)
            made_by = {"model": sha256, "pruned": model_hash(staging)}
            after = measure_served(run, run.judge, command, staging, made_by, title.format("pruned"))
            served = _measured_again(result, run, before, after)
            page = prune_page(
                served.record, before, after, served.search, saved=served.is_safe, came_back=served.came_back
            )
            served = write_measured(served, staging, page, run.source, folder)
    except SafetyFloorError:
        return reported_only(served, output, page)
    return replace(served, output=output, report=output / REPORT_FILE)


def _release(loaded: LoadedModel) -> None:
    """Free the memory of a model that does not run again, for the server: edits are written from what is on disk."""
    for tensor in (*loaded.model.parameters(), *loaded.model.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measured_again(result: PruneResult, run: LoadedRun, before: Measurement, after: Measurement) -> PruneResult:
    """Return the result with the server's measurements in place of the copy's, whose rates stay in the record."""
    warn_of_languages([before, after], run.reporter)
    record, earlier = result.record, run.earlier
    measured = BeforeAfter(before, after, None, ()).recorded(FloorRule.of(run.recipe), result.ancestor)
    update = {
        **measured,
        "on_copy": CopyScores(source=record.source, result=record.result),
        "since": earlier.compare(after.sets) if earlier is not None else None,
        "run": record.run.model_copy(update={"answer_batch_sizes": ()}),
    }
    return replace(
        result,
        record=record.model_copy(update=update),
        before=before,
        after=after,
        loaded=None,
        spot_check=(NOTHING, NOTHING),
        came_back=earlier.came_back(after.sets) if earlier is not None else (),
        cost=None,  # the estimate is of the copy alone
    )
