"""GGUF files with damaged headers, metadata, tensor lists and parts."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_campaign.cases import Bad
from fault_campaign.world import LAYERS, World, evaluating, pruning

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
FORMATS = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?"}
FORMATS |= {UINT64: "Q", INT64: "q", FLOAT64: "d"}
ALIGNMENT = 32
HUGE = (2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
ODD_TEXTS = (b"", b"llama", b"bert", b"../x", b"\xff\xfe", b"\0", b"{% for i in range(9**9) %}{% endfor %}")
ODD_NAMES = (b"", b"\xff\xfe", b"blk.999.attn_q.weight", b"../../x", b"odd.weight")
ODD_NUMBERS: dict[int, tuple[float, ...]] = {
    **{FLOAT32: (0.0, -1.0, float("nan"), float("inf"), 1e38), FLOAT64: (0.0, float("nan"), 1e308)},
    **{UINT32: (0, 1, 3, 7, 2**31, 2**32 - 1), INT32: (-1, -(2**31), 5), UINT64: HUGE[:4], INT64: (-1, -(2**62))},
    **{UINT8: (0, 1, 3, 100), INT8: (0, -1, 100), UINT16: (0, 1, 7, 32_000), INT16: (0, -1, 32_000), BOOL: (True,)},
}
KEYS = (
    *("llama.block_count", "llama.embedding_length", "llama.attention.head_count", "llama.attention.head_count_kv"),
    *("llama.context_length", "llama.feed_forward_length", "llama.vocab_size", "llama.rope.freq_base"),
    *("llama.rope.dimension_count", "llama.attention.layer_norm_rms_epsilon", "general.architecture"),
    *("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.model"),
    *("tokenizer.ggml.eos_token_id", "tokenizer.ggml.bos_token_id", "tokenizer.chat_template", "general.alignment"),
    *("llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.attention.key_length", "split.count"),
    *("llama.attention.sliding_window", "llama.expert_count", "prosafeprune.record", "general.file_type"),
)


@dataclass
class Contents:
    """A GGUF file in its parts, which need not fit each other."""

    magic: bytes = b"GGUF"
    version: int = 3
    pairs: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """Key, type and value as stored."""
    tensors: list[tuple[bytes, list[int], int, int]] = field(default_factory=list)
    """Name, dimensions, type and offset."""
    data: bytes = b""
    before: bytes = b""
    """Put before the metadata."""
    counts: tuple[int, int] | None = None
    """Numbers of tensors and pairs in the header; None: as they are."""

    def stored(self) -> bytes:
        """Return the file."""
        tensors, pairs = self.counts or (len(self.tensors), len(self.pairs))
        head = self.magic + struct.pack("<IQQ", self.version, tensors, pairs)
        head += self.before + b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in self.pairs)
        for name, sizes, kind, offset in self.tensors:
            head += text(name) + struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes) + struct.pack("<IQ", kind, offset)
        return head + bytes(-len(head) % ALIGNMENT) + self.data

    def put(self, key: str, kind: int, value: bytes) -> None:
        """Set a pair of the metadata."""
        self.pairs = [pair for pair in self.pairs if pair[0] != key.encode()] + [(key.encode(), kind, value)]


def text(value: bytes, length: int | None = None) -> bytes:
    """Return a string as stored, perhaps with another length before it."""
    return struct.pack("<Q", len(value) if length is None else length) + value


def read(file: Path) -> Contents:
    """Read a file that is whole."""
    raw, at = file.read_bytes(), 24
    found = Contents()
    tensors, pairs = struct.unpack_from("<QQ", raw, 8)

    def string() -> bytes:
        nonlocal at
        size = struct.unpack_from("<Q", raw, at)[0]
        at += 8 + size
        return raw[at - size : at]

    def skip(kind: int) -> None:
        nonlocal at
        if kind == STRING:
            string()
        elif kind == ARRAY:
            inner, count = struct.unpack_from("<IQ", raw, at)
            at += 12
            for _ in range(count):
                skip(inner)
        else:
            at += struct.calcsize(FORMATS[kind])

    for _ in range(pairs):
        key = string()
        kind = struct.unpack_from("<I", raw, at)[0]
        start = at = at + 4
        skip(kind)
        found.pairs.append((key, kind, raw[start:at]))
    for _ in range(tensors):
        name = string()
        count = struct.unpack_from("<I", raw, at)[0]
        sizes = list(struct.unpack_from(f"<{count}Q", raw, at + 4))
        kind, offset = struct.unpack_from("<IQ", raw, at + 4 + 8 * count)
        at += 16 + 8 * count
        found.tensors.append((name, sizes, kind, offset))
    found.data = raw[at + (-at % ALIGNMENT) :]
    return found


def _header(one: Contents, draw: random.Random) -> str:
    how = draw.choice(["magic", "version", "counts", "counts"])
    if how == "magic":
        one.magic = draw.choice([b"FUGG", b"GGJT", b"\0\0\0\0", b"gguf", b"GGUF\0"])
    elif how == "version":
        one.version = draw.choice([0, 1, 2, 4, 2**31, 2**32 - 1, 0x03000000])
    else:
        tensors, pairs = len(one.tensors), len(one.pairs)
        odd = draw.choice([0, 1, *HUGE])
        one.counts = draw.choice([(odd, pairs), (tensors, odd), (tensors - 1, pairs), (tensors + 1, pairs)])
        return f"counts {one.counts}"
    return f"{how} {one.magic!r} {one.version}"


def _length(one: Contents, draw: random.Random) -> str:
    """A string or an array that says it is longer than it is, or never ends."""
    size = draw.choice([*HUGE, 10**9, 70_000])
    how = draw.choice(["key", "string", "array", "array of arrays", "name"])
    odd = text(b"odd", size)
    at = draw.randrange(len(one.pairs))
    if how == "key":
        one.before = odd
    elif how == "string":
        one.pairs.insert(at, (b"general.odd", STRING, odd))
    elif how == "array":
        one.pairs.insert(at, (b"general.odd", ARRAY, struct.pack("<IQ", draw.choice([UINT8, STRING, FLOAT64]), size)))
    elif how == "array of arrays":
        depth = draw.choice([3, 900, 50_000])
        inner = struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", UINT8, 1) + b"\1"
        one.pairs.insert(at, (b"general.odd", ARRAY, inner))
        return f"arrays {depth} deep"
    else:
        one.tensors[0] = (b"x" * 100_000, *one.tensors[0][1:])
    return f"{how} of {size}"


def _value(one: Contents, draw: random.Random) -> str:
    """A value that no model has, of the right type or another."""
    key, kind = draw.choice(KEYS), draw.choice([*FORMATS, STRING, ARRAY, 13, 200])
    if kind == STRING:
        odd = draw.choice(ODD_TEXTS)
        one.put(key, STRING, text(odd))
        return f"{key} = {odd!r}"
    if kind == ARRAY:
        inner, count = draw.choice([(UINT32, 0), (UINT32, 3), (STRING, 0), (FLOAT32, 2), (STRING, 2)])
        items = text(b"x") if inner == STRING else struct.pack("<I", 7)
        one.put(key, ARRAY, struct.pack("<IQ", inner, count) + items * count)
        return f"{key} = an array of {count} of type {inner}"
    if kind not in FORMATS:
        one.put(key, kind, b"\0" * 8)
        return f"{key} of the unknown type {kind}"
    odd_number = draw.choice(ODD_NUMBERS[kind])
    one.put(key, kind, struct.pack(f"<{FORMATS[kind]}", odd_number))
    return f"{key} = {odd_number} of type {kind}"


def _pairs(one: Contents, draw: random.Random) -> str:
    """Metadata that is missing or there twice, or whose name is odd."""
    at = draw.randrange(len(one.pairs))
    key, kind, value = one.pairs[at]
    how = draw.choice(["missing", "missing", "twice", "renamed"])
    if how == "missing":
        key = draw.choice(KEYS).encode()
        one.pairs = [pair for pair in one.pairs if pair[0] != key]
    elif how == "twice":
        one.pairs.append((key, kind, value))
    else:
        one.pairs[at] = (draw.choice([b"", b"\xff\xfe", b"llama.odd", b"x" * 70_000]), kind, value)
    return f"{key!r} {how}"


def _tensor(one: Contents, draw: random.Random) -> str:
    """A tensor of odd sizes, of a type that is none, at a place that is none, or of another's name."""
    at = draw.randrange(len(one.tensors))
    name, sizes, kind, offset = one.tensors[at]
    how = draw.choice(["sizes", "sizes", "type", "offset", "offset", "name", "removed", "swapped"])
    if how == "sizes":
        wide = [[*HUGE[:2]], [2**32, 2**32], [2**63], [1] * 9]
        sizes = draw.choice([[], [0], [0, 0], *wide, sizes[::-1], [2 * sizes[0]]])
    elif how == "type":
        kind = draw.choice([1, 2, 8, 14, 24, 30, 39, 40, 200, 2**32 - 1])
    elif how == "offset":
        offset = draw.choice([1, 16, 0, len(one.data), *HUGE])
    elif how == "name":
        name = draw.choice([one.tensors[at - 1][0], *ODD_NAMES])
    if how == "removed":
        del one.tensors[at]
    elif how == "swapped":
        other = one.tensors[at - 1]
        one.tensors[at], one.tensors[at - 1] = (name, *other[1:]), (other[0], sizes, kind, offset)
    else:
        one.tensors[at] = (name, sizes, kind, offset)
    return f"tensor {name[:40]!r}: {how} {sizes[:3]} {kind} {offset}"


