"""What a search found: a page, and a section of the page of the model it led to."""

from prosafeprune.model.quantised_copy import BITS_IN_WORDS
from prosafeprune.plan_search.figure import frontier_figure
from prosafeprune.plan_search.search_record import SearchPoint, SearchRecord
from prosafeprune.report.assessment import signed
from prosafeprune.report.grid import Grid
from prosafeprune.report.layer_pictures import layer_pictures
from prosafeprune.report.page import (
    Block,
    Code,
    Facts,
    Headline,
    Mark,
    Page,
    Paragraph,
    Picture,
    Section,
    as_draft_page,
)
from prosafeprune.report.plan_facts import plan_in_words, plan_layers
from prosafeprune.report.reproduce_command import OF_A_DRAFT, OF_THE_SEARCH, command
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.parsing import first_changed
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import SHORT_ANSWER, SearchRequest

NONE_CHOSEN = "none: no measured plan complied more and kept the floor."
BEYOND_NOTE = (
    "A quarter of the harmful and pseudo-harmful ones are conversations, policies, domains and languages "
    "(--calibration beyond); what a policy asks to refuse counts for S.S."
)


def search_page(record: SearchRecord, recipe: Recipe, name: str) -> Page:
    """Return the page of a search that wrote no model."""
    chosen = record.point(record.chosen)
    pruned = chosen.plan.layers if chosen is not None else ()
    prune = command("prune", recipe, "OUTPUT", never=(*OF_THE_SEARCH, *OF_A_DRAFT))
    making: list[Block] = [
        Paragraph(
            "The search wrote no model. This command makes the model of a point and measures it on test prompts that "
            "the search has not seen; N is the point's number in the table above."
        ),
        Code(
            "Command that makes a point of the search",
            f"{prune.text} \\\n  --search THIS_FOLDER \\\n  --choose {record.chosen or 'N'}",
        ),
    ]
    facts = [(key.replace("_", " "), _flat(value)) for key, value in record.made_by.items()]
    versions = ", ".join(f"{library} {number}" for library, number in library_versions().items())
    page = Page(
        f"Search for a plan: {name}",
        _headline(record, chosen, recipe),
        [
            Section("Trade-off", trade_off(record)),
            Section("Layers", layer_pictures(record, pruned)),
            Section("How to make a point", making),
            Section(
                "How to reproduce this",
                [_reproduction(recipe), Facts([*facts, ("versions", versions)])],
            ),
        ],
    )
    return as_draft_page(page, recipe.is_draft)


def _reproduction(recipe: Recipe) -> Code:
    """Return the command that repeats the search: ``prune`` where that has made it, with settings of its own."""
    only_in_prune = Recipe.model_fields.keys() - SearchRequest.model_fields.keys() - set(OF_A_DRAFT)
    made_by = "prune" if first_changed(recipe, sorted(only_in_prune)) else "search"
    return command(made_by, recipe, "OUTPUT", never=OF_A_DRAFT)


def trade_off(record: SearchRecord) -> list[Block]:
    """Return the Pareto frontier as figure and table, with the selected point marked in both."""
    estimated = [point.estimated for point in record.points if point.estimated is not None]
    chosen = f"point {record.chosen}" if record.chosen is not None else "none"
    how = (
        f"{record.trials} plans were measured on validation prompts, by generation and judge"
        if record.made_by.get("strategy") == "paper"
        else f"{record.trials} plans were estimated on validation prompts, without full answers; the most promising "
        "ones were measured by generation and judge"
    )
    text = f"{how}. No test prompt was used. Selected: "
    text += f"{chosen}. {_rule(record)}" if record.chosen is not None else NONE_CHOSEN
    load = str(record.made_by.get("dtype")).rpartition(", ")[2]
    if load in BITS_IN_WORDS:
        text += f" All of this is of a copy that bitsandbytes quantised to {BITS_IN_WORDS[load]} (--load)."
    base = record.source
    return [
        Paragraph(text),
        Picture(
            frontier_figure(record, estimated),
            f"Compliance against safety of {len(record.points)} plans. The base model has C.R. "
            f"{base.compliance_rate:.1f} % and S.S. {base.safety_score:.1f} %; the safety floor is at S.S. "
            f"{record.lowest_safety:.1f} %. Selected: {chosen}. The table below has the numbers.",
            "Up is safer, right is more compliant. Numbers are those of the table.",
        ),
        search_grid(record),
    ]


def _rule(record: SearchRecord) -> str:
    """Return how a search chooses a point unless the user does."""
    if record.made_by.get("strategy") == "paper":
        return "By default, this search selects the measured plan with the highest T.S."
    return (
        "By default, a search selects the measured plan with the largest expected gain: what it adds to T.S., times "
        "the probability that it keeps the safety floor. It must answer more than the base model. Safety beyond "
        "the base model's counts half."
    )


def _headline(record: SearchRecord, chosen: SearchPoint | None, recipe: Recipe) -> Headline:
    base = record.source
    before = f"Base model: C.R. {base.compliance_rate:.1f} %, S.S. {base.safety_score:.1f} % on validation prompts."
    caution = (
        "These are validation prompts, and the plan was selected on them: expect what pruning measures on test prompts."
    )
    if recipe.goes_beyond:
        before += " " + BEYOND_NOTE
    if chosen is None:
        return Headline(
            Mark.BAD,
            "No plan found",
            "No measured plan complies more than the base model and keeps the safety floor of S.S. "
            f"{record.lowest_safety:.1f} %.",
            [before, "A larger --budget searches longer; --max-safety-drop allows a larger loss.", caution],
        )
    compliance, safety = chosen.rates
    kept = safety >= record.lowest_safety
    return Headline(
        Mark.NEUTRAL if kept else Mark.CAUTION,
        f"Point {chosen.number} selected" + ("" if kept else ", below the safety floor"),
        f"Pruning {plan_in_words(chosen.plan)} gives C.R. {compliance:.1f} % "
        f"({signed(compliance - base.compliance_rate)}) and S.S. {safety:.1f} % "
        f"({signed(safety - base.safety_score)}) on validation prompts.",
        [before, f"Safety floor: at most {recipe.max_safety_drop:g} points of S.S. may be lost.", caution],
    )


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', '-')} {setting}" for name, setting in value.items())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


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
    short = record.made_by.get("short_answer", SHORT_ANSWER)
    return Grid(
        f"Plans to choose from, validation prompts ({record.trials} plans scored)",
        ["", "C.R., %", "S.S., %", "rates", "KL\nnats", "layer:strength", "rank", "pooling", "projection"],
        rows,
        [
            f"Base model: C.R. {base.compliance_rate:.1f} %, S.S. {base.safety_score:.1f} %. Safety floor: S.S. "
            f"{record.lowest_safety:.1f} %.",
            f"Measured: by generation and judge. Estimated: by answers of {short} tokens to other prompts.",
            "KL: mean per-token divergence from the base model on some benign validation prompts. The page of a pruned "
            "model reports it on test prompts.",
        ],
        marked=[i for i, point in enumerate(record.points) if point.number == record.chosen],
    )
