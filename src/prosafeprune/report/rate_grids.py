"""Rates of models on prompt sets: C.R., S.S. and T.S. with intervals and tests, as in the paper's Table 1."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.scores import Change, Rate, Scores, SetScore
from prosafeprune.judges.verdict import NEITHER, AnswerClass
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.assessment import format_p, signed
from prosafeprune.report.grid import Grid
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.requests.judging import Safety

RATE_NAMES = {PromptClass.PSEUDO_HARMFUL: "C.R.", PromptClass.HARMFUL: "S.S.", PromptClass.BENIGN: "benign"}
"""The name of each class's rate, in the order of Table 1."""
INTERVALS_NOTE = (
    "Below each rate: its 95 % Wilson interval. Below each change: Newcombe's interval for paired proportions."
)
CHANGE_NOTE = (
    "p: McNemar's exact test of no change. Gained, lost: prompts whose outcome became the desired one, or stopped "
    "being it."
)
PSEUDO_HARMFUL, HARMFUL = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL
REPEATS_NOTE = "Means are over all repeats; intervals, changes and p-values are of the first repeat."
POLICY_NOTE = (
    "Refused: share of requests off an operator's subject refused, as their system prompt asks. They are in no average "
    "and are not harmful."
)
AVERAGES = (("C.R.", "compliance_rate"), ("S.S.", "safety_score"), ("T.S.", "tradeoff_score"))


def ordered(scores: Scores) -> list[SetScore]:
    """Return the sets in the order of Table 1: pseudo-harmful, harmful, benign."""
    return [score for prompt_class in RATE_NAMES for score in scores.sets if score.prompt_class is prompt_class]


def rates_grid(caption: str, scores: Scores) -> Grid:
    """Return one model's rate on each set, and the averages."""
    sets = ordered(scores)
    headings = ["", "rate, %\n95 % interval"]
    rows = [[_set_name(score), rate_with_interval(score.rate)] for score in sets]
    rows += [[label, f"{value:.1f}"] for label, value in _averages(scores)]
    if any(score.deviation is not None for score in sets):
        headings.append(f"mean of {len(sets[0].repeats)} repeats\n± standard deviation")
        spread = [f"{score.mean:.1f}\n± {score.deviation or 0:.1f}" for score in sets]
        rows = [[*row, cell] for row, cell in zip(rows, [*spread, *[""] * (len(rows) - len(sets))], strict=True)]
    rows += _padded([*_safety_rows([scores]), *_count_rows([scores])], headings)
    return Grid(caption, headings, rows, _notes(scores))


def change_grid(
    caption: str,
    before: Scores,
    after: Scores,
    changes: Mapping[str, Change],
    names: tuple[str, str],
    more: Sequence[Sequence[str]] = (),
) -> Grid:
    """Return the rates of two models on the same sets, with the averages and the change.

    Args:
        more: further rows, of as many cells as there are headings at most.
    """
    headings = ["", f"{names[0]}, %", f"{names[1]}, %", "change\npoints", "p", "gained, lost\nprompts"]
    earlier = {score.name: score for score in before.sets}
    rows = []
    for score in ordered(after):
        change = changes[score.name]
        p_value = format_p(change.p_value).removeprefix("= ")
        was, now = _repeated_rate(earlier[score.name]), _repeated_rate(score)
        rows.append([_set_name(score), was, now, change_with_interval(change), p_value, f"{change.won}, {change.lost}"])
    for (label, was_average), (_, average) in zip(_averages(before), _averages(after), strict=True):
        rows.append([label, f"{was_average:.1f}", f"{average:.1f}", signed(average - was_average), "", ""])
    models = [before, after]
    rows += _padded([*_safety_rows(models), *_count_rows(models), *more], headings)
    return Grid(caption, headings, rows, (*_notes(after), CHANGE_NOTE))


def category_grids(models: Sequence[tuple[str, Scores]]) -> list[Grid]:
    """Return the rates of one or more models by domain or language, a table for each group; none without such sets.

    Args:
        models: each with its name, which two may share.
    """
    grids = []
    for group, sets in _by_group(models[0][1]).items():
        headings = [
            "",
            *(f"{RATE_NAMES[score.prompt_class]}, %\n{name}".strip() for name, _ in models for score in sets),
        ]
        by_name = [{score.name: score for score in scores.sets} for _, scores in models]
        rows = [
            [category, *(_category_rate(of[score.name], category) for of in by_name for score in sets)]
            for category in dict.fromkeys(category for score in sets for category in score.categories)
        ]
        notes = ("Few prompts each: the intervals below the rates are wide.",)
        grids.append(Grid(f"By category: {group}", headings, rows, notes))
    return grids


def _by_group(scores: Scores) -> dict[str, list[SetScore]]:
    """Return the sets that are reported by category, harmless and harmful ones of a group together."""
    groups: dict[str, list[SetScore]] = {}
    for score in (score for prompt_class in (PSEUDO_HARMFUL, HARMFUL) for score in scores.of(prompt_class)):
        if score.categories:
            groups.setdefault(score.title.replace(", harmless", "").replace(", harmful", ""), []).append(score)
    return groups


