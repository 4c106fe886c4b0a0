"""The record of analyses: what was looked at, on which prompts, and how each analysis was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from prosafeprune.analysis.analysis_prompts import GENERAL, SPLITS, AnalysisPrompts
from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.folder import REQUEST
from prosafeprune.evaluation.prompts_record import PromptsRecord, prompts_record
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder
from prosafeprune.requests.analyze import AnalysisRequest


class MadeRecord(BaseModel):
    """How one analysis was made. Others in the folder may have been made with other options."""

    request: AnalysisRequest | None
    """What was asked for by the run that finished it; None in folders of an older version."""
    made_by: dict[str, Any]
    """Hashes and settings that it depends on."""


class AnalysisRecord(BaseModel):
    """What was analysed, and how. It holds no date."""

    format: int = 1
    request: AnalysisRequest
    """That of the last run."""
    model: dict[str, Any]
    """Hashes of the model, and how it runs."""
    against: dict[str, Any] | None
    prompts: dict[str, PromptsRecord]
    """Those of the last run that any of the analyses reads."""
    analyses: tuple[str, ...]
    made: dict[str, MadeRecord]
    """By analysis."""
    versions: dict[str, str]


def how_made(folder: ResumableFolder, entry: Entry) -> MadeRecord:
    """Return how an analysis in a folder was made."""
    return MadeRecord(
        request=folder.read(f"{entry.name}/{REQUEST}"), made_by=folder.read(f"{entry.name}/{MADE_BY}") or {}
    )


def used_prompts(
    request: AnalysisRequest, prompts: AnalysisPrompts, entries: Sequence[Entry]
) -> dict[str, PromptsRecord]:
    """Describe the prompts that these analyses read."""
    read = {split for entry in entries for split in entry.load().splits(request)}
    found = {}
    for split in SPLITS:
        if split in read:
            for name, one in prompts.of(split).items():
                # Sweeps alone read validation prompts, and of these a sample.
                used = one.sample(request.sweep_samples, request.seed) if split == "validation" else one
                found[f"{split} {name.in_words}"] = prompts_record(used)
    if GENERAL in read and prompts.general is not None:
        found[GENERAL] = prompts_record(prompts.general)
    return found
