"""Bad inputs in folders that runs keep: resumed folders, compared ones, and the cache."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from fault_campaign import mutations
from fault_campaign.cases import Bad, Tries
from fault_campaign.mutations import ANY_JSON, NEVER
from fault_campaign.world import LAYERS, SEARCHED, World, analyzing, comparing, evaluating, pruning, searching

RESUMED: dict[str, Callable[..., Sequence[object]]] = {
    "evaluation": evaluating,
    "search": searching,
    "comparison": comparing,
    "analysis": analyzing,
}
KEPT = (".json", ".jsonl", ".npz")
SPOILING = (*ANY_JSON, *NEVER, mutations.no_file)


def kept(kind: str) -> Tries:
    """Return a maker of cases in which a file of a resumed folder is spoiled."""

    def tries(world: World, case: Path, draw: random.Random) -> Bad:
        out = Path(shutil.copytree(world.folder / kind, case / "out"))
        what = _spoil_one(out, draw)
        arguments: Sequence[object] = RESUMED[kind](world, out)
        if kind == "search" and draw.random() < 0.5:
            arguments = pruning(world, case / "out-new", "--search", out, "--choose", 1)
        return Bad(list(arguments), f"a kept {kind}, {what}", resumes=out)

    return tries


def against(world: World, case: Path, draw: random.Random) -> Bad:
    """Spoil a file of an evaluation to compare with."""
    earlier = Path(shutil.copytree(world.evaluation, case / "earlier"))
    what = _spoil_one(earlier, draw)
    return Bad(evaluating(world, case / "out", "--against", earlier), f"--against, {what}")


def cached(world: World, case: Path, draw: random.Random) -> Bad:
    """Spoil a file of the cache of answers and searches."""
    cache = Path(shutil.copytree(world.cache, case / "work" / "cache"))
    what = _spoil_one(cache, draw)
    which = draw.choice((LAYERS, (*SEARCHED, "--choose", 1)))
    return Bad(pruning(world, case / "out", *which), f"the cache, {what}")


def _spoil_one(folder: Path, draw: random.Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix in KEPT and path.is_file())
    file = draw.choice(files)
    ways = (mutations.spoil_bytes, mutations.no_file) if file.suffix == ".npz" else SPOILING
    return draw.choice(ways)(file, draw)
