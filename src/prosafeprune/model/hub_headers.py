"""A hub model without its weights: small files, and of each shard the header, in a temporary folder.

A shard there is a sparse file of the true size, whose data are a hole: whatever reads headers alone reads it as if it
had been downloaded, and it takes no room on the disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.user_path import user_path
from prosafeprune.model.model_files import INDEX, SINGLE_FILE, index_shards
from prosafeprune.model.shard_header import MAX_HEADER_BYTES, read_shard_header
from prosafeprune.model.source import (
    IGNORED_AT_HUB,
    ModelSource,
    check_checkpoint_folder,
    fetch_from_hub,
    find_source,
    hub_is_reachable,
    require_local_or_hub,
)

FIRST_BYTES = 100_000
"""Bytes of a shard that are asked for first: most headers are shorter."""
AT_ONCE = 8
"""Requests at a time."""
SECONDS = 30.0
"""Longest wait for a reply."""
VALUES = (".weight_shape", ".quant_state.")
"""In the names of small tensors that say how a quantised matrix is stored."""
MOST_VALUES = 4096


@contextmanager
def source_without_weights(model: str, revision: str | None = None, *, edited: bool = True) -> Iterator[ModelSource]:
    """Yield the source of a model whose headers alone will be read; the weights of a hub model stay there.

    Those that are in the hub's cache are used from there, and local models as they are.

    Raises:
        InputError: as :func:`~prosafeprune.model.source.find_source`, or a header cannot be read from the hub.
    """
    require_local_or_hub(model)
    if user_path(model).exists() or not hub_is_reachable():
        yield find_source(model, revision, edited=edited)
        return
    fetched = fetch_from_hub(model, revision, weights=False)
    commit = fetched.name if fetched.parent.name == "snapshots" else revision
    with tempfile.TemporaryDirectory(prefix="prosafeprune-headers-") as made:
        folder = Path(made)
        for file in fetched.iterdir():
            if file.is_file() and file.suffix != ".safetensors":
                shutil.copyfile(file, folder / file.name)
        try:
            _add_shards(folder, fetched, model, commit)
        except InputError:
            raise
        except Exception as error:  # the client lets errors of several libraries through
            raise InputError(
                f"{model}: the headers of its weights could not be read from the hub ({first_line(error)}). Try again, "
                "or download the model and give its folder."
            ) from error
        quantisation = check_checkpoint_folder(folder, model, edited=edited)
        yield ModelSource(model, folder, revision=commit, is_hub=True, quantisation=quantisation)


def _add_shards(folder: Path, fetched: Path, model: str, commit: str | None) -> None:
    """Put a model's shards into a folder: links to those in the hub's cache, the headers of others."""
    names = _shard_names(folder, model, commit)
    for name in names:
        if (fetched / name).is_file():
            (folder / name).symlink_to((fetched / name).resolve())
    absent = [name for name in names if not (folder / name).exists()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(partial(_add_header, folder, model, commit), absent):
            pass
        wanted = [
            (name, entry.start, entry.end)
            for name in absent
            for tensor, entry in read_shard_header(folder / name).tensors.items()
            if any(part in tensor for part in VALUES)
        ]
        if len(wanted) > MOST_VALUES:
            raise InputError(
                f"{model}: how its weights are quantised is in {len(wanted)} small tensors. Download the model and "
                "give its folder."
            )
        for (name, start, _), data in zip(wanted, pool.map(partial(_values, model, commit), wanted), strict=True):
            with (folder / name).open("r+b") as stream:
                stream.seek(start)
                stream.write(data)


def _shard_names(folder: Path, model: str, commit: str | None) -> list[str]:
    """Return the names of the files that make up a model, as they would be found in its folder."""
    from huggingface_hub import HfApi

    if not (folder / INDEX).exists():
        found = [name for name in HfApi().list_repo_files(model, revision=commit) if name.endswith(".safetensors")]
        own = [name for name in found if "/" not in name and not name.startswith(IGNORED_AT_HUB)]
        return [SINGLE_FILE] if SINGLE_FILE in own else own
    names = index_shards(folder)
    if odd := [name for name in names if name != Path(name).name or not name.endswith(".safetensors")]:
        raise InputError(f"{model}: {INDEX} names {odd[0][:80]!r}, not a file of the folder.")
    return names


def _add_header(folder: Path, model: str, commit: str | None, name: str) -> None:
    """Write a sparse file of the size that a shard has, with its header."""
    raw, size = _bytes_of(model, commit, name, 0, FIRST_BYTES)
    length = 8 + int.from_bytes(raw[:8], "little")
    if length > min(size, MAX_HEADER_BYTES):
        raise InputError(f"{model}: {name} cannot be read as safetensors (the header is truncated).")
    if length > len(raw):
        raw += _bytes_of(model, commit, name, len(raw), length)[0]
    with (folder / name).open("wb") as stream:
        stream.write(raw[:length])
        stream.truncate(size)


def _values(model: str, commit: str | None, wanted: tuple[str, int, int]) -> bytes:
    return _bytes_of(model, commit, *wanted)[0]


def _bytes_of(model: str, commit: str | None, name: str, start: int, end: int) -> tuple[bytes, int]:
    """Return a range of the bytes of a file on the hub, and the file's size."""
    from huggingface_hub import get_session, get_token, hf_hub_url

    headers, token = {"Range": f"bytes={start}-{end - 1}"}, get_token()
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    url = hf_hub_url(model, name, revision=commit)
    with get_session().stream("GET", url, headers=headers, timeout=SECONDS) as reply:
        reply.raise_for_status()
        if reply.status_code != 206:  # it would send the complete file
            raise OSError("the server does not send parts of files")
        size = int(reply.headers["Content-Range"].rpartition("/")[2])
        return reply.read(), size
