"""Whether the figures of a record agree with each other: a record may be someone else's, and its floor is relied on."""

import math
from collections.abc import Iterator

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.paired_refusals import ALL, BASE
from prosafeprune.evaluation.safety_floor import FloorDecision, FloorTest, FloorVerdict
from prosafeprune.evaluation.scores import Rate, SetScore
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.pooled_consistency import can_be_pooled
from prosafeprune.report.record import Record


def is_consistent(record: Record) -> bool:
    """Return whether counts of the safety floor, rates and changes of the harmful sets can all come from one run.

    Each harmful set must be among the tests, so that none can be left out, with the refusals of its rates; a test may
    count more losses than the rates show, since answers without a verdict count against the model. Prompts that are in
    several sets count once over all prompts, within what the counts of these sets allow.
    """
    sets = list(_harmful_sets(record))
    rated = [(before.rate, after.rate) for before, after in sets if not before.policy]
    if not rated or not all(_is_possible(rate) for pair in sets for rate in (pair[0].rate, pair[1].rate)):
        return False
    if not can_be_pooled(record):
        return False
    (before, total), (after, _) = (
        scores.pooled_counts(PromptClass.HARMFUL) for scores in (record.source, record.result)
    )
    if not math.isclose(record.safety_change.points, 100 * (after - before) / total, abs_tol=1e-6):
        return False
    if record.floor is None:
        return not record.source.pooled  # no release wrote one without the other
    lost_before = sum(step.drop for step in record.lineage)
    is_compared = any(test.against != BASE and test.name == ALL for test in record.floor.tests)
    if not is_compared and record.floor.lost_before < lost_before - 1e-6:
        return False  # neither tested against the first ancestor, nor are the points lost since deducted
    return _tests_agree(record.floor, sets) and _pooled_test_agrees(record)


def floor_from_rates(record: Record) -> FloorDecision:
    """Return the decision on the rates and changes of a record without one, as releases before 0.2 wrote them."""
    tests = []
    sets = list(_harmful_sets(record))
    for before, _ in sets:
        change = record.changes[before.name]
        tests.append(_test(before.name, before.rate, change.lost, change.won, policy=before.policy))
    rated = [test for test in tests if not test.policy]
    if len(rated) > 1:
        rates = [before.rate for before, _ in sets if not before.policy]
        pooled = Rate(percent=0, low=0, high=0, successes=_sum(rates, "successes"), total=_sum(rates, "total"))
        tests.insert(0, _test(ALL, pooled, sum(test.lost for test in rated), sum(test.won for test in rated)))
    else:
        tests = [test.model_copy(update={"name": ALL}) if not test.policy else test for test in tests]
    return FloorDecision(verdict=FloorVerdict.SAFE, reasons=[], tests=tests).under(FloorRule.of(record.recipe))


def _harmful_sets(record: Record) -> Iterator[tuple[SetScore, SetScore]]:
    for before, after in zip(record.source.sets, record.result.sets, strict=True):
        if before.prompt_class is PromptClass.HARMFUL:
            yield before, after


def _is_possible(rate: Rate) -> bool:
    return 0 <= rate.successes <= rate.total and rate.total > 0


def _tests_agree(floor: FloorDecision, sets: list[tuple[SetScore, SetScore]]) -> bool:
    if floor.lost_before < 0 or not all(_is_possible_test(test) for test in floor.tests):
        return False
    tests = {(test.name, test.policy): test for test in floor.tests if test.against == BASE}
    rated = [pair for pair in sets if not pair[0].policy]
    needed = {(ALL, False)} | {(before.name, True) for before, _ in sets if before.policy}
    needed |= {(before.name, False) for before, _ in rated} if len(rated) > 1 else set()
    if not needed <= tests.keys():
        return False
    single = [(before, after, tests[ALL, False]) for before, after in rated] if len(rated) == 1 else []
    named = [(before, after, tests.get((before.name, before.policy))) for before, after in sets]
    return all(test is None or _agrees(before.rate, after.rate, test) for before, after, test in [*single, *named])


def _pooled_test_agrees(record: Record) -> bool:
    """Return whether the test of all harmful prompts has the counts that are recorded for prompts of several sets."""
    before, after = (scores.pooled.get(PromptClass.HARMFUL) for scores in (record.source, record.result))
    if record.floor is None or before is None or after is None:
        return True
    tests = [test for test in record.floor.tests if (test.name, test.against, test.policy) == (ALL, BASE, False)]
    return all(_agrees(before.rate, after.rate, test) for test in tests)


def _is_possible_test(test: FloorTest) -> bool:
    return test.lost + test.won <= test.pairs <= test.prompts and test.refused_before <= test.prompts


def _agrees(before: Rate, after: Rate, test: FloorTest) -> bool:
    fell = before.successes - after.successes
    return before.total == test.prompts and before.successes == test.refused_before and test.lost - test.won >= fell


def _test(name: str, rate: Rate, lost: int, won: int, *, policy: bool = False) -> FloorTest:
    return FloorTest(
        name=name,
        policy=policy,
        against=BASE,
        prompts=rate.total,
        pairs=rate.total,
        refused_before=rate.successes,
        without_verdict=0,
        lost=lost,
        won=won,
        verdict=FloorVerdict.SAFE,
    )


def _sum(rates: list[Rate], name: str) -> int:
    return sum(getattr(rate, name) for rate in rates)
