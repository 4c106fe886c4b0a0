"""An evaluation as a table like the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table

from prosafeprune.evaluation.scores import Rate, Scores, SetScore
from prosafeprune.judge.verdict import NEITHER
from prosafeprune.prompts import PromptClass
from prosafeprune.report.evaluation_record import EvaluationRecord
from prosafeprune.report.grid import Grid

CLASS_ORDER = (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL, PromptClass.BENIGN)
KINDS = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S.", PromptClass.BENIGN: "benign"}


def evaluation_grid(record: EvaluationRecord) -> Grid:
    """Return one row of rates for each model, with intervals, and the change between them when there are two."""
    scores = record.scores
    sets = ordered(scores)
    name = Path(record.request.model).name or record.request.model
    rows: list[tuple[str, list[str]]] = []
    if record.against is not None:
        rows.append((record.against.name, rates(record.against.scores)))
    rows.append((name, rates(scores)))
    rows.append(("95 % interval", [f"{one.rate.low:.1f}-{one.rate.high:.1f}" for one in sets]))
    if any(one.deviation is not None for one in sets):
        rows.append((f"+- over {len(sets[0].repeats)} repeats", [f"{one.deviation or 0:.1f}" for one in sets]))
    if record.against is not None:
        changes = [record.against.changes[one.name] for one in sets]
        rows.append(("change", [f"{one.points:+.1f}" for one in changes] + _average_changes(record)))
        rows.append(("95 % interval of it", [f"{one.low:+.1f} {one.high:+.1f}" for one in changes]))
        rows.append(("p, McNemar", [f"{one.p_value:.2g}" for one in changes]))
    rows += safety_rows(sets)
    for kind in ("partial_refusal", *NEITHER):
        counts = [one.answers.get(kind, 0) for one in sets]
        if any(counts):
            rows.append((f"{kind.replace('_', ' ')}, answers", [str(count) for count in counts]))
    return Grid.padded(set_headings(scores), rows)


def safety_rows(sets: Sequence[SetScore]) -> list[tuple[str, list[str]]]:
    """Return both meanings of S.S. where the judge tells both: harmful prompts refused, and answered harmlessly."""
    if not any(one.by_harmlessness for one in sets):
        return []
    named = {"S.S. by refusal": "by_refusal", "S.S. by harmlessness": "by_harmlessness"}
    return [(title, [_percent(getattr(one, field)) for one in sets]) for title, field in named.items()]


def _percent(rate: Rate | None) -> str:
    return "" if rate is None else f"{rate.percent:.1f}"


def evaluation_table(record: EvaluationRecord, width: int) -> Group:
    """Return the grid as a table: benchmarks side by side as in Table 1 or, where that is too wide, one a line."""
    return evaluation_grid(record).table(
        f"Percent, answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}",
        "C.R.: fully complies with pseudo-harmful prompts. S.S.: refuses harmful ones.\n"
        "Avg. T.S.: the mean of Avg. C.R. and Avg. S.S.\n"
        "Incapable, broken and undetermined answers count as neither.",
        width,
    )


def further_table(record: EvaluationRecord) -> Table | None:
    """Return general ability and damage as a table; None when neither was measured."""
    if not record.ability and record.divergence is None:
        return None
    table = Table("", "", "95 % interval", "not readable", "cut short", title="General ability, percent")
    for name, task in record.ability.items():
        rate = task.accuracy
        table.add_row(
            f"{name} ({rate.total})",
            f"{rate.percent:.1f}",
            f"{rate.low:.1f}-{rate.high:.1f}",
            str(task.unparsed),
            str(task.cut),
        )
    moved = record.divergence
    if moved is not None:
        table.add_row(
            f"token KL to the source ({moved.prompts} benign prompts), nats",
            f"{moved.mean:.4f}",
            f"{moved.low:.4f}-{moved.high:.4f}",
            "",
            "",
        )
    return table


def set_headings(scores: Scores) -> list[str]:
    """Return the headings of what ``rates`` gives: each set, then the averages."""
    sets = [f"{one.title}\n{KINDS[one.prompt_class]}, {one.rate.total}" for one in ordered(scores)]
    return [*sets, "Avg.\nC.R.", "Avg.\nS.S.", "Avg.\nT.S."]


def ordered(scores: Scores) -> list[SetScore]:
    """Return the sets in the order of Table 1: pseudo-harmful, harmful, benign."""
    return [one for prompt_class in CLASS_ORDER for one in scores.of(prompt_class)]


def rates(scores: Scores) -> list[str]:
    """Return the rate of each set, then the averages, in percent."""
    averages = (scores.compliance_rate, scores.safety_score, scores.tradeoff_score)
    return [f"{one.mean:.1f}" for one in ordered(scores)] + ["" if a is None else f"{a:.1f}" for a in averages]


def _average_changes(record: EvaluationRecord) -> list[str]:
    if record.against is None:
        return []
    pairs: Sequence[tuple[float | None, float | None]] = [
        (getattr(record.against.scores, name), getattr(record.scores, name))
        for name in ("compliance_rate", "safety_score", "tradeoff_score")
    ]
    return ["" if one is None or two is None else f"{two - one:+.1f}" for one, two in pairs]
