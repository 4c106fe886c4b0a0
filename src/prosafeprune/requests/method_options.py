"""Settings of methods, shared by every command that runs them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from prosafeprune.requests.validation import OneOrMore


class MethodOptions(BaseModel):
    """Settings of the methods that are fitted in this run."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Methods")

    settings: OneOrMore = Field(
        (),
        description="A method's setting, such as scan.threshold=0.7; may be given more than once.",
        json_schema_extra={"short": "-s"},
    )
    sft_data: Path | None = Field(
        None,
        description="For the method sft: .jsonl or .csv file of harmless prompts with helpful answers, instead of the "
        "model's own, such as FalseReject's training set.",
    )

    @property
    def method_settings(self) -> tuple[str, ...]:
        """All settings, as texts such as ``scan.threshold=0.7``."""
        return self.settings if self.sft_data is None else (*self.settings, f"sft.data={self.sft_data}")
