"""The campaign's command line: prints its figures, and exits with 1 unless every fault was found 0 times."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fault_campaign import bad_inputs, hostile_text, kills, places, world
from fault_campaign.figures import Figures

PARTS = ("hostile text", "places", "bad inputs", "kills")


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m fault_campaign", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few cases of each kind, as in CI")
    parser.add_argument("--kills", type=int, default=24, help="most kills at file events of each command")
    parser.add_argument("--inputs", type=int, default=500, help="bad inputs")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be given more than once")
    asked = parser.parse_args()
    if asked.short:
        asked.kills, asked.inputs = 2, 20
    started, figures = time.monotonic(), Figures()
    world.prepare_libraries()
    with tempfile.TemporaryDirectory(prefix="fault-campaign-") as folder:
        place = Path(folder).resolve()
        (place / "world").mkdir()
        os.environ["PROSAFEPRUNE_CACHE"] = str(place / "cache")
        made = world.build(place / "world")
        parts = {
            "hostile text": lambda: hostile_text.campaign(made, place, figures),
            "places": lambda: places.campaign(made, place, figures, short=asked.short),
            "bad inputs": lambda: bad_inputs.campaign(made, place, asked.inputs, figures, asked.seed),
            "kills": lambda: kills.campaign(made, place, asked.kills, figures, asked.seed, short=asked.short),
        }
        for name in asked.only or PARTS:
            parts[name]()
    print(f"\n{figures.table()}\n{time.monotonic() - started:6.0f}  seconds")
    return int(bool(figures.faults))


if __name__ == "__main__":
    sys.exit(main())
