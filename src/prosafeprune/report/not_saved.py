"""The report of a model that was not safe to save: a page next to where the model would have been."""

from contextlib import suppress
from pathlib import Path

from prosafeprune.report.page import Page, is_own_page, write_page

NOT_SAVED = "-not-saved.html"
"""Appended to the output's name."""


def write_not_saved(output: Path, page: Page) -> Path:
    """Write the report of what is not saved in ``output``, and return its path. Raises InputError as for any page."""
    report = _report_of(output)
    write_page(page, report)
    return report


def remove_not_saved(output: Path) -> None:
    """Remove the report of an earlier run once ``output`` is saved: it would contradict the model next to it.

    A file of that name which is not a page of this package stays.
    """
    report = _report_of(output)
    with suppress(OSError):  # the model is complete, with or without it
        if is_own_page(report):
            report.unlink()


def _report_of(output: Path) -> Path:
    return output.with_name(f"{output.name}{NOT_SAVED}")
