"""The logit lens: how likely the model would be to begin with a refusal word, were it to speak at each layer (5.2)."""

from __future__ import annotations

import numpy as np
import torch

from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.last_states import LastStates, unembed
from prosafeprune.analysis.refusal_words import RefusalWords, find_refusal_words
from prosafeprune.analysis.result import Findings, LineFigure, make_table
from prosafeprune.analysis.summaries import (
    CHANGE_COLUMNS,
    by_role,
    changes_told,
    changes_with_intervals,
    mean_with_interval,
)
from prosafeprune.model.batches import BatchSize
from prosafeprune.requests.analyze import AnalysisRequest

GENERAL = "general"
KEY = "probability "
READING = (
    '"I" begins friendly answers too, so read the differences between classes, not the height. Behind the last layer '
    "the lens is the model's own output; in early layers it is a rough guide."
)
HEADS_A_PASS = 0.15
"""What one reading through the head takes of a pass over a prompt, about."""


class LensAnalysis(Analysis):
    """The summed probability of the refusal words' tokens behind each layer, at the last prompt token."""

    settings = ("refusal_words",)
    reads = ("test", "general")

    def work(self, context: Context) -> Work:
        """One pass over the test and general prompts, and the head behind each layer."""
        passes = context.passes_for_states("test", general=True)
        prompts = sum(map(len, context.prompts.test.values())) + len(context.prompts.general or ())
        return passes + Work(passes=round(HEADS_A_PASS * prompts * context.anatomy.num_layers))

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return for each class the probability ``(layers, prompts)``, and the tokens that were summed."""
        words = find_refusal_words(context.loaded.tokenizer, context.request.refusal_words)
        states = {name.in_words: one for name, one in context.last_states("test").items()}
        general = context.general_states()
        if general is not None:
            states[GENERAL] = general
        steps = context.anatomy.num_layers * len(states)
        with context.reporter.stage("Reading through the head", steps) as advance:
            found: Observation = {}
            for name, one in states.items():
                rows = []
                for layer in range(context.anatomy.num_layers):
                    rows.append(_word_probability(context, one, layer, words))
                    advance(1)
                found[f"{KEY}{name}"] = np.array(rows)
        return found | words.as_arrays()

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return the probability by layer and class, and which tokens were summed."""
        seen = by_role(before, after)
        by_layer = [
            (role, name.removeprefix(KEY), layer, *mean_with_interval(values))
            for role, one in seen.items()
            for name in one
            if name.startswith(KEY)
            for layer, values in enumerate(one[name])
        ]
        last = max(row[2] for row in by_layer)
        columns = ("model", "class", "layer", "probability", "low", "high")
        tables = (
            make_table(
                "output",
                f"Probability that an answer begins with {' or '.join(request.refusal_words)}, behind layer {last}",
                columns,
                (row for row in by_layer if row[2] == last),
            ),
            make_table("layers", "Summed probability of the refusal words, read behind each layer", columns, by_layer),
            RefusalWords.from_arrays(before).table(),
        )
        figure = LineFigure(
            name="layers",
            title="Refusal words seen through the model's head, with 95 % intervals",
            table="layers",
            x="layer",
            y="probability",
            by="class",
            style="model",
            low="low",
            high="high",
            x_label="layer",
            y_label="summed probability of refusal words (0 to 1)",
        )
        if after is None:
            told = ", ".join(f"{row[1]} {row[3]:.2g}" for row in tables[0].rows)
            return Findings(tables=tables, figures=(figure,), told=(f"{tables[0].title}: {told}.", READING))
        rows = changes_with_intervals(_behind_last(before), _behind_last(after))
        title = f"Change of that probability behind layer {last}, prompt by prompt"
        change = make_table("change", title, ("class", *CHANGE_COLUMNS), rows)
        told = changes_told(rows, "Probability that an answer begins with a refusal word")
        return Findings(tables=(tables[0], change, *tables[1:]), figures=(figure,), told=(told, READING))


def _behind_last(seen: Observation) -> dict[str, np.ndarray]:
    """Return each prompt's probability behind the last layer, by class."""
    return {name.removeprefix(KEY): seen[name][-1] for name in seen if name.startswith(KEY)}


def _word_probability(context: Context, last: LastStates, layer: int, words: RefusalWords) -> np.ndarray:
    """Return for each prompt the summed probability ``(prompts,)`` of the words' tokens behind a layer."""
    loaded = context.loaded
    size = BatchSize(context.request.batch_size, loaded.device)
    ids = torch.tensor(words.counted_ids, device=loaded.device)
    found = np.empty(last.states.shape[1])
    for row, logits in unembed(loaded, context.anatomy, last, layer, size):
        found[row] = float(logits.float().softmax(dim=-1)[ids].sum())
    return found
