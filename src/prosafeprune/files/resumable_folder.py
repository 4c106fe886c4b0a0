"""Folders of resumable runs: results are saved as they arrive, by one run at a time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.files.staging import clean_scratch, remove_folder, write_whole
from prosafeprune.files.text_file import MAX_JSON_BYTES
from prosafeprune.text import beginning

MADE_BY = "made_by.json"
"""File that records what the contents depend on; it also marks the folder as ours."""
OPTUNA_LOCK = "journal.jsonl.lock*"
WRITTEN = (
    *(MADE_BY, "request.json", "sessions.json", "divergences.json", "evaluation.json", "comparison.json"),
    *("comparison.md", "analysis.json", "anatomy.json", "findings.json", "search.json", "measured.json"),
    *("screened.json", "finished.json", "journal.jsonl", OPTUNA_LOCK, "answers.jsonl", "verdicts-*.jsonl"),
    *(
        "ability-*.jsonl",
        "likelihoods-*.jsonl",
        "fitted.safetensors",
        "fitting-*",
        "report.html",
        "before.npz",
        "after.npz",
    ),
    *(".*.partial*", ".*.lock"),
)
"""Names of the files that runs write into their folders."""
ADDED_LATER = frozenset(
    {"command", "companions", "against_companions", "validation", "judged_by", "questions", "categories", "fit"}
)
"""Entries of ``made_by.json`` that folders of earlier versions do not have: these stay readable."""
NOTHING_DONE = (MADE_BY, "sessions.json")
"""Files of a run that failed before it produced anything."""
DRAWN = ("*.csv", "*.svg", "*.png")
"""Names of tables and figures, next to the results that they show."""
SHOWN_CHARACTERS = 200
"""Maximum characters shown of a setting that differs."""
DRAWN_FROM = ("findings.json", "search.json")


class ResumableFolder:
    """A folder whose contents all depend on the same things, recorded in ``made_by.json``.

    Args:
        remedy: what to do when its contents depend on something else.

    Raises:
        InputError: its contents depend on something else, or it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        made_by: Mapping[str, Any],
        remedy: str = "Choose another folder, or pass --overwrite.",
    ) -> None:
        self.path = path
        self.made_by = json.loads(json.dumps(dict(made_by)))  # as it will be read back
        before = self.read(MADE_BY)
        if before is None:
            self.write(MADE_BY, self.made_by)
            return
        _require_same(path, before, self.made_by, remedy)
        if not ADDED_LATER.isdisjoint(self.made_by.keys() - before.keys()):  # from now on it is noticed
            self.write(MADE_BY, {**before, **self.made_by})

    def read(self, name: str) -> Any:
        """Return the object in a JSON file; None when there is no file.

        Raises:
            InputError: it cannot be read, or is not an object.
        """
        return _read(self.path / name, dict)

    def read_list(self, name: str) -> Any:
        """Return the list in a JSON file; None when there is no file. Raises InputError as :meth:`read` does."""
        return _read(self.path / name, list)

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file that appears complete or not at all."""
        self.write_file(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def write_file(self, name: str, content: str | bytes) -> None:
        """Write a file that appears complete or not at all."""
        write_whole(self.path / name, content)


def _read(file: Path, kind: type[Any]) -> Any:
    """Return the value in a JSON file, None when there is no file. Raises InputError unless it is of that kind."""
    if not file.exists():
        return None
    try:
        if not file.is_file():
            raise OSError("not a regular file")
        if file.stat().st_size > MAX_JSON_BYTES:
            raise OSError(f"larger than {MAX_JSON_BYTES / 1e6:g} MB")
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read ({reason}). Remove it, or choose another folder.") from error
    if not isinstance(value, kind):
        raise InputError(f"{file}: is damaged. Remove it, or choose another folder.")
    return value


def _require_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Raise InputError when the contents of a folder depend on something else than ``now``."""
    other = differing(before, now)
    if other:
        was = ", ".join(f"{name} {_shown(before.get(name))}, now {_shown(now[name])}" for name in other)
        raise InputError(f"{path}: was made with other settings ({was}). {remedy}")


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of what contents depend on ``now``, and did not ``before`` or in another way."""
    known_later = ADDED_LATER - before.keys()
    return [name for name, value in now.items() if before.get(name) != value and name not in known_later]


def _shown(value: Any) -> str:
    return beginning(repr(value), SHOWN_CHARACTERS)


@contextmanager
def locked_folder(path: Path, overwrite: bool) -> Iterator[None]:
    """Make the folder if need be, and keep other runs out of it inside the context.

    A folder that a failing run made and left empty is removed.

    Raises:
        InputError: it cannot be made, was not written by a run, or another run is writing there; or ``overwrite``
            would remove a file that no run wrote.
    """
    with claimed(path):
        _require_ours(path)
        clean_scratch(path)
        try:
            if overwrite and path.exists():
                _require_removable(path)
                remove_folder(path)
            is_new = not path.exists()
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written to ({error.strerror}). Choose another folder.") from error
        try:
            yield
        except BaseException:
            if is_new and {file.name for file in path.iterdir()} <= set(NOTHING_DONE):
                remove_folder(path)
            raise


def require_usable(path: Path) -> None:
    """Check, before the long work, that a run could write into the folder ``path``; nothing is left behind.

    Raises:
        InputError: it cannot be made, was not written by a run, or another run is writing there.
    """
    with claimed(path):
        _require_ours(path)


def require_resumable(path: Path, made_by: Mapping[str, Any], remedy: str) -> None:
    """Check, before the long work, that :class:`ResumableFolder` would take the folder ``path``, if there is one.

    Nothing is written. Raises InputError when no run wrote it, or its contents depend on something else.
    """
    _require_ours(path)
    before = _read(path / MADE_BY, dict)
    if before is not None:
        _require_same(path, before, json.loads(json.dumps(dict(made_by))), remedy)


def _require_ours(path: Path) -> None:
    """Raise InputError when a folder exists and no run wrote it; what a killed run began to write is ours."""
    if not path.exists():
        return
    ours = path.is_dir() and (
        (path / MADE_BY).exists() or all(fnmatchcase(file.name, ".*.partial*") for file in path.iterdir())
    )
    if not ours:
        raise InputError(f"{path}: exists and was not written by prosafeprune. Choose another folder.")
    # One in a folder of someone else's would have its target written to. Optuna's lock is a link, and only removed.
    links = (file for file in sorted(path.rglob("*")) if file.is_symlink())
    link = next((file for file in links if not fnmatchcase(file.name, OPTUNA_LOCK)), None)
    if link is not None:
        raise InputError(
            f"{path}: {link.relative_to(path)} was not written by prosafeprune: it is a link. Remove it, or choose "
            "another folder."
        )


def _require_removable(path: Path) -> None:
    """Raise InputError when a folder holds a file that no run wrote."""
    for file in sorted(path.rglob("*")):
        if file.is_dir() and not file.is_symlink():
            continue
        drawn = any((file.parent / name).is_file() for name in DRAWN_FROM)
        ours = not file.is_symlink() and any(
            fnmatchcase(file.name, pattern) for pattern in (*WRITTEN, *(DRAWN if drawn else ()))
        )
        if not ours:
            raise InputError(
                f"{path}: {file.relative_to(path)} was not written by prosafeprune, so the folder is not overwritten. "
                "Move the file, or choose another folder."
            )
