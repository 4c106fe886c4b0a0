"""Hashes of models: by these, records, searches and kept answers know which weights they are of."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.model.gguf_file import gguf_parts
from prosafeprune.model.shard_header import ShardHeader, read_shard_header
from prosafeprune.progress import Advance

HASHED_AT_ONCE = 2**24
CHANGED = "are not those of its record: they changed after the model was measured. Make the model again."
CLOCK_TICK = 0.1
"""Seconds within which two changes of a file may have the same time."""

_hashes: dict[tuple[tuple[object, ...], ...], str] = {}
"""Hashes of models by the names, sizes and times of their files."""


def model_hash(path: Path, known: Mapping[str, str] | None = None, advance: Advance | None = None) -> str:
    """Return the sha256 over config.json and all safetensors files of a folder, by name, or over all parts of a GGUF.

    ``known`` gives the :func:`shard_hash` of files that need not be read again, by name; ``advance`` is called after
    each of the :func:`hashed_files`. A process reads files that do not change only once.

    Raises:
        InputError: a safetensors file is truncated, or is not one.
    """
    files = hashed_files(path)
    stats = [(file, file.stat()) for file in files]
    key = tuple(
        (str(file), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino) for file, status in stats
    )
    if known is None and key in _hashes:
        return _hashes[key]
    is_settled = time.time() - max(status.st_ctime for _, status in stats) > CLOCK_TICK
    hashes = dict(known or {})
    total = hashlib.sha256()
    for file in files:
        hash_of = _hash_shard if file.suffix == ".safetensors" else file_hash
        total.update(f"{file.name} {hashes.get(file.name) or hash_of(file)}\n".encode())
        if advance is not None:
            advance(1)
    if known is None and is_settled:
        _hashes[key] = total.hexdigest()
    return total.hexdigest()


def require_hash(model: Path, recorded: str, folder: Path, advance: Advance | None = None) -> str:
    """Return the hash of a model that was written into ``folder``.

    Raises:
        InputError: it is not the recorded one, or as :func:`model_hash` does.
    """
    found = model_hash(model, advance=advance)
    if found != recorded:
        raise InputError(f"{folder}: its weights (or config.json) {CHANGED}")
    return found


def hashed_files(path: Path) -> list[Path]:
    """Return the files that :func:`model_hash` is over. Raises InputError for a GGUF of which a part is missing."""
    return gguf_parts(path) if path.is_file() else [path / "config.json", *sorted(path.glob("*.safetensors"))]


def shard_hash(header: ShardHeader, tensor_hashes: Mapping[str, str]) -> str:
    """Return the hash of a shard: over its header and the sha256 of each tensor's data.

    It can be computed from tensors that were read once, in any order.
    """
    total = hashlib.sha256(header.raw)
    for name in sorted(header.tensors, key=lambda name: header.tensors[name].start):
        total.update(f"{tensor_hashes[name]}\n".encode())
    return total.hexdigest()


def file_hash(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash_shard(file: Path) -> str:
    header = read_shard_header(file)
    hashes = {}
    with file.open("rb") as stream:
        for name, entry in header.tensors.items():
            stream.seek(entry.start)
            digest = hashlib.sha256()
            for start in range(entry.start, entry.end, HASHED_AT_ONCE):
                digest.update(stream.read(min(HASHED_AT_ONCE, entry.end - start)))
            hashes[name] = digest.hexdigest()
    return shard_hash(header, hashes)
