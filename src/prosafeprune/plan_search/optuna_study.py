"""The search itself: Optuna's TPE under the safety floor, with a journal from which an interrupted search resumes."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from prosafeprune.errors import REFUSED_BY_SYSTEM, InputError, first_line
from prosafeprune.method.plan import Plan, describe_plan
from prosafeprune.plan_search.frontier import best_of
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_space import SearchSpace, draw_plan, starting_points
from prosafeprune.plan_search.trial_order import TrialOrder
from prosafeprune.progress import EarlierSteps, Reporter
from prosafeprune.requests.search import Budget

STUDY = "prosafeprune"
ROUND = 8
"""Trials drawn before the first of them is scored. It does not depend on the number of workers, so that a search finds
the same on one machine and on many; the larger it is, the less each draw can learn from earlier ones."""
SEEDS = 2**32
"""Seeds that Optuna's sampler takes; ``--seed`` may be any of 2**63."""


def expect_nothing(plans: Sequence[Plan]) -> None:
    """Ignore the announcement: for searches that score one plan after the other."""


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna from logging each trial inside the context."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@_quiet_optuna()
def search_plans(
    score: Callable[[Plan], ScoredPlan],
    space: SearchSpace,
    lowest_safety: float,
    budget: Budget,
    journal: Path,
    seed: int,
    reporter: Reporter,
    expect: Callable[[Sequence[Plan]], None] = expect_nothing,
) -> list[ScoredPlan]:
    """Score plans until the budget is spent; return all scored plans, those of earlier runs included.

    First come a few windows of layers, then the best of them with other harmful shares, whatever their S.S., which the
    share decides: weaker ones first where the S.S. leaves room above the floor. After a few of these, the best plan so
    far is tried at strengths above 1. Then come the other shares, and what Optuna draws.

    Args:
        score: estimates the effect of a plan.
        space: what plans are drawn from.
        lowest_safety: the S.S. in percent below which a plan breaks the floor.
        budget: trials in all, or minutes of this run.
        journal: file that keeps every trial as it ends.
        seed: of the sampler.
        reporter: shows the best plan so far.
        expect: called with the plans that will be scored next, so that workers can start on them.

    Raises:
        InputError: the journal cannot be read or written.
    """
    study, finished = _open_study(journal, seed, space)
    unfinished = _unfinished_trials(study)
    scores = {scored.plan.model_dump_json(): scored for scored in finished}
    count = len(finished)
    with reporter.stage("Search", budget.total, lambda: describe_best(list(scores.values()), lowest_safety)) as advance:
        reported = min(budget.steps_done(count), budget.total)
        advance(EarlierSteps(reported))
        order = TrialOrder(space, lowest_safety)
        while not budget.is_spent(count):
            with _written(journal):
                _enqueue(study, order.points(count, scores))
            size = order.before_next(count, scores) or ROUND
            size = size if budget.trials is None else min(size, budget.trials - count)
            with _written(journal):
                drawn = _draw_round(study, space, size, unfinished)
            plans = {plan.model_dump_json(): plan for _, plan in drawn}
            expect([plan for key, plan in plans.items() if key not in scores])
            for trial, plan in drawn:
                if budget.is_spent(count):  # minutes may run out within a round; the next run resumes with its rest
                    break
                key = plan.model_dump_json()
                if key not in scores:  # a plan drawn again costs nothing
                    scores[key] = score(plan)
                with _written(journal):
                    _finish(study, trial, scores[key], lowest_safety)
                count += 1
                advance(min(budget.steps_done(count), budget.total) - reported)
                reported = min(budget.steps_done(count), budget.total)
    return list(scores.values())


@contextmanager
def _written(journal: Path) -> Iterator[None]:
    """Name the journal in the error of one that cannot be written inside the context. Raises InputError."""
    try:
        yield
    except OSError as error:
        raise _not_written(journal, error) from error


def _not_written(journal: Path, error: OSError) -> InputError:
    return InputError(
        f"{journal}: could not be written ({error.strerror}). Finished trials are kept: check its permissions and the "
        "space on the disk, and run the same command again."
    )


def _draw_round(
    study: optuna.Study, space: SearchSpace, count: int, unfinished: list[optuna.Trial]
) -> list[tuple[optuna.Trial, Plan]]:
    """Draw trials; those that an interrupted run left ``unfinished`` come first, and are taken out."""
    trials = [unfinished.pop(0) if unfinished else study.ask() for _ in range(count)]
    return [(trial, draw_plan(trial, space)) for trial in trials]


def _enqueue(study: optuna.Study, points: Sequence[dict[str, Any]]) -> None:
    for point in points:
        study.enqueue_trial(point, skip_if_exists=True)


def _finish(study: optuna.Study, trial: optuna.Trial, scored: ScoredPlan, lowest_safety: float) -> None:
    trial.set_user_attr("scored", scored.model_dump_json())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a run killed between these lines has set it
        trial.set_constraint("safety", lowest_safety - scored.safety_score)
    study.tell(trial, scored.value)


def describe_best(scored: Sequence[ScoredPlan], lowest_safety: float) -> str:
    """Return the best plan so far in a few words."""
    best = best_of(scored, lowest_safety)
    if best is None:
        return "no plan above the safety floor yet"
    return f"best: C.R. {best.compliance_rate:.1f}  S.S. {best.safety_score:.1f}  {describe_plan(best.plan)}"


def _open_study(journal: Path, seed: int, space: SearchSpace) -> tuple[optuna.Study, list[ScoredPlan]]:
    """Return the study with its starting trials enqueued, and the plans scored so far."""
    try:
        for stale in journal.parent.glob(f"{journal.name}.lock*"):  # a killed run's: the folder is locked by this one
            stale.unlink()
        if journal.is_symlink() or (journal.exists() and not journal.is_file()):  # a link would be written through
            raise OSError("not a regular file")
        drop_torn_line(journal)
        earlier = journal.read_bytes().count(b"\n") if journal.exists() else 0
        # The journal does not keep the sampler's state: a separate seed keeps a resumed search from drawing the same
        # plans again.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of ``group``
            sampler = optuna.samplers.TPESampler(
                seed=(seed + earlier) % SEEDS, multivariate=True, group=True, n_startup_trials=8
            )
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            storage=storage, sampler=sampler, study_name=STUDY, direction="maximize", load_if_exists=True
        )
        _enqueue(study, starting_points(space))
        return study, _finished(study)
    except Exception as error:  # whatever Optuna makes of a damaged journal
        if isinstance(error, OSError) and error.errno in REFUSED_BY_SYSTEM:  # removing it would not help
            raise _not_written(journal, error) from error
        raise InputError(
            f"{journal}: cannot be used ({type(error).__name__}: {first_line(error)[:200]}). Remove it to start the "
            "search over."
        ) from error


def _unfinished_trials(study: optuna.Study) -> list[optuna.Trial]:
    """Return the trials that an interrupted run left open, in their order."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [optuna.Trial(study, trial._trial_id) for trial in running]


def drop_torn_line(journal: Path) -> None:
    """Cut off a last line that an interrupted run left half-written."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    complete = content.rfind(b"\n") + 1
    if complete < len(content):
        os.truncate(journal, complete)


def _finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in done if "scored" in trial.user_attrs]


def _finished(study: optuna.Study) -> list[ScoredPlan]:
    return [ScoredPlan.model_validate_json(trial.user_attrs["scored"]) for trial in _finished_trials(study)]
