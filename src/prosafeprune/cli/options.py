"""Command-line options made from the fields of a request, which hold their descriptions and defaults."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from pydantic import BaseModel
from rich.markup import escape

from prosafeprune.cli.shell_completion import completer_of
from prosafeprune.files.text_file import read_text_file
from prosafeprune.files.user_path import user_path

Command = Callable[..., None]
MOST_PROMPT_BYTES = 1_000_000
ARGUMENT = "model"
"""The setting that is a positional argument."""
COMMON_PANEL, EXPERT_PANEL = "Options", "Expert options"
COMMON = (
    *("layers", "strength", "methods", "search", "choose", "pruned", "endpoint", "base", "harmful", "benign"),
    *(
        "pseudo_harmful",
        "prompt_field",
        "samples",
        "hold_out",
        "test_pseudo_harmful",
        "test_harmful",
        "draft",
        "test_samples",
    ),
    *("suite", "benchmark", "ability", "max_new_tokens", "judge", "rank", "budget", "max_safety_drop", "format"),
    "device",
)
"""Settings listed first, in this order, after a command's own options."""
PROMPTS = ("harmful", "benign", "pseudo_harmful")
"""In the order of the request, where the description of the first explains the others."""
EXPERT = frozenset(
    (
        *("ability_samples", "ability_tokens", "accept_unsafe", "batch_size", "benchmark_samples", "concurrency"),
        *("confidence", "confirmations", "data_dir", "dtype", "fitted", "floor", "harmful_share"),
        *("judge_concurrency", "judge_device", "load", "memory", "pooling", "projection"),
        *("prompting_samples", "revision"),
        *("seed", "sft_data", "strategy", "trust_remote_code", "tuning_epochs", "tuning_prompts", "unmeasured"),
    )
)
"""Settings listed last."""
SEARCH_DEFAULTS = {"projection": "contrastive", "pooling": "last", "harmful_share": "several are tried"}
"""What a search does without these settings, instead of the default of the request."""
PLAN_DEFAULTS = {
    "projection": "orthogonal; contrastive in a search",
    "pooling": "sequence; last in a search",
    "harmful_share": "-0.5; a search tries several",
}
"""The same for commands that take a plan or search for one."""

NUMBERS = (int, float, int | None, float | None)
VALUES = {bool: "", int: "NUMBER", str: "TEXT", Path: "PATH"}
"""The placeholder of an option's value in --help."""

RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="YAML file of settings; options override it.", show_default=False)
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help=escape(
            "Ray cluster that shares the work, such as auto or host:6379; see docs/many_machines.md. Needs pip install "
            "'prosafeprune[ray]'."
        ),
        show_default=False,
        rich_help_panel=EXPERT_PANEL,
    ),
]
OverwriteModel = Annotated[bool, typer.Option("--overwrite", metavar="", help="Replace the model folder at --output.")]
DiscardEarlier = Annotated[
    bool, typer.Option("--overwrite", metavar="", help="Discard earlier work at --output. By default, resume it.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print plan, prompts, sizes and costs; load and write nothing. Of a hub model, no weights are downloaded.",
    ),
]
DryRunOfAnswers = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print prompts and time of answers; load and write nothing. Of a hub model, no weights are downloaded.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print the record as JSON instead of tables.")]

BaseModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="The base model: local folder, hub id or .gguf file.", show_default=False)
]
PrunedModel = Annotated[
    str | None,
    typer.Argument(
        help="Folder or hub id of a checkpoint or adapter that prune made from MODEL.",
        metavar="PRUNED",
        show_default=False,
    ),
]
SearchFolder = Annotated[
    Path | None,
    typer.Option("--search", help="Folder of a finished search on MODEL, whose plans are offered.", show_default=False),
]
Host = Annotated[
    str, typer.Option(metavar="TEXT", help="Address to listen on; another than loopback needs PROSAFEPRUNE_TOKEN.")
]
PushTo = Annotated[
    str | None,
    typer.Option(
        "--push",
        metavar="ORG/NAME",
        help="Upload what was written to this repository of the hub, private unless --public. The token comes from "
        "HF_TOKEN.",
        show_default=False,
    ),
]
PublicPush = Annotated[bool, typer.Option("--public", metavar="", help="Make the repository of --push public.")]


