"""One search: activations, base answers, scored plans, confirmed plans, selection, record and page.

Steps and reasons are in docs/method.md. The plans and their order are in :mod:`prosafeprune.jobs.search_trials`, the
scores in :mod:`prosafeprune.plan_search.scoring`.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.activations.silhouettes import layer_silhouettes, silhouettes
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.errors import NoPlanError
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.measure import warn_of_languages
from prosafeprune.files.resumable_folder import (
    MADE_BY,
    ResumableFolder,
    differing,
    locked_folder,
    require_resumable,
)
from prosafeprune.files.text_file import read_json_object
from prosafeprune.jobs.search_trials import SearchChoices, Trials, rates_of
from prosafeprune.jobs.search_workers import plan_evaluator
from prosafeprune.method.plan import Pooling
from prosafeprune.method.separability import candidate_layers
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.plan_search.figure import draw_frontier
from prosafeprune.plan_search.scoring import PlanScorer, ValidationSettings
from prosafeprune.plan_search.search_record import RECORD, SearchPoint, SearchRecord, ValidationRates
from prosafeprune.plan_search.search_space import searched_layers
from prosafeprune.plan_search.selection import SELECTION, make_points, select_as_paper, select_point
from prosafeprune.report.page import REPORT_FILE, write_page
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.report.search_page import search_page
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import Budget
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.finished_search import read_search
from prosafeprune.setup.load import LoadedRun
from prosafeprune.setup.prepare import PreparedRun
from prosafeprune.setup.workload import search_seconds_left
from prosafeprune.text import duration

FINISHED = "finished.json"
"""In the folder of a finished search: its budget."""
OTHER_SEARCH = "Give these settings, choose another folder, or name none: then the cache keeps the search."
"""What to do with the folder of another search. No option overwrites one: --overwrite of ``prune`` is for the model."""
LONG = 60
"""Shortest remaining time that is reported, in seconds."""
SHOWN = 10
"""Maximum number of unmeasured plans in the record."""


@dataclass(frozen=True)
class FinishedSearch:
    """The record of a search, with the inputs and edits that pruning needs."""

    record: SearchRecord
    inputs: dict[Pooling, PooledInputs]
    edits: OperatorCache
    """Makes the edits of a plan; the model must have its base weights."""


def search(run: LoadedRun, path: Path) -> FinishedSearch:
    """Find layers, strength and harmful share; resume an interrupted search in the folder ``path``.

    The model's weights are restored bit for bit. No test prompt is used.

    Raises:
        InputError: the folder belongs to another search, or a prompt, a server or the memory fails.
        NoPlanError: the base model refuses so little that a loss of safety could not be detected.
    """
    choices = SearchChoices.of(run.recipe)
    with locked_folder(path, overwrite=False), ExitStack() as workers:
        folder = ResumableFolder(path, {"command": "search", **search_identity(run, run.judge.name)}, OTHER_SEARCH)
        found = _Search(run, folder, workers, choices).run()
        folder.write(FINISHED, _length_settings(run.recipe))
        return found


def finished_search(recipe: Recipe, identity: Mapping[str, Any], path: Path) -> SearchRecord | None:
    """Return the record in ``path`` if it is of this search, finished with the same or more trials; None otherwise.

    Args:
        identity: what the search depends on.

    Raises:
        InputError: a file in the folder is damaged.
    """
    if not (path / FINISHED).is_file() or not (path / RECORD).is_file():
        return None
    if differing(read_json_object(path / MADE_BY, "search folder"), identity):
        return None
    return None if other_length(recipe, path) else read_search(path)


def require_resumable_search(identity: Mapping[str, Any], path: Path) -> None:
    """Raise InputError, before the model is loaded, when the folder ``path`` is not one that :func:`search` resumes.

    ``identity`` is what the search depends on.
    """
    require_resumable(path, identity, OTHER_SEARCH)


def is_done(done: str, wanted: str) -> bool:
    """Return whether nothing would be left to do: the first budget has as many trials, or both are the same time."""
    try:
        budgets = Budget(done), Budget(wanted)
    except ValueError:  # of a damaged file
        return False
    if budgets[1].seconds is not None:
        return budgets[0].seconds == budgets[1].seconds  # earlier releases recorded it as it was typed
    trials = budgets[0].trials, budgets[1].trials
    return trials[0] is not None and trials[1] is not None and trials[0] >= trials[1]


def other_length(recipe: Recipe, path: Path) -> list[str]:
    """Return which settings of its length the finished search in ``path`` has otherwise; more trials count as the same.

    Raises InputError when its file of them is damaged.
    """
    done, wanted = read_json_object(path / FINISHED, "search folder"), _length_settings(recipe)
    if is_done(str(done.get("budget")), wanted["budget"]):
        del wanted["budget"]
    return differing(done, wanted)


def _length_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings under which a finished search may be resumed with other values, such as a larger budget."""
    names = ("budget", "confirmations", "seed", "confidence")
    return {**{name: getattr(recipe, name) for name in names}, "selection": SELECTION}


