"""Prompt sets as records describe them: where they came from, how many, and a hash of their text."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer

from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.text import without_folder


class PromptsRecord(BaseModel):
    """A prompt set as it was used, after sampling."""

    source: str
    count: int
    sha256: str
    sources: tuple["PromptsRecord", ...] = ()
    """Of prompts with some of the user's among them, those of each source; otherwise empty, and not written."""

    @model_serializer(mode="wrap")
    def _without_empty_sources(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        return written if self.sources else {name: value for name, value in written.items() if name != "sources"}


def prompts_record(prompts: PromptSet) -> PromptsRecord:
    """Describe a prompt set for a record."""
    parts = prompts.by_source() if any(prompt.source for prompt in prompts) else []
    return _record(prompts).model_copy(update={"sources": tuple(map(_record, parts))})


def _record(prompts: PromptSet) -> PromptsRecord:
    source = " + ".join(map(without_folder, prompts.source.split(" + ")))  # records are shared; folders are private
    return PromptsRecord(source=source, count=len(prompts), sha256=prompts.sha256)


def calibration_record(calibration: Mapping[PromptClass, PromptSet]) -> dict[str, PromptsRecord]:
    """Describe calibration prompts for a record, by class."""
    return {name.value: prompts_record(prompts) for name, prompts in calibration.items()}
