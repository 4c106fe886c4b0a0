"""Outputs in odd places: where another run writes, where nothing can be written, and in the inputs' own folders."""

from __future__ import annotations

import shutil
from pathlib import Path

from fault_campaign.children import Child, run
from fault_campaign.figures import Figures
from fault_campaign.kills import contents
from fault_campaign.world import COMMANDS, Command, World

READ_ONLY = ("/sys/fault-campaign/out", "/proc/out", "/dev/null/out")
"""Where even the superuser cannot make a folder."""


def campaign(world: World, place: Path, number: int, figures: Figures) -> None:
    """Run a command, given by its number, twice at once into one folder, and into places where it cannot write."""
    command = COMMANDS[number]
    _two_at_once(world, place / f"two-{number}", command, figures)
    for odd in _odd_places(world, place / f"odd-{number}"):
        if world.model in odd.parents and command.name.startswith(("judge", "prune a GGUF")):
            continue  # reads another model, or none
        ended = run(command.arguments(world, odd))
        figures.cases["places that cannot be written to"] += 1
        what = f"{command.name} into {ascii(str(odd))[:80]}"
        figures.check_end(ended, what, may_succeed=False)
    shutil.rmtree(place / f"odd-{number}")


def _odd_places(world: World, folder: Path) -> list[Path]:
    folder.mkdir()
    (folder / "file").write_text("a person's")
    (folder / "link").symlink_to(folder / "nowhere" / "at" / "all")
    (folder / "theirs").mkdir()
    (folder / "theirs" / "note.txt").write_text("a person's")
    for ending in (".jsonl", ".csv"):  # what `judge` writes
        (folder / f"theirs{ending}").mkdir()
    further = [world.model / "out", folder / "file" / "out", folder / ("x" * 300)]
    return [*map(Path, READ_ONLY), *further, folder / "theirs"]


def _two_at_once(world: World, place: Path, command: Command, figures: Figures) -> None:
    results = []
    for name in ("alone", "together"):
        folder = place / name
        folder.mkdir(parents=True)
        arguments = command.arguments(world, folder / "out")
        if command.before is not None:
            run(command.before(world, folder / "out"), cache=place / f"{name} cache")
        children = [Child(arguments, cache=place / f"{name} cache") for _ in range(1 if name == "alone" else 2)]
        ended = [child.wait() for child in children]
        for result in ended:
            if result.code != 0:
                figures.check_end(result, f"{command.name}, two at once", may_succeed=False)
        if all(result.code for result in ended):
            figures.fault("other results", f"{command.name}, two at once: none succeeded", ended[0].err)
        results.append((contents(folder, command), {file.name for file in folder.iterdir()}))
    figures.cases["two runs into one folder"] += 1
    if results[0] != results[1]:
        figures.fault("other results", f"{command.name}, two at once", f"{results[0][1]}, {results[1][1]}")
    shutil.rmtree(place)
