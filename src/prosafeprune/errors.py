"""Errors that a person can act on: one line that says what was wrong, where, and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message; the error's name if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class ProSafePruneError(Exception):
    """Base of every error this package raises deliberately. ``exit_code`` is the command line's exit code."""

    exit_code = 1


class InputError(ProSafePruneError):
    """Something the user gave cannot be used: a path, a prompt file, a model, an option."""

    exit_code = 2


class NotApplicableError(InputError):
    """A method cannot be applied to this model; other methods may."""


class NoPlanError(ProSafePruneError):
    """A search found no plan that complies more than the base model and keeps the safety floor."""

    exit_code = 3
