"""The command line: one thin file per command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; every foreseen error is one line and an exit code."""
    from prosafeprune.cli.application import app
    from prosafeprune.errors import ProSafePruneError

    try:
        app()
    except ProSafePruneError as error:
        from prosafeprune.terminal import error_line

        error_line(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing was written.\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
