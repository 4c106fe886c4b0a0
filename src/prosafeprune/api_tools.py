"""``push`` and ``doctor``, which :mod:`prosafeprune.api` re-exports."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.jobs.doctor import Diagnosis, run_doctor
from prosafeprune.jobs.push import PushTarget, upload
from prosafeprune.requests.call_arguments import checked
from prosafeprune.terminal import TerminalReporter


@checked
def push(folder: str | Path, repository: str, *, public: bool = False, progress: bool = True) -> str:
    """Upload a model that :func:`prosafeprune.prune` or ``apply`` wrote to the hub, with card, report and record.

    The token comes from the environment, ``HF_TOKEN``. An interrupted upload resumes when it is called again.

    Args:
        folder: the written folder.
        repository: ``ORG/NAME``.
        public: whether everybody may read it.
        progress: show progress on stderr.

    Returns:
        The repository's address.

    Raises:
        InputError: there is no token, the hub is unreachable, or the repository cannot take the model.
        SafetyFloorError: the folder's record does not keep its safety floor.
    """
    with TerminalReporter(quiet=not progress) as reporter:
        return upload(Path(folder), PushTarget(repository, public), reporter)


@checked
def doctor(*, progress: bool = True) -> Diagnosis:
    """Return versions, devices with their speed, the largest model that fits, and what is missing.

    Args:
        progress: show progress on stderr.
    """
    with TerminalReporter(quiet=not progress) as reporter:
        return run_doctor(reporter)
