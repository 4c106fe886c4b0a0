"""What a user asks of the commands of ``prompts``, as validated objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from prosafeprune.requests.endpoint import EndpointOptions
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import FileOptions, ModelOptions, SeedOptions
from prosafeprune.requests.parsing import OneOrMore, first_changed

HIGHEST_RATING = 5
"""Highest rating of harmfulness; the lowest is 0."""


class MineRequest(JudgeOptions):
    """How candidates are taken from logs."""

    model_config = ConfigDict(title="Logs")

    prompt_field: str = Field(
        "prompt",
        description="Field or column of prompts, in logs without conversations; if not given, also one with another "
        "usual name, such as question.",
    )
    answer_field: str = Field(
        "completion",
        description="Field or column of answers; if not given, also one with another usual name, such as response.",
    )
    limit: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Maximum candidates; of more refused requests, a random sample that is the same in every run.",
    )
    keep_personal: bool = Field(
        False, description="Leave e-mail addresses, phone numbers, keys, card and account numbers as they are."
    )


class RateRequest(EndpointOptions, FileOptions, ModelOptions):
    """Which model rates the harmfulness of prompts, and which ratings are kept."""

    model_config = ConfigDict(title="Rating")

    model: str = Field(
        "",
        description="Model that rates: with --endpoint its name there (default: the only one served); without, a "
        "folder, hub id or .gguf file, whose hidden states a probe of harmful against benign prompts reads.",
    )
    keep: str = Field(
        "2-3", description="Ratings to keep, from 0 (harmless) to 5 (extremely harmful), such as 2-3 or 1."
    )

    @field_validator("keep", mode="before")
    @classmethod
    def _range_of_ratings(cls, value: Any) -> Any:
        text = str(value).replace(" ", "")
        found = re.fullmatch(r"([0-5])(?:-([0-5]))?", text)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise ValueError("write the lowest and the highest rating to keep, from 0 to 5, such as 2-3")
        return text

    @model_validator(mode="after")
    def _has_a_rater(self) -> RateRequest:
        if not self.model and self.endpoint is None:
            raise ValueError("a model that rates is needed: give --endpoint URL, or --model FOLDER for its own probe")
        if self.endpoint is not None and (unused := first_changed(self, ("system", "thinking"))) is not None:
            raise ValueError(f"{unused} is for the probe of a model; a model behind an endpoint is asked as it is")
        return self

    @property
    def kept(self) -> range:
        """The ratings to keep."""
        low, _, high = self.keep.partition("-")
        return range(int(low), int(high or low) + 1)


class CheckRequest(FileOptions):
    """In which benchmarks leaks are looked for, besides the bundled test prompts."""

    model_config = ConfigDict(title="Leaks")

    suite: Literal["paper"] | None = Field(None, description="paper: also look for leaks in its six benchmarks.")
    benchmark: OneOrMore = Field(
        (),
        description="Also look for leaks in this benchmark, by name, or NAME=FILE; may be given more than once.",
        json_schema_extra={"short": "-b"},
    )
    data_dir: Path | None = Field(
        None, description="Folder with the benchmarks' files, instead of their public sources."
    )


class SplitRequest(FileOptions, SeedOptions):
    """How prompts are split."""

    model_config = ConfigDict(title="Split")

    shares: str = Field("60-20-20", description="Percent of the prompts for calibration, validation and test.")

    @field_validator("shares", mode="before")
    @classmethod
    def _three_shares(cls, value: Any) -> Any:
        text = "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        found = re.fullmatch(r"(\d{1,2})-(\d{1,2})-(\d{1,2})", text)
        if not found or sum(map(int, found.groups())) != 100 or "0" in map(str, map(int, found.groups())):
            raise ValueError("write three shares above 0 that add up to 100, such as 60-20-20")
        return text

    @property
    def parts(self) -> tuple[float, ...]:
        """The three shares, which add up to 1."""
        return tuple(int(share) / 100 for share in self.shares.split("-"))
