"""Whether counts over all prompts of a class can come from those of its sets, where prompts are in several sets."""

from collections.abc import Sequence

from prosafeprune.evaluation.scores import Change, PooledScore, Rate, SetScore
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.record import Record


def can_be_pooled(record: Record) -> bool:
    """Return whether all pooled counts of a record are possible; those of a class without any are its sets' sums."""
    before, after = record.source, record.result
    if before.pooled.keys() != after.pooled.keys():
        return False
    changes = {
        PromptClass.PSEUDO_HARMFUL: record.compliance_change,
        PromptClass.HARMFUL: record.safety_change,
    }
    for prompt_class, was in before.pooled.items():
        now = after.pooled[prompt_class]
        sets = list(zip(before.of(prompt_class), after.of(prompt_class), strict=True))
        if not _can_overlap(was, now, sets):
            return False
        parts = [_outcomes(was_set.rate, now_set.rate, record.changes[was_set.name]) for was_set, now_set in sets]
        pooled_change = changes.get(prompt_class)
        if pooled_change is not None and not _is_union(_outcomes(was.rate, now.rate, pooled_change), parts):
            return False
    return True


def _can_overlap(was: PooledScore, now: PooledScore, sets: Sequence[tuple[SetScore, SetScore]]) -> bool:
    """Return whether so many prompts can be in several sets, with both models on the same prompts."""
    totals = [was_set.rate.total for was_set, _ in sets]
    counted_again = sum(totals) - was.rate.total
    return (
        was.rate.total == now.rate.total
        and was.in_several_sets == now.in_several_sets
        and was.in_several_sets <= counted_again <= (len(sets) - 1) * was.in_several_sets
        and _is_union(_good_and_bad(was.rate), [_good_and_bad(was_set.rate) for was_set, _ in sets])
        and _is_union(_good_and_bad(now.rate), [_good_and_bad(now_set.rate) for _, now_set in sets])
    )


def _good_and_bad(rate: Rate) -> tuple[int, ...]:
    return rate.successes, rate.total - rate.successes


def _outcomes(was: Rate, now: Rate, change: Change) -> tuple[int, ...]:
    """Return how many prompts are good twice, lost, won and bad twice; counts that disagree make it of no set."""
    if now.successes - was.successes != change.won - change.lost or was.total != now.total:
        return (-1,)
    return was.successes - change.lost, change.lost, change.won, was.total - was.successes - change.won


def _is_union(pooled: Sequence[int], parts: Sequence[Sequence[int]]) -> bool:
    """Return whether prompts with these outcomes can be those of all sets, each counted once."""
    lengths = {len(pooled), *map(len, parts)}
    return len(lengths) == 1 and all(
        0 <= max(of_sets) <= number <= sum(of_sets) and min(of_sets) >= 0
        for number, *of_sets in zip(pooled, *parts, strict=True)
    )
