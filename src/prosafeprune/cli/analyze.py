"""``prosafeprune analyze``: what goes on inside a model, as numbers and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prosafeprune.analysis.catalogue import CATALOGUE, Entry, find_entries
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.cli.options import option
from prosafeprune.settings import make_settings

if TYPE_CHECKING:
    from prosafeprune.analyser import Finished

LISTING = "\n\n".join(
    [
        "Analyses:",
        *(f"{entry.name}: {entry.title} (paper: {entry.paper}; needs {entry.needed}).\n" for entry in CATALOGUE),
    ]
)
"""What there is, for the end of --help."""


def _option(field: str, *names: str) -> typer.models.OptionInfo:
    return option(AnalysisRequest, field, *names)


def analyze(
    names_and_model: Annotated[
        list[str], typer.Argument(metavar="[NAME]... MODEL", help="Analyses, then the model: folder, hub id or .gguf.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for numbers and figures. Default: analysis-NAME.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All analyses, sharing what they collect.")] = False,
    against: Annotated[str | None, _option("against", "--against")] = None,
    layers: Annotated[str | None, _option("layers", "--layers")] = None,
    strength: Annotated[str | None, _option("strength", "--strength")] = None,
    rank: Annotated[str | None, _option("rank", "--rank")] = None,
    pooling: Annotated[str | None, _option("pooling", "--pooling")] = None,
    layer: Annotated[str | None, _option("layer", "--layer")] = None,
    submodule: Annotated[str | None, _option("submodule", "--submodule")] = None,
    general: Annotated[str | None, _option("general", "--general")] = None,
    refusal_words: Annotated[str | None, _option("refusal_words", "--refusal-words")] = None,
    sweep_samples: Annotated[str | None, _option("sweep_samples", "--sweep-samples")] = None,
    strengths: Annotated[str | None, _option("strengths", "--strengths")] = None,
    ranks: Annotated[str | None, _option("ranks", "--ranks")] = None,
    ability: Annotated[str | None, _option("ability", "--ability")] = None,
    ability_samples: Annotated[str | None, _option("ability_samples", "--ability-samples")] = None,
    ability_tokens: Annotated[str | None, _option("ability_tokens", "--ability-tokens")] = None,
    tuning_prompts: Annotated[str | None, _option("tuning_prompts", "--tuning-prompts")] = None,
    tuning_epochs: Annotated[str | None, _option("tuning_epochs", "--tuning-epochs")] = None,
    harmful: Annotated[str | None, _option("harmful", "--harmful")] = None,
    benign: Annotated[str | None, _option("benign", "--benign")] = None,
    pseudo_harmful: Annotated[str | None, _option("pseudo_harmful", "--pseudo-harmful")] = None,
    prompt_field: Annotated[str | None, _option("prompt_field", "--prompt-field")] = None,
    samples: Annotated[str | None, _option("samples", "--samples")] = None,
    suite: Annotated[str | None, _option("suite", "--suite")] = None,
    benchmark: Annotated[list[str] | None, _option("benchmark", "--benchmark", "-b")] = None,
    data_dir: Annotated[str | None, _option("data_dir", "--data-dir")] = None,
    benchmark_samples: Annotated[str | None, _option("benchmark_samples", "--benchmark-samples")] = None,
    max_new_tokens: Annotated[str | None, _option("max_new_tokens", "--max-new-tokens")] = None,
    seed: Annotated[str | None, _option("seed", "--seed")] = None,
    judge: Annotated[str | None, _option("judge", "--judge")] = None,
    judge_endpoint: Annotated[str | None, _option("judge_endpoint", "--judge-endpoint")] = None,
    judge_model: Annotated[str | None, _option("judge_model", "--judge-model")] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    dtype: Annotated[str | None, _option("dtype", "--dtype")] = None,
    batch_size: Annotated[str | None, _option("batch_size", "--batch-size")] = None,
    revision: Annotated[str | None, _option("revision", "--revision")] = None,
    trust_remote_code: Annotated[bool | None, _option("trust_remote_code", "--trust-remote-code")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what is at --output; otherwise it is gone on with.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of tables.")] = False,
) -> None:
    """Show what goes on inside a model, before and after pruning: numbers (JSON, CSV), figures (SVG, PNG).

    Finished analyses are kept: run the same command again to go on.
    """
    not_settings = ("names_and_model", "output", "everything", "overwrite", "as_json", "not_settings")
    settings = {name: value for name, value in locals().items() if name not in not_settings}
    *names, model = names_and_model
    entries = find_entries(names, everything=everything)
    settings |= {"model": model, "benchmark": benchmark or None}
    request = make_settings(AnalysisRequest, settings)
    place = output or Path("analysis-" + re.sub(r"[^A-Za-z0-9.-]+", "-", Path(model).name).strip("-."))
    run(request, entries, place, overwrite=overwrite, as_json=as_json)


def run(request: AnalysisRequest, entries: list[Entry], output: Path, *, overwrite: bool, as_json: bool) -> None:
    """Analyse and print what was found."""
    from prosafeprune.analyser import run_analyses
    from prosafeprune.report.analysis_table import first_table
    from prosafeprune.terminal import TerminalReporter, print_table

    with TerminalReporter() as reporter:
        finished = run_analyses(request, entries, output, overwrite=overwrite, reporter=reporter)
        if as_json:
            typer.echo(_as_json(finished))
        else:
            for one in finished:
                print_table(first_table(one.entry, one.findings))
        reporter.note(f"Tables and figures are in {output}.")


def _as_json(finished: list[Finished]) -> str:
    import json

    return json.dumps({one.entry.name: one.findings.model_dump(mode="json") for one in finished}, indent=2)
