"""The command line: one thin file per command."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext


def main() -> None:
    """Run the command line, in one process or in several that torchrun started."""
    # Read when tqdm is first imported: the libraries' bars would cross ours. Downloads from the hub keep theirs.
    os.environ.setdefault("TQDM_DISABLE", "1")
    with _process_group():
        run_command()


def _process_group() -> AbstractContextManager[None]:
    """Return the context that the command runs in: that of the leader, where torchrun started several processes."""
    from prosafeprune.parallel.launch import process_count

    if process_count() == 1:
        return nullcontext()
    from prosafeprune.parallel.process_group import joined_process_group
    from prosafeprune.terminal import calm_libraries

    calm_libraries()
    return joined_process_group()


def run_command() -> None:
    """Run the command that the program's arguments name; every foreseen error is one line and an exit code."""
    from prosafeprune.cli.application import app
    from prosafeprune.errors import ProSafePruneError

    try:
        app()
    except ProSafePruneError as error:
        from prosafeprune.terminal import error_line

        error_line(str(error))
        sys.exit(error.exit_code)
