"""Prompt sets: bundled, from files or the hub; sampling; overlap between sets that must be disjoint."""

from prosafeprune.prompts.bundled import bundled_beyond, bundled_prompts, calibration_beyond, validation_prompts
from prosafeprune.prompts.overlap import (
    Overlap,
    describe_overlap,
    find_overlaps,
    hold_out,
    require_disjoint,
    require_splits_disjoint,
    without_overlaps,
)
from prosafeprune.prompts.paper_sources import paper_prompts
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.reviewed import read_reviewed
from prosafeprune.prompts.sources import read_prompts

__all__ = ["Overlap", "Prompt", "PromptClass", "PromptSet", "bundled_beyond", "bundled_prompts", "calibration_beyond"]
__all__ += ["describe_overlap", "find_overlaps", "hold_out", "paper_prompts", "read_prompts", "read_reviewed"]
__all__ += ["require_disjoint", "require_splits_disjoint", "validation_prompts", "without_overlaps"]
