"""What a machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from prosafeprune.setup import machine

GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("limit", "taken", "stat", "part"),
    [
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ],
)
def test_a_container_has_the_memory_of_its_limit(
    limit: str, taken: str, stat: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemAvailable:   900000000 kB\n")
    monkeypatch.setattr(machine, "MEMORY_FILE", tmp_path / "meminfo")
    whole = machine.memory_bytes()
    (tmp_path / "memory").mkdir()
    (tmp_path / taken).write_text(f"{GIGABYTE * 3 // 4}\n")
    (tmp_path / stat).write_text(f"anon 5\n{part} {GIGABYTE // 4}\n")
    for unlimited in ("max\n", f"{2**63 - 4096}\n"):
        (tmp_path / limit).write_text(unlimited)
        assert machine.memory_bytes() == whole
    (tmp_path / limit).write_text(f"{GIGABYTE}\n")
    assert machine.memory_bytes() == (GIGABYTE, GIGABYTE // 2)
    (tmp_path / taken).write_text(f"{2 * GIGABYTE}\n")
    assert machine.memory_bytes() == (GIGABYTE, 0)
