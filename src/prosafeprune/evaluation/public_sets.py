"""Public prompt sets by their names: benchmarks, and the sets that the paper calibrates on."""

from dataclasses import replace
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.evaluation.benchmarks import BENCHMARKS, BY_NAME, PARTS, Benchmark
from prosafeprune.prompts.paper_sources import PAPER_SOURCES, read_paper_source
from prosafeprune.prompts.prompt_set import PromptClass, PromptSet
from prosafeprune.prompts.sources import FILE_TYPES

CLASSES = {
    **{source.name: prompt_class for prompt_class, source in PAPER_SOURCES.items()},
    **{benchmark.name: benchmark.prompt_class for benchmark in BENCHMARKS},
}
"""The public sets that may be calibrated on by their names, with their classes."""
PUBLIC_NAMES = (*CLASSES, *PARTS)


def parts_of(text: str) -> list[str]:
    """Return the benchmarks of a name: of ``xstest``, or ``xstest=FILE``, both halves; of ``polyrefuse`` all languages.

    Raises:
        InputError: one file is given for parts that are separate files.
    """
    name, equals, file = text.partition("=")
    parts = PARTS.get(name, (name,))
    if file and len({BY_NAME[part].file for part in parts if part in BY_NAME}) > 1:
        raise InputError(f"{name}: is one file for each part. Name the part: {parts[0]}={file}.")
    return [f"{part}{equals}{file}" for part in parts]


def named_parts(given: str, prompt_class: PromptClass) -> list[str]:
    """Return the names of the sets of a class that ``NAME`` or ``NAME=FILE`` names; none where it names no public set.

    Of benchmarks with prompts of two classes, such as ``xstest``, those of the class.

    Raises:
        InputError: all its prompts are of another class, or one file is given for several sets.
    """
    if given.partition("=")[0] not in PUBLIC_NAMES:
        return []
    parts = [part.partition("=")[0] for part in parts_of(given)]
    of_class = [part for part in parts if CLASSES[part] is prompt_class]
    if not of_class:
        other = CLASSES[parts[0]].in_words
        raise InputError(f"{option_of(prompt_class)} {given}: has {other} prompts. Give it with --{other}.")
    return of_class


def option_of(prompt_class: PromptClass) -> str:
    """Return the option that names calibration prompts of a class."""
    return f"--{prompt_class.in_words}"


def read_named(given: str, prompt_class: PromptClass, data_dir: Path | None) -> list[PromptSet]:
    """Return the prompts of each set that :func:`named_parts` returns; a set's source begins with its name.

    Raises:
        InputError: as :func:`named_parts`, or a set is unavailable.
    """
    file, option = given.partition("=")[2] or None, option_of(prompt_class)
    found = []
    for name in named_parts(given, prompt_class):
        if name in BY_NAME:
            prompts = read_benchmark(BY_NAME[name], file, data_dir, f"{option} {name}=FILE")
        elif file is not None:
            source = PAPER_SOURCES[prompt_class]
            prompts = replace(source.read(file, prompt_class), source=Path(file).name)
        else:
            prompts = read_paper_source(prompt_class, data_dir, f"{option} {name}")
        found.append(replace(prompts, source=f"{name} ({prompts.source})"))
    return found


def name_in_source(source: str) -> str | None:
    """Return the name of the public set that a calibration source is, as :func:`read_named` writes it, or None."""
    name, bracket, _ = source.partition(" (")
    return name if bracket and name in CLASSES else None


def read_benchmark(benchmark: Benchmark, file: str | None, data_dir: Path | None, by_file: str) -> PromptSet:
    """Return a benchmark's prompts, of a file, of ``data_dir`` or of its home; their source is that home or file.

    Args:
        by_file: how the file of this benchmark is named, for the message when ``data_dir`` does not have it.

    Raises:
        InputError: it cannot be fetched or read.
    """
    source = file or _local_file(benchmark, data_dir, by_file)
    try:
        prompts = benchmark.read(source or benchmark.home)
    except InputError as error:
        if source is not None:
            raise
        raise InputError(
            f"{benchmark.name}: {error} Without a network, fetch it elsewhere, save it as {benchmark.file}.csv or "
            f"{benchmark.file}.jsonl in a folder and give that folder with --data-dir."
        ) from error
    # Not the full path: it goes into records.
    return replace(prompts, source=Path(source).name if source else benchmark.home)


def _local_file(benchmark: Benchmark, data_dir: Path | None, by_file: str) -> str | None:
    if data_dir is None:
        return None
    for ending in FILE_TYPES:
        path = data_dir / f"{benchmark.file}{ending}"
        if path.is_file():
            return str(path)
    raise InputError(
        f"{benchmark.name}: {data_dir} has no {benchmark.file}.jsonl, .json, .csv or .txt. Put it there, give its file "
        f"with {by_file}, or leave it out. Its home is {benchmark.about}."
    )
