"""The plans that a search offers, as a table."""

from __future__ import annotations

from prosafeprune.report.grid import Grid
from prosafeprune.report.plan_facts import plan_layers
from prosafeprune.search.record import SearchRecord


def search_grid(record: SearchRecord) -> Grid:
    """Return the points to choose from, safest first, with the selected one marked."""
    rows = []
    for point in record.points:
        plan = point.plan
        number = f"{point.number}, selected" if point.number == record.chosen else str(point.number)
        compliance, safety = (f"{rate:.1f}" for rate in point.rates)
        source = "measured" if point.measured is not None else "estimated"
        divergence = f"{point.estimated.divergence:.4f}" if point.estimated else ""
        rows.append(
            [
                *(number, compliance, safety, source, divergence),
                *(plan_layers(plan), str(plan.rank), plan.pooling.value, plan.projection_in_words),
            ]
        )
    base = record.source
    return Grid(
        f"Plans to choose from, validation prompts ({record.trials} plans scored)",
        ["", "C.R., %", "S.S., %", "rates", "KL\nnats", "layer:strength", "rank", "pooling", "projection"],
        rows,
        [
            f"Base model: C.R. {base.compliance_rate:.1f} %, S.S. {base.safety_score:.1f} %. Safety floor: S.S. "
            f"{record.lowest_safety:.1f} %.",
            "Measured: by generation and judge. Estimated: by answers of 20 tokens to other prompts.",
            "KL: mean per-token divergence from the base model on some benign validation prompts. The page of a pruned "
            "model reports it on test prompts.",
        ],
        marked=[i for i, point in enumerate(record.points) if point.number == record.chosen],
    )
