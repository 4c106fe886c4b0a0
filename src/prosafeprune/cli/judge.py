"""``prosafeprune judge``: judge answers made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.cli.options import options_of, output_option
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.validation import validate_settings

if TYPE_CHECKING:
    from prosafeprune.jobs.judge import JudgedFile


@options_of(JudgeOptions)
def judge(
    settings: dict[str, Any],
    answers: Annotated[Path, typer.Argument(help="JSON lines with the fields prompt and completion.")],
    labels: Annotated[
        str | None,
        typer.Option(help="Field with people's labels (1... compliance, 2... or 3... refusal): print the agreement."),
    ] = None,
    output: Annotated[Path | None, output_option("File to write: the rows with class and reason.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Judge answers made elsewhere: compliance, refusal, or broken."""
    from prosafeprune.jobs.judge import judge_file
    from prosafeprune.progress import SilentReporter

    asked = validate_settings(JudgeOptions, settings)
    if asked.judge == "builtin":  # too fast for progress, and without the libraries that take seconds to load
        result = judge_file(answers, asked, labels, output, overwrite, SilentReporter())
    else:
        from prosafeprune.terminal import TerminalReporter

        with TerminalReporter() as reporter:
            result = judge_file(answers, asked, labels, output, overwrite, reporter)
    _print(result, as_json)


def _print(result: JudgedFile, as_json: bool) -> None:
    from prosafeprune.report.grid import Grid
    from prosafeprune.terminal import print_grid, print_json, print_text

    total, agreed = len(result.verdicts), result.agreement
    if as_json:
        found = {"judge": result.judge, "total": total, "classes": dict(sorted(result.counts.items()))}
        print_json(json.dumps({**found, **(agreed.model_dump() if agreed else {})}))
        return
    rows = [[name.replace("_", " "), str(count), f"{100 * count / total:.1f}"] for name, count in result.counts.items()]
    print_grid(Grid(f"{total} answers judged by {result.judge}", ["class", "answers", "%"], rows))
    if agreed:
        print_text(f"Agreement with the labels: {agreed.agreement:.1f} %, F1 of refusal {agreed.f1:.1f}.")
