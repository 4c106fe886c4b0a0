"""A search's workers on a cluster: what each is sent, and how it sets up the model for plans."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from prosafeprune.activations.shards import PooledShard
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource, find_source
from prosafeprune.plan_search.plan_evaluators import (
    LocalPlanEvaluator,
    PlanEvaluator,
    RemotePlanEvaluator,
    inputs_to_send,
    sent_inputs,
)
from prosafeprune.plan_search.scoring import BaseMeasurements, PlanScorer, ValidationSettings
from prosafeprune.progress import SILENT
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.calibrate import ClassRows
from prosafeprune.setup.load import load_as_asked
from prosafeprune.setup.prepare import PreparedRun, checkpoint_folder


@contextmanager
def plan_evaluator(
    prepared: PreparedRun, model: str, scorer: PlanScorer, edits: OperatorCache, layers: Sequence[int]
) -> Iterator[PlanEvaluator]:
    """Yield the evaluator of plans: workers if the run has a cluster, else the model in this process.

    Args:
        model: hash of its model, which the workers' model must have too.
        edits: makes the edits of plans; it has the pooled inputs.

    Raises:
        InputError: the cluster has no room for workers.
    """
    if prepared.cluster is None:
        yield LocalPlanEvaluator(scorer, edits)
        return
    prompts = 1 + max(row for rows in edits.class_rows.values() for row in rows)
    where = {"model": workers_name(prepared.source), "revision": prepared.source.revision}
    setup = _MakeEvaluator(
        prepared.recipe.model_copy(update=where),
        model,
        companions_hash(prepared.source.path),
        tuple(layers),
        scorer.validation,
        scorer.base,
        inputs_to_send(edits.inputs, prompts),
        dict(edits.class_rows),
    )
    with prepared.cluster.pool(prepared.recipe.device, setup) as pool:
        yield RemotePlanEvaluator(pool, scorer)


@dataclass(frozen=True)
class _MakeEvaluator:
    recipe: Recipe
    model: str
    companions: str | None
    layers: tuple[int, ...]
    validation: ValidationSettings
    base: BaseMeasurements
    inputs: Mapping[Pooling, PooledShard]
    class_rows: ClassRows

    def __call__(self) -> LocalPlanEvaluator:
        recipe, reporter = self.recipe, SILENT
        source = find_same_model(recipe.model, recipe.revision, self.model, self.companions)
        with ExitStack() as stack:
            folder = stack.enter_context(checkpoint_folder(source, None, reporter))
            loaded = load_as_asked(recipe, folder, source.name, reporter)
        anatomy = find_anatomy(loaded.model)
        scorer = PlanScorer(loaded, anatomy, self.layers, None, self.validation, reporter, self.base)
        return LocalPlanEvaluator(scorer, OperatorCache(anatomy, sent_inputs(self.inputs), self.class_rows))


def workers_name(source: ModelSource) -> str:
    """Return the name by which workers, which run in another folder, find a model: its hub id or absolute path."""
    return source.name if source.is_hub else str(source.path.resolve())


def find_same_model(name: str, revision: str | None, sha256: str, companions: str | None) -> ModelSource:
    """Find the driver's model on this machine.

    Raises:
        InputError: there is none of that name here, or its hash or that of its other files is not this one.
    """
    source = find_source(name, revision)
    if model_hash(source.path) != sha256 or companions_hash(source.path) != companions:
        raise InputError(f"{name}: differs from the driver's model of that name. Copy the driver's model here.")
    return source
