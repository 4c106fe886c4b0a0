"""``prosafeprune compare``: measure a model with several methods on the same prompts."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prosafeprune.cli.dry_runs import print_tables, refuse_json
from prosafeprune.cli.options import (
    PLAN_DEFAULTS,
    AsJson,
    DiscardEarlier,
    DryRunOfAnswers,
    RayAddress,
    RecipeFile,
    options_of,
    output_option,
)
from prosafeprune.progress import SILENT
from prosafeprune.requests.compare import METHOD_NAMES, CompareRequest
from prosafeprune.requests.recipe import make_request, require_unplanned
from prosafeprune.text import slug


@options_of(CompareRequest, defaults={**PLAN_DEFAULTS, "methods": ", ".join(METHOD_NAMES)})
def compare(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder for answers and results. Default: comparison-NAME.")] = None,
    recipe: RecipeFile = None,
    ray: RayAddress = None,
    dry_run: DryRunOfAnswers = False,
    overwrite: DiscardEarlier = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model unchanged, under published methods against over-refusal, and pruned: the paper's Table 1.

    Without --layers, --search or --pruned, a plan is searched for first. Answers are saved as they arrive. Run
    the same command again to resume, or to add methods.
    """
    request = make_request(CompareRequest, recipe, settings)
    require_unplanned(request, settings)
    folder = output or Path(f"comparison-{slug(request.model)}")
    from prosafeprune.setup.prepare import check_model_early
    from prosafeprune.setup.prompt_sets import read_prompts_of

    check_model_early(request, request.layers)
    read_prompts_of(request, SILENT)  # before torch is imported
    if dry_run:
        from prosafeprune.jobs.answers_outlook import comparison_outlook

        refuse_json(as_json)
        print_tables(partial(comparison_outlook, request))
        return
    from prosafeprune.jobs.compare import run_compare
    from prosafeprune.report.comparison_page import appliable_best, fit_folder
    from prosafeprune.report.page import REPORT_FILE
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        result = run_compare(request, folder, overwrite=overwrite, ray=ray, reporter=reporter)
        print_result(result.record.model_dump_json(indent=2), result.grids(), as_json=as_json)
        best = appliable_best(result.record)
        if best is not None:
            made = shlex.join(["prosafeprune", "apply", fit_folder(folder, best), request.model, "-o", "OUTPUT"])
            reporter.note(
                f"{best.name} is the best method here. To save its model, if it keeps the safety floor: {made}. The "
                "report has the command with the settings of this comparison."
            )
        reporter.note(f"Report: {folder / REPORT_FILE}. Answers, verdicts and the record are in the same folder.")
