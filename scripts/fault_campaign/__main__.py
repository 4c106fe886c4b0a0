"""The campaign's command line: prints its figures, and exits with 1 unless every fault was found 0 times."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fault_campaign import bad_inputs, hostile_text, kills, places, world
from fault_campaign.figures import Figures

PARTS = ("hostile text", "places", "bad inputs", "kills")
INPUTS_AT_ONCE = 20
Unit = Callable[[Figures], None]
"""A share of the campaign, which adds to the figures."""


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m fault_campaign", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few cases of each kind, as in CI")
    parser.add_argument("--kills", type=int, default=24, help="most kills at file events of each command")
    parser.add_argument("--inputs", type=int, default=500, help="bad inputs")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given more than once")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the cases")
    asked = parser.parse_args()
    if asked.short:
        asked.kills, asked.inputs = 2, 20
    started = time.monotonic()
    world.prepare_libraries()
    with tempfile.TemporaryDirectory(prefix="fault-campaign-") as folder:
        place = Path(folder).resolve()
        (place / "world").mkdir()
        os.environ["PROSAFEPRUNE_CACHE"] = str(place / "cache")
        figures = Figures()
        try:
            _run(asked, world.build(place / "world"), place, figures)
        finally:  # hours of work are worth their figures, also when the campaign itself fails
            print(f"\n{figures.table()}\n{time.monotonic() - started:6.0f}  seconds")
    return int(bool(figures.faults))


def _run(asked: argparse.Namespace, made: world.World, place: Path, figures: Figures) -> None:
    """Add what the parts asked for find to ``figures``."""
    parts = asked.only or PARTS
    if "hostile text" in parts:
        hostile_text.campaign(made, place, figures)
    world.draw_blank_figures()
    units = [unit for part in parts for unit in _units(part, asked, made, place)]
    if asked.jobs == 1:
        for unit in units:
            unit(figures)
        return
    with multiprocessing.get_context("fork").Pool(asked.jobs) as pool:
        for found in pool.imap_unordered(_figures_of, units):
            figures.add(found)


def _figures_of(unit: Unit) -> Figures:
    figures = Figures()
    unit(figures)
    return figures


def _units(part: str, asked: argparse.Namespace, made: world.World, place: Path) -> list[Unit]:
    """Return the shares of a part."""
    if part == "places":
        numbers = range(0, len(world.COMMANDS), 6 if asked.short else 1)
        return [partial(places.campaign, made, place, number) for number in numbers]
    if part == "bad inputs":
        starts = range(0, asked.inputs, INPUTS_AT_ONCE)
        shares = [range(start, min(start + INPUTS_AT_ONCE, asked.inputs)) for start in starts]
        return [partial(bad_inputs.campaign, made, place, share, asked.seed) for share in shares]
    if part == "kills":
        numbers = range(0, len(world.COMMANDS), 4 if asked.short else 1)
        return [partial(kills.campaign, made, place, number, asked.kills, asked.seed) for number in numbers]
    return []


if __name__ == "__main__":
    sys.exit(main())
