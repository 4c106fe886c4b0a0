"""The frontier of a search as a table."""

from __future__ import annotations

from rich.table import Table

from prosafeprune.search.record import SearchPoint, SearchRecord


def search_table(record: SearchRecord) -> Table:
    """Return the points to choose from, from the safest to the most compliant; the chosen one is marked."""
    table = Table(
        title=f"Plans to choose from, validation prompts, percent ({record.trials} plans scored)",
        caption=f"Source: C.R. {record.source.compliance_rate:.1f}, S.S. {record.source.safety_score:.1f}. "
        f"Safety floor: S.S. {record.lowest_safety:.1f}.\nMeasured by generation and judge; estimates from one "
        "forward pass are in brackets.",
    )
    for heading in ("", "C.R.", "S.S.", "token KL", "layers:strength", "rank", "pooling"):
        table.add_column(heading, justify="left" if heading in ("layers:strength", "pooling") else "right")
    for point in record.points:
        plan = point.plan
        layers = " ".join(f"{layer}:{plan.strength_of(layer):g}" for layer in plan.layers)
        mark = f"{'> ' if point.number == record.chosen else ''}{point.number}"
        style = "bold" if point.number == record.chosen else None
        damage = f"{point.estimated.divergence:.4f}" if point.estimated else ""
        table.add_row(mark, *_rates(point), damage, layers, str(plan.rank), plan.pooling.value, style=style)
    return table


def _rates(point: SearchPoint) -> tuple[str, str]:
    compliance, safety = point.rates
    if point.measured is None:
        return f"({compliance:.1f})", f"({safety:.1f})"
    return f"{compliance:.1f}", f"{safety:.1f}"
