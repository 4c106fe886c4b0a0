"""Runs killed at their file events: no output is left in part, and the repeat gives the undisturbed result."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fault_campaign.children import Child, run
from fault_campaign.figures import Figures
from fault_campaign.file_events import count_into, full_at, kill_at, kill_at_size
from fault_campaign.world import COMMANDS, Command, World

TIMES = {"seconds", "seconds_per_answer", "seconds_per_token", "answer_ratio", "fit_seconds", "token_ratio", "sessions"}
"""Fields that differ from run to run, in records of answers."""
BATCH_SIZES = re.compile(rb'"answer_batch_sizes": \[[^\]]*\],|<dt>batch sizes, answers</dt><dd>[^<]*</dd>')
"""How the answers were made, in records and reports: a repeated run only makes those that are missing."""
Contents = dict[str, object]
ENDING = {signal.SIGINT: "Interrupted. ", signal.SIGTERM: "Terminated. ", signal.SIGHUP: "Hung up. "}
"""Signals that end a command in one line, and how it begins."""


def campaign(world: World, place: Path, number: int, budget: int, seed: int, figures: Figures) -> None:
    """Kill a command, given by its number, at its file events, in the middle of writes and at any time.

    At most ``budget`` kills are at file events.
    """
    command = COMMANDS[number]
    print(f"killing {command.name}", flush=True)
    _OneCommand(world, place / f"kill-{number}", command, figures, random.Random(f"{seed} {number}")).kill(budget)


class _OneCommand:
    def __init__(self, world: World, place: Path, command: Command, figures: Figures, draw: random.Random) -> None:
        self.world, self.place, self.command, self.figures, self.draw = world, place, command, figures, draw
        self.folder, self.cache = place / "here", place / "cache"
        self.earlier, self.old = place / "earlier", Contents()
        self.place.mkdir()
        if command.before is not None:
            self.earlier.mkdir()
            run(command.before(world, self.earlier / "out"), cache=self.cache)
            self.old = contents(self.earlier, command)
        self._begin()
        counted = place / "events"
        started = time.monotonic()
        ended = self._run(count_into(counted, (self.folder, self.cache)))
        self.seconds = time.monotonic() - started
        if ended.code != 0:
            raise RuntimeError(f"{command.name} fails undisturbed: {ended.err[-2000:]}")
        self.events = int(counted.read_text())
        self.undisturbed = contents(self.folder, command)
        self.names = {file.name for file in self.folder.iterdir()}
        self.largest = max(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def kill(self, budget: int) -> None:
        """Kill the command at most so often, evenly over its events and the sizes of its files."""
        points = list(range(1, self.events + 1))
        if len(points) > budget:
            points = sorted(self.draw.sample(points, budget))
        for event in points:
            self._case(f"killed at file event {event} of {self.events}", kill_at(event, (self.folder, self.cache)))
        for size in self._sizes(1 + budget // 10):
            self._case(f"killed while a file grows beyond {size} bytes", kill_at_size(size))
        for size in self._sizes(1 + budget // 10):
            self._full_disk(size)
        for _ in range(budget // 10):
            self._at_any_time()

    def _sizes(self, count: int) -> Iterator[int]:
        for _ in range(count):
            yield int(2 ** self.draw.uniform(0, self.largest.bit_length()))

    def _case(self, what: str, setup: Callable[[], None]) -> None:
        self._begin()
        ended = self._run(setup)
        self.figures.cases["kills"] += ended.code < 0
        if ended.hung:
            self.figures.fault("hangs", f"{self.command.name}, {what}", ended.err)
        self._check_after(what)

    def _full_disk(self, size: int) -> None:
        self._begin()
        what = f"no file may grow beyond {size} bytes"
        ended = self._run(full_at(size))
        self.figures.cases["full disks"] += 1
        if ended.code != 0 or contents(self.folder, self.command) != self.undisturbed:
            self.figures.check_end(ended, f"{self.command.name}, {what}", may_succeed=False)
        self._check_after(what)

    def _at_any_time(self) -> None:
        self._begin()
        number = self.draw.choice([*ENDING, signal.SIGKILL])
        child = Child(self._arguments(), _as_in_a_terminal, cache=self.cache)
        time.sleep(self.draw.uniform(0, self.seconds))
        child.kill(number)
        ended = child.wait()
        what = "killed at any time" if number == signal.SIGKILL else f"ended by {number.name}"
        counted = "kills" if number == signal.SIGKILL else "interrupts"
        self.figures.cases[counted] += ended.code in (128 + number, -number)
        if number in ENDING and (ended.code not in (0, 128 + number, -number) or ended.traceback):
            self.figures.fault("tracebacks", f"{self.command.name}, {what}", f"exit code {ended.code}: {ended.err}")
        elif ended.code == 128 + number and ended.err.count(ENDING[number]) != 1:
            self.figures.fault("unclear errors", f"{self.command.name}, {what}", ended.err)
        if ended.code != 0:
            self._check_after(what)

    def _check_after(self, what: str) -> None:
        """Check that nothing is there in part; then repeat the command, and compare with the undisturbed run."""
        case = f"{self.command.name}, {what}"
        if self.command.is_folder_whole:
            there = contents(self.folder, self.command)
            visible = {name: content for name, content in there.items() if not name.startswith(".")}
            if not all(self._is_whole(name, visible) for name in {name.split("/")[0] for name in visible}):
                self.figures.fault("broken outputs", case, str(sorted(visible)))
        there = contents(self.folder, self.command)
        was_finished = {
            name: content for name, content in there.items() if not name.startswith(".")
        } == self.undisturbed
        ended = self._run(None)
        if was_finished and ended.code == 2 and "exists already" in ended.err:
            self._check_leftovers(case, was_finished=True)
            return
        if ended.code != 0:
            kind = "hangs" if ended.hung else "tracebacks" if ended.traceback else "other results"
            self.figures.fault(kind, f"{case}, repeated", ended.err)
            return
        now = contents(self.folder, self.command)
        different = sorted(name for name in {*now, *self.undisturbed} if now.get(name) != self.undisturbed.get(name))
        if different:
            self.figures.fault("other results", f"{case}, repeated", f"differ: {different[:5]}")
        self._check_leftovers(case, was_finished=was_finished)

    def _check_leftovers(self, case: str, *, was_finished: bool) -> None:
        """Check that nothing else is left; the lock file of a killed run stays where its work was finished."""
        left = {file.name for file in self.folder.iterdir()} - self.names - ({".out.lock"} if was_finished else set())
        if left:
            self.figures.fault("leftovers", f"{case}, repeated", str(sorted(left)))

    def _is_whole(self, top: str, there: Contents) -> bool:
        """Return whether what is at one name in the folder is as after an undisturbed run, or as before it."""

        def of(all_of_them: Contents) -> Contents:
            return {name: content for name, content in all_of_them.items() if name.split("/")[0] == top}

        is_search = top.endswith("-search")  # grows, and is resumed
        return is_search or of(there) in (of(self.undisturbed), of(self.old))

    def _begin(self) -> None:
        for left in (self.folder, self.cache):
            shutil.rmtree(left, ignore_errors=True)
        if self.command.before is not None:
            shutil.copytree(self.earlier, self.folder)
        else:
            self.folder.mkdir()

    def _arguments(self) -> list[object]:
        return list(self.command.arguments(self.world, self.folder / "out"))

    def _run(self, setup: Callable[[], None] | None) -> Any:
        return run(self._arguments(), setup, cache=self.cache)


def _as_in_a_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the campaign itself may be under nohup


def contents(folder: Path, command: Command) -> Contents:
    """Return what is in a folder, by file, without what may differ between two runs of a command."""
    chosen = command.compared
    files = {file for pattern in chosen for file in folder.rglob(pattern) if file.is_file()}
    found: Contents = {}
    for file in files:
        if file.name == "prosafeprune_cost.json":
            continue
        data = file.read_bytes()
        inside = file.relative_to(folder).as_posix()
        if not command.is_folder_whole and file.suffix in (".json", ".jsonl"):
            lines = data.decode().split("\n") if file.suffix == ".jsonl" else [data.decode()]
            found[inside] = sorted(_comparable(line) for line in lines if line)
        elif "-search/" not in inside or file.name == "search.json":
            found[inside] = BATCH_SIZES.sub(b"", data)
    return found


def _comparable(text: str) -> str:
    try:
        return json.dumps(_timeless(json.loads(text)), sort_keys=True)
    except ValueError:  # a line that was being written
        return text


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(inner) for name, inner in value.items() if name not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value
