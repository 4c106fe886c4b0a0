"""``prompts split``: a prompt file in three, for calibration, validation and test, with near-duplicates together."""

import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.errors import InputError
from prosafeprune.files.staging import RECORD_FILE, claimed_output, staged_folder, write_whole
from prosafeprune.prompts.overlap import groups_of_alike
from prosafeprune.prompts.prompt_rows import PromptRow, read_prompt_rows
from prosafeprune.prompts.reviewed import HARMFUL, HARMLESS, review_of
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_figure import counts_figure
from prosafeprune.report.result_view import ResultView
from prosafeprune.requests.prompt_tools import SplitRequest

SPLITS = ("calibration", "validation", "test")
OPTIONS = {
    HARMLESS: {"calibration": "--pseudo-harmful", "test": "--test-pseudo-harmful"},
    HARMFUL: {"calibration": "--harmful", "test": "--test-harmful"},
}
"""The options of ``prune`` that take the prompts of a review's finding, by split."""


@dataclass(frozen=True, repr=False)
class SplitPrompts(ResultView):
    """A file's prompts in three."""

    splits: Mapping[str, Sequence[PromptRow]]
    groups: int
    """Groups of near-duplicates, each in one split."""
    output: Path

    def summary(self) -> str:
        """Return the sizes."""
        sizes = ", ".join(f"{len(rows)} for {name}" for name, rows in self.splits.items())
        return f"{sizes}, in {self.output}"

    def grids(self) -> Sequence[Grid]:
        """Return the sizes as a table."""
        rows = [[str(self.output / f"{row['split']}.jsonl"), str(row["prompts"])] for row in self.rows()]
        return [Grid(f"{self.groups} groups of near-duplicates, each in one split", ["file", "prompts"], rows)]

    def plot(self) -> Figure:
        """Return the sizes as bars."""
        return counts_figure({name: len(rows) for name, rows in self.splits.items()}, "prompts")

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each split."""
        return [{"split": name, "prompts": len(rows)} for name, rows in self.splits.items()]

    def next_step(self) -> str:
        """Return what to do with the splits: the command, as far as a review says which class the prompts are of."""
        found = {name: {review_of(row.fields) for row in rows} for name, rows in self.splits.items()}
        prune, of_all = "prosafeprune prune MODEL -o pruned", set().union(*found.values())
        if None in of_all:
            harmless, harmful = self._options(HARMLESS), self._options(HARMFUL)
            return f"Next, if these are harmless: {prune} {harmless}. If they are to be refused: {harmful}"
        if of_all.isdisjoint(OPTIONS):
            return (
                "None is reviewed as harmless or harmful, so prune takes none: review or rate them, then split again."
            )
        options = [self._options(finding, {name for name in found if finding in found[name]}) for finding in OPTIONS]
        return f"Next: {prune} {' '.join(filter(None, options))}"

    def _options(self, finding: str, among: Collection[str] = SPLITS) -> str:
        """Return the options that take the prompts of a finding from some splits."""
        taken = {name: option for name, option in OPTIONS[finding].items() if name in among}
        return " ".join(f"{option} {self.output / name}.jsonl" for name, option in taken.items())


def run_split(file: Path, request: SplitRequest, output: Path, *, overwrite: bool) -> SplitPrompts:
    """Write ``calibration.jsonl``, ``validation.jsonl`` and ``test.jsonl`` into ``output``.

    Prompts whose words agree by 60 %, directly or through others, are in one split.

    Raises:
        InputError: the file or the output cannot be used, or there are fewer than three groups.
    """
    rows = read_prompt_rows(file, request.prompt_field)
    groups = groups_of_alike([row.prompt for row in rows])
    if len(groups) < len(SPLITS):
        raise InputError(
            f"{file}: its prompts are of {len(groups)} groups of near-duplicates, and a split needs three."
        )
    dealt = deal_groups(groups, request.parts, request.seed)
    splits = {name: [rows[row] for row in chosen] for name, chosen in zip(SPLITS, dealt, strict=True)}
    with claimed_output(output, overwrite), staged_folder(output, overwrite) as staging:
        for name, chosen in splits.items():
            lines = (json.dumps(row.fields, ensure_ascii=False) + "\n" for row in chosen)
            write_whole(staging / f"{name}.jsonl", "".join(lines))
        record = {"command": "prompts split", "file": file.name, "settings": request.model_dump(mode="json")}
        sizes = {name: len(chosen) for name, chosen in splits.items()}
        write_whole(
            staging / RECORD_FILE, json.dumps({**record, "groups": len(groups), "prompts": sizes}, indent=2) + "\n"
        )
    return SplitPrompts(splits, len(groups), output)


def deal_groups(groups: Sequence[Sequence[int]], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Return the rows of each part, in order: complete groups, the largest first, to the part that lacks most.

    No part is empty; there must be as many groups as parts.
    """
    total = sum(map(len, groups))
    shuffled = list(groups)
    random.Random(seed).shuffle(shuffled)
    shuffled.sort(key=len, reverse=True)  # stable: still random among those of one size
    parts: list[list[int]] = [[] for _ in shares]
    for done, group in enumerate(shuffled):
        empty = [place for place, part in enumerate(parts) if not part]
        must_fill = len(shuffled) - done <= len(empty)
        places = empty if must_fill else range(len(parts))
        lacking = max(places, key=lambda place: shares[place] * total - len(parts[place]))
        parts[lacking] += group
    return [sorted(part) for part in parts]
