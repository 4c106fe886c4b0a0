"""The fault campaign of scripts/fault_campaign, short: nothing broken, no traceback, no hang, no silent success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_campaign.children import Ended
from fault_campaign.figures import FAULTS, Figures

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and reads /proc")
def test_the_short_campaign_finds_nothing() -> None:
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests", "scripts"))
    ended = subprocess.run(
        [sys.executable, "-m", "fault_campaign", "--short"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    counts = {
        words[1]: int(words[0])
        for line in ended.stdout.splitlines()
        if len(words := line.split(None, 1)) == 2 and words[0].isdecimal()
    }
    assert counts["kills"] >= 8
    assert counts["bad inputs"] == 20
    assert {name: counts[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0)


def end(code: int, err: str = "", *, hung: bool = False) -> Ended:
    return Ended(("prune",), code, "", err, hung)


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (end(2, "note\nError: a.txt: no such file.\n"), None),
        (end(2, "Usage: prosafeprune prune\n"), None),
        (end(0), "silent successes"),
        (end(70, "Error: Unexpected KeyError.\n"), "tracebacks"),
        (end(1, "Traceback (most recent call last)\n"), "tracebacks"),
        (end(-11), "tracebacks"),
        (end(-9, hung=True), "hangs"),
        (end(2, "Error: one\nError: two\n"), "unclear errors"),
        (end(2, ""), "unclear errors"),
        (end(5, "Error: a\n"), "unclear errors"),
    ],
)
def test_every_bad_end_is_counted(ended: Ended, fault: str | None) -> None:
    figures = Figures()
    figures.check_end(ended, "a case", may_succeed=False)
    assert dict(figures.faults) == ({fault: 1} if fault else {})
    assert f"{1 if fault else 0:6}  {fault or 'hangs'}" in figures.table()
