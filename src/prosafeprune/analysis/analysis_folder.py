"""The folder of one analysis (observations, result, tables and figures) and the record of a run."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from prosafeprune.analysis.analysis_prompts import GENERAL, SPLITS, AnalysisPrompts
from prosafeprune.analysis.catalogue import CatalogueEntry
from prosafeprune.analysis.figure_drawing import draw
from prosafeprune.analysis.result import AnalysisResult, Observation
from prosafeprune.errors import InputError, first_line
from prosafeprune.evaluation.prompts_record import PromptsRecord, prompts_record
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder
from prosafeprune.requests.analyze import AnalyzeRequest

RESULT = "findings.json"
REQUEST = "request.json"
"""The request of the run that wrote the result."""


class AnalysisFolder(ResumableFolder):
    """One analysis, saved step by step: the observation of each model, then the result, then tables and figures.

    Raises:
        InputError: the folder belongs to other models, prompts or settings, or cannot be read or written.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        path.mkdir(exist_ok=True)
        if not (path / RESULT).exists() and not any(path.glob("*.npz")):
            # An analysis that failed early leaves nothing to protect: run it again with a corrected option.
            (path / MADE_BY).unlink(missing_ok=True)
        super().__init__(path, made_by)

    def observation(self, role: str) -> Observation | None:
        """Return the saved observation of a model, or None."""
        file = self.path / f"{role}.npz"
        if not file.exists():
            return None
        if not file.is_file():
            raise InputError(f"{file}: is not a regular file. Delete it and run again.")
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
            raise InputError(f"{file}: cannot be read ({first_line(error)}). Delete it and run again.") from error

    def save_observation(self, role: str, observation: Observation) -> None:
        """Save the observation of a model."""
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **observation)
        self.write_file(f"{role}.npz", stream.getvalue())

    def result(self) -> AnalysisResult | None:
        """Return the result of a finished analysis, or None."""
        return read_result(self, RESULT)

    def save_result(self, result: AnalysisResult, request: AnalyzeRequest) -> None:
        """Save the result, its tables as CSV, and the request."""
        for table in result.tables:
            self.write_file(f"{table.name}.csv", table.csv())
        self.write(REQUEST, request.model_dump(mode="json"))
        self.write(RESULT, result.model_dump(mode="json", by_alias=True))

    def draw_missing(self, result: AnalysisResult) -> None:
        """Draw the figures that do not exist yet, from the result alone."""
        for figure in result.figures:
            if not all((self.path / f"{figure.name}.{ending}").exists() for ending in ("svg", "png")):
                for ending, content in draw(figure, result.table(figure.table)).items():
                    self.write_file(f"{figure.name}.{ending}", content)


def read_result(folder: ResumableFolder, file: str) -> AnalysisResult | None:
    """Return the result in a file of a folder, or None without one. Raises InputError when it is damaged."""
    saved = folder.read(file)
    try:
        return AnalysisResult.model_validate(saved) if saved is not None else None
    except ValueError as error:  # pydantic's, or of lone surrogates
        raise InputError(f"{folder.path / file}: is damaged. Delete it and run again.") from error


class Provenance(BaseModel):
    """The origin of one analysis. Others in the folder may have been made with other options."""

    request: AnalyzeRequest | None
    """The request of the run that finished it; None in folders of an older version."""
    made_by: dict[str, Any]
    """The hashes and settings that the result depends on."""


class AnalysisRecord(BaseModel):
    """What was analysed, and how. It has no date."""

    format: int = 1
    request: AnalyzeRequest
    """The request of the last run."""
    model: dict[str, Any]
    """The model's hashes and how it is run."""
    against: dict[str, Any] | None
    prompts: dict[str, PromptsRecord]
    """The prompt sets that the analyses of the last run use."""
    analyses: tuple[str, ...]
    made: dict[str, Provenance]
    """The provenance of each analysis, by its name."""
    versions: dict[str, str]


def read_provenance(folder: ResumableFolder, entry: CatalogueEntry) -> Provenance:
    """Return the origin of an analysis in a folder. Raises InputError when its files are damaged."""
    file = f"{entry.name}/{REQUEST}"
    try:
        return Provenance(request=folder.read(file), made_by=folder.read(f"{entry.name}/{MADE_BY}") or {})
    except ValueError as error:  # pydantic's, or of lone surrogates
        raise InputError(f"{folder.path / file}: is damaged. Delete it and run again.") from error


def used_prompts(
    request: AnalyzeRequest, prompts: AnalysisPrompts, entries: Sequence[CatalogueEntry]
) -> dict[str, PromptsRecord]:
    """Describe the prompts that these analyses use."""
    splits = {split for entry in entries for split in entry.load().splits(request)}
    records = {}
    for split in SPLITS:
        if split in splits:
            for name, prompt_set in prompts.of(split).items():
                # Only sweeps use validation prompts, and only a sample of them.
                used = prompt_set.sample(request.sweep_samples, request.seed) if split == "validation" else prompt_set
                records[f"{split} {name.in_words}"] = prompts_record(used)
    if GENERAL in splits and prompts.general is not None:
        records[GENERAL] = prompts_record(prompts.general)
    return records
