"""A search's workers on a cluster: what each is sent, and how it makes the model ready for plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from prosafeprune.cluster.model import find_same_model, workers_name
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.method.gathering import Part
from prosafeprune.method.pooling import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.progress import SilentReporter
from prosafeprune.recipe import Recipe
from prosafeprune.search.edits import PlanEdits
from prosafeprune.search.scoring import PlanScorer
from prosafeprune.search.testers import LocalTester, PlanTester, RemoteTester, inputs_to_send, sent_inputs
from prosafeprune.setup.bench import load_as_asked
from prosafeprune.setup.calibration import ClassRows
from prosafeprune.setup.job import Job, PromptSets, checkpoint_folder


@contextmanager
def plan_tester(
    job: Job, model: str, scorer: PlanScorer, edits: PlanEdits, layers: Sequence[int]
) -> Iterator[PlanTester]:
    """Give who tries plans: workers where the job has a cluster, else the model in this process.

    Args:
        job: what is searched for.
        model: the hash of its model, which that of the workers must have too.
        scorer: has measured the source.
        edits: with the pooled inputs so far.
        layers: the layers that plans may prune.

    Raises:
        InputError: the cluster has no room for workers.
    """
    if job.cluster is None:
        yield LocalTester(scorer, edits)
        return
    prompts = sum(map(len, edits.class_rows.values()))
    where = {"model": workers_name(job.source), "revision": job.source.revision}
    setup = _MakeTester(
        job.recipe.model_copy(update=where),
        model,
        tuple(layers),
        scorer.source,
        dict(job.validation),
        inputs_to_send(edits.inputs, prompts),
        dict(edits.class_rows),
    )
    with job.cluster.pool(job.recipe.device, setup) as pool:
        yield RemoteTester(pool, scorer, prompts)


@dataclass(frozen=True)
class _MakeTester:
    recipe: Recipe
    model: str
    layers: tuple[int, ...]
    source: Measurement
    validation: PromptSets
    inputs: Mapping[Pooling, Part]
    class_rows: ClassRows

    def __call__(self, state: Any) -> LocalTester:
        recipe, reporter = self.recipe, SilentReporter()
        source = find_same_model(recipe.model, recipe.revision, self.model)
        with ExitStack() as stack:
            folder = stack.enter_context(checkpoint_folder(source, None, reporter))
            loaded = load_as_asked(recipe, folder, source.name, reporter)
        anatomy = find_anatomy(loaded.model)
        scorer = PlanScorer(
            loaded,
            anatomy,
            self.layers,
            None,
            recipe.max_new_tokens,
            self.validation,
            recipe.batch_size,
            reporter,
            source=self.source,
        )
        return LocalTester(scorer, PlanEdits(anatomy, sent_inputs(self.inputs), self.class_rows))
