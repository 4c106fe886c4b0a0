"""Reduce over-refusal in open-weight language models, and save the result only if tests show that it is still safe.

>>> import prosafeprune
>>> result = prosafeprune.prune("Qwen/Qwen2.5-1.5B-Instruct", "out", layers="16")  # doctest: +SKIP
>>> result.record.source.compliance_rate, result.record.result.compliance_rate  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prosafeprune.api import (
        analyze,
        apply,
        check_prompts,
        compare,
        doctor,
        evaluate,
        judge,
        mine_prompts,
        prune,
        prune_unmeasured,
        push,
        rate_prompts,
        search,
        split_prompts,
    )
    from prosafeprune.errors import InputError, NoPlanError, NotApplicableError, ProSafePruneError
    from prosafeprune.jobs.analyze import FailedAnalysesError
    from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
    from prosafeprune.jobs.apply import ApplyResult
    from prosafeprune.jobs.calibrated_plan import SearchResult
    from prosafeprune.jobs.check_prompts import CheckResult, OverlapFoundError
    from prosafeprune.jobs.compare import CompareResult
    from prosafeprune.jobs.doctor import Diagnosis
    from prosafeprune.jobs.evaluate import Evaluation
    from prosafeprune.jobs.judge import JudgedFile
    from prosafeprune.jobs.mine_prompts import MineResult
    from prosafeprune.jobs.prune_result import PruneResult
    from prosafeprune.jobs.prune_unmeasured import PruneUnmeasuredResult
    from prosafeprune.jobs.rate_prompts import RatedPrompts
    from prosafeprune.jobs.safety_gate import SafetyFloorError
    from prosafeprune.jobs.split_prompts import SplitPrompts
    from prosafeprune.prompts import PromptSet, bundled_prompts, read_prompts
    from prosafeprune.requests.analyze import AnalyzeRequest
    from prosafeprune.requests.apply import ApplyRequest
    from prosafeprune.requests.compare import CompareRequest
    from prosafeprune.requests.evaluate import EvaluateRequest
    from prosafeprune.requests.recipe import Recipe, make_recipe
    from prosafeprune.requests.search import SearchRequest

__version__ = "0.2.0"

_EXPORTS = {
    "api": (
        *("analyze", "apply", "check_prompts", "compare", "doctor", "evaluate", "judge"),
        *("mine_prompts", "prune", "prune_unmeasured", "push", "rate_prompts", "search", "split_prompts"),
    ),
    "errors": ("InputError", "NoPlanError", "NotApplicableError", "ProSafePruneError"),
    "jobs.analyze": ("FailedAnalysesError",),
    "jobs.analyze_tasks": ("FinishedAnalysis",),
    "jobs.apply": ("ApplyResult",),
    "jobs.calibrated_plan": ("SearchResult",),
    "jobs.check_prompts": ("CheckResult", "OverlapFoundError"),
    "jobs.compare": ("CompareResult",),
    "jobs.doctor": ("Diagnosis",),
    "jobs.evaluate": ("Evaluation",),
    "jobs.judge": ("JudgedFile",),
    "jobs.mine_prompts": ("MineResult",),
    "jobs.prune_result": ("PruneResult",),
    "jobs.prune_unmeasured": ("PruneUnmeasuredResult",),
    "jobs.rate_prompts": ("RatedPrompts",),
    "jobs.safety_gate": ("SafetyFloorError",),
    "jobs.split_prompts": ("SplitPrompts",),
    "prompts": ("PromptSet", "bundled_prompts", "read_prompts"),
    "requests.analyze": ("AnalyzeRequest",),
    "requests.apply": ("ApplyRequest",),
    "requests.compare": ("CompareRequest",),
    "requests.evaluate": ("EvaluateRequest",),
    "requests.recipe": ("Recipe", "make_recipe"),
    "requests.search": ("SearchRequest",),
}
"""Names by the module that they are imported from on first use."""
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["analyze", "apply", "bundled_prompts", "check_prompts", "compare", "doctor", "evaluate", "judge"]
__all__ += ["make_recipe", "mine_prompts", "prune", "prune_unmeasured", "push", "rate_prompts", "read_prompts"]
__all__ += ["search", "split_prompts"]
__all__ += ["AnalyzeRequest", "ApplyRequest", "CompareRequest", "EvaluateRequest", "Recipe", "SearchRequest"]
__all__ += ["FailedAnalysesError", "InputError", "NoPlanError", "NotApplicableError", "OverlapFoundError"]
__all__ += ["ProSafePruneError", "SafetyFloorError"]
__all__ += ["ApplyResult", "CheckResult", "CompareResult", "Diagnosis", "Evaluation", "FinishedAnalysis"]
__all__ += ["JudgedFile", "MineResult", "PromptSet", "PruneResult", "PruneUnmeasuredResult", "RatedPrompts"]
__all__ += ["SearchResult", "SplitPrompts"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds to load, and `prosafeprune --help` does not need it.
    if name not in _MODULES:
        raise AttributeError(f"module 'prosafeprune' has no attribute {name!r}")
    return getattr(import_module(f"prosafeprune.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
