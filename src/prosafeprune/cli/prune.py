"""``prosafeprune prune``: prune a model and measure it before and after."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.cli.dry_runs import print_tables, refuse_json
from prosafeprune.cli.failures import arguments_without, shown_command
from prosafeprune.cli.options import (
    PLAN_DEFAULTS,
    AsJson,
    DryRun,
    OverwriteModel,
    PublicPush,
    PushTo,
    RayAddress,
    RecipeFile,
    options_of,
    output_option,
)
from prosafeprune.cli.pushing import uploaded
from prosafeprune.errors import InputError
from prosafeprune.parallel.launch import require_one_process
from prosafeprune.requests.recipe import Recipe, make_recipe, read_recipe

if TYPE_CHECKING:
    from prosafeprune.jobs.prune_result import PruneResult
    from prosafeprune.progress import Reporter
    from prosafeprune.report.grid import Grid


@options_of(Recipe, defaults=PLAN_DEFAULTS)
def prune(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder to write. Without it, nothing is written.")] = None,
    search: Annotated[
        Path | None,
        typer.Option(
            "--search", help="Folder of a search to use or resume. Default: found in the cache.", show_default=False
        ),
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option("--choose", help="Number of the plan in a finished search to prune with.", show_default=False),
    ] = None,
    recipe: RecipeFile = None,
    ray: RayAddress = None,
    serve_with: Annotated[
        str | None,
        typer.Option(
            "--serve-with",
            help="With --memory low or --load: measure base and pruned model, as stored, behind a server. vllm, or a "
            "command with {model} and {port} in it.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteModel = False,
    push: PushTo = None,
    public: PublicPush = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Prune a model so that it answers harmless but risky-sounding requests, and measure what changed.

    Without --layers, layers and strengths are searched for. A model that loses too many refusals is not saved.
    """
    settings |= _recorded_base({**(read_recipe(recipe) if recipe is not None else {}), **settings})
    asked = make_recipe(recipe, **settings)
    is_served = serve_with is not None
    _require_consistent(asked, search=search, choose=choose, ray=ray, is_served=is_served)
    if dry_run:
        if push is not None or public:
            raise InputError("--dry-run: uploads nothing. Leave out --push and --public.")
        refuse_json(as_json)
        if serve_with is not None:
            from prosafeprune.setup.prepare import require_servable

            require_servable(asked, output, serve_with)
        show_dry_run(asked, output, overwrite=overwrite, search=search, choose=choose, is_served=is_served)
        return
    with uploaded(
        asked, output, push, public, anew=overwrite, search=search, choose=choose, is_served=is_served
    ) as is_written:
        if not is_written:
            run(
                asked,
                output,
                overwrite=overwrite,
                as_json=as_json,
                search=search,
                choose=choose,
                ray=ray,
                serve_with=serve_with,
            )


def run(
    asked: Recipe,
    output: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
    search: Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
    serve_with: str | None = None,
) -> None:
    """Prune and print the result."""
    from prosafeprune.setup.prepare import check_early

    check_early(asked, output, overwrite=overwrite, search=search, choose=choose)  # before torch is imported
    from prosafeprune.jobs.prune import run_prune
    from prosafeprune.jobs.prune_copy_served import run_prune_copy_served
    from prosafeprune.jobs.prune_served import run_prune_served
    from prosafeprune.jobs.safety_gate import require_safe
    from prosafeprune.report.grid import DRAFT
    from prosafeprune.terminal import TerminalReporter

    if asked.memory == "low" and serve_with is None:
        _run_unmeasured(asked, output, overwrite=overwrite, as_json=as_json)
        return
    with TerminalReporter() as reporter:
        if output is None:
            reporter.note("No --output: the pruned model is measured, and nothing is written.")
        if asked.is_draft:
            reporter.note(f"{DRAFT}: at most {asked.test_samples} of each set.")
        if serve_with is not None and asked.memory == "low":
            result = run_prune_served(asked, output, serve_with, overwrite=overwrite, reporter=reporter)
        elif serve_with is not None:
            result = run_prune_copy_served(
                asked, output, serve_with, overwrite=overwrite, search_folder=search, choose=choose, reporter=reporter
            )
        else:
            result = run_prune(
                asked, output, overwrite=overwrite, search_folder=search, choose=choose, ray=ray, reporter=reporter
            )
        _print_measured(result, reporter, as_json=as_json)
        if asked.is_draft:
            _warn_of_draft(result, reporter)
            return
        require_safe(result)
        _print_written(result, reporter)


def _print_measured(result: "PruneResult", reporter: "Reporter", *, as_json: bool) -> None:
    from prosafeprune.report.search_page import search_grid
    from prosafeprune.terminal import print_result

    searched = [search_grid(result.search)] if result.search is not None else []
    print_result(result.record.model_dump_json(indent=2), [*searched, *result.grids()], as_json=as_json)
    _print_advice(result, reporter)
    since = result.record.since
    if since is not None:
        reporter.note(f"Of {since.fixed} prompts that {since.name} had fixed, {since.came_back} came back.")


def _print_advice(result: "PruneResult", reporter: "Reporter") -> None:
    """Say whether a system prompt alone would do and, if so, which."""
    from prosafeprune.report.prompting_advice import prompting_advice, prompting_offer

    record = result.record
    advice, offer = prompting_advice(record), prompting_offer(record)
    if advice is not None:
        reporter.note(advice)
    if record.prompted is not None and offer is not None:
        reporter.note(offer)
        reporter.note(record.prompted.system)


