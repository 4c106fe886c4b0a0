"""What a page says about a model that was made from the fit of a training method."""

import shlex

from prosafeprune.report.fit_record import FitRecord
from prosafeprune.report.loss_curves import loss_curves
from prosafeprune.report.page import Block, Code, Facts
from prosafeprune.report.plan_facts import fit_facts
from prosafeprune.report.reproduce_command import command
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe


def fit_blocks(fit: FitRecord, edited: int) -> list[Block]:
    """Return the facts of a fit and its training losses, given how many tensors it edited."""
    tensors = [("tensors edited", str(edited))]
    blocks: list[Block] = [Facts([*fit_facts(fit), *tensors])]
    return [*blocks, *loss_curves(fit.method, fit.facts)]


def applying(fit: FitRecord, recipe: Recipe) -> Code:
    """Return the command line that makes a model from the same fit and base model."""
    shared = ApplyRequest.model_fields.keys() & Recipe.model_fields.keys()
    asked = {name: getattr(recipe, name) for name in shared}
    request = ApplyRequest.model_validate({**asked, "strength": None if fit.strength == 1 else fit.strength})
    text = command(f"apply {shlex.quote(fit.method)}", request, "OUTPUT").text
    return Code("Command that makes the fine-tuned model", text)
