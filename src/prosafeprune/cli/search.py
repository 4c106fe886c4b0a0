"""``prosafeprune search``: find layers and strengths without writing a model."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prosafeprune.cli.dry_runs import refuse_json
from prosafeprune.cli.failures import arguments_without, shown_command
from prosafeprune.cli.options import SEARCH_DEFAULTS, AsJson, DryRun, RayAddress, RecipeFile, options_of, output_option
from prosafeprune.cli.prune import show_dry_run
from prosafeprune.requests.recipe import make_request, recipe_of
from prosafeprune.requests.search import SearchRequest

OF_THE_SEARCH = ("-o", "--output", "--ray")
"""Options with another meaning, or none, in ``prune``."""


@options_of(SearchRequest, defaults=SEARCH_DEFAULTS)
def search(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder of the search. Default: in the cache.")] = None,
    recipe: RecipeFile = None,
    ray: RayAddress = None,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Search for the layers and strengths that raise compliance most without losing safety; write no model.

    Every trial is saved. Run the same command again to resume, or with a larger --budget to search longer.
    """
    asked = make_request(SearchRequest, recipe, settings)
    if dry_run:
        refuse_json(as_json)
        show_dry_run(recipe_of(asked), None, search=output, search_only=True)
        return
    run(asked, output, as_json=as_json, ray=ray)


def run(asked: SearchRequest, output: Path | None, *, as_json: bool, ray: str | None = None) -> None:
    """Search and print the plans to choose from."""
    from prosafeprune.setup.prepare import check_early

    check_early(recipe_of(asked))  # before torch is imported
    from prosafeprune.jobs.calibrated_plan import run_search
    from prosafeprune.report.page import REPORT_FILE
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        found = run_search(asked, output, reporter, ray)
        record, folder = found.record, found.output
        print_result(record.model_dump_json(indent=2), found.grids(), as_json=as_json)
        reporter.note(f"Report: {folder / REPORT_FILE}. Figures and numbers are in the same folder.")
        if record.chosen is None:
            reporter.warning("No measured plan complies more than the base model and keeps the safety floor.")
        reporter.note(f"To write one of these models: {_follow_up(sys.argv[1:], output)} --choose N")


def _follow_up(arguments: Sequence[str], folder: Path | None) -> str:
    """Return the command that makes a model from this search: the same settings, without those of the search itself."""
    kept = arguments_without(arguments, ("--json", "--debug"), OF_THE_SEARCH)[1:]  # --debug may come before the command
    where = ["--search", str(folder)] if folder is not None else []
    return shown_command(["prune", *kept, "-o", "pruned", *where])
