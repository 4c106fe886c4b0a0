"""The search itself: Optuna's TPE under the safety floor, with a journal that an interrupted search goes on from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.progress import Reporter
from prosafeprune.requests.budget import Budget
from prosafeprune.search.search_space import SearchSpace, draw_plan, starting_points

STUDY = "prosafeprune"
ROUND = 8
"""Trials drawn before the first of them is scored. It is the same however many score them, so that a search finds the
same on one machine and on many; the larger it is, the less each draw can learn from."""
BENIGN_KL_WEIGHT = 10.0
"""Points of C.R. that a nat of divergence on benign prompts costs: enough to decide between equals, 0.1 points for
0.01 nats, and no more."""


class ScoredPlan(BaseModel):
    """A plan with the scores that a search estimated for it on validation prompts, in percent."""

    plan: Plan
    compliance_rate: float
    safety_score: float
    divergence: float
    """Token KL to the source on benign validation prompts, in nats."""

    @property
    def value(self) -> float:
        """What is maximised: C.R., with the damage to benign answers as the tie-breaker."""
        return self.compliance_rate - BENIGN_KL_WEIGHT * self.divergence


def expect_nothing(plans: Sequence[Plan]) -> None:
    """Prepare for no plans: for who scores one after the other."""


def search_plans(
    score: Callable[[Plan], ScoredPlan],
    space: SearchSpace,
    lowest_safety: float,
    budget: Budget,
    journal: Path,
    seed: int,
    reporter: Reporter,
    known: Sequence[ScoredPlan] = (),
    expect: Callable[[Sequence[Plan]], None] = expect_nothing,
) -> list[ScoredPlan]:
    """Score plans until the budget is spent, and return all that were scored, those of earlier runs among them.

    Args:
        score: estimates what a plan does.
        space: what plans may consist of.
        lowest_safety: the S.S. in percent below which a plan breaks the floor.
        budget: trials in all, or minutes of this run.
        journal: file that keeps every trial as it ends.
        seed: of the sampler.
        reporter: told of the best plan so far.
        known: plans scored already, which are not scored again and returned with the others.
        expect: told which plans of a round will be scored next, for who can score several at a time.

    Raises:
        InputError: the journal cannot be read or written.
    """
    study = _open_study(journal, seed)
    _try_again_what_was_cut_short(study)
    for point in starting_points(space.candidates, space.poolings, space.ranks):
        study.enqueue_trial(point, skip_if_exists=True)
    scores = {scored.plan.model_dump_json(): scored for scored in (*known, *_finished(study))}
    count = len(_finished_trials(study))
    with reporter.stage("Search", budget.total, lambda: describe_best(list(scores.values()), lowest_safety)) as advance:
        told = 0
        while not budget.is_spent(count):
            drawn = _draw_round(study, space, ROUND if budget.trials is None else min(ROUND, budget.trials - count))
            plans = {plan.model_dump_json(): plan for _, plan in drawn}
            expect([plan for key, plan in plans.items() if key not in scores])
            for trial, plan in drawn:
                if budget.is_spent(count):  # minutes may end in a round; what is left of it is taken up again
                    break
                key = plan.model_dump_json()
                if key not in scores:  # a plan drawn again costs nothing
                    scores[key] = score(plan)
                _tell(study, trial, scores[key], lowest_safety)
                count += 1
                advance(min(budget.steps_done(count), budget.total) - told)
                told = min(budget.steps_done(count), budget.total)
    return list(scores.values())


def _draw_round(study: optuna.Study, space: SearchSpace, count: int) -> list[tuple[optuna.Trial, Plan]]:
    trials = [study.ask() for _ in range(count)]
    poolings, ranks = space.poolings, space.ranks
    return [(one, draw_plan(one, space.candidates, poolings, ranks, space.projection)) for one in trials]


def _tell(study: optuna.Study, trial: optuna.Trial, scored: ScoredPlan, lowest_safety: float) -> None:
    trial.set_user_attr("scored", scored.model_dump_json())
    trial.set_constraint("safety", lowest_safety - scored.safety_score)
    study.tell(trial, scored.value)


def best_of(scored: Sequence[ScoredPlan], lowest_safety: float) -> ScoredPlan | None:
    """Return the plan of the highest value among those that keep the floor, or None."""
    safe = [one for one in scored if one.safety_score >= lowest_safety]
    return max(safe, key=lambda one: one.value, default=None)


def describe_best(scored: Sequence[ScoredPlan], lowest_safety: float) -> str:
    """Return the best plan so far in a few words."""
    best = best_of(scored, lowest_safety)
    if best is None:
        return "none yet keeps the floor"
    return f"best: C.R. {best.compliance_rate:.1f}  S.S. {best.safety_score:.1f}  {describe_plan(best.plan)}"


def describe_plan(plan: Plan) -> str:
    """Return layers with their strengths, and rank and pooling, in a few words."""
    layers = ", ".join(f"{layer}:{plan.strength_of(layer):g}" for layer in plan.layers)
    return f"layers {layers}, rank {plan.rank}, {plan.pooling.value}, {plan.projection.value}"


def _open_study(journal: Path, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the sampler's ``group``
    try:
        drop_torn_line(journal)
        earlier = sum(1 for _ in journal.open("rb")) if journal.exists() else 0
        # The sampler's own state is not in the journal: a seed of its own keeps a resumed search from drawing the
        # same plans again.
        sampler = optuna.samplers.TPESampler(seed=seed + earlier, multivariate=True, group=True, n_startup_trials=8)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        return optuna.create_study(
            storage=storage, sampler=sampler, study_name=STUDY, direction="maximize", load_if_exists=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{journal}: cannot be used ({error}). Remove it to search anew.") from error


def _try_again_what_was_cut_short(study: optuna.Study) -> None:
    """Put the trials that a killed run left open back into the queue."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def drop_torn_line(journal: Path) -> None:
    """Cut off a last line that a killed run left half-written."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def _finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in done if "scored" in trial.user_attrs]


def _finished(study: optuna.Study) -> list[ScoredPlan]:
    return [ScoredPlan.model_validate_json(trial.user_attrs["scored"]) for trial in _finished_trials(study)]
