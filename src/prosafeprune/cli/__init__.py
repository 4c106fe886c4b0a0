"""The command line: one thin file per command, which parses, calls the job and prints."""

import atexit
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NoReturn

DEBUG = "--debug"
RESUMED = ("prune", "search", "apply", "evaluate", "compare", "analyze", "demo")
"""Commands that lose little when interrupted."""
ASKING = (["judge"], ["prompts", "mine"], ["prompts", "rate"])
"""Commands that write nothing before their end, but keep what a server answered."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""
ENDED_BY = {signal.SIGTERM: "Terminated", signal.SIGHUP: "Hung up"}
"""Signals that end a command as Ctrl-C does, and what they did."""


def program() -> None:
    """Run the command line as a program: after Ctrl-C, or a signal that ends it, the prompt is back at once."""
    try:
        main()
    except SystemExit as ended:
        if ended.code in {INTERRUPTED, *(128 + number for number in ENDED_BY)}:
            _end_at_once(int(ended.code))
        raise


def main() -> None:
    """Run the command line, in one process or as one of several that torchrun started."""
    # Read when tqdm is first imported: the libraries' bars would interfere with ours. Hub downloads keep theirs.
    os.environ.setdefault("TQDM_DISABLE", "1")
    _open_closed_streams()
    for number in ENDED_BY:  # end as Ctrl-C does, so that locks and partial files are removed
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _terminate)
    # In a terminal that is not UTF-8, letters it lacks are shown as "?", and typed ones that are no UTF-8 as U+FFFD.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # In the C locale Python's default is "surrogateescape", which fails like "strict".
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    try:
        with _process_group():
            run_command()
    except KeyboardInterrupt:  # also while libraries load
        _exit_interrupted(sys.argv[1:])
    except SystemExit as ended:
        if ended.code in {128 + number for number in ENDED_BY}:
            _say_interrupted(sys.argv[1:], ENDED_BY[signal.Signals(int(ended.code) - 128)])
        raise


def run_command() -> None:
    """Run the command in ``sys.argv``. Every failure is one line on stderr and an exit code."""
    # Accepted anywhere, because it is added to the end of a command that failed.
    debug = DEBUG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        _require_current_folder()
        from prosafeprune.cli.application import app

        app(arguments, prog_name="prosafeprune")
    except KeyboardInterrupt:
        _exit_interrupted(arguments)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # what Typer makes of Ctrl-C within a command
            _exit_interrupted(arguments)
        raise
    except BaseException as error:  # panics of Rust libraries derive from BaseException
        from prosafeprune.cli.failures import report_failure

        if debug:
            raise
        sys.exit(report_failure(error, arguments))


def _require_current_folder() -> None:
    """Raise InputError when the current folder was removed: no path could be made absolute."""
    try:
        Path.cwd()
    except OSError as error:
        from prosafeprune.errors import InputError

        raise InputError("The current folder no longer exists. Change to another one.") from error


def _open_closed_streams() -> None:
    """Put the null device in place of standard streams that are closed: else a file that is opened takes their number.

    Libraries would then write their messages into that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - until the end


def _terminate(number: int, frame: object) -> NoReturn:
    for signal_number in ENDED_BY:  # a second one would stop the tidying up
        signal.signal(signal_number, signal.SIG_IGN)
    sys.exit(128 + number)


def _exit_interrupted(arguments: Sequence[str]) -> NoReturn:
    _say_interrupted(arguments, "Interrupted")
    sys.exit(INTERRUPTED)


def _say_interrupted(arguments: Sequence[str], what: str) -> None:
    from prosafeprune.cli.failures import shown_command

    arguments = [argument for argument in arguments if argument != DEBUG]
    command = arguments[0] if arguments else ""
    remedy = "Nothing was written."
    if command in RESUMED:
        remedy = f"Finished stages and answers are kept. To resume: {shown_command(arguments)}"
    elif any(arguments[: len(words)] == words for words in ASKING):
        remedy = "No file was written. Run it again: what a server answered is not asked again."
    with suppress(OSError):  # a terminal that hung up is gone
        sys.stderr.write(f"\n{what}. {remedy}\n")
        sys.stderr.flush()


def _end_at_once(code: int) -> NoReturn:
    """End the process without collecting what is in memory: with a model there, that takes seconds.

    Contexts have ended by now, so no lock or partial file is left; what libraries registered for the end is still run.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _process_group() -> AbstractContextManager[None]:
    """Return the context for the command: with torchrun, that of the process group's leader."""
    from prosafeprune.parallel.launch import process_count

    if process_count() == 1:
        return nullcontext()
    from prosafeprune.parallel.process_group import joined_process_group
    from prosafeprune.terminal import calm_libraries

    calm_libraries()
    return joined_process_group()
