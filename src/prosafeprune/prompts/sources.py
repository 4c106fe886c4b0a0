"""Prompts from a local .jsonl, .json, .csv or .txt file, such a file on the web, or a dataset on the hub."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import get_session

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.staging import write_whole
from prosafeprune.files.text_file import MAX_TEXT_BYTES
from prosafeprune.prompts.conversation import Turn, as_prompt, read_turns
from prosafeprune.prompts.prompt_set import Prompt, PromptClass, PromptSet, prompt_class_of
from prosafeprune.prompts.rows import (
    Row,
    field_rows,
    first_column,
    place_of,
    prompt_lines,
    require_complete_characters,
)
from prosafeprune.text import is_blank, text_hash

MOST_CHARACTERS = 1_000_000
"""Maximum characters of a prompt."""
FILE_TYPES = (".jsonl", ".json", ".csv", ".txt")
MESSAGES, SYSTEM = "messages", "system"
"""Columns of a conversation and of a system prompt."""
TURNS = "turns"
"""Column of SORRY-Bench, which holds a list of one request."""
SECONDS = 30
"""Time limit for each part of a download."""
ALL_SECONDS = 600
"""Time limit for a complete download: a server may send a byte now and then."""


@dataclass(frozen=True)
class _Columns:
    """The columns that may hold the prompt, and the rows to keep."""

    fields: tuple[str, ...]
    keep: Callable[[Row], bool] | None
    as_row: Callable[[Row, str], Row] | None


def read_prompts(
    source: str | Path,
    prompt_class: PromptClass | str,
    field: str | Sequence[str] = "prompt",
    keep: Callable[[Row], bool] | None = None,
    as_row: Callable[[Row, str], Row] | None = None,
) -> PromptSet:
    """Read prompts from ``source``, keeping the first of exact repeats.

    ``source`` is a path or https address ending in .jsonl, .json (a list of objects), .csv or .txt (one prompt per
    line), or a hub dataset id, optionally with a split (``org/name:train``) or a configuration and one
    (``org/name:hard:train``). A file at an address is downloaded once, and read from the cache from then on.
    ``field`` names the column of the prompt, or several, of which the first one present is used; a column ``category``
    is read if there is one. A row with ``messages`` is a conversation, and ``system`` is the system prompt of its row.
    Rows for which ``keep`` is false are left out; ``as_row`` returns the others, and where each is, in this form.

    Raises:
        InputError: no such class, file or dataset, a row that cannot be read, no column ``field``, or no prompt at all.
    """
    source, prompt_class = str(source), prompt_class_of(prompt_class)
    columns = _Columns((field,) if isinstance(field, str) else tuple(field), keep, as_row)
    try:
        path = Path(source).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{source!r}: is not a usable path ({first_line(error)}). Check it.") from error
    if source.startswith("https://"):
        _require_public(source)
        prompts = list(_from_file(fetch(source), columns))
    elif path.suffix.lower() in FILE_TYPES:
        prompts = list(_from_file(path, columns))
    elif exists:
        raise InputError(f"{source}: prompts are read from {', '.join(FILE_TYPES)} files; convert it to one of them.")
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        dataset, *rest = source.split(":")
        configuration, split = [None, None, *rest][-2:] if len(rest) < 2 else rest[:2]
        prompts = list(_from_hub(dataset, configuration, split, columns, source))
    else:
        raise InputError(
            f"{source}: no such file. Give a .jsonl, .json, .csv or .txt file or a hub dataset id (org/name)."
        )
    unique: dict[str, Prompt] = {}
    for prompt in prompts:
        if len(prompt.text) > MOST_CHARACTERS:
            raise InputError(
                f"{source}, line {prompt.line}: has {len(prompt.text)} characters, more than models read. Shorten it."
            )
        unique.setdefault(prompt.text, prompt)
    if not unique:
        raise InputError(f"{source}: has no prompts. Give at least one.")
    return PromptSet(prompt_class, source, tuple(unique.values()))


def _require_public(address: str) -> None:
    """Raise InputError unless an address names a file and nothing else: what it held would be in every record."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InputError("https://...: is not a usable address. Check it.") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InputError(
            f"https://{parts.hostname}: the address has a user name, password or query, which may be secret. Download "
            "the file and give its path."
        )
    if not parts.path.lower().endswith(FILE_TYPES):
        raise InputError(
            f"{address}: is not the address of a {', '.join(FILE_TYPES)} file. Download it, and convert it."
        )


