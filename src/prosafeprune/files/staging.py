"""Folders and files that appear complete or not at all: written next to their destination, then renamed.

They are on the disk before they are renamed, so that a power cut leaves no empty or torn file under the final name. A
flush takes milliseconds, so this is done once per output, and not for the lines of a
:class:`~prosafeprune.files.line_store.LineStore`, where an incomplete last line is expected.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.claim import claimed
from prosafeprune.files.output_names import MANIFEST as MANIFEST
from prosafeprune.files.output_names import RECORD_FILE as RECORD_FILE
from prosafeprune.files.text_file import read_text_file
from prosafeprune.text import data_size

SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""Message of numpy when a disk is full."""
_in_use: set[Path] = set()
"""Scratch folders of this process, which may need one for a converted base model while it writes another."""


def check_output(output: Path, source: Path, needed_bytes: int, overwrite: bool) -> None:
    """Check before the long work that ``output`` can be made: free name, writable parent, enough disk space.

    Only a folder that this package wrote is ever overwritten, and never the base model's.

    Raises:
        InputError: one of these is not so.
    """
    require_outside(output, source.resolve(), "base model's")
    clean_scratch(output)
    _check_free(output, overwrite)
    parent = next(folder for folder in output.parents if os.path.lexists(folder))  # the others are made on writing
    if not parent.is_dir():
        raise InputError(f"{output}: its parent folder cannot be made ({parent} is a file). Choose another --output.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"{output}: its parent folder cannot be written to. Choose another --output.")
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise InputError(
            f"{output}: needs {data_size(needed_bytes)}, and {data_size(free)} are free. "
            "Free some space or choose another disk."
        )


def require_outside(output: Path, folder: Path, whose: str) -> None:
    """Raise InputError when ``output`` is, contains or is inside a folder that is read."""
    if output == folder or output in folder.parents or folder in output.parents:
        raise InputError(f"{output}: is, contains or is inside the {whose} folder. Choose another --output.")


@contextmanager
def claimed_output(output: Path | None, overwrite: bool) -> Iterator[None]:
    """Keep other runs from writing ``output`` inside the context; restore what a killed run moved away.

    Raises:
        InputError: another run is writing there, or it exists and cannot be overwritten.
    """
    if output is None:
        yield
        return
    with claimed(output):
        _restore_old(output)
        _check_free(output, overwrite)  # again: another run may have finished since the first check
        yield


@contextmanager
def scratch_folder(beside: Path, purpose: str) -> Iterator[Path]:
    """Yield a fresh hidden folder next to ``beside``, removed when the context ends.

    Those that killed runs left there on this machine are removed first.

    Raises:
        InputError: the folder cannot be made.
    """
    clean_scratch(beside)
    folder = _scratch_name(beside, purpose)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder.parent}: cannot be written to ({error.strerror}).") from error
    _in_use.add(folder)
    try:
        yield folder
    finally:
        _in_use.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a fresh folder next to ``output``; rename it to ``output`` if the context ends well, else remove it.

    Raises:
        InputError: the disk is full or fails while the folder is written, or ``output`` has appeared meanwhile.
    """
    _restore_old(output)
    with scratch_folder(output, "partial") as staging:
        try:
            yield staging
            _write_manifest(staging)
            _check_free(output, overwrite)
            _flush_tree(staging)
            _replace(staging, output)
        except OSError as error:
            raise InputError(f"{output}: could not be written ({_reason(error)}). Nothing was left behind.") from error
        except InputError as error:  # of a file that is removed with its folder: the user knows the output's name only
            if str(staging) not in str(error):
                raise
            raise InputError(f"{str(error).replace(str(staging), str(output))} Nothing was left behind.") from error


def write_whole(
    path: Path,
    content: str | bytes,
    remedy: str = "Check its permissions and the space on the disk, and run the command again.",
) -> None:
    """Write a file that appears complete or not at all; text as UTF-8, lone surrogates replaced.

    Several processes may write the same file: that of the last one stays.

    Args:
        remedy: what to do when it cannot be written.

    Raises:
        InputError: it cannot be written.
    """
    partial = _scratch_name(path, "partial")
    try:
        for left, process in _scratch_of(path, "partial"):
            if not _is_another_running(process):
                left.unlink(missing_ok=True)  # a killed run's; or a link, which would be written through
        with partial.open("xb") as stream:
            stream.write(content.encode(errors="replace") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"{path}: could not be written ({error.strerror}). {remedy}") from error


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it never exists in part: a killed run leaves a scratch folder. Raises OSError."""
    removed = _scratch_name(folder, "removed")
    folder.rename(removed)
    shutil.rmtree(removed)


