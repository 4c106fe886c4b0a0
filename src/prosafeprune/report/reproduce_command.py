"""How to reproduce a run: the command, and the hashes and versions it depends on."""

import shlex
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.sets import BUNDLED
from prosafeprune.generation.endpoint_address import read_addresses
from prosafeprune.method.plan import Plan
from prosafeprune.report.page import Code, Facts
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import PlanSearchRequest
from prosafeprune.text import without_folder

ADDRESSES = ("endpoint", "judge_endpoint")
"""Settings that may contain a password, which is left out."""
OF_THE_SEARCH = ("budget", "strategy", "confirmations")
"""Settings without effect once there is a plan."""
TOGETHER = ("default", "prompt", "prosafeprune", "prompt+prosafeprune")
"""Methods of the comparison that shows whether pruning and a system prompt together are better than either."""
OF_A_DRAFT = ("draft", "test_samples")
"""Settings with which no model is saved."""
PLAN = ("layers", "rank", "strength", "pooling", "projection", "harmful_share")
"""Settings that define a plan."""
DIFFERENT_IN_A_SEARCH = ("pooling", "projection")
"""Settings whose default in a search is not the request's: what the user set is named, whatever it is."""
NO_PATHS = ("system",)
"""Texts that may begin like an absolute path, such as ``/no_think``, and are none."""


def command(
    name: str, settings: BaseModel, output: str, *, always: Collection[str] = (), never: Collection[str] = ()
) -> Code:
    """Return the command line with the same settings, naming those that differ from the command's defaults.

    Absolute paths are cut to their last part.

    Args:
        output: the argument of ``--output``.
        always: settings to name even if they are the default.
        never: settings to leave out.
    """
    values = settings.model_dump()
    model = values.pop("model")
    may_search = isinstance(settings, PlanSearchRequest)
    set_by_user = settings.model_fields_set.intersection(DIFFERENT_IN_A_SEARCH if may_search else ())
    served = values.get("endpoint") is not None
    words = [
        f"prosafeprune {name}" + ("" if served else f" {shlex.quote(without_folder(model))}"),
        f"--output {output}",
    ]
    words += [f"--model {shlex.quote(model)}"] if served and model else []
    for field, value in values.items():
        default = type(settings).model_fields[field].default
        if field not in never and value is not None and (field in {*always, *set_by_user} or value != default):
            extra = type(settings).model_fields[field].json_schema_extra
            extra = extra if isinstance(extra, dict) else {}
            repeatable = "short" in extra or "repeatable" in extra
            words += _option(str(extra.get("option", field)), value, repeatable=repeatable)
    return Code("Command that reproduces the run", " \\\n  ".join(words))


def making(plan: Plan, settings: BaseModel, output: str, *, is_served: bool = False) -> Code:
    """Return the command line that makes a plan's model from the same model and prompts, without a search.

    Args:
        is_served: whether the model was made by way of a quantised copy and measured behind a server.
    """
    shared = Recipe.model_fields.keys() & type(settings).model_fields.keys()
    values = {name: getattr(settings, name) for name in shared}
    recipe = Recipe.model_validate(values | {name: getattr(plan, name) for name in PLAN})
    never = [*OF_THE_SEARCH, *(OF_A_DRAFT if recipe.is_draft else ())]
    if not recipe.reads_benchmark_files:  # those of a comparison may be questions of ability
        never.append("data_dir")
    text = command("prune", recipe, output, always=PLAN, never=never).text
    if is_served or (
        recipe.memory == "low" and not recipe.unmeasured
    ):  # measured behind a server, whose command is not a setting
        text += " \\\n  --serve-with SERVER"
    return Code("Command that makes the pruned model", text)


def with_prompt(plan: Plan, recipe: Recipe) -> Code:
    """Return the command line that measures a plan together with the helpful system prompt, on the same sets."""
    shared = Recipe.model_fields.keys() & CompareRequest.model_fields.keys()
    values = {name: getattr(recipe, name) for name in shared - {*OF_THE_SEARCH, "draft"}}
    plan_values = {name: getattr(plan, name) for name in PLAN} | _bundled_sets(recipe)
    asked = CompareRequest.model_validate(
        {**values, **plan_values, "methods": TOGETHER, "settings": ("prompt.strategy=helpful",)}
    )
    return Code(
        "Command that measures both together",
        command("compare", asked, "comparison", always=PLAN, never=OF_THE_SEARCH).text,
    )


def _bundled_sets(recipe: Recipe) -> dict[str, Any]:
    """Return settings of a comparison that name the bundled sets, which ``prune`` measures on beside any others."""
    if recipe.suite in (None, "bundled"):
        return {"suite": "bundled"} if recipe.benchmark or recipe.test_pseudo_harmful or recipe.test_harmful else {}
    return {"benchmark": (*recipe.benchmark, *list(BUNDLED)[:2])}


def applying(fit: str, settings: BaseModel, output: str, strength: float | None = None) -> Code:
    """Return the command line that makes a model of a fit, measured as the settings of another command say.

    Args:
        fit: the folder of the method; an absolute path is cut to its last part.
    """
    shared = ApplyRequest.model_fields.keys() & type(settings).model_fields.keys()
    values = {name: getattr(settings, name) for name in shared} | {"strength": strength}
    request = ApplyRequest.model_validate(values)
    never = ["data_dir"] if not request.reads_benchmark_files else []
    if getattr(settings, "draft", False):
        never.append("benchmark_samples")
    text = command(f"apply {shlex.quote(fit)}", request, output, never=never).text
    return Code("Command that makes the fine-tuned model", text)


def depends_on(sha256: str, prompts: Mapping[str, PromptsRecord], versions: Mapping[str, str]) -> Facts:
    """Return the hashes and versions by which two runs can be compared."""
    pairs = [("model, SHA-256", sha256)] if sha256 else []
    for name, recorded in prompts.items():
        pairs.append((f"{name.replace('_', '-')} prompts", _counted(recorded)))
        if len(recorded.sources) > 1:
            pairs += [("of these", _counted(source)) for source in recorded.sources]
    return Facts([*pairs, ("versions", ", ".join(f"{name} {number}" for name, number in versions.items()))])


def _counted(recorded: PromptsRecord) -> str:
    return f"{recorded.count} from {without_folder(recorded.source)}, SHA-256 {recorded.sha256}"


def _option(field: str, value: Any, *, repeatable: bool) -> list[str]:
    option = f"--{field.replace('_', '-')}"
    if value is True:
        return [option]
    if field in ADDRESSES:
        value = ",".join(address.shown for address in read_addresses(value))
    if field in NO_PATHS:
        return [f"{option} {shlex.quote(value)}"]
    if isinstance(value, tuple) and not repeatable:
        value = ",".join(_text(part) for part in value)
    parts = value if isinstance(value, tuple) else (value,)
    return [f"{option} {shlex.quote(_text(part))}" for part in parts]


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).removesuffix(".0") if isinstance(value, float) else without_folder(str(value))
