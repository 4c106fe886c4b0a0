"""Finished searches, read from their folders before a model is loaded."""

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.resumable_folder import differing
from prosafeprune.files.text_file import MAX_JSON_BYTES, read_text_file
from prosafeprune.files.versions import require_not_newer
from prosafeprune.method.plan import Plan
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.source import model_hash
from prosafeprune.plan_search.search_record import FORMAT, RECORD, SearchRecord
from prosafeprune.text import short_name, slug

SEARCHES = "searches"
"""Folder in the cache."""


def read_search(folder: Path) -> SearchRecord:
    """Return the record of a finished search. Raises InputError when there is none, or it cannot be read."""
    file = folder / RECORD
    if not file.exists():
        raise InputError(
            f"{folder}: has no finished search. Finish it with prosafeprune search MODEL -o {folder}, or name another "
            "folder."
        )
    text = read_text_file(file, "record of a search", MAX_JSON_BYTES)
    try:
        return SearchRecord.model_validate_json(text)
    except ValueError as error:
        require_not_newer(file, text, FORMAT)
        raise InputError(f"{file}: cannot be read as the record of a search. Search again.") from error


def require_search_folder(folder: Path, model: str) -> None:
    """Raise InputError when there is no such folder, unless it is one of the cache, which a search may begin in."""
    if not folder.exists() and cache_folder() / SEARCHES not in folder.absolute().parents:
        raise InputError(
            f"--search {folder}: there is no search. Leave it out to search now and keep the search in the cache, or "
            f"run {shlex.join(['prosafeprune', 'search', model, '-o', str(folder)])} first."
        )


def require_one_plan(layers: Sequence[int] | None, choose: int | None) -> None:
    """Raise InputError when both ``--layers`` and ``--choose`` name the plan."""
    if layers is not None and choose is not None:
        raise InputError("--choose and --layers both name the plan. Leave out one of them.")


def kept_search_folder(model: str, digest: str) -> Path:
    """Return the folder in the cache of a search on a model; ``digest`` is of all that the search depends on.

    A search that was made under another name of the model, such as a link or a moved folder, is found by the digest.
    """
    folder = cache_folder() / SEARCHES / f"{_named(model)}-{digest}"
    if folder.exists():
        return folder
    return next(iter(sorted(folder.parent.glob(f"*-{digest}"))), folder)


def _named(model: str) -> str:
    """Return the beginning of the names of the folders of a model's searches."""
    return slug(short_name(model))


def require_kept_point(model: str, number: int) -> None:
    """Raise InputError when no search in the cache can have a point of this number, as far as names tell.

    The run checks that it is the search asked for, which takes longer: searches made under another name of the model
    are found by its hash.
    """
    searches = cache_folder() / SEARCHES
    found = _readable(searches.glob(f"{_named(model)}-*"))
    if not found and not _readable(searches.glob("*")):
        raise InputError(f"--choose {number}: no search on {model} is finished. Run prosafeprune search first.")
    if not found:
        return
    if all(record.point(number) is None for record in found):
        most = max(len(record.points) for record in found)
        raise InputError(f"--choose {number}: the searches on {model} have the points 1 to {most}.")


def _readable(folders: Iterable[Path]) -> list[SearchRecord]:
    """Return the records of those folders that hold a finished search."""
    found = []
    for folder in folders:
        with suppress(InputError):
            found.append(read_search(folder))
    return found


def require_search_of(record: SearchRecord, model: Path, folder: Path) -> None:
    """Raise InputError unless the search in ``folder`` was on this model, with the same files next to its weights."""
    if record.made_by.get("model") != model_hash(model):
        raise InputError(f"{folder}: is a search on another model. Give the model it was made for.")
    if differing(record.made_by, {"companions": companions_hash(model)}):
        raise InputError(
            f"{folder}: is a search on this model with another tokenizer, chat template or generation config. Restore "
            "them, or search again."
        )


def plan_of_point(record: SearchRecord, number: int, folder: Path) -> Plan:
    """Return the plan of a numbered point of the search in ``folder``. Raises InputError when there is none."""
    point = record.point(number)
    if point is None:
        raise InputError(f"--choose {number}: the search in {folder} has the points 1 to {len(record.points)}.")
    return point.plan
