"""The fit of a method that ``compare`` or ``evaluate`` kept, to be made into a model. It may come from someone else.

Only fits that are a LoRA adapter can be: those of :class:`~prosafeprune.baselines.low_rank.LowRankMethod`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.baselines.fitting import FITTED, damage_named, fitted_hash, read_fitted
from prosafeprune.baselines.learned_prompts import require_not_learned
from prosafeprune.baselines.low_rank import LowRankMethod, require_exact_factors, scaled, stored_edits
from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.registry import SAVEABLE, make_method
from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.sets import EvaluationSet, require_no_leak
from prosafeprune.files.user_path import user_path
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import ModelSource
from prosafeprune.prompts import PromptClass, bundled_prompts, require_disjoint
from prosafeprune.report.fit_record import FitRecord
from prosafeprune.report.record import Record
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.text import listed, without_folder


@dataclass(frozen=True)
class OwnFit:
    """A fit that this package wrote, read back."""

    path: Path
    method: LowRankMethod
    made_by: Mapping[str, Any]
    """What it depends on besides the method: the model's hash, the prompts, the seed."""
    calibration: Mapping[PromptClass, PromptsRecord]
    """The prompts that it was made from."""
    parts: FittedParts

    def require_base(self, source: ModelSource) -> str:
        """Return the hash of ``source``. Raises InputError when it is not the model that was fitted."""
        found, wanted = model_hash(source.path), str(self.made_by.get("model"))
        if found != wanted:
            raise InputError(
                f"{source.name}: is not the model that {self.path} was fitted to (sha256 {wanted[:12]}; this one has "
                f"{found[:12]}). Give that one, unchanged."
            )
        return found

    def require_no_leak(self, sets: Sequence[EvaluationSet]) -> None:
        """Raise InputError when a prompt is measured on that it was made from, or may have been selected by."""
        require_not_learned(self.parts.learned_from, self.path, sets)
        require_no_leak({name: prompts.model_dump() for name, prompts in self.calibration.items()}, sets)
        measured = [one.prompts for one in sets]
        for prompt_class in PromptClass:
            require_disjoint([bundled_prompts(prompt_class, "validation")], measured)

    def record_at(self, strength: float) -> FitRecord:
        """Return what a model's record says of the fit."""
        return FitRecord(
            method=self.method.name,
            settings={**self.method.describe(), "seed": self.made_by.get("seed")},
            facts=self.parts.facts,
            sha256=fitted_hash(self.parts),
            strength=strength,
        )

    def is_of(self, record: Record, request: ApplyRequest) -> bool:
        """Return whether a record is of the model that a request would make of the fit."""
        written = (record.fit, record.recipe.format, record.recipe.model, record.model.sha256)
        name = without_folder(request.model)
        return written == (self.record_at(strength_of(request)), request.format, name, self.made_by.get("model"))

    def edits(self, loaded: LoadedModel, strength: float) -> list[LowRankEdit]:
        """Return what it adds to each matrix of the model that was fitted, times ``strength``.

        Raises:
            InputError: its factors are not those of matrices of this model, or not finite.
        """
        with damage_named(self.path, LookupError, TypeError, ValueError):
            require_exact_factors(loaded, self.parts.tensors)
            edits = stored_edits(loaded, self.parts.tensors)
        return edits if strength == 1 else scaled(edits, strength)


def strength_of(request: ApplyRequest) -> float:
    """Return the factor that a fit is merged with. Raises InputError for one per layer, or one above 1."""
    if isinstance(request.strength, tuple):
        raise InputError("--strength: a fit has one strength, not one per layer. Give a single number.")
    if request.strength is not None and request.strength > 1:
        raise InputError(f"--strength {request.strength:g}: a fit is merged with a factor from 0 to 1.")
    return 1.0 if request.strength is None else request.strength


def open_fit(given: str) -> OwnFit | None:
    """Read the fit in a file, or in the folder of a method; None when there is none: it may be an adapter.

    Raises:
        InputError: it is damaged, or of a method whose fit cannot or must not become a model.
    """
    path = user_path(given)
    path = path / FITTED if path.is_dir() else path
    if (path.name != FITTED and path.suffix != ".safetensors") or not path.is_file():
        return None
    parts, made_by = read_fitted(path, {})
    with damage_named(path, LookupError, TypeError, ValueError, AttributeError):
        settings = {str(key): value for key, value in dict(made_by["method"]).items()}
        name = str(settings.pop("method"))
        others = {key: value for key, value in made_by.items() if key != "method"}
        calibration = {
            PromptClass(prompt_class): PromptsRecord.model_validate(record)
            for prompt_class, record in dict(made_by.get("calibration", {})).items()
        }
    if name not in SAVEABLE:
        raise InputError(
            f"{path}: is the fit of {name[:40]}, of which no model is written. Only {listed(list(SAVEABLE))} can be "
            "applied: their fit is a LoRA adapter."
        )
    method = make_method(name, settings)
    assert isinstance(method, LowRankMethod)
    return OwnFit(path, method, others, calibration, parts)
