"""``prosafeprune doctor``: what this machine has, and what is missing."""

from prosafeprune.cli.options import AsJson


def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices, speed, the largest model that fits, and what is missing. Takes a few seconds."""
    from prosafeprune.jobs.doctor import run_doctor
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        found = run_doctor(reporter)
        print_result(found.model_dump_json(indent=2), found.grids(), as_json=as_json)
