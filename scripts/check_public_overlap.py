"""Check that no bundled prompt is equal, or nearly so, to a prompt of public data.

    PYTHONPATH=src python scripts/check_public_overlap.py DATA_DIR

Every .jsonl, .json, .csv and .txt file of DATA_DIR is read. Prints for each how many bundled prompts of all splits have
a Jaccard similarity of words of at least 0.8 with one of its prompts, then these prompts; exits with 1 if it finds any.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from prosafeprune.errors import ProSafePruneError
from prosafeprune.evaluation.benchmarks import BENCHMARKS
from prosafeprune.prompts import (
    PromptClass,
    PromptSet,
    bundled_beyond,
    bundled_prompts,
    describe_overlap,
    find_overlaps,
)
from prosafeprune.prompts.bundled import CALIBRATED, Beyond, Split
from prosafeprune.prompts.overlap import NEAR_EQUAL
from prosafeprune.prompts.paper_sources import PAPER_SOURCES
from prosafeprune.prompts.rows import Row
from prosafeprune.prompts.sources import FILE_TYPES, read_prompts

COLUMNS = dict.fromkeys(
    [
        *("prompt", "question"),
        *(field for benchmark in BENCHMARKS for field in benchmark.fields),
        *(field for source in PAPER_SOURCES.values() for field in source.fields),
    ]
)
"""Columns that hold the prompts of public data; of a row that has several, the first."""


def main(data: Path) -> int:
    """Print what was found in a folder; return the exit status."""
    files = sorted(path for path in data.iterdir() if path.suffix.lower() in FILE_TYPES) if data.is_dir() else []
    if not files:
        print(f"{data}: no such folder, or no {', '.join(FILE_TYPES)} file in it.")
        return 2
    bundled, found = list(bundled_sets()), []
    print(f"{sum(map(len, bundled))} bundled prompts, similarity {NEAR_EQUAL} or more to a prompt of:")
    for file in files:
        public = read_prompts(str(file), PromptClass.BENIGN, list(COLUMNS), _has_prompt)
        overlaps = [overlap for prompts in bundled for overlap in find_overlaps(prompts, public)]
        print(f"{file.name}, {len(public)} prompts: {count(overlap.first_text for overlap in overlaps)}")
        found += overlaps
    for overlap in found:
        print(describe_overlap(overlap))
    print(f"In all: {count(overlap.first_text for overlap in found)}")
    return 1 if found else 0


def bundled_sets() -> Iterator[PromptSet]:
    """Yield all bundled sets."""
    for split in get_args(Split):
        for prompt_class in PromptClass:
            yield bundled_prompts(prompt_class, split)
            for group in get_args(Beyond):
                if split != "calibration" or group in CALIBRATED:
                    yield bundled_beyond(group, prompt_class, split)


def count(texts: Iterable[str]) -> int:
    """Return how many texts differ: a prompt may be like several."""
    return len(set(texts))


def _has_prompt(row: Row) -> bool:
    """Whether a row has a prompt: an empty one is not like any."""
    return any(row.get(name) for name in COLUMNS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Check that no bundled prompt is nearly equal to one of public data.")
    parser.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    try:
        raise SystemExit(main(parser.parse_args().data_dir))
    except ProSafePruneError as error:
        raise SystemExit(f"Not checked. {error}") from error
