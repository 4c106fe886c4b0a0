"""Prompt sets as records describe them: where they came from, how many, and a hash of their text."""

from collections.abc import Mapping

from pydantic import BaseModel

from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.text import without_folder


class PromptsRecord(BaseModel):
    """A prompt set as it was used, after sampling."""

    source: str
    count: int
    sha256: str


def prompts_record(prompts: PromptSet) -> PromptsRecord:
    """Describe a prompt set for a record."""
    source = " + ".join(map(without_folder, prompts.source.split(" + ")))  # records are shared; folders are private
    return PromptsRecord(source=source, count=len(prompts), sha256=prompts.sha256)


def calibration_record(calibration: Mapping[PromptClass, PromptSet]) -> dict[str, PromptsRecord]:
    """Describe calibration prompts for a record, by class."""
    return {name.value: prompts_record(prompts) for name, prompts in calibration.items()}
