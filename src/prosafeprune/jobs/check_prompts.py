"""``prompts check``: sizes, languages, near-duplicates, benchmark prompts and conflicting reviews in files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.evaluation.benchmarks import BENCHMARKS
from prosafeprune.evaluation.sets import BEYOND, BUNDLED, EvaluationSet, SetChoice, choose_sets
from prosafeprune.judges.languages.detect import language_of
from prosafeprune.prompts.conversation import last_turn
from prosafeprune.prompts.overlap import Overlap, describe_overlap, find_overlaps, repeats
from prosafeprune.prompts.prompt_rows import as_prompt_set, read_prompt_rows
from prosafeprune.prompts.prompt_set import PromptSet
from prosafeprune.prompts.reviewed import ConflictingReviews, conflicting_reviews
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_figure import counts_figure
from prosafeprune.report.result_view import ResultView
from prosafeprune.requests.prompt_tools import CheckRequest

MOST_SHOWN = 20
"""Maximum prompts of a kind that are listed."""
OverlapsOfPairs = Mapping[tuple[str, str], Sequence[Overlap]]
"""Prompts that are in both of two sets, by the names of the two."""


class OverlapFoundError(ProSafePruneError):
    """Prompt files share prompts with each other or with benchmarks, or have a prompt that is reviewed in two ways."""

    exit_code = 4


@dataclass(frozen=True)
class CheckedFile:
    """What is in one file."""

    name: str
    prompts: int
    words: float
    """Median of the user's last turn."""
    languages: dict[str, int]
    """Prompts by language, the most frequent first."""
    repeats: int
    """Prompts that are near-duplicates of an earlier one."""


