"""Ways to spoil a file: its JSON, its bytes, or what it is."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = 100_000
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**9, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", " ", "\0"),
    *(
        "x" * 100_000,
        "../../../etc/passwd",
        "/dev/zero",
        "\ud83d",
        "\x1b]52;c;eA==\x07\x1b[2J",
        "[/bold]",
        "\u202edcba",
    ),
    *([], {}, [None], {"": None}, [[[[]]]], {"a": {"b": {"c": {}}}}, ["x"] * 1000, "{{ 7 * 7 }}", "NaN", "1e999"),
)
Mutation = Callable[[Path, random.Random], str]
"""Spoils a file and says how, in words."""


def odd_value(draw: random.Random) -> Any:
    """Return a value that few readers expect."""
    return draw.choice(ODD)


def spoil_json(file: Path, draw: random.Random) -> str:
    """Replace, remove, rename or wrap one value of a JSON file, or of one line of a file of JSON lines."""
    lines = file.read_text(encoding="utf-8").split("\n") if file.suffix == ".jsonl" else [file.read_text("utf-8")]
    number = draw.choice([i for i, line in enumerate(lines) if line.strip()])
    tree, said = changed(json.loads(lines[number]), draw)
    lines[number] = json.dumps(tree)
    file.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return f"{file.name}: {said}"


def changed(tree: Any, draw: random.Random) -> tuple[Any, str]:
    """Return a tree of JSON values with one of them replaced, removed, renamed or wrapped, and what was done."""
    containers = [("", tree)] if isinstance(tree, dict | list) and tree else []
    for path, container in containers:  # grows while it is walked over
        items = container.items() if isinstance(container, dict) else enumerate(container)
        containers += [(f"{path}/{key}", inner) for key, inner in items if isinstance(inner, dict | list) and inner]
    if not containers or draw.random() < 0.05:
        value = odd_value(draw)
        return value, f"everything is {_shown(value)}"
    path, container = draw.choice(containers[:200])
    key = draw.choice(list(container) if isinstance(container, dict) else range(len(container)))
    how = draw.choice(["replaced", "replaced", "replaced", "removed", "wrapped", "renamed"])
    value = odd_value(draw)
    if how == "removed" or (how == "renamed" and isinstance(container, list)):
        del container[key]
    elif how == "wrapped":
        container[key] = [container[key]]
    elif how == "renamed":
        container[str(value)] = container.pop(key)
    else:
        container[key] = value
    return tree, f"{path}/{key} {how}" + (f": {_shown(value)}" if how in ("replaced", "renamed") else "")


def _shown(value: Any) -> str:
    return ascii(value)[:40]


def spoil_bytes(file: Path, draw: random.Random) -> str:
    """Cut a file, or change some of its bytes."""
    data = bytearray(file.read_bytes())
    how = draw.choice(["cut", "flipped", "inserted", "zeroed", "doubled"])
    start = draw.randrange(min(len(data), 4000) or 1)
    if how == "cut":
        del data[draw.randrange(len(data)) :]
    elif how == "flipped":
        for _ in range(draw.choice([1, 3, 20])):
            data[draw.randrange(min(len(data), 4000))] ^= 1 << draw.randrange(8)
    elif how == "inserted":
        data[start:start] = draw.randbytes(draw.choice([1, 8, 500]))
    elif how == "zeroed":
        data[start : start + 40] = bytes(len(data[start : start + 40]))
    else:
        data = data * 2
    file.write_bytes(data)
    return f"{file.name}: bytes {how} at {start}"


def invalid_utf8(file: Path, draw: random.Random) -> str:
    """Put bytes into a text file that are no UTF-8."""
    data = bytearray(file.read_bytes())
    start = draw.randrange(len(data))
    data[start:start] = draw.choice([b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\x80"])
    file.write_bytes(data)
    return f"{file.name}: no UTF-8 at {start}"


def deep_json(file: Path, draw: random.Random) -> str:
    """Make a JSON file that is nested too deep, or has a number that is too long."""
    opening = draw.choice(["[", '{"a":'])
    file.write_text(draw.choice([opening * DEEP, '{"a": ' + "9" * 5000 + "}", "[" * DEEP + "]" * DEEP]))
    return f"{file.name}: nested {DEEP} deep, or a number of 5,000 digits"


def no_file(file: Path, draw: random.Random) -> str:
    """Put something else where a file was: nothing, a folder, a pipe, a device, a link that leads nowhere."""
    file.unlink()
    how = draw.choice(["missing", "folder", "pipe", "device", "dangling", "loop", "empty"])
    if how == "folder":
        file.mkdir()
    elif how == "pipe":
        os.mkfifo(file)
    elif how == "device":
        file.symlink_to("/dev/zero")
    elif how == "dangling":
        file.symlink_to(file.parent / "nowhere")
    elif how == "loop":
        file.symlink_to(file)
    elif how == "empty":
        file.touch()
    return f"{file.name}: is {how}"


ANY_JSON = (spoil_json, spoil_json, spoil_bytes)
NEVER = (deep_json, invalid_utf8)
"""Spoil a file that is read so that no command may succeed."""
