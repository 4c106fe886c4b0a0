"""Cure over-refusal in open-weight language models without weakening their safety.

>>> import prosafeprune
>>> result = prosafeprune.prune("Qwen/Qwen2.5-1.5B-Instruct", "out", layers="16")  # doctest: +SKIP
>>> result.record.source.compliance_rate, result.record.result.compliance_rate  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prosafeprune.analysis.request import AnalysisRequest
    from prosafeprune.api import analyze, apply, compare, evaluate, prune, prune_unmeasured
    from prosafeprune.applying import Applied
    from prosafeprune.baselines.request import CompareRequest
    from prosafeprune.comparer import MethodComparison
    from prosafeprune.errors import InputError, ProSafePruneError, SafetyFloorError
    from prosafeprune.evaluation.request import EvaluationRequest
    from prosafeprune.evaluator import Evaluation
    from prosafeprune.pipeline import PruneResult
    from prosafeprune.prompts import PromptSet, bundled_prompts, read_prompts
    from prosafeprune.recipe import Recipe, make_recipe
    from prosafeprune.unmeasured import UnmeasuredResult

__version__ = "0.1.0"

_HOMES = {
    "AnalysisRequest": "analysis.request",
    "Applied": "applying",
    "CompareRequest": "baselines.request",
    "Evaluation": "evaluator",
    "EvaluationRequest": "evaluation.request",
    "InputError": "errors",
    "MethodComparison": "comparer",
    "ProSafePruneError": "errors",
    "PromptSet": "prompts",
    "PruneResult": "pipeline",
    "Recipe": "recipe",
    "SafetyFloorError": "errors",
    "UnmeasuredResult": "unmeasured",
    "analyze": "api",
    "apply": "api",
    "bundled_prompts": "prompts",
    "compare": "api",
    "evaluate": "api",
    "make_recipe": "recipe",
    "prune": "api",
    "prune_unmeasured": "api",
    "read_prompts": "prompts",
}

__all__ = [
    "AnalysisRequest",
    "Applied",
    "CompareRequest",
    "Evaluation",
    "EvaluationRequest",
    "InputError",
    "MethodComparison",
    "ProSafePruneError",
    "PromptSet",
    "PruneResult",
    "Recipe",
    "SafetyFloorError",
    "UnmeasuredResult",
    "analyze",
    "apply",
    "bundled_prompts",
    "compare",
    "evaluate",
    "make_recipe",
    "prune",
    "prune_unmeasured",
    "read_prompts",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and `prosafeprune --help` should not wait for it.
    if name not in _HOMES:
        raise AttributeError(f"module 'prosafeprune' has no attribute {name!r}")
    return getattr(import_module(f"prosafeprune.{_HOMES[name]}"), name)
