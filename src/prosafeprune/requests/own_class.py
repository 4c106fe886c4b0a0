"""Classes of the user's own code, named ``module:Class`` on the command line."""

from importlib import import_module
from typing import Any

from prosafeprune.errors import InputError, first_line


def import_own(name: str) -> Any:
    """Return what ``module:Class`` names. Raises InputError when it cannot be imported."""
    module, _, kind = name.partition(":")
    try:
        return getattr(import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{name}: cannot be imported ({first_line(error)}). Is its folder on PYTHONPATH?") from error
    except Exception as error:  # the user's code may fail in any way
        raise InputError(
            f"{name}: its module fails when it is imported ({type(error).__name__}: {first_line(error)})."
        ) from error
