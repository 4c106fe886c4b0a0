"""The folder of one analysis: what was seen, what it means, and the files people look at."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from prosafeprune.analysis.base import Observation
from prosafeprune.analysis.figures import draw
from prosafeprune.analysis.result import Findings
from prosafeprune.errors import InputError
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder
from prosafeprune.requests.analyze import AnalysisRequest

FINDINGS = "findings.json"
REQUEST = "request.json"
"""What was asked for by the run that made the findings."""


class AnalysisFolder(ResumableFolder):
    """One analysis, kept step by step: each model's observation, then the findings, then tables and figures.

    Raises:
        InputError: what is there was made of other things, or cannot be read or written.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        path.mkdir(exist_ok=True)
        if not (path / FINDINGS).exists() and not any(path.glob("*.npz")):
            # Nothing came of it: an option that it failed by may be put right.
            (path / MADE_BY).unlink(missing_ok=True)
        super().__init__(path, made_by)

    def observation(self, role: str) -> Observation | None:
        """Return what was seen of a model before; None when it was not looked at."""
        file = self.path / f"{role}.npz"
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: cannot be read ({error}). Remove it, and it is made again.") from error

    def keep_observation(self, role: str, seen: Observation) -> None:
        """Keep what was seen of a model."""
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **seen)
        self.write_file(f"{role}.npz", stream.getvalue())

    def findings(self) -> Findings | None:
        """Return the findings of a finished analysis, or None."""
        kept = self.read(FINDINGS)
        try:
            return Findings.model_validate(kept) if kept is not None else None
        except ValidationError as error:
            raise InputError(f"{self.path / FINDINGS}: is damaged. Remove it, and it is made again.") from error

    def keep_findings(self, findings: Findings, request: AnalysisRequest) -> None:
        """Keep the findings, with the tables as CSV, and what was asked for."""
        for table in findings.tables:
            self.write_file(f"{table.name}.csv", table.csv())
        self.write(REQUEST, request.model_dump(mode="json"))
        self.write(FINDINGS, findings.model_dump(mode="json"))

    def draw_missing(self, findings: Findings) -> None:
        """Draw the figures that are not there yet, from the findings alone."""
        for figure in findings.figures:
            if not all((self.path / f"{figure.name}.{ending}").exists() for ending in ("svg", "png")):
                for ending, content in draw(figure, findings.table(figure.table)).items():
                    self.write_file(f"{figure.name}.{ending}", content)
