"""The record of an analysis run: models, prompts, and the origin of each analysis in the folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from prosafeprune.analysis.analysis_folder import REQUEST
from prosafeprune.analysis.analysis_prompts import GENERAL, SPLITS, AnalysisPrompts
from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import PromptsRecord, prompts_record
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder
from prosafeprune.requests.analyze import AnalyzeRequest


class Provenance(BaseModel):
    """The origin of one analysis. Others in the folder may have been made with other options."""

    request: AnalyzeRequest | None
    """The request of the run that finished it; None in folders of an older version."""
    made_by: dict[str, Any]
    """Hashes and settings that it depends on."""


class AnalysisRecord(BaseModel):
    """What was analysed, and how. It has no date."""

    format: int = 1
    request: AnalyzeRequest
    """That of the last run."""
    model: dict[str, Any]
    """Hashes of the model, and how it runs."""
    against: dict[str, Any] | None
    prompts: dict[str, PromptsRecord]
    """The prompts of the last run that any of the analyses uses."""
    analyses: tuple[str, ...]
    made: dict[str, Provenance]
    """By analysis."""
    versions: dict[str, str]


def read_provenance(folder: ResumableFolder, entry: CatalogueEntry) -> Provenance:
    """Return the origin of an analysis in a folder. Raises InputError when its files are damaged."""
    file = f"{entry.name}/{REQUEST}"
    try:
        return Provenance(request=folder.read(file), made_by=folder.read(f"{entry.name}/{MADE_BY}") or {})
    except ValidationError as error:
        raise InputError(f"{folder.path / file}: is damaged. Delete it and run again.") from error


def used_prompts(
    request: AnalyzeRequest, prompts: AnalysisPrompts, entries: Sequence[CatalogueEntry]
) -> dict[str, PromptsRecord]:
    """Describe the prompts that these analyses use."""
    splits = {split for entry in entries for split in entry.load().splits(request)}
    records = {}
    for split in SPLITS:
        if split in splits:
            for name, one in prompts.of(split).items():
                # Only sweeps use validation prompts, and only a sample of them.
                used = one.sample(request.sweep_samples, request.seed) if split == "validation" else one
                records[f"{split} {name.in_words}"] = prompts_record(used)
    if GENERAL in splits and prompts.general is not None:
        records[GENERAL] = prompts_record(prompts.general)
    return records
