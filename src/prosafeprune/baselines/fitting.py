"""A method and what it has learned of a model: learned once, when it is first needed, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prosafeprune.baselines.fitted_file import learned_hash, read_learned, write_learned
from prosafeprune.baselines.method import BatchSetting, FittedParts, Material, Method
from prosafeprune.baselines.registry import find_method, make_method
from prosafeprune.errors import InputError
from prosafeprune.generation import Generator
from prosafeprune.model.loading import LoadedModel

FITTED = "fitted.safetensors"


class FittedMethod:
    """A method ready to answer for one model."""

    def __init__(
        self, method: Method, made_by: Mapping[str, Any], path: Path, material: Callable[[], Material] | None = None
    ) -> None:
        """Take a method that learned what is in ``path`` or, while there is no such file, learns from ``material``.

        ``made_by`` says what it learns depends on besides the method: model and prompts.
        """
        self.method = method
        self.made_by = {**(made_by if method.learns else {}), "method": method.describe()}
        self.path, self.material = path, material
        self._learned: FittedParts | None = None if method.learns else FittedParts()

    @property
    def learned(self) -> FittedParts:
        """What it has learned.

        Raises:
            InputError: as ``fit`` does, or the file is damaged or was made otherwise.
        """
        if self._learned is None:
            if self.material is not None and self.is_to_learn:
                self.learn(self.method.fit(self.material()))
            self._learned = read_learned(self.path, self.made_by).learned
        return self._learned

    @property
    def is_to_learn(self) -> bool:
        """Whether it has something to learn that is not kept yet."""
        return self.method.learns and not self.path.exists()

    def learn(self, learned: FittedParts) -> None:
        """Keep what the method's ``fit`` has learned."""
        write_learned(self.path, learned, self.made_by)

    @property
    def sha256(self) -> str | None:
        """The hash of what it has learned; None when it learns nothing."""
        return learned_hash(self.learned) if self.method.learns else None

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting) -> Generator:
        """Return what answers. Raises InputError as ``learned`` does."""
        return self.method.generator(loaded, batch_size, self.learned)


def method_from_file(name: str, path: Path, model: str) -> FittedMethod:
    """Return the method that was fitted into a file, with the settings it was fitted with.

    Raises:
        InputError: no such file, a damaged one, one of another method, or of a model with another hash.
    """
    kept = read_learned(path, {"model": model}).made_by
    settings = dict(kept.pop("method"))
    fitted, wanted = settings.pop("method"), find_method(name).name
    if fitted != wanted:
        raise InputError(f"{path}: was fitted for {fitted}, not for {wanted}. Give the file that belongs to it.")
    return FittedMethod(make_method(name, settings), kept, path)