def _from_file(path: Path, columns: _Columns) -> Iterator[Prompt]:
    if path.suffix.lower() == ".txt":
        for number, line in prompt_lines(path):
            yield Prompt(line, line=number)
    else:
        yield from _from_rows(field_rows(path), columns, path)


def _from_rows(rows: Iterable[tuple[int, Row]], columns: _Columns, source: Path | str) -> Iterator[Prompt]:
    for number, row in rows:
        if columns.keep is not None and not columns.keep(row):
            continue
        place = place_of(Path(source), number)
        read = row if columns.as_row is None else columns.as_row(row, place)
        category = str(read.get("category") or read.get("Category") or "")
        yield Prompt(prompt_of_row(read, columns.fields, place), category, number)


def prompt_of_row(row: Row, fields: Sequence[str], place: str) -> str:
    """Return the prompt of a row at ``place``: plain text, or a conversation where it has ``messages`` or ``system``.

    Raises:
        InputError: the row has no prompt, or one that cannot be read.
    """
    turns = _turns(row, fields, place)
    try:
        text = as_prompt([*_system_turn(row), *turns])
    except ValueError as error:
        raise InputError(f"{place}: {error}. Fix or remove the row.") from error
    require_complete_characters([text, str(row.get("category") or row.get("Category") or "")], place)
    return text


def _turns(row: Row, fields: Sequence[str], place: str) -> Sequence[Turn]:
    """Return the turns of a row: its messages, if it has any, or the column of its prompt."""
    if row.get(MESSAGES):
        try:
            return read_turns(row[MESSAGES])
        except ValueError as error:
            raise InputError(f"{place}: '{MESSAGES}' {error}. Fix or remove the row.") from error
    field = first_column(row, fields, place, "Name it with --prompt-field.")
    text = row[field]
    if field == TURNS and isinstance(text, list) and len(text) == 1:
        text = text[0]
    if not isinstance(text, str) or is_blank(text):
        raise InputError(f"{place}: '{field}' is empty or not text. Fix or remove the row.")
    return [("user", text.strip())]


def _system_turn(row: Row) -> list[Turn]:
    system = row.get(SYSTEM)
    if system is None or system == "":
        return []
    if not isinstance(system, str) or is_blank(system):
        raise ValueError(f"'{SYSTEM}' is not text")
    return [("system", system.strip())]


def _from_hub(
    dataset: str, configuration: str | None, split: str | None, columns: _Columns, source: str
) -> Iterator[Prompt]:
    import datasets

    try:
        loaded = datasets.load_dataset(dataset, configuration, split=split)
    except Exception as error:
        raise InputError(
            f"{source}: the dataset could not be loaded ({first_line(error)}). If it is gated, accept its "
            "terms and set HF_TOKEN; or download it and give its file."
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        if len(loaded) != 1:
            raise InputError(f"{source}: has the splits {', '.join(loaded)}. Name one: {dataset}:{next(iter(loaded))}.")
        loaded = next(iter(loaded.values()))
    yield from _from_rows(enumerate(loaded, 1), columns, source)


def fetch(address: str) -> Path:
    """Return the local copy of a file on the web, downloading it when there is none yet.

    Raises:
        InputError: the download fails, is too large or takes too long, or the copy cannot be written.
    """
    name = address.rsplit("/", 1)[-1]
    path = cache_folder() / "prompts" / f"{text_hash(address)}-{name}"
    if path.exists():
        return path
    try:
        content = _download(address)
    except Exception as error:
        raise InputError(
            f"{address}: could not be downloaded ({first_line(error)}). Check the address and the network."
        ) from error
    remedy = "Free some space, or set PROSAFEPRUNE_CACHE."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror}). {remedy}") from error
    write_whole(path, content, remedy)
    return path


def _download(address: str) -> bytes:
    deadline, content = time.monotonic() + ALL_SECONDS, bytearray()
    with get_session().stream("GET", address, follow_redirects=True, timeout=SECONDS) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > MAX_TEXT_BYTES:
                raise ValueError(f"it is larger than {MAX_TEXT_BYTES / 1e9:g} GB")
            if time.monotonic() > deadline:
                raise TimeoutError(f"it takes longer than {ALL_SECONDS} seconds")
    return bytes(content)
