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
    from prosafeprune.baselines.request import CompareRequest
    from prosafeprune.errors import InputError, ProSafePruneError, SafetyFloorError
    from prosafeprune.evaluation.request import EvaluationRequest
    from prosafeprune.jobs.applying import Applied
    from prosafeprune.jobs.comparing import MethodComparison
    from prosafeprune.jobs.evaluating import Evaluation
    from prosafeprune.jobs.pruning import PruneResult
    from prosafeprune.jobs.unmeasured import UnmeasuredResult
    from prosafeprune.prompts import PromptSet, bundled_prompts, read_prompts
    from prosafeprune.recipe import Recipe, make_recipe

__version__ = "0.1.0"

_HOMES = {
    "AnalysisRequest": "analysis.request",
    "Applied": "jobs.applying",
    "CompareRequest": "baselines.request",
    "Evaluation": "jobs.evaluating",
    "EvaluationRequest": "evaluation.request",
    "InputError": "errors",
    "MethodComparison": "jobs.comparing",
    "ProSafePruneError": "errors",
    "PromptSet": "prompts",
    "PruneResult": "jobs.pruning",
    "Recipe": "recipe",
    "SafetyFloorError": "errors",
    "UnmeasuredResult": "jobs.unmeasured",
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
