"""``prosafeprune search``: find layers and strengths without writing a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prosafeprune.cli.options import SEARCH_DEFAULTS, AsJson, RayAddress, RecipeFile, options_of, output_option
from prosafeprune.requests.recipe import make_request
from prosafeprune.requests.search import SearchRequest


@options_of(SearchRequest, defaults=SEARCH_DEFAULTS)
def search(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder of the search. Default: search-NAME.")] = None,
    recipe: RecipeFile = None,
    ray: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Search for the layers and strengths that raise compliance most without losing safety; write no model.

    Every trial is saved. Run the same command again to resume, or with a larger --budget to search longer.
    """
    run(make_request(SearchRequest, recipe, settings), output, as_json=as_json, ray=ray)


def run(asked: SearchRequest, output: Path | None, *, as_json: bool, ray: str | None = None) -> None:
    """Search and print the plans to choose from."""
    from prosafeprune.jobs.plan import run_search
    from prosafeprune.report.page import REPORT_FILE
    from prosafeprune.report.search_grid import search_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    with TerminalReporter() as reporter:
        record, folder = run_search(asked, output, reporter, ray)
        if as_json:
            print_json(record.model_dump_json(indent=2))
        else:
            print_grid(search_grid(record))
        reporter.note(f"Report: {folder / REPORT_FILE}. Figures and numbers are in the same folder.")
        if record.chosen is None:
            reporter.warning("No measured plan complies more than the base model and keeps the safety floor.")
        reporter.note(
            f"To make a point of this search: prosafeprune prune {asked.model} -o OUTPUT --search {folder} --choose N"
        )
