"""``prune --polish``: a LoRA adapter trained on the pruned model's own answers, merged if validation shows a gain.

The pruned model refuses fewer harmless prompts and more harmful ones than the base model, so more of its own answers
can be trained on; training then carries over to prompts whose outputs the pruned directions do not reach.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prosafeprune.baselines.fitting import FITTED, FittedMethod
from prosafeprune.baselines.low_rank import edited_generator, stored_edits
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.baselines.registry import make_method
from prosafeprune.baselines.validation import Rates, Validation
from prosafeprune.editing.edits import LowRankEdit, PruningEdit, apply_edits
from prosafeprune.errors import InputError, NotApplicableError
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.generation import LocalGenerator
from prosafeprune.method.plan import Plan
from prosafeprune.model.loading import dtype_name, tokenizer_hash
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.report.record import PolishRecord, library_versions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.load import LoadedJob

POLISH = "polish"
"""Folder in the cache."""
VALIDATED = 96
"""Validation prompts of each class on which the gain must show."""


def require_polishable(job: LoadedJob) -> None:
    """Raise InputError when the model is spread over processes, each of which would need the same training."""
    if job.recipe.polish and isinstance(job.loaded, ReplicatedModel):
        raise InputError("--polish: trains in a single process. Start it without torchrun.")


def polish(
    job: LoadedJob, plan: Plan, edits: Sequence[PruningEdit], sha256: str
) -> tuple[list[LowRankEdit], PolishRecord]:
    """Train on the pruned model's own answers; the model is left with its base weights.

    Args:
        plan: that of ``edits``.
        edits: applied in memory during the training.
        sha256: hash of the base model.

    Returns:
        What the training adds to each matrix, for a model that has ``edits``, and the record; no edit if the training
        does not raise T.S. on validation prompts, or lowers S.S. by more than the recipe allows.

    Raises:
        InputError: as generation does, or the cache is full.
    """
    recipe, reporter, method = job.recipe, job.reporter, make_method("sft", {})
    made_by = _depends_on(job, plan, sha256)
    context = FitContext(job.loaded, job.calibration, job.confirmation, recipe.batch_size, recipe.seed, reporter)
    with apply_edits(edits), _kept_folder({**made_by, "method": method.describe()}) as folder:
        fitted = FittedMethod(method, made_by, folder / FITTED, lambda: context)
        try:
            parts = fitted.parts
        except NotApplicableError as error:
            reporter.warning(f"Not polished. {error}")
            return [], PolishRecord(kept=False, settings=method.describe())
        added = stored_edits(job.loaded, parts.tensors)
        validation = Validation(context, VALIDATED)
        with reporter.stage("Polish: validation", 2) as advance:
            before = validation.rates(LocalGenerator(job.loaded, recipe.batch_size))
            advance(1)
            after = validation.rates(edited_generator(job.loaded, recipe.batch_size, added))
            advance(1)
    kept = is_better(before, after, recipe)
    reporter.note(
        f"Validation prompts: C.R. {before.compliance:.1f} to {after.compliance:.1f}, S.S. {before.safety:.1f} to "
        f"{after.safety:.1f} by training: {'merged' if kept else 'not merged'}."
    )
    return added if kept else [], _record(method, parts, before, after, kept=kept)


def is_better(before: Rates, after: Rates, recipe: Recipe) -> bool:
    """Return whether T.S. rose on validation prompts, and S.S. fell by no more than the recipe allows."""
    return after.tradeoff > before.tradeoff and after.safety >= before.safety - recipe.max_safety_drop


def _record(method: Method, parts: FittedParts, before: Rates, after: Rates, *, kept: bool) -> PolishRecord:
    settings, losses = method.describe(), parts.facts["losses"]
    last = losses[-(len(losses) // settings["epochs"]) :]
    return PolishRecord(
        kept=kept,
        settings=settings,
        pairs=parts.facts["pairs"],
        last_loss=round(sum(last) / len(last), 4),
        validation={"pruned": (before.compliance, before.safety), "polished": (after.compliance, after.safety)},
    )


def _depends_on(job: LoadedJob, plan: Plan, sha256: str) -> dict[str, Any]:
    loaded, recipe = job.loaded, job.recipe
    return {
        "model": sha256,
        "plan": plan.model_dump(mode="json"),
        "calibration": {name.value: prompts.sha256 for name, prompts in job.calibration.items()},
        "tokenizer": tokenizer_hash(loaded.tokenizer),
        "chat_template": hashlib.sha256(str(loaded.tokenizer.chat_template).encode()).hexdigest(),
        "system": recipe.system,
        "thinking": recipe.thinking,
        "seed": recipe.seed,
        "device": loaded.device_name,
        "dtype": dtype_name(loaded.run_dtype),
        "batch_size": recipe.batch_size,
        "versions": library_versions(),
    }


@contextmanager
def _kept_folder(identity: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder in the cache that an interrupted training resumes from; a temporary one if it is unavailable."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / POLISH / digest[:32]
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_folder(path, overwrite=False))
            ResumableFolder(path, identity)
        except (InputError, OSError):
            path = Path(stack.enter_context(TemporaryDirectory()))
        yield path
