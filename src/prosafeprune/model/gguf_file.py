"""GGUF files: their parts, tensors and metadata, read and written whole."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from prosafeprune.errors import InputError

RECORD_KEY = "prosafeprune.record"
"""Metadata of a file that this package wrote: its record, since such files are passed on alone."""
PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
"""File names of a split GGUF, as llama.cpp's tools write them."""
WRITTEN_APART = ("GGUF.", "split.", "general.architecture")
"""Keys that describe the file itself, not the model: a writer sets them."""


def gguf_parts(gguf: Path) -> list[Path]:
    """Return all parts of a GGUF file, in order: itself unless it is one of a split file's.

    Raises:
        InputError: it is not a GGUF, or a part is missing.
    """
    named = PART.match(gguf.name)
    count = _split_number(open_gguf(gguf), "split.count", gguf) or 1
    if named is None and count > 1:
        raise InputError(
            f"{gguf}: is one of {count} parts of a split GGUF, and the others cannot be found by its name. Restore the "
            "names NAME-00001-of-0000N.gguf, or merge the parts with llama-gguf-split --merge."
        )
    if named is None or (count == 1 and int(named["count"]) == 1):
        return [gguf]
    total = int(named["count"])
    parts = [gguf.with_name(f"{named['stem']}-{i:05}-of-{total:05}.gguf") for i in range(1, total + 1)]
    absent = [part.name for part in parts if not part.is_file()]
    if absent:
        raise InputError(f"{gguf}: is part of a split GGUF, and {len(absent)} parts are missing, such as {absent[0]}.")
    return parts


def open_gguf(gguf: Path) -> Any:
    """Return ``gguf.GGUFReader`` of a file. Raises InputError when it is not a GGUF, or truncated."""
    from gguf import GGUFReader
    from transformers.integrations.gguf.reader import read_gguf_metadata

    with gguf.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"{gguf}: does not begin like a GGUF file. Fetch it again.")
    try:
        read_gguf_metadata(str(gguf))  # fails at the end of the file, where the other would loop forever
        reader = GGUFReader(gguf)
        _require_apart(reader)
    except Exception as error:
        raise InputError(f"{gguf}: could not be read as GGUF ({short_reason(error)}). Fetch it again.") from error
    return reader


def short_reason(error: Exception) -> str:
    """Return the message of a library's error on one line, cut."""
    return " ".join(str(error).split())[:200]


@contextmanager
def joined_gguf(gguf: Path, scratch: Path | None) -> Iterator[Path]:
    """Yield the file or, if it is split, a temporary one with the metadata of the first part and all tensors."""
    parts = gguf_parts(gguf)
    if len(parts) == 1:
        yield gguf
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".joined-") as folder:
        file = Path(folder) / "joined.gguf"
        write_gguf(file, open_parts(gguf))
        yield file


def open_parts(gguf: Path) -> list[Any]:
    """Return a reader of each part of a file. Raises InputError when one, or a tensor, is missing or foreign."""
    parts = gguf_parts(gguf)
    readers = [open_gguf(part) for part in parts]
    if len(parts) > 1:
        _require_one_model(parts, readers)
    found = sum(len(reader.tensors) for reader in readers)
    expected = _split_number(readers[0], "split.tensors.count", parts[0])
    if expected is not None and found != expected:
        raise InputError(f"{gguf}: its parts have {found} tensors, and the first says {expected}. Fetch them again.")
    return readers


def _split_number(reader: Any, key: str, part: Path) -> int | None:
    """Return a number that a part says of the split, or None. Raises InputError when it is no number."""
    found = reader.fields[key].contents() if key in reader.fields else None
    if not isinstance(found, int | None):
        raise InputError(f"{part}: its metadata says {key} = {str(found)[:40]!r}, which is no number. Fetch it again.")
    return found


def _require_one_model(parts: Sequence[Path], readers: Sequence[Any]) -> None:
    """Raise InputError unless files are all parts of one model, in order, as far as their metadata say."""
    first = readers[0].fields
    for number, (part, reader) in enumerate(zip(parts, readers, strict=True)):
        for key, expected in (("split.no", number), ("split.count", len(parts))):
            said = _split_number(reader, key, part)
            if said is not None and said != expected:
                raise InputError(f"{part}: says {key} = {said}, and its name {expected}. Fetch all parts again.")
        for key, field in reader.fields.items():
            of_the_model = not key.startswith(("GGUF.", "split.")) and key in first
            if of_the_model and field.contents() != first[key].contents():
                raise InputError(
                    f"{part}: is of another model than {parts[0].name}: {key} differs. Fetch all parts again."
                )


def _require_apart(reader: Any) -> None:
    """Raise ValueError when two tensors of a file share bytes, or one begins where none can."""
    end = 0
    for tensor in sorted(reader.tensors, key=lambda entry: int(entry.data_offset)):
        start = int(tensor.data_offset) - int(reader.data_offset)
        if start < end or start % int(reader.alignment):
            raise ValueError(f"the data of {tensor.name[:80]} is not at an offset of its own")
        end = start + int(tensor.n_bytes)


def write_gguf(
    file: Path,
    readers: Sequence[Any],
    replaced: Mapping[str, tuple[np.ndarray, Any]] | None = None,
    added: Mapping[str, str] | None = None,
) -> None:
    """Write one file with the metadata of the first reader and the tensors of all.

    Args:
        file: to write.
        readers: of the parts of a model.
        replaced: data as stored, and its ``GGMLQuantizationType``, of tensors that change.
        added: further metadata, as text.
    """
    from gguf import GGUFValueType, GGUFWriter

    fields = readers[0].fields
    writer = GGUFWriter(file, fields["general.architecture"].contents())
    for field in fields.values():
        is_empty = field.types[0] == GGUFValueType.ARRAY and not len(field.data)  # which the format has no type for
        if not field.name.startswith(WRITTEN_APART) and field.name not in (added or {}) and not is_empty:
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for key, text in (added or {}).items():
        writer.add_string(key, text)
    if "general.alignment" in fields:
        writer.data_alignment = int(fields["general.alignment"].contents())
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    contents = {tensor.name: (replaced or {}).get(tensor.name, (tensor.data, tensor.tensor_type)) for tensor in tensors}
    for name, (data, kind) in contents.items():
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for data, _ in contents.values():
        writer.write_tensor_data(data)
    writer.close()


def text_in(gguf: Path, key: str) -> str | None:
    """Return a text in the metadata of a GGUF file, or None when it has none of that name."""
    field = open_gguf(gguf).fields.get(key)
    return None if field is None else str(field.contents())
