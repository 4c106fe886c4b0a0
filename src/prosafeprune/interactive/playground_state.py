"""What the playground's page shows of a model: its plans in words, with their rates, and the picture of its layers."""

from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.interactive.save_model import reason_not_saved
from prosafeprune.jobs.served_model import PRUNED, ServedModel
from prosafeprune.plotting import svg_data_uri
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.report.layer_pictures import edit_blocks, layer_pictures
from prosafeprune.report.page import Picture
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.serving.served_edit import ServedEdit
from prosafeprune.text import printable, short_name

EXAMPLES = 10


def describe_state(served: ServedModel, request: PlaygroundRequest, judge: str) -> dict[str, Any]:
    """Return what the page needs at its start. Of the bundled prompts, only harmless ones are shown."""
    examples = bundled_prompts(PromptClass.PSEUDO_HARMFUL, "validation").sample(EXAMPLES, seed=0)
    return {
        "model": printable(short_name(served.source.name)),
        "judge": judge,
        "default": served.default,
        "examples": list(examples.texts),
        "edits": [_describe(served, request, edit) for edit in served.edits.values()],
    }


def layer_picture(served: ServedModel, name: str) -> dict[str, str]:
    """Return the picture of an edit's layers, as a data URI, with its description and caption.

    Raises:
        InputError: there is no such edit, or nothing is known of its layers.
    """
    edit = served.edits.get(name)
    if edit is None:
        raise InputError(f"There is no plan {name[:80]!r}.")
    if name == PRUNED and served.record is not None and served.record.submodules:
        picture: Any = edit_blocks(served.record.submodules)[0]
    elif served.search is not None:
        picture = layer_pictures(served.search, edit.plan.layers)[-1]
    else:
        raise InputError("Nothing was recorded of this plan's layers.")
    assert isinstance(picture, Picture)
    return {"image": svg_data_uri(picture.figure), "description": picture.description, "caption": picture.caption}


def _describe(served: ServedModel, request: PlaygroundRequest, edit: ServedEdit) -> dict[str, Any]:
    plan = edit.plan
    return {
        "name": edit.name,
        "title": "Pruned" if edit.name == PRUNED else edit.name.replace("-", " ").capitalize(),
        "layers": list(plan.layers),
        "strengths": [plan.strength_of(layer) for layer in plan.layers],
        "largest": plan.largest_strength,
        "savable": reason_not_saved(served, request, edit.name) is None,
        "text": f"Layers {plan.layers_in_words}, rank {plan.rank}, {plan.projection_in_words} projection"
        f"{_rates(served, edit)}.",
    }


def _rates(served: ServedModel, edit: ServedEdit) -> str:
    """Return what was measured of a plan at its own strength, in words."""
    if edit.name == PRUNED and served.record is not None:
        before, after = served.record.source, served.record.result
        return (
            f"; measured at its own strength: C.R. {_percent(before.compliance_rate)} to "
            f"{_percent(after.compliance_rate)} %, S.S. {_percent(before.safety_score)} to "
            f"{_percent(after.safety_score)} %"
        )
    point = served.search.point(int(edit.name.rpartition("-")[2])) if served.search is not None else None
    if point is None or served.search is None:
        return ""
    how, base = "measured" if point.measured is not None else "estimated", served.search.source
    return (
        f"; {how} at its own strength: C.R. {_percent(base.compliance_rate)} to {_percent(point.rates[0])} %, S.S. "
        f"{_percent(base.safety_score)} to {_percent(point.rates[1])} %"
    )


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"