@dataclass(frozen=True, repr=False)
class CheckResult(ResultView):
    """What was found in prompt files."""

    files: Sequence[CheckedFile]
    shared: OverlapsOfPairs
    """Near-duplicates by pair of files."""
    leaks: OverlapsOfPairs
    """Near-duplicates by file and benchmark."""
    benchmarks: Sequence[str]
    """The sets that were searched for leaks, the bundled ones first."""
    conflicts: Sequence[ConflictingReviews]
    """Prompts that are reviewed in two ways inside one file."""

    @property
    def overlaps(self) -> list[Overlap]:
        """All near-duplicates across files, and in benchmarks."""
        return [overlap for found in (*self.shared.values(), *self.leaks.values()) for overlap in found]

    def summary(self) -> str:
        """Return how many files, and how many overlaps."""
        reviewed = f", {len(self.conflicts)} reviewed in two ways" if self.conflicts else ""
        return f"{len(self.files)} files, {len(self.overlaps)} prompts in another file or in a benchmark{reviewed}"

    def grids(self) -> Sequence[Grid]:
        """Return a table of the files, and one of the overlaps if there are any."""
        headings = ["file", "prompts", "words\nmedian", "near-duplicates\ninside", "languages"]
        rows = [
            [file.name, str(file.prompts), f"{file.words:g}", str(file.repeats), _in_words(file.languages)]
            for file in self.files
        ]
        named = self.benchmarks[len(BUNDLED) + len(BEYOND) :]
        searched = f"Searched for leaks: {', '.join(['all bundled test prompts', *named])}."
        grids = [Grid("Prompt files", headings, rows, notes=[searched])]
        across = [[*pair, str(_count(found))] for pair, found in (*self.shared.items(), *self.leaks.items()) if found]
        return [*grids, *([Grid("Near-duplicates across", ["file", "also in", "prompts"], across)] if across else [])]

    def plot(self) -> Figure:
        """Return how many prompts are in each file as bars."""
        return counts_figure({file.name: file.prompts for file in self.files}, "prompts")

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each file."""
        return [vars(file) for file in self.files]

    def as_json(self) -> dict[str, Any]:
        """Return everything that was found."""

        def pairs(found: OverlapsOfPairs) -> list[dict[str, Any]]:
            return [
                {"file": file, "also_in": other, "overlaps": [vars(overlap) for overlap in overlaps]}
                for (file, other), overlaps in found.items()
            ]

        return {
            "files": self.rows(),
            "shared": pairs(self.shared),
            "leaks": pairs(self.leaks),
            "benchmarks": list(self.benchmarks),
            "conflicting_reviews": [vars(found) for found in self.conflicts],
        }

    def listed(self) -> str:
        """Return the first overlaps and the first prompts that are reviewed in two ways, one a line."""
        overlaps = [describe_overlap(overlap) for overlap in self.overlaps[:MOST_SHOWN]]
        reviews = [found.describe() for found in self.conflicts[:MOST_SHOWN]]
        return "\n".join([*_and_more(overlaps, self.overlaps), *_and_more(reviews, self.conflicts)])


def run_check(files: Sequence[Path], request: CheckRequest) -> CheckResult:
    """Return what is in prompt files, which prompts they share, which are in benchmarks or reviewed in two ways.

    Benchmarks are searched in full: those of the request, and the bundled test prompts.

    Raises:
        InputError: a file or a benchmark cannot be read, or a file is named twice.
    """
    if len(set(files)) < len(files):
        raise InputError("A file is named twice. Name each once.")
    rows = {str(file): read_prompt_rows(file, request.prompt_field) for file in files}
    read = [as_prompt_set(own, name) for name, own in rows.items()]
    benchmarks = _benchmarks(request)
    shared = {(first.source, second.source): find_overlaps(first, second) for first, second in combinations(read, 2)}
    leaks = {
        (prompts.source, benchmark.title): find_overlaps(prompts, benchmark.prompts)
        for prompts in read
        for benchmark in benchmarks
    }
    titles = [benchmark.title for benchmark in benchmarks]
    conflicts = [found for name, own in rows.items() for found in conflicting_reviews(own, name)]
    return CheckResult([_checked(prompts) for prompts in read], shared, leaks, titles, conflicts)


def require_no_overlap(result: CheckResult) -> None:
    """Raise OverlapFoundError if a prompt is in two files, in a benchmark, or reviewed in two ways."""
    shared, leaked = (sum(map(_count, of.values())) for of in (result.shared, result.leaks))
    problems = []
    if shared or leaked:
        problems.append(
            f"{shared} prompts are in two files, and {leaked} in a benchmark: what is measured on them would be "
            "flattered. Remove them from one of the two, or prune with --drop-overlaps."
        )
    if result.conflicts:
        problems.append(
            f"{len(result.conflicts)} prompts are reviewed in two ways, and such a file is not calibrated on. Keep "
            "one row of each."
        )
    if problems:
        raise OverlapFoundError(" ".join(problems))


def _benchmarks(request: CheckRequest) -> list[EvaluationSet]:
    named = list(request.benchmark)
    if request.suite == "paper":
        named = [*(benchmark.name for benchmark in BENCHMARKS if benchmark.paper_size is not None), *named]
    wanted = tuple(dict.fromkeys([*BUNDLED, *BEYOND, *named]))
    return choose_sets(SetChoice(benchmarks=wanted, data_dir=request.data_dir))


def _checked(prompts: PromptSet) -> CheckedFile:
    last = [last_turn(text) for text in prompts.texts]
    languages = Counter(map(language_of, last)).most_common()
    repeated = {later for _, later in repeats(prompts.texts)}
    words = median(len(text.split()) for text in last)
    return CheckedFile(prompts.source, len(prompts), words, dict(languages), len(repeated))


def _and_more(shown: Sequence[str], found: Sequence[object]) -> list[str]:
    more = len(found) - len(shown)
    return [*shown, *([f"and {more} more"] if more else [])]


def _count(overlaps: Sequence[Overlap]) -> int:
    """Return the number of prompts of the first set; each may be like several of the second."""
    return len({overlap.first_line for overlap in overlaps})


def _in_words(languages: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in languages.items())
