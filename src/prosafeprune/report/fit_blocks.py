"""What a page says about a model that was made from the fit of a training method."""

from prosafeprune.report.fit_record import FitRecord
from prosafeprune.report.loss_curves import loss_curves
from prosafeprune.report.page import Block, Facts
from prosafeprune.report.plan_facts import values_in_words


def fit_blocks(fit: FitRecord, edited: int) -> list[Block]:
    """Return the facts of a fit and its training losses, given how many tensors it edited."""
    tensors = [("tensors edited", str(edited))]
    blocks: list[Block] = [Facts([*_facts(fit), *tensors])]
    return [*blocks, *loss_curves(fit.method, fit.facts)]


def _facts(fit: FitRecord) -> list[tuple[str, str]]:
    """Return what was merged into a model that was not pruned: the method, its settings and what it found."""
    return [
        ("method", fit.method),
        ("merged at strength", f"{fit.strength:g}"),
        ("settings", values_in_words({**fit.settings, "method": None})),
        ("found in the fit", values_in_words({**fit.facts, "losses": None})),
        ("fit, SHA-256", fit.sha256),
    ]