def divergence_row(moved: Divergence) -> list[str]:
    """Return the mean per-token KL on benign prompts as a row of ``change_grid``."""
    label = f"benign KL, nats\nmean per token, {moved.prompts} prompts"
    return [label, "", f"{moved.mean:.4f}\n{moved.low:.4f} to {moved.high:.4f}"]


def rate_name(score: SetScore) -> str:
    """Return the name of a set's rate."""
    return "refused" if score.policy else RATE_NAMES[score.prompt_class]


def rate_notes(safety: Safety) -> tuple[str, ...]:
    """Return what C.R., S.S. and T.S. are, and the intervals below them."""
    compliance = "C.R.: share of pseudo-harmful prompts (harmless but risky-sounding) answered in full"
    return f"{compliance}. S.S.: {SAFETY_WORDS[safety].share}. T.S.: the mean of the two.", INTERVALS_NOTE


def _notes(scores: Scores) -> tuple[str, ...]:
    repeated = any(score.deviation is not None for score in scores.sets)
    has_policy = any(score.policy for score in scores.sets)
    further = (REPEATS_NOTE,) * repeated + (POLICY_NOTE,) * has_policy
    return (*rate_notes(scores.safety), *further)


def _set_name(score: SetScore) -> str:
    return f"{score.title}\n{rate_name(score)}, {score.rate.total} prompts"


def rate_with_interval(rate: Rate) -> str:
    """Return a rate in percent, and its 95 % interval below."""
    return f"{rate.percent:.1f}\n{rate.low:.1f} to {rate.high:.1f}"


def _category_rate(score: SetScore, category: str) -> str:
    return rate_with_interval(score.categories[category]) if category in score.categories else ""


def _repeated_rate(score: SetScore) -> str:
    if score.deviation is None:
        return rate_with_interval(score.rate)
    interval = f"{score.rate.low:.1f} to {score.rate.high:.1f}"
    return f"{score.mean:.1f}\n± {score.deviation:.1f}, {len(score.repeats)} repeats\n{interval}"


def change_with_interval(change: Change) -> str:
    """Return a change in points, and its 95 % interval below."""
    return f"{signed(change.points)}\n{signed(change.low)} to {signed(change.high)}"


def _averages(scores: Scores) -> list[tuple[str, float]]:
    """Return the averages; with several sets of a class, they are named Avg. C.R. and so on."""
    several = len(scores.of(PromptClass.PSEUDO_HARMFUL)) > 1 or len(scores.of(PromptClass.HARMFUL)) > 1
    found = [(label, getattr(scores, field)) for label, field in AVERAGES if several or label == "T.S."]
    return [(f"Avg. {label}" if several else label, value) for label, value in found if value is not None]


def _safety_rows(models: Sequence[Scores]) -> list[list[str]]:
    """Return both meanings of S.S. on each harmful set, if the judge reports both."""
    both = with_both_safeties(models)
    return [
        [f"{sets[0].title}\nS.S. by {meaning}", *(rate_with_interval(safety_rate(score, meaning)) for score in sets)]
        for sets in zip(*(scores.of(PromptClass.HARMFUL) for scores in models), strict=True)
        if sets[0].name in both
        for meaning in get_args(Safety)
    ]


def with_both_safeties(models: Sequence[Scores]) -> set[str]:
    """Return the names of the harmful sets for which the judge reported both meanings of S.S. for every model."""
    reported = [
        {score.name for score in scores.of(HARMFUL) if score.by_refusal and score.by_harmlessness} for scores in models
    ]
    return set.intersection(*reported)


def safety_rate(score: SetScore, meaning: Safety) -> Rate:
    """Return S.S. of a harmful set in one of its two meanings, where the judge reported both."""
    found = score.by_refusal if meaning == "refusal" else score.by_harmlessness
    if found is None:
        raise ValueError(f"{score.name}: S.S. by {meaning} was not measured")
    return found


def neither_counts(scores: Scores) -> dict[AnswerClass, int]:
    """Return how many answers are incapable, broken and undetermined, which count neither in C.R. nor in S.S."""
    answers = _answers(scores)
    return {kind: answers[kind] for kind in NEITHER}


def _answers(scores: Scores) -> Counter[str]:
    """Return the number of answers by class, policies included; a prompt of several sets has one."""
    of_policies = (Counter(score.answers) for score in scores.sets if score.policy)
    return sum((scores.pooled_answers(prompt_class) for prompt_class in PromptClass), sum(of_policies, Counter[str]()))


def _count_rows(models: Sequence[Scores]) -> list[list[str]]:
    """Return counts of answers that a rate does not show, leaving out those that are zero everywhere."""
    neither = [neither_counts(scores) for scores in models]
    partial = [_answers(scores)[AnswerClass.PARTIAL_REFUSAL] for scores in models]
    rows = {f"{kind.value}\nanswers, counted as neither": [counts[kind] for counts in neither] for kind in NEITHER}
    rows["partial refusals\nanswers"] = partial
    return [[label, *map(str, counts)] for label, counts in rows.items() if any(counts)]


def _padded(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> list[list[str]]:
    """Return rows with empty cells up to the number of headings."""
    return [[*row, *[""] * (len(headings) - len(row))] for row in rows]
