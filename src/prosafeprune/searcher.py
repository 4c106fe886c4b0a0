"""Choosing layers and strength: separability, search, confirmation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.calibration import ClassRows, collect_inputs
from prosafeprune.errors import NoPlanError
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import pooled_rate
from prosafeprune.job import Job
from prosafeprune.judge import Judge
from prosafeprune.kept_folder import KeptFolder, kept_alone
from prosafeprune.method.activations import PooledInputs
from prosafeprune.method.plan import Edit, Plan
from prosafeprune.method.pooling import Pooling
from prosafeprune.method.projection import Projection
from prosafeprune.method.separability import candidate_count, candidate_layers, layer_silhouettes, silhouettes
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import model_hash
from prosafeprune.prompts import PromptClass
from prosafeprune.recipe import Recipe
from prosafeprune.remote_search import plan_tester
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.search_page import search_page
from prosafeprune.search.budget import Budget
from prosafeprune.search.choosing import choose, choose_as_paper, make_points
from prosafeprune.search.edits import PlanEdits
from prosafeprune.search.figure import draw_frontier
from prosafeprune.search.frontier import worth_confirming
from prosafeprune.search.record import RECORD, Rates, SearchRecord
from prosafeprune.search.scoring import PlanScorer
from prosafeprune.search.screening import best_layers, layers_to_screen, screen
from prosafeprune.search.space import FIRST_RANK, RANKS, paper_windows
from prosafeprune.search.study import Scored, Space, describe_plan, search_plans
from prosafeprune.search.testers import PlanTester

SHOWN = 10
"""Estimated plans offered beside the measured ones, at most."""
RESERVE = 2.0
"""Points of S.S. to spare of the cautious half of the plans that are measured."""
MEASURED = "measured.json"
SCREENED = "screened.json"


@dataclass(frozen=True)
class Found:
    """A finished search, and what it leaves in memory for the pruning."""

    record: SearchRecord
    inputs: dict[Pooling, PooledInputs]
    edits: PlanEdits

    @property
    def plan(self) -> Plan | None:
        """The chosen plan, or None."""
        point = self.record.point(self.record.chosen) if self.record.chosen is not None else None
        return point.plan if point else None

    def edits_of(self, plan: Plan) -> list[Edit]:
        """Return the edits of one of the plans; the model must have its source's weights."""
        return self.edits.of(plan)


def search(job: Job, loaded: LoadedModel, anatomy: Anatomy, judge: Judge, folder: Path) -> Found:
    """Find layers, strengths, rank and pooling; what an interrupted search left in ``folder`` is gone on with.

    The model is left as it was, to the bit. No test prompt is looked at.

    Raises:
        InputError: the folder belongs to another search, or a prompt, a server or the memory fails.
        NoPlanError: the source refuses so little that a loss of safety could not show.
    """
    space = _space(job.recipe)
    with kept_alone(folder, overwrite=False), ExitStack() as workers:
        kept = KeptFolder(folder, _made_by(job, judge, space))
        return _Search(job, loaded, anatomy, judge, kept, workers, *space).run()


