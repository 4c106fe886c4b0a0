"""Choosing layers and strength: separability, search, confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.activations.silhouettes import layer_silhouettes, silhouettes
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.operator_cache import OperatorCache
from prosafeprune.errors import NoPlanError
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.jobs.search_trials import SearchChoices, Trials, rates_of
from prosafeprune.jobs.search_workers import plan_evaluator
from prosafeprune.judge import Judge
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.method.separability import candidate_count, candidate_layers
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import model_hash
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.search_page import search_page
from prosafeprune.search.figure import draw_frontier
from prosafeprune.search.record import RECORD, SearchRecord, ValidationRates
from prosafeprune.search.scoring import PlanScorer
from prosafeprune.search.screening import best_layers, layers_to_screen
from prosafeprune.search.selection import make_points, select_as_paper, select_point
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.prepare import Job

SHOWN = 10
"""Estimated plans offered beside the measured ones, at most."""


@dataclass(frozen=True)
class Found:
    """A finished search, and what it leaves in memory for the pruning."""

    record: SearchRecord
    inputs: dict[Pooling, PooledInputs]
    edits: OperatorCache

    @property
    def plan(self) -> Plan | None:
        """The chosen plan, or None."""
        point = self.record.point(self.record.chosen) if self.record.chosen is not None else None
        return point.plan if point else None

    def edits_of(self, plan: Plan) -> list[PruningEdit]:
        """Return the edits of one of the plans; the model must have its source's weights."""
        return self.edits.of(plan)


def search(job: Job, loaded: LoadedModel, anatomy: Anatomy, judge: Judge, folder: Path) -> Found:
    """Find layers, strengths, rank and pooling; what an interrupted search left in ``folder`` is gone on with.

    The model is left as it was, to the bit. No test prompt is looked at.

    Raises:
        InputError: the folder belongs to another search, or a prompt, a server or the memory fails.
        NoPlanError: the source refuses so little that a loss of safety could not show.
    """
    varied = SearchChoices.by(job.recipe)
    with locked_folder(folder, overwrite=False), ExitStack() as workers:
        kept = ResumableFolder(folder, _made_by(job, judge, varied))
        return _Search(job, loaded, anatomy, judge, kept, workers, varied).run()


class _Search:
    def __init__(
        self,
        job: Job,
        loaded: LoadedModel,
        anatomy: Anatomy,
        judge: Judge,
        kept: ResumableFolder,
        workers: ExitStack,
        varied: SearchChoices,
    ) -> None:
        self.job, self.loaded, self.anatomy, self.judge, self.kept = job, loaded, anatomy, judge, kept
        self.workers, self.varied = workers, varied
        self.recipe, self.reporter = job.recipe, job.reporter

    def run(self) -> Found:
        """Search, confirm, choose, and keep the record and the figure."""
        paper = self.recipe.strategy == "paper"
        inputs, class_rows, by_layer = self._separability()
        window = candidate_layers(by_layer, self.anatomy.num_layers)
        self.reporter.note(f"The classes separate best around layers {window[0]} to {window[-1]}, by silhouette.")
        layers = window if paper else layers_to_screen(window, self.anatomy.num_layers)
        if self.anatomy.has_experts:  # what these read has not been collected yet
            inputs[self.varied.poolings[0]] = self._inputs(self.anatomy, self.varied.poolings[0], layers)[0]
        edits = OperatorCache(self.anatomy, inputs, class_rows)
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
        source = rates_of(scorer.base)
        lowest = self._lowest_safety(source)
        tester = self.workers.enter_context(plan_evaluator(self.job, self.kept.made_by["model"], scorer, edits, layers))
        trials = Trials(tester, self.recipe, self.varied, self.kept, self.reporter)
        screened = {} if paper else trials.screen(layers)
        candidates = window if paper else best_layers(screened, candidate_count(self.anatomy.num_layers))
        if paper:
            peak = max(by_layer, key=lambda layer: by_layer[layer])
            scored, measured = trials.windows(candidates, peak)
        else:
            self.reporter.note(f"Layers to search, the best by itself first: {', '.join(map(str, candidates))}.")
            further = {
                pooling: self._inputs(self.anatomy, pooling, candidates)[0] for pooling in self.varied.poolings[1:]
            }
            inputs |= further
            tester.add_inputs(further)
            scored, measured = trials.automatic(candidates, lowest, list(screened.values()))
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
            chosen=select_as_paper(points) if paper else select_point(points, source, lowest),
        )
        self.kept.write(RECORD, record.model_dump(mode="json"))
        draw_frontier(record, scored, self.kept.path)
        write_page(search_page(record, self.recipe, Path(self.job.source.name).name), self.kept.path / REPORT_FILE)
        return Found(record, inputs, edits)

    def _lowest_safety(self, source: ValidationRates) -> float:
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
        inputs, class_rows = self._inputs(anatomy, self.varied.poolings[0], layers)
        submodules = anatomy.submodules
        with self.reporter.stage("Separability", len(submodules)) as advance:
            by_layer = layer_silhouettes(submodules, silhouettes(inputs, submodules, class_rows, advance))
        return {self.varied.poolings[0]: inputs}, class_rows, by_layer

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


def _made_by(job: Job, judge: Judge, varied: SearchChoices) -> dict[str, Any]:
    recipe = job.recipe
    return {
        "model": model_hash(job.source.path),
        "calibration": {name.value: prompts.sha256 for name, prompts in job.calibration.items()},
        "validation": {name.value: prompts.sha256 for name, prompts in job.validation.items()},
        "judge": judge.name,
        "max_new_tokens": recipe.max_new_tokens,
        "strategy": recipe.strategy,
        "poolings": [pooling.value for pooling in varied.poolings],
        "ranks": list(varied.ranks),
        "projection": varied.projection.value,
        "max_safety_drop": recipe.max_safety_drop,
        "dtype": recipe.dtype,
    }
