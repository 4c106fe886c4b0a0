"""The files next to a model's weights that its answers depend on: tokenizer, chat template, generation config, code."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

from prosafeprune.model.model_files import IGNORED_FOLDERS
from prosafeprune.model.model_hash import file_hash

CODE = {".py"}
SUFFIXES = {".json", ".jinja", ".model", ".txt", ".tiktoken", *CODE}
READ_IN_FOLDERS = {".jinja", *CODE}
"""What is also read from folders inside a model's: further chat templates, and code."""
WITHOUT_EFFECT = ("prosafeprune", "LICENSE", "NOTICE", "README")
"""Beginnings of the names of files with these endings that have no effect on a model."""
INDEX = ".index.json"
OF_TOKENIZER = (b"tokenizer", b"special_tokens_map", b"added_tokens", b"vocab", b"merges", b"generation_config")
"""Beginnings of the names of files that decide how text becomes tokens, and which tokens end an answer."""


def companions_hash(*folders: Path) -> str | None:
    """Return the hash of the files that decide, besides weights and config, what a model makes of a prompt.

    :func:`prosafeprune.model.model_hash.model_hash` covers weights and config.json alone.

    Args:
        folders: of the model and, if there is one, of its adapter. A GGUF file, whose hash covers all, counts for none.

    Returns:
        None for a GGUF file.
    """
    given = [folder for folder in folders if folder.is_dir()]
    if not given:
        return None
    total = hashlib.sha256()
    for folder in given:
        for line in _hashed(folder, SUFFIXES):
            total.update(line)
        total.update(b"\n")
    return total.hexdigest()


def code_hash(folder: Path) -> str | None:
    """Return the hash of a model's own code, on which its activations depend; None without any."""
    lines = list(_hashed(folder, CODE))
    return hashlib.sha256(b"".join(lines)).hexdigest() if lines else None


def tokenizer_files_hash(model: Path) -> str | None:
    """Return the hash of a model's tokenizer files and generation_config.json; None for a GGUF file.

    Unlike :func:`companions_hash` it is the same where a copy of the model has other files beside these.
    """
    if not model.is_dir():
        return None
    lines = _hashed(model, SUFFIXES - CODE)
    return hashlib.sha256(b"".join(line for line in lines if line.startswith(OF_TOKENIZER))).hexdigest()


def _hashed(folder: Path, suffixes: Collection[str]) -> Iterator[bytes]:
    """Yield a line with name and hash for each file of these endings that has an effect, in the order of names."""
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if inside.suffix in suffixes and _has_effect(inside) and file.is_file():
            yield f"{inside.as_posix()} {file_hash(file)}\n".encode(errors="surrogateescape")


def _has_effect(inside: Path) -> bool:
    is_ours = inside.name.startswith(WITHOUT_EFFECT) or inside.name.endswith(INDEX)
    # Other programs add copies in further formats to a hub model's folder, such as original/params.json.
    is_read = len(inside.parts) == 1 or inside.suffix in READ_IN_FOLDERS
    return is_read and not is_ours and IGNORED_FOLDERS.isdisjoint(inside.parts)