def output_option(description: str) -> Any:
    """Return the option ``--output``; its description says what the default is."""
    return typer.Option("--output", "-o", help=escape(description), show_default=False)


def options_of(
    settings: type[BaseModel], *, without: Collection[str] = (), defaults: Mapping[str, str] | None = None
) -> Callable[[Command], Command]:
    """Give a command an option for each field of its request.

    The command takes the given settings as its first argument, a dict, and declares only its own options. Values are
    passed as text: the request, which all front ends share, validates them.

    Args:
        settings: the request.
        without: fields that get no option.
        defaults: descriptions of defaults that differ from the request's, by field.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        declared = list(inspect.signature(command).parameters.values())[1:]
        fields = [name for name in settings.model_fields if name not in without]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            parameter.replace(kind=keyword, annotation=_named(hints[parameter.name])) for parameter in declared
        ]
        for name in fields:
            annotation = _annotation(settings, name, (defaults or {}).get(name))
            parameters.append(inspect.Parameter(name, keyword, default=None, annotation=annotation))
        parameters.sort(key=_rank)

        @functools.wraps(command)
        def called(**given: Any) -> None:
            # An option that may be repeated and was not given comes as an empty list.
            asked = {name: given.pop(name) for name in fields}
            if str(asked.get("system") or "").startswith("@"):
                asked["system"] = _system_prompt(str(asked["system"])[1:])
            command({name: value for name, value in asked.items() if value not in (None, [])}, **given)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def _system_prompt(file: str) -> str:
    # Only here: a recipe may come with someone else's record, and must not name files to read.
    return read_text_file(user_path(file), "system prompt", MOST_PROMPT_BYTES).strip()


def _named(annotation: Any) -> Any:
    """Return the annotation of a command's own option with a readable name for its value in --help; a flag has none."""
    kinds = [kind for kind in (get_args(get_args(annotation)[0]) or get_args(annotation)[:1]) if kind is not type(None)]
    option = annotation.__metadata__[0]
    if isinstance(option, typer.models.OptionInfo) and option.metavar is None and kinds[0] in VALUES:
        option.metavar = VALUES[kinds[0]]
    return annotation


def _rank(parameter: inspect.Parameter) -> tuple[int, int]:
    """Put arguments and a command's own options first, then common, topical and expert settings."""
    panel = parameter.annotation.__metadata__[0].rich_help_panel
    if panel == EXPERT_PANEL:
        return 3, 0
    if parameter.name in COMMON:
        return 1, COMMON.index(PROMPTS[0] if parameter.name in PROMPTS else parameter.name)
    return (0, 0) if panel is None else (2, 0)


def _annotation(settings: type[BaseModel], name: str, default: str | None) -> Any:
    description = escape(_description(settings, name, default))
    if name == ARGUMENT:
        return Annotated[str | None, typer.Argument(metavar="MODEL", help=description, show_default=False)]
    field = settings.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    names = [f"--{extra.get('option', name.replace('_', '-'))}", *([str(extra["short"])] if "short" in extra else [])]
    repeatable = "short" in extra or "repeatable" in extra
    kind: Any = bool if field.annotation is bool else list[str] if repeatable else str
    option = typer.Option(
        *names,
        help=description,
        show_default=False,
        metavar="" if kind is bool else "NUMBER" if field.annotation in NUMBERS else "TEXT",
        rich_help_panel=_panel(settings, name),
        autocompletion=None if kind is bool else completer_of(name, field.annotation),
    )
    return Annotated[kind | None, option]


def _panel(settings: type[BaseModel], name: str) -> str | None:
    if name in COMMON:
        return None
    return EXPERT_PANEL if name in EXPERT else str(_owner(settings, name).model_config["title"])


def _owner(settings: type[BaseModel], name: str) -> type[BaseModel]:
    owners = (owner for owner in settings.__mro__ if issubclass(owner, BaseModel))
    return next(owner for owner in owners if name in inspect.get_annotations(owner))


def _description(settings: type[BaseModel], name: str, given_default: str | None) -> str:
    """Return a setting's description with its default."""
    field = settings.model_fields[name]
    default = getattr(field.default, "value", field.default)
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    if given_default is not None:
        default = given_default
    elif field.is_required() or default is None or default is False or default == "":
        return str(field.description)
    return f"{field.description} Default: {default}."