class _Search:
    def __init__(
        self,
        job: Job,
        loaded: LoadedModel,
        anatomy: Anatomy,
        judge: Judge,
        kept: KeptFolder,
        workers: ExitStack,
        poolings: Sequence[Pooling],
        ranks: Sequence[int],
        projection: Projection,
    ) -> None:
        self.job, self.loaded, self.anatomy, self.judge, self.kept = job, loaded, anatomy, judge, kept
        self.workers = workers
        self.poolings, self.ranks, self.projection = poolings, ranks, projection
        self.recipe, self.reporter = job.recipe, job.reporter

    def run(self) -> Found:
        """Search, confirm, choose, and keep the record and the figure."""
        paper = self.recipe.strategy == "paper"
        inputs, class_rows, by_layer = self._separability()
        window = candidate_layers(by_layer, self.anatomy.num_layers)
        self.reporter.note(f"The classes separate best around layers {window[0]} to {window[-1]}, by silhouette.")
        layers = window if paper else layers_to_screen(window, self.anatomy.num_layers)
        if self.anatomy.has_experts:  # what these read has not been collected yet
            inputs[self.poolings[0]] = self._inputs(self.anatomy, self.poolings[0], layers)[0]
        edits = PlanEdits(self.anatomy, inputs, class_rows)
        scorer = PlanScorer(
            self.loaded,
            self.anatomy,
            layers,
            self.judge,
            self.recipe.max_new_tokens,
            self.job.validation,
            self.recipe.batch_size,
            self.reporter,
        )
        source = _rates(scorer.source)
        lowest = self._lowest_safety(source)
        tester = self.workers.enter_context(plan_tester(self.job, self.kept.made_by["model"], scorer, edits, layers))
        budget = Budget(self.recipe.budget)
        screened = {} if paper else self._screen(tester, layers, budget)
        candidates = window if paper else best_layers(screened, candidate_count(self.anatomy.num_layers))
        if paper:
            peak = max(by_layer, key=lambda layer: by_layer[layer])
            scored, measured = self._paper(tester, candidates, peak, budget)
        else:
            self.reporter.note(f"Layers to search, the best by itself first: {', '.join(map(str, candidates))}.")
            further = {pooling: self._inputs(self.anatomy, pooling, candidates)[0] for pooling in self.poolings[1:]}
            inputs |= further
            tester.add_inputs(further)
            known = list(screened.values())
            scored, measured = self._automatic(tester, candidates, lowest, budget, known)
        points = make_points(scored, measured, SHOWN)
        record = SearchRecord(
            made_by=self.kept.made_by,
            silhouettes=by_layer,
            screened=screened,
            candidates=tuple(sorted(candidates)),
            source=source,
            lowest_safety=lowest,
            trials=len(scored),
            points=points,
            chosen=choose_as_paper(points) if paper else choose(points, source, lowest),
        )
        self.kept.write(RECORD, record.model_dump(mode="json"))
        draw_frontier(record, scored, self.kept.path)
        write_page(search_page(record, self.recipe, Path(self.job.source.name).name), self.kept.path / REPORT_FILE)
        return Found(record, inputs, edits)

    def _lowest_safety(self, source: Rates) -> float:
        """Return the S.S. that a plan must keep. Raises NoPlanError when no loss could be seen."""
        lowest = source.safety_score - self.recipe.max_safety_drop
        if lowest <= 0 and self.recipe.max_safety_drop < 100:
            raise NoPlanError(
                f"The source refuses only {source.safety_score:.1f} % of harmful validation prompts, so a loss of "
                "safety could not show, and no plan was searched for. Raise --max-new-tokens if answers were cut too "
                "short to tell; --max-safety-drop 100 searches all the same."
            )
        return lowest

    def _separability(self) -> tuple[dict[Pooling, PooledInputs], ClassRows, dict[int, float]]:
        layers = range(self.anatomy.num_layers)
        # What the experts of all layers read takes much room, and says little: each prompt reaches others.
        anatomy = self.anatomy.without_experts()
        inputs, class_rows = self._inputs(anatomy, self.poolings[0], layers)
        submodules = anatomy.submodules
        with self.reporter.stage("Separability", len(submodules)) as advance:
            by_layer = layer_silhouettes(submodules, silhouettes(inputs, submodules, class_rows, advance))
        return {self.poolings[0]: inputs}, class_rows, by_layer

    def _inputs(self, anatomy: Anatomy, pooling: Pooling, layers: Sequence[int]) -> tuple[PooledInputs, ClassRows]:
        return collect_inputs(
            self.loaded,
            anatomy,
            self.job.calibration,
            pooling,
            layers,
            self.recipe.batch_size,
            self.reporter,
        )

    def _screen(self, tester: PlanTester, layers: Sequence[int], budget: Budget) -> dict[int, Scored]:
        """Score each layer by itself, keeping each score as it comes."""
        rank = FIRST_RANK if FIRST_RANK in self.ranks else self.ranks[0]

        def plan(layer: int) -> Plan:
            return Plan(
                layers=(layer,),
                rank=rank,
                strength=(1.0,),
                pooling=self.poolings[0],
                projection=self.projection,
            )

        kept: dict[str, Any] = self.kept.read(SCREENED) or {}
        screened = {int(layer): Scored.model_validate(one) for layer, one in kept.items()}
        tester.expect_scores([plan(layer) for layer in layers if layer not in screened])
        for known in screen(lambda layer: tester.score(plan(layer)), layers, screened, budget, self.reporter):
            screened = known
            self.kept.write(SCREENED, {str(layer): one.model_dump(mode="json") for layer, one in screened.items()})
        return screened

    def _automatic(
        self,
        tester: PlanTester,
        candidates: Sequence[int],
        lowest: float,
        budget: Budget,
        known: Sequence[Scored],
    ) -> tuple[list[Scored], dict[str, Rates]]:
        scored = search_plans(
            tester.score,
            Space(candidates, self.poolings, self.ranks, self.projection),
            lowest,
            budget,
            self.kept.path / "journal.jsonl",
            self.recipe.seed,
            self.reporter,
            known,
            tester.expect_scores,
        )
        promising = worth_confirming(scored, lowest, self.recipe.confirmations, RESERVE)
        return scored, self._measure([one.plan for one in promising], tester, lambda: False)

    def _paper(
        self, tester: PlanTester, candidates: Sequence[int], peak: int, budget: Budget
    ) -> tuple[list[Scored], dict[str, Rates]]:
        strength = self.recipe.strength if isinstance(self.recipe.strength, float) else 1.0
        plans = paper_windows(candidates, peak, self.poolings[0], self.recipe.rank, self.projection, strength)
        done = 0

        def is_spent() -> bool:
            nonlocal done
            done += 1
            return budget.is_spent(done - 1)

        measured = self._measure(plans, tester, is_spent, budget.trials)
        tried = [plan for plan in plans if plan.model_dump_json() in measured]
        tester.expect_scores(tried)
        return [tester.score(plan) for plan in tried], measured

    def _measure(
        self, plans: Sequence[Plan], tester: PlanTester, is_spent: Callable[[], bool], most: int | None = None
    ) -> dict[str, Rates]:
        """Measure plans by generation and judge, at most so many of them now, keeping each result as it comes."""
        kept: dict[str, Any] = self.kept.read(MEASURED) or {}
        tester.expect_measurements([plan for plan in plans if plan.model_dump_json() not in kept][:most])
        for plan in plans:
            key = plan.model_dump_json()
            if key not in kept:
                if is_spent():
                    break
                self.reporter.note(f"Measuring {describe_plan(plan)} on validation prompts.")
                rates = _rates(tester.measure(plan))
                kept[key] = rates.model_dump()
                self.kept.write(MEASURED, kept)
                self.reporter.note(f"C.R. {rates.compliance_rate:.1f}, S.S. {rates.safety_score:.1f}.")
        return {key: Rates.model_validate(value) for key, value in kept.items()}


