"""Cure over-refusal in open-weight language models without weakening their safety.

>>> import prosafeprune
>>> result = prosafeprune.prune("Qwen/Qwen2.5-1.5B-Instruct", "out", layers="16")  # doctest: +SKIP
>>> result.record.source.compliance_rate, result.record.result.compliance_rate  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prosafeprune.api import analyze, apply, compare, evaluate, prune, prune_unmeasured
    from prosafeprune.errors import InputError, ProSafePruneError
    from prosafeprune.jobs.apply import ApplyResult
    from prosafeprune.jobs.compare import CompareResult
    from prosafeprune.jobs.evaluate import Evaluation
    from prosafeprune.jobs.prune_result import PruneResult
    from prosafeprune.jobs.prune_unmeasured import PruneUnmeasuredResult
    from prosafeprune.jobs.safety_gate import SafetyFloorError
    from prosafeprune.prompts import PromptSet, bundled_prompts, read_prompts
    from prosafeprune.requests.analyze import AnalysisRequest
    from prosafeprune.requests.compare import CompareRequest
    from prosafeprune.requests.evaluate import EvaluationRequest
    from prosafeprune.requests.recipe import Recipe, make_recipe

__version__ = "0.2.0"

_HOMES = {
    "AnalysisRequest": "requests.analyze",
    "ApplyResult": "jobs.apply",
    "CompareRequest": "requests.compare",
    "Evaluation": "jobs.evaluate",
    "EvaluationRequest": "requests.evaluate",
    "InputError": "errors",
    "CompareResult": "jobs.compare",
    "ProSafePruneError": "errors",
    "PromptSet": "prompts",
    "PruneResult": "jobs.prune_result",
    "Recipe": "requests.recipe",
    "SafetyFloorError": "jobs.safety_gate",
    "PruneUnmeasuredResult": "jobs.prune_unmeasured",
    "analyze": "api",
    "apply": "api",
    "bundled_prompts": "prompts",
    "compare": "api",
    "evaluate": "api",
    "make_recipe": "requests.recipe",
    "prune": "api",
    "prune_unmeasured": "api",
    "read_prompts": "prompts",
}

__all__ = [
    "AnalysisRequest",
    "ApplyResult",
    "CompareRequest",
    "CompareResult",
    "Evaluation",
    "EvaluationRequest",
    "InputError",
    "ProSafePruneError",
    "PromptSet",
    "PruneResult",
    "PruneUnmeasuredResult",
    "Recipe",
    "SafetyFloorError",
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
