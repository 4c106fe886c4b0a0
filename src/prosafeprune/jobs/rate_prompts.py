"""``prompts rate``: keeps prompts of medium harmfulness, rated by a chat model or a model's own probe (B.1)."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.files.staging import write_whole
from prosafeprune.judges.answers_file import check_verdicts_file
from prosafeprune.progress import Reporter
from prosafeprune.prompts.prompt_rows import PromptRow, read_prompt_rows
from prosafeprune.prompts.reviewed import OPEN, is_review, review_of
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_figure import counts_figure
from prosafeprune.report.result_view import ResultView
from prosafeprune.requests.prompt_tools import HIGHEST_RATING, RateRequest


@dataclass(frozen=True, repr=False)
class RatedPrompts(ResultView):
    """The rows of a file with the harmfulness of each."""

    rater: str
    """The model, and how it was asked."""
    prompts: Sequence[PromptRow]
    ratings: Sequence[int | None]
    """From 0 to 5; None where the reply stated no rating."""
    kept: range
    """The ratings to keep."""

    @property
    def distribution(self) -> dict[str, int]:
        """The number of prompts with each rating, and of those without one."""
        counts = Counter(self.ratings)
        return {**{str(rating): counts[rating] for rating in range(HIGHEST_RATING + 1)}, "none": counts[None]}

    def summary(self) -> str:
        """Return how many prompts are kept, and the rater."""
        ratings = str(self.kept[0]) if len(self.kept) == 1 else f"{self.kept[0]} to {self.kept[-1]}"
        return f"{len(self.kept_rows())} of {len(self.prompts)} prompts are rated {ratings} by {self.rater}"

    def grids(self) -> Sequence[Grid]:
        """Return the distribution."""
        total = len(self.prompts)
        rows = [
            [
                name,
                str(count),
                f"{100 * count / total:.1f}",
                "kept" if name != "none" and int(name) in self.kept else "",
            ]
            for name, count in self.distribution.items()
        ]
        return [Grid(f"Harmfulness of {total} prompts, rated by {self.rater}", ["rating", "prompts", "%", ""], rows)]

    def plot(self) -> Figure:
        """Return how many prompts have each rating as bars."""
        return counts_figure(self.distribution, "prompts")

    def rows(self) -> list[dict[str, Any]]:
        """Return each row of the file with its rating."""
        return [{**row.fields, "rating": rating} for row, rating in zip(self.prompts, self.ratings, strict=True)]

    def kept_rows(self) -> list[dict[str, Any]]:
        """Return the rows to keep; where nobody has reviewed a row, its rating takes the place of the review."""
        kept = [row for row in self.rows() if row["rating"] in self.kept]
        return [
            {name: value for name, value in row.items() if not (is_review(name) and review_of(row) == OPEN)}
            for row in kept
        ]


def run_rate(
    file: Path, request: RateRequest, output: Path | None, *, overwrite: bool, reporter: Reporter
) -> RatedPrompts:
    """Rate the prompts of a file, and write the rows to keep to ``output``.

    Raises:
        InputError: the file, the output or the model cannot be used, or no prompt has a rating to keep.
    """
    rows = read_prompt_rows(file, request.prompt_field)
    if output is not None:
        check_verdicts_file(output, overwrite, file)
        if output.suffix.lower() != ".jsonl":  # prompt files are read by their endings
            raise InputError(f"{output}: JSON Lines are written, which end in .jsonl. Choose another --output.")
    with claimed(output) if output is not None else nullcontext():
        rater, ratings = (
            _by_endpoint(rows, request, reporter) if request.endpoint else _by_probe(rows, request, reporter)
        )
        rated = RatedPrompts(rater, rows, ratings, request.kept)
        if output is not None:
            kept = rated.kept_rows()
            if not kept:
                counts = ", ".join(f"{count} of {name}" for name, count in rated.distribution.items() if count)
                raise InputError(f"{file}: no prompt has a rating of --keep {request.keep} (there are {counts}).")
            write_whole(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    return rated


def _by_endpoint(rows: Sequence[PromptRow], request: RateRequest, reporter: Reporter) -> tuple[str, list[int | None]]:
    from prosafeprune.generation.openai_client import OpenAIClient
    from prosafeprune.traffic.rating import VERSION, rate_by_model

    client = OpenAIClient(
        request.endpoint or "", request.model or None, extra=request.request_fields(), reporter=reporter
    )
    client.check()
    with reporter.stage("Rating", len(rows)) as advance:
        ratings = rate_by_model(client, [row.prompt for row in rows], request.concurrency, advance)
    return f"{client.model} (question {VERSION})", ratings


def _by_probe(rows: Sequence[PromptRow], request: RateRequest, reporter: Reporter) -> tuple[str, list[int | None]]:
    from prosafeprune.analysis.harm_probe import fit_harm_rater
    from prosafeprune.model.batches import BatchSize
    from prosafeprune.model.chat_template import encode_prompts
    from prosafeprune.model.source import find_source
    from prosafeprune.plan_search.probe import WEAK_AUC
    from prosafeprune.setup.load import inspect_anatomy, load_as_asked
    from prosafeprune.setup.prepare import checkpoint_folder
    from prosafeprune.text import short_name

    source = find_source(request.model, revision=request.revision, edited=False)
    with checkpoint_folder(source, None, reporter) as folder:
        loaded = load_as_asked(request, folder, source.name, reporter)
        size = BatchSize(request.batch_size, loaded.device)
        rater = fit_harm_rater(loaded, inspect_anatomy(loaded.model, reporter), size, reporter)
        if rater.auc < WEAK_AUC:
            reporter.warning(
                f"The model's probe hardly tells harmful from benign prompts (held-out AUC {rater.auc:.2f}, and chance "
                "is 0.5), so its ratings mean little. Rate with another model."
            )
        encoded = encode_prompts(loaded.tokenizer, [row.prompt for row in rows])
        ratings = [round(HIGHEST_RATING * probability) for probability in rater.probabilities(encoded, reporter)]
    return f"the probe of {short_name(source.name)} after layer {rater.layer} (held-out AUC {rater.auc:.3f})", ratings