def clean_scratch(beside: Path) -> None:
    """Remove the scratch folders that killed runs left next to ``beside``, made on this machine."""
    found = _scratch_of(beside, "[a-z]+")
    kept = set() if os.path.lexists(beside) else {folder for folder, _ in _scratch_of(beside, "old")}
    for folder, process in found:
        if folder not in kept | _in_use and not _is_another_running(process):
            shutil.rmtree(folder, ignore_errors=True)


def _check_free(output: Path, overwrite: bool) -> None:
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise InputError(f"{output}: exists already. Choose another --output, or pass --overwrite.")
    if output.is_symlink() or not output.is_dir():
        raise InputError(f"{output}: is not a folder, so it is not overwritten. Choose another --output.")
    present = {file.relative_to(output).as_posix() for file in output.rglob("*") if file.is_symlink() or file.is_file()}
    if not present:
        return
    if RECORD_FILE not in present:
        raise InputError(
            f"{output}: was not written by prosafeprune, so it is not overwritten. Choose another --output."
        )
    foreign = sorted(present - _manifest(output))
    if foreign:
        raise InputError(
            f"{output}: {foreign[0]} was not written by prosafeprune, so the folder is not overwritten. Move the file "
            "or the folder, or choose another --output."
        )


def _manifest(output: Path) -> set[str]:
    """Return the files that this package wrote into an output: none when the list is missing or damaged."""
    try:
        names = json.loads(read_text_file(output / MANIFEST))
    except (InputError, ValueError, RecursionError):
        return set()
    return {MANIFEST, *(name for name in names if isinstance(name, str))} if isinstance(names, list) else set()


def _write_manifest(staging: Path) -> None:
    names = sorted(file.relative_to(staging).as_posix() for file in staging.rglob("*") if not file.is_dir())
    text = json.dumps([name for name in names if name != MANIFEST], indent=0, ensure_ascii=False)
    (staging / MANIFEST).write_text(text + "\n", encoding="utf-8", errors="replace")


def _replace(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        _flush_folder(output.parent)
        return
    old = _scratch_name(output, "old")
    output.rename(old)
    try:
        staging.rename(output)
    except OSError:
        old.rename(output)
        raise
    _flush_folder(output.parent)  # before the old output is gone
    shutil.rmtree(old, ignore_errors=True)


def _flush_tree(folder: Path) -> None:
    """Wait until all files of a folder are on the disk."""
    for inside, _, names in os.walk(folder):
        for name in names:
            file = Path(inside, name)
            if file.is_file():
                _flush(file)
        _flush_folder(Path(inside))


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where its file system can say so."""
    with suppress(OSError):
        _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _restore_old(output: Path) -> None:
    """Put back the old output of a run that was killed between the two renames of :func:`_replace`."""
    for folder, process in _scratch_of(output, "old"):
        if not _is_another_running(process) and not os.path.lexists(output):
            folder.rename(output)


def _reason(error: OSError) -> str:
    is_numpys = error.errno is None and SHORT_WRITE.fullmatch(str(error)) is not None
    return "the disk is full" if is_numpys else error.strerror or first_line(error)


def _scratch_name(beside: Path, purpose: str) -> Path:
    return beside.parent / f".{beside.name}.{purpose}-{socket.gethostname()}-{os.getpid()}"


def _scratch_of(beside: Path, purpose: str) -> list[tuple[Path, int]]:
    """Return what is left of a purpose next to ``beside``, made on this machine: folders or files, and processes."""
    named = re.compile(rf"\.{re.escape(beside.name)}\.{purpose}-{re.escape(socket.gethostname())}-([0-9]+)")
    found = [(folder, named.fullmatch(folder.name)) for folder in beside.parent.glob(".*")]
    return [(folder, int(match[1])) for folder, match in found if match is not None]


def _is_another_running(process: int) -> bool:
    # After a container restarts, our own number may be that of an earlier process.
    return process != os.getpid() and _is_running(process)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
