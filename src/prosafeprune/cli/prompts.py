"""``prosafeprune prompts``: from chat logs to calibration prompts."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import options_of, output_option
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.prompt_tools import CheckRequest, MineRequest, RateRequest, SplitRequest

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object instead of tables.")]
OverwriteFolder = Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace the folder at --output.")]
OverwriteFile = Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace the file at --output.")]
PromptFile = Annotated[Path, typer.Argument(metavar="FILE", help="Prompts: .jsonl, .json, .csv or .txt.")]


@options_of(MineRequest)
def mine(
    settings: dict[str, Any],
    logs: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOGS...",
            help="Log files, or folders of them: .jsonl, .json, .csv, .tsv, .parquet, .eval, .log; also .gz or .zst.",
        ),
    ],
    output: Annotated[Path, output_option("Folder to write.")],
    overwrite: OverwriteFolder = False,
    as_json: Json = False,
) -> None:
    """Find refused requests in chat logs: candidates.jsonl, and a page to review them on.

    Reads OpenAI messages, ShareGPT, prompts with answers, logs of inspect_ai, and vLLM's log of requests and responses.
    Near-duplicates are dropped and personal data masked. Memory does not grow with the logs.
    """
    request = validate_settings(MineRequest, settings)
    from prosafeprune.jobs.mine_prompts import PAGE, REVIEWED, run_mine
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        found = run_mine(logs, request, output, overwrite=overwrite, reporter=reporter)
        print_result(json.dumps(found.record), found.grids(), as_json=as_json)
        more = found.record["review_pages"] - 1
        also = f" ({more} more pages follow it)" if more else ""
        reporter.note(
            f"Open {output / PAGE} in a browser{also}, review, and save {REVIEWED}; then: prosafeprune prune MODEL "
            f"-o pruned --pseudo-harmful {REVIEWED} --hold-out 0.3. If you found harmful requests, also --harmful "
            f"{REVIEWED}."
        )


@options_of(RateRequest, without=("model",))
def rate(
    settings: dict[str, Any],
    file: PromptFile,
    model: Annotated[
        str | None, typer.Option("--model", help=str(RateRequest.model_fields["model"].description))
    ] = None,
    output: Annotated[Path | None, output_option("File to write (.jsonl): the rows to keep, to calibrate on.")] = None,
    overwrite: OverwriteFile = False,
    as_json: Json = False,
) -> None:
    """Rate how harmful it would be to fulfil each prompt, from 0 to 5, and keep the middle (appendix B.1).

    A chat model behind --endpoint rates, or, without a server, the probe of a model's own states.
    """
    request = validate_settings(RateRequest, {**settings, "model": model})
    from prosafeprune.jobs.rate_prompts import run_rate
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        rated = run_rate(file, request, output, overwrite=overwrite, reporter=reporter)
        kept = len(rated.kept_rows())
        found = {"rater": rated.rater, "distribution": rated.distribution, "kept": kept}
        print_result(json.dumps(found), rated.grids(), as_json=as_json)
        if output is not None:
            reporter.note(f"{kept} prompts are in {output}; to calibrate on them: --pseudo-harmful {output}")


@options_of(CheckRequest)
def check(
    settings: dict[str, Any],
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Prompt files: .jsonl, .json, .csv or .txt.")],
    as_json: Json = False,
) -> None:
    """Check prompt files: sizes, languages, near-duplicates within and across, benchmark prompts, conflicting reviews.

    The bundled test prompts are always searched. Exit code 4 if a prompt is in two files or in a benchmark, or reviewed
    in two ways.
    """
    request = validate_settings(CheckRequest, settings)
    from prosafeprune.jobs.check_prompts import require_no_overlap, run_check
    from prosafeprune.terminal import print_result, print_text

    found = run_check(files, request)
    print_result(json.dumps(found.as_json()), found.grids(), as_json=as_json)
    if not as_json:
        print_text(found.listed())
    require_no_overlap(found)


@options_of(SplitRequest)
def split(
    settings: dict[str, Any],
    file: PromptFile,
    output: Annotated[Path, output_option("Folder for calibration.jsonl, validation.jsonl and test.jsonl.")],
    overwrite: OverwriteFolder = False,
    as_json: Json = False,
) -> None:
    """Split a prompt file into calibration, validation and test, with near-duplicates in one split."""
    request = validate_settings(SplitRequest, settings)
    from prosafeprune.jobs.split_prompts import run_split
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        done = run_split(file, request, output, overwrite=overwrite)
        print_result(json.dumps({"groups": done.groups, "splits": done.rows()}), done.grids(), as_json=as_json)
        reporter.note(done.next_step())
