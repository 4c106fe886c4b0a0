"""Finished searches, read from their folders before a model is loaded."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.resumable_folder import MADE_BY, differing
from prosafeprune.files.text_file import MAX_JSON_BYTES, read_json_object, read_text_file
from prosafeprune.files.versions import require_not_newer
from prosafeprune.method.plan import Plan
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
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


def search_kept_under_name(model: str, settings: Mapping[str, Any]) -> Path | None:
    """Return the folder in the cache of the latest search made under a model's name and these settings.

    Its weights may have been others: unlike :func:`kept_search_folder`, this reads none to find out.
    """
    found = []
    for folder in _kept_folders(model):
        with suppress(InputError, OSError):
            made_by = folder / MADE_BY
            if not differing(read_json_object(made_by, "search folder"), settings):
                found.append((made_by.stat().st_mtime, folder))
    return max(found)[1] if found else None


def _named(model: str) -> str:
    """Return the beginning of the names of the folders of a model's searches."""
    return slug(short_name(model))


def require_kept_point(model: str, number: int) -> None:
    """Raise InputError when no search in the cache can have a point of this number, as far as names tell.

    The run checks that it is the search asked for, which takes longer: searches made under another name of the model
    are found by its hash.
    """
    found = list(_readable(_kept_folders(model)).values())
    if not found and not _readable((cache_folder() / SEARCHES).glob("*")):
        raise InputError(f"--choose {number}: no search on {model} is finished. Run prosafeprune search first.")
    if not found:
        return
    if all(record.point(number) is None for record in found):
        most = max(len(record.points) for record in found)
        raise InputError(f"--choose {number}: the searches on {model} have the points 1 to {most}.")


def require_kept_search(folder: Path | None, model: str, number: int) -> None:
    """Raise InputError when ``folder``, that of the cache for a run's settings, has no finished search."""
    if folder is not None and (folder / RECORD).exists():
        return
    others = sorted(_readable(_kept_folders(model)))
    known = f" Of this model there are {', '.join(map(str, others))}." if others else ""
    raise InputError(
        f"--choose {number}: no search with these settings is finished. Give the settings of the search that you mean, "
        f"or its folder with --search.{known}"
    )


def _kept_folders(model: str) -> list[Path]:
    """Return the folders in the cache of searches made under a model's name."""
    name = re.compile(f"{re.escape(_named(model))}-[0-9a-f]{{12}}")
    return [folder for folder in (cache_folder() / SEARCHES).glob("*") if name.fullmatch(folder.name)]


def _readable(folders: Iterable[Path]) -> dict[Path, SearchRecord]:
    """Return the records of those folders that hold a finished search."""
    found = {}
    for folder in folders:
        with suppress(InputError):
            found[folder] = read_search(folder)
    return found


def require_search_of(record: SearchRecord, model: Path, folder: Path) -> None:
    """Raise InputError unless the search in ``folder`` was on this model, with the same files next to its weights."""
    if record.made_by.get("model") != model_hash(model):
        raise InputError(f"{folder}: is a search on another model. Give the model it was made for.")
    require_same_companions(record, model, folder)


def require_same_companions(record: SearchRecord, model: Path, folder: Path) -> None:
    """Raise InputError when the search in ``folder`` was made with other files next to the weights."""
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