Way = Callable[[Contents, random.Random], str]
WAYS: tuple[Way, ...] = (_header, _length, _value, _value, _pairs, _tensor, _tensor)


def damaged(world: World, case: Path, draw: random.Random) -> Bad:
    """Damage the header, the metadata or the tensor list of a GGUF file."""
    one = read(world.gguf)
    what = draw.choice(WAYS)(one, draw)
    raw = one.stored()
    if draw.random() < 0.1:
        raw, what = raw[: draw.randrange(len(raw))], f"{what}, and cut"
    file = case / "model.gguf"
    file.write_bytes(raw)
    return Bad(_command(world, case, file, draw), f"GGUF, {what}")


def split(world: World, case: Path, draw: random.Random) -> Bad:
    """Split a GGUF file, and mix, rename, renumber or damage its parts."""
    parts = [read(world.gguf), read(world.gguf)]
    parts[0].tensors, parts[1].tensors = parts[0].tensors[::2], parts[1].tensors[1::2]
    total = len(parts[0].tensors) + len(parts[1].tensors)
    for number, part in enumerate(parts):
        for key, value in (("split.no", number), ("split.count", 2), ("split.tensors.count", total)):
            part.put(key, UINT16, struct.pack("<H", value))
    numbers, count = [1, 2], 2
    how = draw.choice(["same", "count", "number", "tensors", "mixed", "names", "missing", "damaged", "link", "type"])
    if how == "same":
        parts[1] = parts[0]
    elif how == "count":
        parts[draw.randrange(2)].put("split.count", UINT16, struct.pack("<H", draw.choice([0, 1, 3, 65535])))
    elif how == "number":
        parts[1].put("split.no", UINT16, struct.pack("<H", draw.choice([0, 2, 65535])))
    elif how == "tensors":
        parts[0].put("split.tensors.count", INT32, struct.pack("<i", draw.choice([-1, 0, total - 1, total + 1])))
    elif how == "mixed":  # the second part is of another model
        parts[1].put("llama.block_count", UINT32, struct.pack("<I", 9))
        parts[1].data = parts[1].data[::-1]
        parts[1].put("general.architecture", STRING, text(draw.choice([b"qwen2", b"llama"])))
    elif how == "names":
        numbers, count = draw.choice([([1, 2], 3), ([0, 1], 2), ([2, 3], 2), ([1, 2], 99999), ([1, 2], 1)])
    elif how == "damaged":
        how = draw.choice(WAYS)(parts[1], draw)
    elif how == "type":
        parts[draw.randrange(2)].put("split.count", STRING, text(draw.choice([b"2", b"two", b""])))
    files = [case / f"tiny-{number:05}-of-{count:05}.gguf" for number in numbers]
    for file, part in zip(files, parts, strict=True):
        file.write_bytes(part.stored())
    if how == "missing":
        files[1].unlink()
    elif how == "link":
        files[1].unlink()
        files[1].symlink_to(draw.choice([files[0].name, "/dev/zero", "nowhere"]))
    return Bad(_command(world, case, draw.choice(files), draw), f"split GGUF, {how} {numbers} {count}")


def beside(world: World, case: Path, draw: random.Random) -> Bad:
    """Put a GGUF file where another kind of input is asked for, or something else beside it."""
    folder = case / "model"
    folder.mkdir()
    shutil.copy(world.gguf, folder / "a.gguf")
    how = draw.choice(["two", "config", "as a folder", "written", "adapter"])
    if how == "two":
        shutil.copy(world.gguf, folder / "b.gguf")
    elif how == "config":
        (folder / "config.json").write_text(draw.choice(["{}", "[]", '{"model_type": "llama"}']))
    model = folder / "a.gguf" if how in ("written", "adapter") else folder
    more = ["--format", "gguf" if how == "written" else "adapter"] if how in ("written", "adapter") else []
    return Bad(pruning(world, case / "out", *LAYERS, *more, model=model), f"GGUF, {how}", may_succeed=how != "two")


def _command(world: World, case: Path, file: Path, draw: random.Random) -> list[object]:
    if draw.random() < 0.8:
        return evaluating(world, case / "out", model=file)
    more = draw.choice([(), ("--format", "gguf"), ("--format", "adapter")])
    return pruning(world, case / "out", *LAYERS, *more, model=file)
