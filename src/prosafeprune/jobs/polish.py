"""``prune --polish``: a LoRA adapter trained on the pruned model's own answers, merged if validation shows a gain.

The pruned model refuses fewer harmless prompts and more harmful ones than the base model, so more of its own answers
can be trained on; training then carries over to prompts whose outputs the pruned directions do not reach.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prosafeprune.baselines.candidates import Validation
from prosafeprune.baselines.fitting import FITTED, FittedMethod, read_fitted
from prosafeprune.baselines.low_rank import scaled, stored_edits
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.baselines.registry import make_method
from prosafeprune.editing.edits import LowRankEdit, PruningEdit, apply_edits
from prosafeprune.errors import InputError, NotApplicableError
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.files.cache import folder_of
from prosafeprune.files.resumable_folder import ResumableFolder, locked_folder
from prosafeprune.generation import LocalGenerator
from prosafeprune.jobs.kept_answers import answers_depend_on
from prosafeprune.method.plan import Plan
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.plan_search.scored_plan import objective
from prosafeprune.progress import ignore, partial_answers
from prosafeprune.prompts import PromptClass
from prosafeprune.report.polish_record import PolishRecord, PolishTrial, describe_trial
from prosafeprune.setup.load import LoadedRun

POLISH = "polish"
"""Folder in the cache."""
VALIDATED = 144
"""Validation prompts of each class on which the gain must show."""
BENIGN_PROMPTS = 24
"""Benign validation prompts on which the divergence from the base model is measured."""
COMPLIANCE_DROP = 3.0
"""Points of C.R. that may be traded for S.S.: pruning is there to raise it, and training must not take that back."""
STRENGTHS = (0.0, 0.125, 0.25, 0.5, 1.0)
"""Factors of the trained change: full strength diverges most from the base model, and may give back C.R."""


def require_polishable(run: LoadedRun) -> None:
    """Raise InputError when the model is spread over processes, each of which would need the same training."""
    if run.recipe.polish and isinstance(run.loaded, ReplicatedModel):
        raise InputError("--polish: trains in a single process. Start it without torchrun.")


def polish(
    run: LoadedRun, plan: Plan, edits: Sequence[PruningEdit], sha256: str
) -> tuple[list[LowRankEdit], PolishRecord]:
    """Train on the pruned model's own answers; the model is left with its base weights.

    Args:
        plan: that of ``edits``.
        edits: applied in memory during the training.
        sha256: hash of the base model.

    Returns:
        What the merged training adds to each matrix, for a model that has ``edits``, and the record; no edit if no
        strength of it is worth its divergence on validation prompts.

    Raises:
        InputError: as generation does, or the cache is full.
    """
    recipe, reporter, method = run.recipe, run.reporter, make_method("self-training")
    made_by = _depends_on(run, plan, sha256)
    context = FitContext(run.loaded, run.calibration, run.confirmation, recipe.batch_size, recipe.seed, reporter)
    benign = run.confirmation[PromptClass.BENIGN].sample(BENIGN_PROMPTS, recipe.seed).texts
    size = BatchSize(recipe.batch_size, run.loaded.device)
    with reporter.stage("Benign answers of the base model", len(benign)) as advance:
        base = record_base_answers(run.loaded, benign, size, advance)
    with apply_edits(edits), _kept_folder({**made_by, "method": method.describe()}) as folder:
        _drop_damaged(folder / FITTED, made_by)
        fitted = FittedMethod(method, made_by, folder / FITTED, lambda: context)
        try:
            parts = fitted.parts
        except NotApplicableError as error:
            reporter.warning(f"Not polished. {error}")
            return [], PolishRecord(strength=0.0, settings=method.describe(), skipped=str(error))
        trained = stored_edits(run.loaded, parts.tensors)
        validation, found = Validation(context, VALIDATED), []
        total = len(STRENGTHS) * len(validation.prompts)
        with reporter.stage("Polish: validation", total) as advance, partial_answers(advance) as progress:
            for strength in STRENGTHS:
                with apply_edits(scaled(trained, strength)):
                    divergence = divergence_from_base(base, run.loaded, size, ignore).mean
                    rates = validation.rates(LocalGenerator(run.loaded, recipe.batch_size), progress)
                found.append(PolishTrial(strength, rates.compliance, rates.safety, divergence))
    best = best_trial(found, recipe.max_safety_drop)
    merged = f"Merged at strength {best.strength:g}" if best.strength > 0 else "Not merged"
    reporter.note(f"Validation prompts: {'; '.join(map(describe_trial, found))}. {merged}.")
    return scaled(trained, best.strength) if best.strength > 0 else [], _record(method, parts, found, best)


def best_trial(trials: Sequence[PolishTrial], max_safety_drop: float) -> PolishTrial:
    """Return the trial of the highest T.S., less what a search deducts for KL from the base model.

    The first trial is the pruned model alone; those that lose more than ``max_safety_drop`` points of S.S. or
    COMPLIANCE_DROP points of C.R. are left out.
    """
    pruned = trials[0]
    allowed = [
        trial
        for trial in trials
        if trial.safety_score >= pruned.safety_score - max_safety_drop
        and trial.compliance_rate >= pruned.compliance_rate - COMPLIANCE_DROP
    ]
    return max(allowed, key=lambda trial: objective(trial.compliance_rate, trial.safety_score, trial.divergence))


def _record(method: Method, parts: FittedParts, trials: Sequence[PolishTrial], best: PolishTrial) -> PolishRecord:
    settings, losses = method.describe(), parts.facts["losses"]
    last = losses[-(len(losses) // settings["epochs"]) :]
    return PolishRecord(
        strength=best.strength,
        settings=settings,
        pairs=parts.facts["pairs"],
        last_loss=round(sum(last) / len(last), 4),
        validation=list(trials),
    )


def _depends_on(run: LoadedRun, plan: Plan, sha256: str) -> dict[str, Any]:
    return {
        **answers_depend_on(run.loaded, run.recipe, sha256),
        "plan": plan.model_dump(mode="json"),
        "calibration": {name.value: prompts.sha256 for name, prompts in run.calibration.items()},
        "seed": run.recipe.seed,
    }


def _drop_damaged(kept: Path, made_by: dict[str, Any]) -> None:
    """Remove a fit in the cache that cannot be read: it is made again, as everything there can be."""
    if not kept.exists():
        return
    try:
        read_fitted(kept, made_by)
    except InputError:
        with suppress(OSError):
            kept.unlink()


@contextmanager
def _kept_folder(identity: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder in the cache that an interrupted training resumes from; a temporary one if it is unavailable."""
    path = folder_of(POLISH, identity)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_folder(path, overwrite=False))
            ResumableFolder(path, identity)
        except (InputError, OSError):
            path = Path(stack.enter_context(TemporaryDirectory()))
        yield path
