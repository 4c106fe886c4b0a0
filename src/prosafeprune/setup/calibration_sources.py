"""The user's calibration prompts: files, hub datasets and public sets by name, of this run and of an earlier one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import EarlierPruning
from prosafeprune.evaluation.public_sets import PUBLIC_NAMES, name_in_source, named_parts, option_of, read_named
from prosafeprune.evaluation.sets import BEYOND, BUNDLED, EvaluationSet
from prosafeprune.prompts import PromptClass, PromptSet, read_reviewed, without_overlaps
from prosafeprune.prompts.sources import FILE_TYPES
from prosafeprune.requests.parsing import PUBLIC_NAME
from prosafeprune.requests.plan_options import CalibrationOptions
from prosafeprune.text import did_you_mean

LONGEST_NAME = 80
"""Characters of a name: longer texts are none, and may be too long for a path."""


def read_users_prompts(
    options: CalibrationOptions, prompt_class: PromptClass, earlier: EarlierPruning | None = None
) -> PromptSet | None:
    """Return the user's prompts of a class, each with its source, those of an ``earlier`` pruning first, or None.

    A prompt that is in several sources, equal or nearly so, is of the first one.

    Raises:
        InputError: a source cannot be read, or has no prompts of the class.
    """
    read = [part for given in getattr(options, prompt_class.value) for part in _read(given, prompt_class, options)]
    parts: list[PromptSet] = []
    for part in read:
        others, _ = without_overlaps(part, parts) if parts else (part, [])
        parts += [others] if len(others) else []
    if earlier is not None:
        parts = [*_earlier_prompts(earlier, prompt_class, options, read), *parts]
    return _joined(parts) if parts else None


def require_not_measured(options: CalibrationOptions, measured: Sequence[EvaluationSet]) -> None:
    """Check that no public set is named to calibrate on that is also measured on, unless overlaps are to be dropped.

    Where both are samples, they might have no prompt in common: by chance, for this seed.

    Raises:
        InputError: naming the set.
    """
    if options.drop_overlaps:
        return
    names = {test_set.name for test_set in measured}
    for prompt_class in PromptClass:
        for given in getattr(options, prompt_class.value):
            twice = next((name for name in named_parts(given, prompt_class) if name in names), None)
            if twice is not None:
                raise InputError(
                    f"{twice}: is calibrated on ({option_of(prompt_class)}) and measured on. Leave out one of the two, "
                    "or pass --drop-overlaps, which calibrates on those of its prompts that are not measured on."
                )


def describe_earlier(options: CalibrationOptions, earlier: EarlierPruning) -> list[str]:
    """Return a line for each calibration source of an earlier pruning that is read again."""
    lines = []
    for prompt_class in PromptClass:
        for name in earlier.sources(prompt_class):
            path, given = _place_of(name, options), getattr(options, prompt_class.value)
            same = name if name in given else None if path is None else next(filter(_is(path), given), None)
            same = same or next((source for source in given if _is_named(name, source, prompt_class)), None)
            of_earlier = f"{prompt_class.in_words} calibration prompts of {earlier.folder}"
            if same is not None:
                kind = "the set" if _is_named(name, same, prompt_class) else "the file"
                lines.append(f"{of_earlier}, of {name}: those that are still in {same}, {kind} given now.")
            else:
                lines.append(f"{of_earlier}, read again: {name}.")
    return lines


def _read(given: str, prompt_class: PromptClass, options: CalibrationOptions) -> list[PromptSet]:
    """Return the prompts that a file, dataset or name stands for."""
    name = given.partition("=")[0]
    if name in (*BUNDLED, *BEYOND):
        raise InputError(
            f"{option_of(prompt_class)} {given}: are test prompts, which are measured on. Bundled prompts to calibrate "
            "on are named with --calibration."
        )
    if name in PUBLIC_NAMES:
        return read_named(given, prompt_class, getattr(options, "data_dir", None))
    if PUBLIC_NAME.fullmatch(name) and len(name) <= LONGEST_NAME and not Path(name).exists():
        like = did_you_mean(name, PUBLIC_NAMES)
        raise InputError(
            f"{option_of(prompt_class)} {given}: no such file, and no such public set.{like} "
            "Give a .jsonl, .json, .csv or .txt file, a hub dataset id (org/name), or one of: "
            f"{', '.join(PUBLIC_NAMES)}."
        )
    return [read_reviewed(given, prompt_class, options.prompt_field)]


def _earlier_prompts(
    earlier: EarlierPruning, prompt_class: PromptClass, options: CalibrationOptions, read: Sequence[PromptSet]
) -> list[PromptSet]:
    """Return the user's calibration prompts of an earlier pruning, without those read now and what it was measured on.

    Its record may be someone else's: nothing that it names is downloaded, or read outside the folders of the command.

    Raises:
        InputError: a file of it is neither in the current folder nor next to new prompts, or it is not a file.
    """
    given = getattr(options, prompt_class.value)
    names_read = {part.source for part in read} | {name_in_source(part.source) for part in read}
    found = []
    for name in earlier.sources(prompt_class):
        if name in names_read or (name_in_source(name) or name) in names_read:
            continue
        if Path(name).suffix.lower() not in FILE_TYPES or ":" in name:
            raise InputError(
                f"--from {earlier.folder}: was calibrated on {name}, and a record does not decide what is downloaded. "
                f"Give it with {option_of(prompt_class)}, besides the new prompts."
            )
        path = _place_of(name, options)
        if path is None:
            raise InputError(
                f"--from {earlier.folder}: was calibrated on {name}, which is not here. Put it in the current folder "
                "or next to the new prompts."
            )
        if any(map(_is(path), given)):
            continue
        again = replace(read_reviewed(str(path), prompt_class, earlier.prompt_field), source=name)
        kept, _ = without_overlaps(again, [earlier.tested])
        found += [kept] if len(kept) else []
    return found


def _place_of(name: str, options: CalibrationOptions) -> Path | None:
    """Return the file of an earlier pruning, in the current folder or next to new prompts; None if it is in neither."""
    given = [_file_of(new) for each_class in PromptClass for new in getattr(options, each_class.value)]
    inside = [] if Path(name).is_absolute() or ".." in Path(name).parts else [Path(name)]
    places = [*inside, *(Path(new).parent / Path(name).name for new in given)]
    return next((place for place in places if place.is_file()), None)


def _file_of(given: str) -> str:
    """Return the file of a source that is given as ``NAME=FILE``, any other as it is."""
    name, _, file = given.partition("=")
    return file if file and name in PUBLIC_NAMES else given


def _is(path: Path) -> Callable[[str], bool]:
    """Return whether a given source is this file."""
    return lambda given: Path(given).is_file() and path.samefile(given)


def _is_named(source: str, given: str, prompt_class: PromptClass) -> bool:
    """Whether a source in a record is a public set that is named now."""
    return name_in_source(source) in named_parts(given, prompt_class)


def _joined(parts: Sequence[PromptSet]) -> PromptSet:
    """Return several sets of a class as one, without exact repeats."""
    unique = {prompt.text: prompt for part in reversed(parts) for prompt in reversed(part.with_sources().prompts)}
    prompts = tuple(reversed(unique.values()))
    sources = dict.fromkeys(part.source for part in parts)
    return PromptSet(parts[0].prompt_class, " + ".join(sources), prompts)
