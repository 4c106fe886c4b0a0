"""Errors that a person can act on: one line that says what was wrong, where, and what to do."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return what an error of a library says, in one line; its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class ProSafePruneError(Exception):
    """Base of every error this package raises on purpose. ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(ProSafePruneError):
    """Something the user gave cannot be used: a path, a prompt file, a model, an option."""

    exit_code = 2


class NotApplicableError(InputError):
    """A method finds nothing in a model that it could work with; other methods may."""


class NoPlanError(ProSafePruneError):
    """A search found no plan that complies more than the source and keeps the safety floor."""

    exit_code = 3
