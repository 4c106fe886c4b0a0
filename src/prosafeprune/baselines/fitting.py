"""A method together with its fit to one model, kept in a file: made when first needed, or named by an evaluation."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prosafeprune.baselines.fit_clock import FitClock
from prosafeprune.baselines.learned_prompts import prompt_hashes
from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.baselines.own_method_errors import OwnGenerator, own_errors_named
from prosafeprune.baselines.registry import find_method, make_method
from prosafeprune.errors import InputError, first_line
from prosafeprune.files.staging import write_whole
from prosafeprune.generation import Answer, Decoding, Generator
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptSet
from prosafeprune.requests.measuring import ModelOptions

FITTED = "fitted.safetensors"
PROGRESS = "fitting-*"
"""Files next to it that a fit saves its progress in."""
TIME = "fitting-time.json"
"""The one with the seconds that earlier sessions took."""
ENTRY = "prosafeprune"
FORMAT = 1
OF_SHAPES = re.compile(r"\b(?:sizes?|shapes?|dimensions?|out of bounds)\b", re.I)
"""In torch's errors for tensors that do not fit together, which have no class of their own."""


class FittedMethod:
    """A method ready to answer for one model."""

    def __init__(
        self,
        method: Method,
        made_by: Mapping[str, Any],
        path: Path,
        context: Callable[[], FitContext] | None = None,
        prompts: Sequence[PromptSet] = (),
    ) -> None:
        """Take a method whose fit is in ``path`` or, while there is no such file, is made from ``context``.

        Args:
            made_by: what the fit depends on besides the method: model and prompts.
            context: called once, if the method has to be fitted; None when the file must exist.
            prompts: what it is fitted on, to be known from the file: by hash, so that none is measured on later.
        """
        self.method = method
        self.made_by = {**(made_by if method.needs_fit else {}), "method": method.describe()}
        self.path, self.context, self._prompts = path, context, prompts
        self._parts: FittedParts | None = None if method.needs_fit else FittedParts()

    @property
    def parts(self) -> FittedParts:
        """The fit; the method is fitted at the first call if it has to be.

        Raises:
            InputError: as ``fit`` does, or the file is damaged or belongs to another fit.
        """
        if self._parts is None and self.context is not None and self.must_be_fitted:
            self.save(self._fit(self.context()))
        if self._parts is None:
            self._parts = read_fitted(self.path, self.made_by)[0]
        return self._parts

    @property
    def complete_parts(self) -> FittedParts:
        """The fit with its tensors; of a method that keeps none on disk, it may be made again.

        Raises:
            InputError: as ``parts`` and ``fit`` do.
        """
        if self.lacks_tensors and self.context is not None:
            self.save(self._fit(self.context()))
        return self.parts

    @property
    def lacks_tensors(self) -> bool:
        """Whether the fit is of an earlier run that did not write its tensors. Raises InputError as ``parts`` does."""
        return self.method.in_memory_only and not self.parts.tensors

    @property
    def must_be_fitted(self) -> bool:
        """Whether the method needs a fit that is not on disk yet."""
        return self.method.needs_fit and not self.path.exists()

    def save(self, fitted: FittedParts) -> None:
        """Write the result of the method's ``fit``, without tensors if these stay in memory.

        Raises:
            InputError: it cannot be written.
        """
        in_memory = self.method.in_memory_only
        fitted = replace(fitted, learned_from=frozenset(prompt_hashes(self._prompts)))
        write_fitted(self.path, replace(fitted, tensors={}) if in_memory else fitted, self.made_by)
        self._parts = fitted if in_memory else None
        for file in self.path.parent.glob(PROGRESS):
            file.unlink()

    def _fit(self, context: FitContext) -> FittedParts:
        """Fit the method, resuming an interrupted fit, and count the time of all sessions."""
        clock = FitClock(self.path.with_name(TIME))
        try:
            with own_errors_named(self.method):
                fitted = self.method.fit(replace(context, folder=self.path.parent, clock=clock))
        except BaseException:
            if any(self.path.parent.glob(PROGRESS)):
                clock.save()
            raise
        return replace(fitted, seconds=clock.seconds)

    @property
    def sha256(self) -> str | None:
        """The hash of the fit; None for a method without one on disk."""
        return fitted_hash(self.parts) if self.method.needs_fit and not self.method.in_memory_only else None

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting) -> Generator:
        """Return the method's generator. Raises InputError as ``parts`` does."""
        return self.guarded(lambda: self.method.generator(loaded, batch_size, self.complete_parts))

    def guarded(self, make: Callable[[], Generator]) -> Generator:
        """Return the generator that ``make`` makes of the fit.

        What a damaged file or a method of the user's own makes go wrong is an InputError.
        """
        with own_errors_named(self.method):
            if self.context is not None:
                return OwnGenerator(self.method, make())
            with damage_named(self.path, LookupError, TypeError, ValueError):
                return OwnGenerator(self.method, _FromFile(make(), self.path))


