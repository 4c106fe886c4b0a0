"""What a search found, as a page and as a part of the page of the model it led to."""

from __future__ import annotations

from prosafeprune.report.findings import signed
from prosafeprune.report.layer_pictures import layer_pictures
from prosafeprune.report.page import Block, Code, Facts, Headline, Mark, Page, Paragraph, Picture, Section, Table
from prosafeprune.report.record import library_versions
from prosafeprune.report.reproduce_command import OF_THE_SEARCH, command
from prosafeprune.requests.recipe import Recipe
from prosafeprune.search.figure import frontier_figure
from prosafeprune.search.optuna_study import describe_plan
from prosafeprune.search.record import SearchPoint, SearchRecord

NONE_CHOSEN = "none: no measured plan complied more and kept the floor."


def search_page(record: SearchRecord, recipe: Recipe, name: str) -> Page:
    """Return the page of a search that wrote no model.

    Args:
        record: what was found.
        recipe: what was asked for.
        name: what the model is called.
    """
    chosen = record.point(record.chosen) if record.chosen is not None else None
    pruned = chosen.plan.layers if chosen is not None else ()
    prune = command("prune", recipe, "OUTPUT", never=OF_THE_SEARCH)
    making: list[Block] = [
        Paragraph(
            "The search wrote no model. This makes the model of a point and measures it on test prompts that the "
            "search has not seen; N is its number in the table above."
        ),
        Code(
            "Command that makes a point of the search",
            f"{prune.text} \\\n  --search THIS_FOLDER \\\n  --choose {record.chosen or 'N'}",
        ),
    ]
    facts = [(key.replace("_", " "), _flat(value)) for key, value in record.made_by.items()]
    versions = ", ".join(f"{library} {number}" for library, number in library_versions().items())
    return Page(
        f"Search for a plan: {name}",
        _headline(record, chosen, recipe),
        [
            Section("Trade-off", trade_off(record)),
            Section("Layers", layer_pictures(record, pruned)),
            Section("Making a point", making),
            Section(
                "Repeating it",
                [command("search", recipe, "OUTPUT"), Facts([*facts, ("versions", versions)])],
            ),
        ],
    )


def trade_off(record: SearchRecord) -> list[Block]:
    """Return the frontier, drawn and as a table, with the chosen point marked in both."""
    estimated = [point.estimated for point in record.points if point.estimated is not None]
    chosen = f"point {record.chosen}" if record.chosen is not None else "none"
    told = (
        f"{record.trials} plans were estimated on validation prompts, without whole answers; the most promising were "
        "measured by generation and judge. No test prompt was looked at. Chosen is "
    )
    told += f"{chosen}. {_rule(record)}" if record.chosen is not None else NONE_CHOSEN
    source = record.source
    return [
        Paragraph(told),
        Picture(
            frontier_figure(record, estimated),
            f"Compliance against safety of {len(record.points)} plans. The source has C.R. "
            f"{source.compliance_rate:.1f} and S.S. {source.safety_score:.1f} %; the safety floor is at S.S. "
            f"{record.lowest_safety:.1f} %. Chosen: {chosen}. The table below has the numbers.",
            "Up is safer, right is more compliant. Numbers are those of the table.",
        ),
        _points_table(record),
    ]


def _rule(record: SearchRecord) -> str:
    """Return how a search chooses where nobody chooses for it."""
    if record.made_by.get("strategy") == "paper":
        return "By itself this search takes the measured plan of the highest T.S."
    return (
        "By itself a search takes the most compliant of the measured plans that keep half of the allowed loss in "
        "reserve, S.S. and token KL deciding between near equals."
    )


def _headline(record: SearchRecord, chosen: SearchPoint | None, recipe: Recipe) -> Headline:
    source = record.source
    was = f"Source: C.R. {source.compliance_rate:.1f} %, S.S. {source.safety_score:.1f} % on validation prompts."
    caution = (
        "These are validation prompts, and the plan was chosen for doing well on them: only the measurement on test "
        "prompts, which pruning makes, says what to expect."
    )
    if chosen is None:
        return Headline(
            Mark.BAD,
            "No plan found",
            "No plan that was measured complies more than the source and keeps the safety floor of S.S. "
            f"{record.lowest_safety:.1f} %.",
            [was, "A larger --budget searches longer; --max-safety-drop allows more to be lost.", caution],
        )
    compliance, safety = chosen.rates
    kept = safety >= record.lowest_safety
    return Headline(
        Mark.NEUTRAL if kept else Mark.CAUTION,
        f"Point {chosen.number} chosen" + ("" if kept else ", below the safety floor"),
        f"Pruning {describe_plan(chosen.plan)} gives C.R. {compliance:.1f} % "
        f"({signed(compliance - source.compliance_rate)}) and S.S. {safety:.1f} % "
        f"({signed(safety - source.safety_score)}) on validation prompts.",
        [was, f"Safety floor: {recipe.max_safety_drop:g} points of S.S. may be lost.", caution],
    )


def _points_table(record: SearchRecord) -> Table:
    rows = []
    for point in record.points:
        layers = " ".join(f"{layer}:{point.plan.strength_of(layer):g}" for layer in point.plan.layers)
        number = f"{point.number}, chosen" if point.number == record.chosen else str(point.number)
        compliance, safety = (f"{rate:.1f}" for rate in point.rates)
        how = "measured" if point.measured is not None else "estimated"
        damage = f"{point.estimated.divergence:.4f}" if point.estimated else ""
        rows.append([number, compliance, safety, how, damage, layers, str(point.plan.rank), point.plan.pooling.value])
    return Table(
        "Plans to choose from, the safest first",
        ["", "C.R., %", "S.S., %", "how", "token KL\nnats", "layer:strength", "rank", "pooling"],
        rows,
        [
            "Token KL: how far next-token distributions on some benign validation prompts move from the source's. The "
            "page of a pruned model tells it for test prompts, and has another figure."
        ],
        marked=[i for i, point in enumerate(record.points) if point.number == record.chosen],
    )


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', '-')} {one}" for name, one in value.items())
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
