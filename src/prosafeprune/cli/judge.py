"""``prosafeprune judge``: what answers made elsewhere are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.cli.options import options_of
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.validation import validate_settings

if TYPE_CHECKING:
    from prosafeprune.judge import Exchange, Verdict
    from prosafeprune.judge.agreement import Agreement


@options_of(JudgeOptions)
def judge(
    settings: dict[str, Any],
    answers: Annotated[Path, typer.Argument(help="JSON lines with the fields prompt and completion.")],
    labels: Annotated[
        str | None,
        typer.Option(help="Field with people's labels (1... compliance, 2... or 3... refusal): print the agreement."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write: the rows with class and reason.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Judge answers made elsewhere: compliance, refusal, or broken."""
    from prosafeprune.judge.agreement import agreement, label_refuses
    from prosafeprune.judge.answers_file import check_verdicts_file, read_answers, write_verdicts

    exchanges, rows = read_answers(answers, *([labels] if labels else []))
    refuses = [label_refuses(row[labels]) for row in rows] if labels else None
    if output is not None:
        check_verdicts_file(output, overwrite)
    name, verdicts = _ask(validate_settings(JudgeOptions, settings), exchanges)
    if output is not None:
        write_verdicts(output, rows, verdicts)
    _print(name, verdicts, agreement(verdicts, refuses) if refuses is not None else None, as_json)


def _ask(settings: JudgeOptions, exchanges: Sequence[Exchange]) -> tuple[str, list[Verdict]]:
    """Return the judge's name and its verdicts, with progress for judges that take their time."""
    from prosafeprune.judge.judging import judge_answers, judge_in_chunks
    from prosafeprune.judge.registry import make_judge
    from prosafeprune.progress import SilentReporter

    if settings.judge == "builtin":
        chosen = make_judge(settings, SilentReporter())
        return chosen.name, judge_answers(chosen, exchanges)
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        chosen = make_judge(settings, reporter)
        with reporter.stage(f"Judging with {chosen.name}", len(exchanges)) as advance:
            return chosen.name, judge_in_chunks(chosen, exchanges, advance)


def _print(name: str, verdicts: Sequence[Verdict], agreed: Agreement | None, as_json: bool) -> None:
    from rich.table import Table

    from prosafeprune.terminal import print_table

    counts = Counter(verdict.answer_class.value for verdict in verdicts)
    if as_json:
        found = {"judge": name, "total": len(verdicts), "classes": dict(sorted(counts.items()))}
        typer.echo(json.dumps({**found, **(agreed.model_dump() if agreed else {})}))
        return
    table = Table("class", "answers", "%", title=f"{len(verdicts)} answers judged by {name}")
    for answer_class, count in counts.most_common():
        table.add_row(answer_class.replace("_", " "), str(count), f"{100 * count / len(verdicts):.1f}")
    print_table(table)
    if agreed:
        typer.echo(f"Agreement with the labels: {agreed.agreement:.1f} %, F1 of refusal {agreed.f1:.1f}.")
