"""``prosafeprune evaluate``: how a model does on benchmarks, and why to believe it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from prosafeprune.cli.options import described, option
from prosafeprune.evaluation.request import EvaluationRequest
from prosafeprune.settings import make_settings


def _option(field: str, *names: str) -> typer.models.OptionInfo:
    return option(EvaluationRequest, field, *names)


def evaluate(
    model: Annotated[str | None, typer.Argument(help=described(EvaluationRequest, "model"), show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for answers and results. Default: evaluation-NAME.", show_default=False
        ),
    ] = None,
    suite: Annotated[str | None, _option("suite", "--suite")] = None,
    benchmark: Annotated[list[str] | None, _option("benchmark", "--benchmark", "-b")] = None,
    data_dir: Annotated[str | None, _option("data_dir", "--data-dir")] = None,
    benchmark_samples: Annotated[str | None, _option("benchmark_samples", "--benchmark-samples")] = None,
    pseudo_harmful: Annotated[str | None, _option("pseudo_harmful", "--pseudo-harmful")] = None,
    harmful: Annotated[str | None, _option("harmful", "--harmful")] = None,
    prompt_field: Annotated[str | None, _option("prompt_field", "--prompt-field")] = None,
    endpoint: Annotated[str | None, _option("endpoint", "--endpoint")] = None,
    served_model: Annotated[
        str | None, typer.Option("--model", help="The model's name at --endpoint.", show_default=False)
    ] = None,
    concurrency: Annotated[str | None, _option("concurrency", "--concurrency")] = None,
    max_new_tokens: Annotated[str | None, _option("max_new_tokens", "--max-new-tokens")] = None,
    temperature: Annotated[str | None, _option("temperature", "--temperature")] = None,
    repeats: Annotated[str | None, _option("repeats", "--repeats")] = None,
    seed: Annotated[str | None, _option("seed", "--seed")] = None,
    judge: Annotated[str | None, _option("judge", "--judge")] = None,
    judge_endpoint: Annotated[str | None, _option("judge_endpoint", "--judge-endpoint")] = None,
    judge_model: Annotated[str | None, _option("judge_model", "--judge-model")] = None,
    judge_concurrency: Annotated[str | None, _option("judge_concurrency", "--judge-concurrency")] = None,
    judge_device: Annotated[str | None, _option("judge_device", "--judge-device")] = None,
    ability: Annotated[str | None, _option("ability", "--ability")] = None,
    ability_samples: Annotated[str | None, _option("ability_samples", "--ability-samples")] = None,
    ability_tokens: Annotated[str | None, _option("ability_tokens", "--ability-tokens")] = None,
    source: Annotated[str | None, _option("source", "--source")] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    dtype: Annotated[str | None, _option("dtype", "--dtype")] = None,
    batch_size: Annotated[str | None, _option("batch_size", "--batch-size")] = None,
    revision: Annotated[str | None, _option("revision", "--revision")] = None,
    trust_remote_code: Annotated[bool | None, _option("trust_remote_code", "--trust-remote-code")] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of an earlier evaluation to compare with.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what is at --output; otherwise it is gone on with.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Measure compliance, safety and general ability of a model.

    Answers are kept as they come: run the same command again to go on, or with another --judge to judge them anew.
    """
    not_settings = ("output", "served_model", "against", "overwrite", "as_json")
    settings = {name: value for name, value in locals().items() if name not in (*not_settings, "not_settings")}
    settings["benchmark"] = benchmark or None
    settings["model"] = served_model or model
    request = make_settings(EvaluationRequest, settings)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(request.model).name or "endpoint").strip("-.")
    run(request, output or Path(f"evaluation-{name}"), against=against, overwrite=overwrite, as_json=as_json)


def run(request: EvaluationRequest, output: Path, *, against: Path | None, overwrite: bool, as_json: bool) -> None:
    """Evaluate and print what was found."""
    from prosafeprune.evaluator import run_evaluation
    from prosafeprune.report.evaluation_table import evaluation_table, further_table
    from prosafeprune.terminal import TerminalReporter, print_table, terminal_width

    with TerminalReporter() as reporter:
        found = run_evaluation(request, output, against=against, overwrite=overwrite, reporter=reporter)
        if as_json:
            typer.echo(found.record.model_dump_json(indent=2))
        else:
            print_table(evaluation_table(found.record, terminal_width()))
            further = further_table(found.record)
            if further is not None:
                print_table(further)
        reporter.note(f"Read {output / 'report.html'}; answers, verdicts and the record are beside it.")