class _FromFile:
    """A generator with a fit that may be someone else's: tensors of another shape show only when it answers."""

    def __init__(self, generator: Generator, path: Path) -> None:
        self.generator, self.path = generator, path

    def describe(self) -> dict[str, Any]:
        return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        with damage_named(self.path, LookupError):
            yield from self.generator.answer(prompts, decoding)


@contextmanager
def damage_named(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Raise InputError for what a damaged fit makes go wrong: errors of some kinds, and tensors of another shape."""
    try:
        yield
    except Exception as error:
        of_shapes = type(error) is RuntimeError and OF_SHAPES.search(str(error)) is not None
        if not of_shapes and not isinstance(error, kinds):
            raise
        raise InputError(f"{path}: is not a fit for this model ({first_line(error)[:200]}). Fit again.") from error


def fitted_under(request: ModelOptions) -> dict[str, Any]:
    """Return what a fit also depends on, where it is not the default: system prompt, mode of thinking, dtype."""
    dtype = None if request.runs_in == "auto" else request.runs_in
    conditions = {"system": request.system, "thinking": request.recorded_thinking, "dtype": dtype}
    return {name: value for name, value in conditions.items() if value is not None}


def method_from_file(name: str, path: Path, model: str) -> FittedMethod:
    """Return the method fitted in a file, with the settings it was fitted with.

    Args:
        model: sha256 of the model that the fit must belong to.

    Raises:
        InputError: no such file, a damaged one, or one of another method or model.
    """
    if find_method(name).in_memory_only:
        raise InputError(f"--fitted: what {name} fits is not kept in files. Leave it out: it is fitted again.")
    _, made_by = read_fitted(path, {"model": model})
    wanted = find_method(name).name
    with damage_named(path, LookupError, TypeError, ValueError):
        settings = {str(key): value for key, value in dict(made_by.pop("method")).items()}
        fitted = settings.pop("method")
    if fitted != wanted:
        raise InputError(f"{path}: was fitted for {fitted}, not for {wanted}. Give the file that belongs to it.")
    return FittedMethod(make_method(name, settings), made_by, path)


def write_fitted(path: Path, fitted: FittedParts, made_by: Mapping[str, Any]) -> None:
    """Write the file atomically; ``made_by`` says what the fit depends on: method, settings, model, prompts.

    Raises:
        InputError: it cannot be written.
    """
    facts = {"facts": fitted.facts, "seconds": fitted.seconds, "learned_from": sorted(fitted.learned_from)}
    header = json.dumps({"format": FORMAT, "made_by": dict(made_by), **facts})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.tensors.items()}
    write_whole(path, save(tensors, {ENTRY: header}))


def read_fitted(path: Path, made_by: Mapping[str, Any]) -> tuple[FittedParts, dict[str, Any]]:
    """Return the fit in a file, and what it depends on, which must include ``made_by``.

    Raises:
        InputError: no such file, a damaged one, or one of another method, other settings or another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, or not a regular one. Check --fitted.")
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})[ENTRY])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
        found, facts, seconds = dict(header["made_by"]), dict(header["facts"]), header.get("seconds")
        learned_from = frozenset(map(str, header.get("learned_from", ())))
        known = header["format"] == FORMAT
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a file of a fitted method, or damaged ({first_line(error)}). Fit again."
        ) from error
    if any(tensor.is_floating_point() and bool(tensor.isnan().any()) for tensor in tensors.values()):
        raise InputError(f"{path}: holds values that are not numbers. Fit again.")
    if not known:
        raise InputError(f"{path}: was written by another version of this package. Fit again.")
    wanted = json.loads(json.dumps(dict(made_by)))
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        was = ", ".join(f"{name} {found.get(name)!r}, now {wanted[name]!r}" for name in other)
        raise InputError(f"{path}: belongs to another fit ({was}). Fit again, or give the file that belongs to it.")
    return FittedParts(tensors, facts, seconds if isinstance(seconds, int | float) else None, learned_from), found


def fitted_hash(fitted: FittedParts) -> str:
    """Return the sha256 over names, shapes, dtypes and bytes of the tensors, and over the facts."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(fitted.tensors.items())}
    digest = hashlib.sha256(json.dumps(fitted.facts, sort_keys=True).encode())
    digest.update(save(tensors))
    return digest.hexdigest()
