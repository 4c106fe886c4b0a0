"""Commands run one after the other in one process group: ``torchrun ... THIS_FILE COMMANDS.json CODES.json``.

Starting processes takes most of the time, so that the tests start them once for several commands.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers.small_sets import use_small_sets
from prosafeprune import cli
from prosafeprune.parallel.process_group import joined_process_group
from prosafeprune.terminal import calm_libraries


def main(commands: Path, codes: Path) -> None:
    calm_libraries()
    with joined_process_group(), pytest.MonkeyPatch.context() as patch:
        use_small_sets(patch, prompted=True)
        found = []
        for arguments in json.loads(commands.read_text()):
            sys.argv = ["prosafeprune", *arguments]
            try:
                cli.run_command()
            except SystemExit as ended:
                found.append(ended.code or 0)
        codes.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