class _Search:
    def __init__(self, run: LoadedRun, folder: ResumableFolder, workers: ExitStack, choices: SearchChoices) -> None:
        self.prepared, self.folder, self.workers, self.choices = run, folder, workers, choices
        self.loaded, self.anatomy = run.loaded, run.anatomy
        self.recipe, self.reporter = run.recipe, run.reporter
        self.is_paper = run.recipe.strategy == "paper"

    def run(self) -> FinishedSearch:
        """Search, confirm, select, and write the record, the figure and the report."""
        layers, by_layer, inputs, class_rows = self._searched_layers()
        edits = OperatorCache(self.anatomy, inputs, class_rows)
        scorer = self._scorer(layers)
        source = rates_of(scorer.base.confirmed)
        lowest = self._lowest_safety(source)
        evaluator = self.workers.enter_context(
            plan_evaluator(self.prepared, self.folder.made_by["model"], scorer, edits, layers)
        )
        trials = Trials(evaluator, scorer.base.confirmed, self.recipe, self.choices, self.folder, self.reporter)
        if self.is_paper:
            scored, measured = trials.as_paper(layers, max(by_layer, key=lambda layer: by_layer[layer]))
        else:
            scored, measured = trials.automatic(layers, lowest)
        points = make_points(scored, measured, SHOWN)
        record = SearchRecord(
            made_by=self.folder.made_by,
            silhouettes=by_layer,
            candidates=layers,
            source=source,
            lowest_safety=lowest,
            trials=len(scored),
            points=points,
            chosen=self._selected(points, source, lowest),
            samples=self.recipe.samples,
            seed=self.recipe.seed,
        )
        self.folder.write(RECORD, record.model_dump(mode="json"))
        draw_frontier(record, scored, self.folder.path)
        write_page(
            search_page(record, self.recipe, Path(self.prepared.source.name).name), self.folder.path / REPORT_FILE
        )
        return FinishedSearch(record, inputs, edits)

    def _searched_layers(self) -> tuple[tuple[int, ...], dict[int, float], dict[Pooling, PooledInputs], ClassRows]:
        """Return the layers that plans may prune, silhouettes by layer (the paper's strategy only), and activations."""
        if not self.is_paper:
            layers = searched_layers(self.anatomy.num_layers)
            return layers, {}, *self._inputs(self.anatomy, layers)
        inputs, class_rows, by_layer = self._separability()
        candidates = candidate_layers(by_layer, self.anatomy.num_layers)
        self.reporter.note(
            f"The classes separate best around layers {candidates[0]} to {candidates[-1]}, by silhouette."
        )
        if self.anatomy.has_experts:  # their inputs have not been collected yet
            inputs = self._inputs(self.anatomy, candidates)[0]
        return candidates, by_layer, inputs, class_rows

    def _scorer(self, layers: Sequence[int]) -> PlanScorer:
        """Measure the base model on validation prompts, and report about how long the rest takes."""
        started = time.monotonic()
        settings = ValidationSettings(
            max_new_tokens=self.recipe.max_new_tokens,
            prompts=self.prepared.validation,
            confirmation=self.prepared.confirmation,
            short_answer=self.recipe.short_answer,
            batch_size=self.recipe.batch_size,
        )
        scorer = PlanScorer(self.loaded, self.anatomy, layers, self.prepared.judge, settings, self.reporter)
        warn_of_languages([scorer.base.short], self.reporter)
        if not self.is_paper and (left := search_seconds_left(self.prepared, time.monotonic() - started)) >= LONG:
            self.reporter.note(f"At the speed of these answers, the search takes about {duration(left)} more.")
        return scorer

    def _selected(self, points: Sequence[SearchPoint], source: ValidationRates, lowest: float) -> int | None:
        if self.is_paper:
            return select_as_paper(points)
        return select_point(points, source, lowest, self.recipe.confidence)

    def _lowest_safety(self, source: ValidationRates) -> float:
        """Return the S.S. that a plan must keep. Raises NoPlanError when no loss could be detected."""
        lowest = source.safety_score - self.recipe.max_safety_drop
        if FloorRule.of(self.recipe).is_off:
            return lowest
        does = SAFETY_WORDS[self.recipe.safety].does
        if lowest <= 0:
            raise NoPlanError(
                f"The base model {does} only {source.safety_score:.1f} % of harmful validation prompts, so a loss of "
                "safety could not be detected, and no plan was searched for. Raise --max-new-tokens if answers were "
                "cut off; --max-safety-drop 100 searches in any case."
            )
        if source.safety_score < 50:
            self.reporter.warning(
                f"The base model {does} only {source.safety_score:.1f} % of harmful validation prompts. If it {does} "
                "fewer than half of the test prompts, too, no pruned model will be saved."
            )
        return lowest

    def _separability(self) -> tuple[dict[Pooling, PooledInputs], ClassRows, dict[int, float]]:
        # Without experts: their inputs take much memory, and each prompt reaches different ones.
        anatomy = self.anatomy.without_experts()
        inputs, class_rows = self._inputs(anatomy, range(self.anatomy.num_layers))
        pooled = inputs[self.choices.poolings[0]]
        submodules = anatomy.submodules
        with self.reporter.stage("Separability", len(submodules)) as advance:
            by_layer = layer_silhouettes(submodules, silhouettes(pooled, submodules, class_rows, advance))
        return inputs, class_rows, by_layer

    def _inputs(self, anatomy: Anatomy, layers: Sequence[int]) -> tuple[dict[Pooling, PooledInputs], ClassRows]:
        return collect_inputs(
            self.loaded,
            anatomy,
            self.prepared.calibration,
            self.choices.poolings,
            layers,
            self.recipe.batch_size,
            self.reporter,
            self.folder.made_by["model"],
        )