def _warn_of_draft(result: "PruneResult", reporter: "Reporter") -> None:
    from prosafeprune.evaluation.safety_floor import FloorVerdict
    from prosafeprune.report.grid import DRAFT

    decision = result.record.decision
    if decision is not None and decision.verdict in (FloorVerdict.UNSAFE, FloorVerdict.UNTESTABLE):
        outlook = f" These few do not keep the safety floor: {' '.join(decision.reasons)} Measured in full"
    else:
        outlook = " Measured in full, and saved if it keeps the safety floor"
    reporter.warning(f"{DRAFT}: it is no evidence of safety.{outlook}: {_follow_up(is_draft=True)}")


def _print_written(result: "PruneResult", reporter: "Reporter") -> None:
    from prosafeprune.report.findings import finding

    if result.output is None:
        reporter.note(f"Nothing was written. To write this model, reusing what is done: {_follow_up()}")
        return
    written = result.record.recipe.format
    loads = {"adapter": "any LoRA adapter", "gguf": "any GGUF file"}.get(written, "any model")
    reporter.note(finding(result.record))
    reporter.note(f"Written to {result.output}. It loads like {loads}. Report: {result.report}")
    if written == "checkpoint":
        reporter.note(f"To talk to it: {shown_command(['chat', str(result.output)])}")


def _require_consistent(
    asked: Recipe, *, search: Path | None, choose: int | None, ray: str | None, is_served: bool
) -> None:
    """Raise InputError when the options of the command have no effect on, or contradict, what is asked for."""
    if is_served and asked.memory != "low" and asked.load is None:
        raise InputError(
            "--serve-with: is for --memory low and --load; otherwise the model is measured in memory. Leave it out."
        )
    if is_served and asked.format != "checkpoint":
        raise InputError("--serve-with: measures a checkpoint behind a server. Leave it or --format out.")
    if asked.memory == "low":
        _require_low_memory(asked, is_served=is_served, of_a_search=(search, choose, ray))
    if search is not None and choose is None and asked.layers is not None:
        raise InputError("--search: --layers names the plan, so no search is used. Leave one of them out.")


def _require_low_memory(asked: Recipe, *, is_served: bool, of_a_search: Sequence[object]) -> None:
    """Raise InputError when a run in low memory is asked for what it cannot do."""
    if any(option is not None for option in of_a_search):
        raise InputError(
            "--search, --choose and --ray need the complete model in memory. Give --layers to --memory low."
        )
    require_one_process("--memory low")
    if not is_served:
        asked.require_unmeasured()
    elif asked.unmeasured:
        raise InputError("--unmeasured: --serve-with measures the model. Leave one of them out.")


def _recorded_base(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that name the base model of an earlier pruning, and print its name.

    Nothing where ``settings``, those of a recipe file included, name a model or no earlier pruning.
    """
    if settings.get("model") is not None or settings.get("earlier") is None:
        return {}
    earlier = Path(str(settings["earlier"]))
    if settings.get("trust_remote_code"):
        raise InputError("--trust-remote-code: the record in --from must not decide whose code runs. Give MODEL.")
    from prosafeprune.setup.recorded_base import find_recorded_base
    from prosafeprune.terminal import TerminalReporter

    found = find_recorded_base(earlier)
    with TerminalReporter() as reporter:
        reporter.note(f"MODEL is {found['model']}, as the record of {earlier} says; its hash is the recorded one.")
    return found


def _follow_up(*, is_draft: bool = False) -> str:
    """Return the command that writes the model that this one measured; of a draft, one that measures it in full."""
    given = sys.argv[1:]
    kept = arguments_without(given, ("--draft", "--json"), ("--test-samples",) if is_draft else ())
    command = shown_command([*kept, "-o", "pruned"])
    if is_draft and not any(argument.startswith(("--draft", "--test-samples")) for argument in given):
        return f"{command} (without draft and test_samples in the recipe)"
    return command


def show_dry_run(
    asked: Recipe,
    output: Path | None,
    *,
    overwrite: bool = False,
    search: Path | None = None,
    choose: int | None = None,
    search_only: bool = False,
    is_served: bool = False,
) -> None:
    """Print what a run would do, and what it costs."""
    from prosafeprune.setup.prepare import base_without_weights, check_early

    with base_without_weights(asked) as source:
        named: dict[str, Any] = {"overwrite": overwrite, "search": search, "choose": choose, "source": source}
        check_early(asked, output, **named)
        from prosafeprune.jobs.outlook import dry_run, planned

        def outlook(reporter: "Reporter") -> "list[Grid]":
            found = planned(asked, output, **named, is_served=is_served, reporter=reporter)
            return dry_run(*found, search_only=search_only)

        print_tables(outlook)


def _run_unmeasured(asked: Recipe, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from prosafeprune.jobs.prune_unmeasured import run_prune_unmeasured
    from prosafeprune.report.prune_grids import unmeasured_grid
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        result = run_prune_unmeasured(asked, output, overwrite=overwrite, reporter=reporter)
        print_result(result.record.model_dump_json(indent=2), [unmeasured_grid(result.record)], as_json=as_json)
        reporter.note(f"Written to {result.output}.")
        reporter.warning(f"{result.record.not_measured} The README.md there says how.")
