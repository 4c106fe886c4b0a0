"""What analyses found, as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.figures import plot
from prosafeprune.analysis.plan_of_model import find_plan
from prosafeprune.analysis.rates import tells_rates
from prosafeprune.analysis.result import Findings
from prosafeprune.analysis.result import Table as Numbers
from prosafeprune.analysis.terminal_table import cell_text
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.judge.rules.rules_judge import RulesJudge
from prosafeprune.method.plan import Plan
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import (
    Block,
    Code,
    Facts,
    Headline,
    Mark,
    Page,
    Paragraph,
    Picture,
    Points,
    Section,
)
from prosafeprune.report.plan_facts import plan_facts
from prosafeprune.report.record import library_versions
from prosafeprune.report.reproduce_command import command, depends_on
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.text import short_name

MOST_ROWS = 30
"""A table with more is named only: nobody reads it on a page."""
Found = Sequence[tuple[Entry, Findings]]


def analysis_page(
    request: AnalysisRequest,
    found: Found,
    name: str,
    sha256: str,
    prompts: dict[str, PromptsRecord],
    asked: Mapping[str, AnalysisRequest],
) -> Page:
    """Return the page of finished analyses.

    Args:
        request: what was asked for last.
        found: the analyses with what they found.
        name: what the model is called.
        sha256: its hash.
        prompts: the prompts that were looked at.
        asked: by analysis, what was asked for by the run that finished it; ``request`` where that is not known.
    """
    plan = _plan(request)
    again = _commands([(entry.name, asked.get(entry.name, request)) for entry, _ in found])
    return Page(
        f"What goes on inside {name}",
        _headline(request, found, name),
        [
            *([Section("The plan looked at", [_plan_and_judge(request, found, plan)])] if plan is not None else []),
            *(Section(entry.title, _blocks(entry, findings)) for entry, findings in found),
            Section("Repeating it", [*again, depends_on(sha256, prompts, library_versions())]),
        ],
    )


def _commands(asked: Sequence[tuple[str, AnalysisRequest]]) -> list[Code]:
    """Return one command for all analyses that were made with the same options."""
    groups: dict[str, list[str]] = {}
    for name, request in asked:
        groups.setdefault(request.model_dump_json(), []).append(name)
    requests = {request.model_dump_json(): request for _, request in asked}
    return [command(f"analyze {' '.join(names)}", requests[key], "OUTPUT") for key, names in groups.items()]


def _headline(request: AnalysisRequest, found: Found, name: str) -> Headline:
    pruned = f", before and after pruning ({short_name(request.against)})" if request.against is not None else ""
    sentences = [
        f"{entry.title}: {findings.told[0]}" if findings.told else f"{entry.title}." for entry, findings in found
    ]
    label = "1 analysis" if len(found) == 1 else f"{len(found)} analyses"
    return Headline(Mark.NEUTRAL, label, f"What goes on inside {name}{pruned}.", sentences)


def _plan(request: AnalysisRequest) -> Plan | None:
    try:
        return find_plan(request)
    except InputError:  # no analysis of these looked at a plan, or it would have said so before
        return None


def _plan_and_judge(request: AnalysisRequest, found: Found, plan: Plan) -> Facts:
    facts = plan_facts(plan)
    if any(tells_rates(findings) for _, findings in found):
        facts.append(("answers", f"of at most {request.max_new_tokens} tokens, judged by {_judge(request)}"))
    return Facts(facts)


def _judge(request: AnalysisRequest) -> str:
    if request.judge == "builtin":
        return f"the built-in rules ({RulesJudge.name})"
    model = f" ({short_name(request.judge_model)})" if request.judge_model is not None else ""
    return f"WildGuard{model}" if request.judge == "wildguard" else f"a chat model{model}"


def _blocks(entry: Entry, findings: Findings) -> list[Block]:
    blocks: list[Block] = [*map(Paragraph, findings.told), Paragraph(f"In the paper: {entry.paper}.")]
    blocks += [_table(table) for table in findings.tables if len(table.rows) <= MOST_ROWS]
    long = [table for table in findings.tables if len(table.rows) > MOST_ROWS]
    if long:
        named = [f"{table.title}: {entry.name}/{table.name}.csv, {len(table.rows)} rows." for table in long]
        blocks += [Paragraph("Longer tables lie beside this page:"), Points(named)]
    return blocks + _pictures(entry, findings)


def _pictures(entry: Entry, findings: Findings) -> list[Block]:
    return [
        Picture(
            plot(figure, findings.table(figure.table), stacked=True),  # side by side, a phone could not show the text
            f"{figure.title}. {figure.y_label} against {figure.x_label}.",
            f"Numbers: {entry.name}/{figure.table}.csv",
        )
        for figure in findings.figures
    ]


def _table(numbers: Numbers) -> Grid:
    headings = [name.replace("_", " ") for name in numbers.columns]
    return Grid(numbers.title, headings, [[cell_text(cell) for cell in row] for row in numbers.rows])
