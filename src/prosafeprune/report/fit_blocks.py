"""What a page says about a model that was made from the fit of a training method."""

from prosafeprune.report.fit_record import FitRecord
from prosafeprune.report.loss_curves import loss_curves
from prosafeprune.report.page import Block, Facts
from prosafeprune.report.plan_facts import fit_facts


def fit_blocks(fit: FitRecord, edited: int) -> list[Block]:
    """Return the facts of a fit and its training losses, given how many tensors it edited."""
    tensors = [("tensors edited", str(edited))]
    blocks: list[Block] = [Facts([*fit_facts(fit), *tensors])]
    return [*blocks, *loss_curves(fit.method, fit.facts)]