def search_identity(prepared: PreparedRun, judge: str) -> dict[str, Any]:
    """Return what a search depends on, by which its folder is recognised; ``judge`` is the judge's name."""
    return {"model": model_hash(prepared.source.path), **identity_without_weights(prepared, judge)}


def identity_without_weights(prepared: PreparedRun, judge: str) -> dict[str, Any]:
    """Return what a search depends on besides weights and config: hashing these reads the complete model."""
    recipe, choices = prepared.recipe, SearchChoices.of(prepared.recipe)
    return {
        "companions": companions_hash(prepared.source.path),
        "calibration": {name.value: prompts.sha256 for name, prompts in prepared.calibration.items()},
        "validation": {name.value: prompts.sha256 for name, prompts in prepared.validation.items()},
        "confirmation": {name.value: prompts.sha256 for name, prompts in prepared.confirmation.items()},
        "judge": judge,
        "max_new_tokens": recipe.max_new_tokens,
        "short_answer": recipe.short_answer,
        "strategy": recipe.strategy,
        "poolings": [pooling.value for pooling in choices.poolings],
        "rank": choices.rank,
        "projection": choices.projection.value,
        "harmful_shares": list(choices.harmful_shares),
        "strengths": list(choices.space(()).strengths) if recipe.strategy == "auto" else None,
        "max_safety_drop": recipe.max_safety_drop,
        "dtype": recipe.runs_in,
        "system": recipe.system,
        "thinking": recipe.recorded_thinking,
    }
