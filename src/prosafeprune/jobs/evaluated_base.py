"""The base model that an evaluation is compared with (``--base``), read before the model itself is loaded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import BaseAnswers
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.pruning_record import Pruning, RecordedModel, read_pruning
from prosafeprune.evaluation.targets import EvaluationTarget, LocalModel
from prosafeprune.jobs.benign_divergence import benign_base_answers, benign_test_prompts
from prosafeprune.progress import Reporter
from prosafeprune.requests.evaluate import EvaluateRequest


@dataclass(frozen=True)
class EvaluatedBase:
    """The base model's answers to benign prompts; no tokens if the divergence from it is saved already."""

    name: str
    sha256: str
    companions: str | None
    """Hash of the files next to its weights."""
    tokens: BaseAnswers | None

    @property
    def recorded(self) -> RecordedModel:
        """Its name and hash."""
        return RecordedModel(name=self.name, sha256=self.sha256)


def read_base_model(
    request: EvaluateRequest, measured: EvaluationTarget, folder: EvaluationFolder, reporter: Reporter
) -> EvaluatedBase | None:
    """Run the base model on benign prompts and free it, before the model itself is loaded."""
    if request.base is None:
        return None
    with LocalModel(request.base, request, reporter, with_replicas=False) as base:
        sha256, companions = base.subject.sha256, base.made_by()["companions"]
        _warn_of_another_base(measured, request, sha256, reporter)
        if folder.stored_divergence(sha256, companions) is not None:
            return EvaluatedBase(request.base, sha256, companions, None)
        answers = benign_base_answers(base.loaded, benign_test_prompts(request.seed), request, reporter)
        return EvaluatedBase(request.base, sha256, companions, answers)


def require_base_second(request: EvaluateRequest, measured: EvaluationTarget, reporter: Reporter) -> None:
    """Raise InputError when the base model that was named was pruned from the measured one, according to its record."""
    if request.base is None or not isinstance(measured, LocalModel):
        return
    base = LocalModel(request.base, request, reporter, with_replicas=False)
    if (bases := bases_of(base)) and measured.subject.sha256 in bases:
        raise InputError(
            f"--base {request.base}: was pruned from {request.model}, so the two are swapped. Give the pruned model "
            "first, and its base model with --base."
        )


def _warn_of_another_base(
    measured: EvaluationTarget, request: EvaluateRequest, sha256: str, reporter: Reporter
) -> None:
    """Warn when a pruned model was made from another model than the base model that was named."""
    record = pruning_of(measured)
    if record is not None and sha256 not in {model.sha256 for model in (record.model, *record.lineage)}:
        reporter.warning(
            f"--base {request.base}: {request.model} was, according to its record, made from another "
            f"model ({record.model.name}). The divergence is from the one that you named."
        )


def bases_of(model: LocalModel) -> frozenset[str]:
    """Return the hashes of the models that one was pruned from; of a record that cannot be read, none."""
    with suppress(InputError):  # what needs the record says what is wrong with it
        record = pruning_of(model)
        if record is not None:
            return frozenset(base.sha256 for base in (record.model, *record.lineage))
    return frozenset()


def pruning_of(measured: EvaluationTarget) -> Pruning | None:
    """Return how this package pruned a model; None for any other."""
    folder = (measured.subject.adapter or measured.folder) if isinstance(measured, LocalModel) else None
    return read_pruning(folder) if folder is not None else None
