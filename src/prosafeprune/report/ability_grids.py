"""General ability as tables: of one model, of one before and after, and of the methods of a comparison."""

from collections.abc import Mapping

from prosafeprune.ability import AbilityComparison, TaskScore
from prosafeprune.evaluation.scores import Change, is_significant
from prosafeprune.report.assessment import format_p, signed
from prosafeprune.report.comparison_record import DEFAULT, ComparisonRecord, MethodResult
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_grids import change_with_interval, rate_with_interval

CAPTION = "General ability"
CHANGE_NOTE = "p: McNemar's exact test of no change. Gained, lost: questions that became correct, or stopped being it."
DIVERGENCE_NOTE = (
    "Benign KL: mean divergence per token from the base model on the first tokens of its answers to benign prompts, "
    "with its 95 % interval. Methods that change prompts or decoding are followed along the same answers."
)
ABILITY_NOTE = (
    "Below each accuracy: its 95 % interval, the change from default and McNemar's exact p on the same questions. "
    "Unparsable answers count as wrong."
)


def ability_grid(ability: Mapping[str, TaskScore]) -> Grid:
    """Return the accuracy on each task of general ability."""
    rows = [[_name(task), rate_with_interval(task.accuracy), *_unread(task)] for task in ability.values()]
    return Grid(CAPTION, ["", "accuracy, %\n95 % interval", "unparsable\nanswers", "truncated\nanswers"], rows)


def ability_change_grid(ability: Mapping[str, TaskScore], against: AbilityComparison, names: tuple[str, str]) -> Grid:
    """Return the accuracy of two models on each task, with the change on the same questions."""
    headings = ["", f"{names[0]}, %", f"{names[1]}, %", "change\npoints", "p", "gained, lost\nquestions"]
    headings += ["unparsable\nanswers", "truncated\nanswers"]
    rows = []
    for name, task in ability.items():
        before, change = against.scores[name], against.changes[name]
        rates = [rate_with_interval(score.accuracy) for score in (before, task)]
        tested = [change_with_interval(change), format_p(change.p_value).removeprefix("= ")]
        unread = [f"{was}, {now}" for was, now in zip(_unread(before), _unread(task), strict=True)]
        rows.append([_name(task), *rates, *tested, f"{change.won}, {change.lost}", *unread])
    return Grid(CAPTION, headings, rows, [CHANGE_NOTE])


def side_effects_by_method(record: ComparisonRecord) -> list[Grid]:
    """Return the benign KL and the general ability of each method; nothing where neither was measured."""
    tasks = record.methods[0].ability
    has_divergence = any(method.divergence is not None for method in record.methods)
    if not tasks and not has_divergence:
        return []
    headings = ["", *(["benign KL\nnats a token"] if has_divergence else [])]
    headings += [f"{name}\naccuracy, %, {task.accuracy.total}" for name, task in tasks.items()]
    rows = [
        [method.name, *([_divergence(method)] if has_divergence else []), *(_ability(method, name) for name in tasks)]
        for method in record.methods
    ]
    notes = [*([DIVERGENCE_NOTE] if has_divergence else []), *([ABILITY_NOTE] if tasks else [])]
    return [Grid("General ability and divergence" if tasks else "Divergence", headings, rows, notes)]


def ability_lost(changes: Mapping[str, Change]) -> str:
    """Return a sentence on the tasks on which significantly fewer answers are correct; empty without any."""
    lost = [
        f"{name} {signed(change.points)} points (p {format_p(change.p_value)})"
        for name, change in changes.items()
        if change.points < 0 and is_significant(change)
    ]
    return f"It answers fewer questions of general ability correctly: {', '.join(lost)}." if lost else ""


def _divergence(method: MethodResult) -> str:
    moved = method.divergence
    if moved is None:
        return "" if method.name == DEFAULT else "not defined"
    return f"{moved.mean:.3f}\n{moved.low:.3f} to {moved.high:.3f}"


def _ability(method: MethodResult, name: str) -> str:
    task, change = method.ability[name], method.ability_changes.get(name)
    lines = [rate_with_interval(task.accuracy)]
    if change is not None:
        lines += [signed(change.points), f"p {format_p(change.p_value)}"]
    return "\n".join([*lines, *([f"{task.unparsed} unparsable"] if task.unparsed else [])])


def _name(task: TaskScore) -> str:
    return f"{task.task}\n{task.accuracy.total} questions"


def _unread(task: TaskScore) -> list[str]:
    return [str(task.unparsed), str(task.cut)]
