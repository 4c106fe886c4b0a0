"""``prosafeprune judge``: judge answers from elsewhere."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.cli.options import options_of, output_option
from prosafeprune.errors import InputError
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import validate_settings

if TYPE_CHECKING:
    from prosafeprune.jobs.judge import ComparedFile, JudgedFile
    from prosafeprune.judges.answers_file import AnswerFields
    from prosafeprune.progress import Reporter

FIRST_SHOWN = 5
"""Answers on which two judges differ that are shown in the terminal."""


@options_of(JudgeOptions)
def judge(
    settings: dict[str, Any],
    answers: Annotated[
        Path, typer.Argument(metavar="ANSWERS", help="JSON lines or CSV, with a prompt and an answer in each row.")
    ],
    prompt_field: Annotated[str, typer.Option(help="Field or column of the prompts.")] = "prompt",
    answer_field: Annotated[str, typer.Option(help="Field or column of the answers.")] = "completion",
    labels: Annotated[
        str | None,
        typer.Option(
            help="Field with labels (one of the six classes, or XSTest's 1, 2 or 3): print the agreement, and a table "
            "of labels against verdicts."
        ),
    ] = None,
    compare_judges: Annotated[
        str | None,
        typer.Option(
            help="Two judges, such as builtin,wildguard or builtin,classifier=NousResearch/Minos-v1: print how far "
            "they agree and the first answers on which they differ; --output names a page with up to 200 of these."
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help="Judge nothing; write this many answers, drawn at random, to --output as a sheet to label by hand."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of --sample.")] = 0,
    output: Annotated[Path | None, output_option("File to write: the rows with class and reason.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Judge answers from elsewhere, compare judges on them, or write a sheet for labelling by hand."""
    from prosafeprune.jobs.judge import compare_on_file, judge_file
    from prosafeprune.judges.answers_file import AnswerFields

    names = AnswerFields(prompt_field, answer_field)
    if sample is not None:
        if output is None or labels or compare_judges:
            raise InputError("--sample: name the sheet with --output, and leave out --labels and --compare-judges.")
        _write_sheet(answers, sample, output, overwrite, seed, names)
        return
    if compare_judges and labels:
        raise InputError("--compare-judges compares judges with each other. Leave out --labels, or run once for each.")
    chosen = validate_settings(JudgeOptions, settings)
    if compare_judges:
        with _reporter(chosen, compare_judges) as reporter:
            compared = compare_on_file(answers, chosen, compare_judges, output, overwrite, reporter, names)
        _print_comparison(compared, output, as_json)
        return
    with _reporter(chosen, compare_judges) as reporter:
        judged = judge_file(answers, chosen, labels, output, overwrite, reporter, names)
    _print(judged, as_json)


def _write_sheet(answers: Path, sample: int, output: Path, overwrite: bool, seed: int, names: AnswerFields) -> None:
    from prosafeprune.jobs.judge import write_label_sheet
    from prosafeprune.terminal import print_text

    table, page = write_label_sheet(answers, sample, output, overwrite, seed, names)
    print_text(f"{table} and {page}: label them, then run: prosafeprune judge {table} --labels label")


def _reporter(settings: JudgeOptions, compare_judges: str | None) -> AbstractContextManager[Reporter]:
    """Return where progress is shown; the built-in judge is too fast for it, and the terminal takes seconds to load."""
    if settings.judge == "builtin" and not compare_judges:
        from prosafeprune.progress import SILENT

        return nullcontext(SILENT)
    from prosafeprune.terminal import TerminalReporter

    return TerminalReporter()


def _print(judged: JudgedFile, as_json: bool) -> None:
    from prosafeprune.terminal import print_result, print_text

    agreed = judged.agreement
    found = {"judge": judged.judge, "total": len(judged.verdicts), "classes": dict(sorted(judged.counts.items()))}
    print_result(json.dumps({**found, **(agreed.model_dump() if agreed else {})}), judged.grids(), as_json=as_json)
    if as_json:
        return
    if agreed:
        print_text(
            f"Agreement with the labels on refusal (full or partial) against anything else: {agreed.agreement:.1f} %, "
            f"F1 of refusal {agreed.f1:.1f}. The same one of the six classes: {agreed.same_class:.1f} %."
        )
    if judged.unmeasured_languages:
        print_text(judged.unmeasured_languages)


def _print_comparison(found: ComparedFile, output: Path | None, as_json: bool) -> None:
    from prosafeprune.report.grid import Grid
    from prosafeprune.report.judges_page import MOST_SHOWN
    from prosafeprune.terminal import print_grid, print_result, print_text

    compared, first, second = found.compared, found.first, found.second
    rows = [
        [f"{first.judge}: refusal", str(compared.both), str(compared.only_first)],
        ["no refusal", str(compared.only_second), str(compared.neither)],
    ]
    headings = ["", f"{second.judge}: refusal", "no refusal"]
    grid = Grid(f"{len(first.verdicts)} answers, two judges", headings, rows)
    as_text = json.dumps({"judges": [first.judge, second.judge], **compared.model_dump()})
    print_result(as_text, [grid], as_json=as_json)
    if as_json:
        return
    print_text(f"They agree on {compared.agreement:.1f} % of the answers, Cohen's kappa {compared.kappa_in_words}.")
    differing = compared.only_first + compared.only_second
    on_page = f"all {differing}" if differing <= MOST_SHOWN else f"the first {MOST_SHOWN}"
    if output is not None:
        print_text(f"They differ on {differing}: {on_page} are in {output}.")
    elif differing:
        print_grid(found.differing(FIRST_SHOWN))
        shown = min(differing, FIRST_SHOWN)
        print_text(f"{shown} of {differing} are shown, cut short. For a page with {on_page}: --output differ.html")
