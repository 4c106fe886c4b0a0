"""``prosafeprune evaluate``: measure a model on benchmarks."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.dry_runs import print_tables, refuse_json
from prosafeprune.cli.options import AsJson, DiscardEarlier, DryRunOfAnswers, options_of, output_option
from prosafeprune.parallel.launch import require_one_process
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.text import slug


@options_of(EvaluateRequest)
def evaluate(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder for answers and results. Default: evaluation-NAME.")] = None,
    served_model: Annotated[
        str | None, typer.Option("--model", help="The model's name at --endpoint.", show_default=False)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of an earlier evaluation to compare with.", show_default=False),
    ] = None,
    source: Annotated[str | None, typer.Option("--source", hidden=True, help="What 0.1 called --base.")] = None,
    dry_run: DryRunOfAnswers = False,
    overwrite: DiscardEarlier = False,
    as_json: AsJson = False,
) -> None:
    """Measure compliance, safety and general ability of a model.

    Answers are saved as they arrive. Run the same command again to resume, or with another --judge to judge them again.
    """
    if served_model is not None:
        settings["model"] = served_model
    if source is not None:
        settings.setdefault("base", source)
    request = validate_settings(EvaluateRequest, settings)
    if request.endpoint is not None:
        require_one_process("--endpoint")  # several servers already share the work
    if dry_run:
        refuse_json(as_json)
        from prosafeprune.setup.prepare import check_evaluation_early

        check_evaluation_early(request)  # before torch is imported
        from prosafeprune.jobs.answers_outlook import evaluation_outlook

        print_tables(partial(evaluation_outlook, request))
        return
    folder = output or Path(f"evaluation-{slug(request.model, 'endpoint')}")
    run(request, folder, against=against, overwrite=overwrite, as_json=as_json)


def run(request: EvaluateRequest, output: Path, *, against: Path | None, overwrite: bool, as_json: bool) -> None:
    """Evaluate and print the results."""
    from prosafeprune.setup.prepare import check_evaluation_early

    check_evaluation_early(request)  # before torch is imported
    from prosafeprune.jobs.evaluate import run_evaluate
    from prosafeprune.report.evaluation_page import ability_grids, divergence_sentences, evaluation_grid
    from prosafeprune.report.page import REPORT_FILE
    from prosafeprune.terminal import TerminalReporter, print_result, print_text

    with TerminalReporter() as reporter:
        result = run_evaluate(request, output, against=against, overwrite=overwrite, reporter=reporter)
        record = result.record
        grids = [evaluation_grid(record), *ability_grids(record)]
        print_result(record.model_dump_json(indent=2), grids, as_json=as_json)
        if not as_json:
            print_text("\n".join(divergence_sentences(record)))
        reporter.note(f"Report: {output / REPORT_FILE}. Answers, verdicts and the record are in the same folder.")
