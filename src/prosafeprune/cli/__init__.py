"""The command line: one thin file per command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; every foreseen error is one line and an exit code."""
    # Read when tqdm is first imported: the libraries' bars would cross ours. Downloads from the hub keep theirs.
    os.environ.setdefault("TQDM_DISABLE", "1")
    from prosafeprune.cli.application import app
    from prosafeprune.errors import ProSafePruneError

    try:
        app()
    except ProSafePruneError as error:
        from prosafeprune.terminal import error_line

        error_line(str(error))
        sys.exit(error.exit_code)
