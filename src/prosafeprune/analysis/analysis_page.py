"""The results of an analysis run as one page."""

from collections.abc import Mapping, Sequence

from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.analysis.figure_drawing import plot
from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.analysis.rates import has_rates
from prosafeprune.analysis.result import AnalysisResult, result_grid
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.method.plan import Plan
from prosafeprune.report.page import Block, Code, Facts, Headline, Mark, Page, Paragraph, Picture, Points, Section
from prosafeprune.report.plan_facts import plan_facts
from prosafeprune.report.reproduce_command import command, depends_on
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.text import short_name

MOST_ROWS = 30
"""Longer tables are named, not shown."""
JUDGES = {
    "wildguard": "WildGuard",
    "qwen3guard": "Qwen3Guard",
    "classifier": "a refusal classifier",
    "llm": "a chat model",
}
"""Judges as a sentence names them; the user's own by its class."""
Results = Sequence[tuple[CatalogueEntry, AnalysisResult]]


def analysis_page(
    request: AnalyzeRequest,
    results: Results,
    name: str,
    sha256: str,
    prompts: dict[str, PromptsRecord],
    requests: Mapping[str, AnalyzeRequest],
) -> Page:
    """Return the page of finished analyses.

    Args:
        requests: by analysis, the request of the run that finished it; ``request`` where that is unknown.
    """
    plan = _plan(request)
    again = _commands([(entry.name, requests.get(entry.name, request)) for entry, _ in results])
    return Page(
        f"Inside {name}",
        _headline(request, results, name),
        [
            *([Section("Plan", [_plan_and_judge(request, results, plan)])] if plan is not None else []),
            *(Section(entry.title, _blocks(entry, result)) for entry, result in results),
            Section("How to reproduce this page", [*again, depends_on(sha256, prompts, library_versions())]),
        ],
    )


def _commands(requests: Sequence[tuple[str, AnalyzeRequest]]) -> list[Code]:
    """Return one command for each set of options, with all analyses run with them."""
    groups: dict[str, list[str]] = {}
    for name, request in requests:
        groups.setdefault(request.model_dump_json(), []).append(name)
    by_key = {request.model_dump_json(): request for _, request in requests}
    return [command(f"analyze {' '.join(names)}", by_key[key], "OUTPUT") for key, names in groups.items()]


def _headline(request: AnalyzeRequest, results: Results, name: str) -> Headline:
    pruned = f", before and after pruning ({short_name(request.against)})" if request.against is not None else ""
    sentences = [
        f"{entry.title}: {result.summary[0]}" if result.summary else f"{entry.title}." for entry, result in results
    ]
    label = "1 analysis" if len(results) == 1 else f"{len(results)} analyses"
    return Headline(Mark.NEUTRAL, label, f"Inside {name}{pruned}.", sentences)


def _plan(request: AnalyzeRequest) -> Plan | None:
    try:
        return find_plan(request)
    except InputError:  # none of these analyses needs the plan, or it would have failed earlier
        return None


def _plan_and_judge(request: AnalyzeRequest, results: Results, plan: Plan) -> Facts:
    facts = plan_facts(plan)
    if any(has_rates(result) for _, result in results):
        facts.append(("answers", f"at most {request.max_new_tokens} tokens, judged by {_judge(request)}"))
    return Facts(facts)


def _judge(request: AnalyzeRequest) -> str:
    if request.judge == "builtin":
        return f"the built-in judge ({BuiltinJudge.name})"
    model = f" ({short_name(request.judge_model)})" if request.judge_model is not None else ""
    return f"{JUDGES.get(request.judge, request.judge)}{model}"


def _blocks(entry: CatalogueEntry, result: AnalysisResult) -> list[Block]:
    blocks: list[Block] = [*map(Paragraph, result.summary), Paragraph(f"In the paper: {entry.paper}.")]
    drawn = {figure.table for figure in result.figures}
    # A table that a figure shows is in the file that its caption names.
    tables = [result.tables[0], *(table for table in result.tables[1:] if table.name not in drawn)]
    blocks += [result_grid(table) for table in tables if len(table.rows) <= MOST_ROWS]
    long = [table for table in tables if len(table.rows) > MOST_ROWS]
    if long:
        named = [f"{table.title}: {entry.name}/{table.name}.csv, {len(table.rows)} rows." for table in long]
        blocks += [Paragraph("Longer tables, in files next to this page:"), Points(named)]
    return blocks + _pictures(entry, result)


def _pictures(entry: CatalogueEntry, result: AnalysisResult) -> list[Block]:
    return [
        Picture(
            # Stacked: side by side, the text would be too small on a phone.
            plot(figure, result.table(figure.table), stacked=True),
            f"{figure.title}. {figure.y_label} against {figure.x_label}.",
            f"Numbers: {entry.name}/{figure.table}.csv",
        )
        for figure in result.figures
    ]