def _space(recipe: Recipe) -> tuple[tuple[Pooling, ...], tuple[int, ...], Projection]:
    """Return the poolings, ranks and projection to search: those the user named, else what has proved itself."""
    given = recipe.model_fields_set
    paper = recipe.strategy == "paper"
    poolings = (recipe.pooling,) if paper or "pooling" in given else (Pooling.SEQUENCE, Pooling.TAIL)
    ranks = (recipe.rank,) if paper or "rank" in given else RANKS
    return poolings, ranks, recipe.projection if paper or "projection" in given else Projection.CONTRASTIVE


def _made_by(job: Job, judge: Judge, space: tuple[Sequence[Pooling], Sequence[int], Projection]) -> dict[str, Any]:
    recipe = job.recipe
    return {
        "model": model_hash(job.source.path),
        "calibration": {name.value: prompts.sha256 for name, prompts in job.calibration.items()},
        "validation": {name.value: prompts.sha256 for name, prompts in job.validation.items()},
        "judge": judge.name,
        "max_new_tokens": recipe.max_new_tokens,
        "strategy": recipe.strategy,
        "poolings": [pooling.value for pooling in space[0]],
        "ranks": list(space[1]),
        "projection": space[2].value,
        "max_safety_drop": recipe.max_safety_drop,
        "dtype": recipe.dtype,
    }


def _rates(measurement: Measurement) -> Rates:
    return Rates(
        compliance_rate=pooled_rate(measurement.sets, PromptClass.PSEUDO_HARMFUL).percent,
        safety_score=pooled_rate(measurement.sets, PromptClass.HARMFUL).percent,
    )
