"""The public sets that the paper calibrates on (section 4.1 and appendix B.1)."""

from dataclasses import dataclass, replace
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.prompts.sources import FILE_TYPES, read_prompts


@dataclass(frozen=True)
class PaperSource:
    """A public set of one class."""

    title: str
    home: str
    """Id of the hub dataset."""
    file: str
    """Name of the file in ``--data-dir``, without the extension."""
    fields: tuple[str, ...]
    """Names of the prompt's column, in its copies."""

    @property
    def name(self) -> str:
        """The set's name, for options."""
        return self.file.replace("_", "-")

    def read(self, source: str, prompt_class: PromptClass) -> PromptSet:
        """Return its prompts from ``source``: its home, or a file. Raises InputError as ``read_prompts`` does."""
        return read_prompts(source, prompt_class, self.fields)


PAPER_SOURCES = {
    PromptClass.HARMFUL: PaperSource(
        "HEx-PHI", "LLM-Tuning-Safety/HEx-PHI:train", "hex_phi", ("Instruction", "instruction", "prompt", "content")
    ),
    PromptClass.BENIGN: PaperSource(
        "Alpaca-Cleaned", "yahma/alpaca-cleaned:train", "alpaca_cleaned", ("instruction", "prompt")
    ),
    PromptClass.PSEUDO_HARMFUL: PaperSource(
        "OR-Bench-80K", "bench-llm/or-bench:or-bench-80k:train", "or_bench_80k", ("prompt",)
    ),
}


def paper_prompts(prompt_class: PromptClass, data_dir: Path | None = None) -> PromptSet:
    """Return all prompts of the set that the paper calibrates on for a class.

    Args:
        prompt_class: the class.
        data_dir: folder that may hold the set as a file, which is then read instead of the hub.

    Raises:
        InputError: the set is unavailable: HEx-PHI is gated, and some machines have no network.
    """
    source = PAPER_SOURCES[prompt_class]
    found = read_paper_source(prompt_class, data_dir, "--calibration")
    return replace(found, source=f"{source.title} ({found.source})")


def read_paper_source(prompt_class: PromptClass, data_dir: Path | None, option: str) -> PromptSet:
    """Return the same prompts; their source is the name of the file, or the home. The message names ``option``."""
    source = PAPER_SOURCES[prompt_class]
    files = [data_dir / f"{source.file}{ending}" for ending in FILE_TYPES] if data_dir is not None else []
    file = next((path for path in files if path.is_file()), None)
    try:
        found = source.read(str(file or source.home), prompt_class)
    except InputError as error:
        if file is not None:
            raise
        raise InputError(
            f"{option}: {error} Or save {source.title} as {source.file}.csv or {source.file}.jsonl in a folder "
            "and give that with --data-dir."
        ) from error
    return replace(found, source=source.home if file is None else file.name)
