"""What a method of the user's own raises is named as its fault, not as a bug of this package."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prosafeprune.baselines.method import Method
from prosafeprune.errors import InputError, ProSafePruneError, first_line
from prosafeprune.generation import Answer, Decoding, Generator

PACKAGE = __name__.partition(".")[0]


@contextmanager
def own_errors_named(method: Method) -> Iterator[None]:
    """Raise InputError, which names the class, for any other error of a method that is not of this package."""
    kind = type(method)
    try:
        yield
    except ProSafePruneError:
        raise
    except Exception as error:  # the user's code may fail in any way
        if kind.__module__.partition(".")[0] == PACKAGE:
            raise
        raise InputError(
            f"{kind.__module__}:{kind.__name__}: fails ({type(error).__name__}: {first_line(error)}). --debug prints "
            "where."
        ) from error


class OwnGenerator:
    """The generator of a method of the user's own, which may fail only when it answers."""

    def __init__(self, method: Method, generator: Generator) -> None:
        self.method, self.generator = method, generator

    def describe(self) -> dict[str, Any]:
        """Return what the generator returns."""
        with own_errors_named(self.method):
            return self.generator.describe()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield what the generator yields. Raises InputError when the method fails."""
        with own_errors_named(self.method):
            yield from self.generator.answer(prompts, decoding)
