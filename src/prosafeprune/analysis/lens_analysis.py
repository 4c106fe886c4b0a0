"""The logit lens: how likely the model is to begin its answer with a refusal word, decoded at each layer (5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prosafeprune.analysis.aggregates import (
    CHANGE_COLUMNS,
    by_role,
    changes_with_intervals,
    describe_changes,
    mean_with_interval,
)
from prosafeprune.analysis.analysis_prompts import GENERAL
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.last_states import LastStates, unembed
from prosafeprune.analysis.result import AnalysisResult, LineFigure, Observation, ResultTable, make_table
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.model.batches import BatchSize
from prosafeprune.requests.analyze import AnalyzeRequest

KEY = "probability "
HOW_TO_READ = (
    '"I" also begins friendly answers, so compare the classes rather than absolute values. After the last layer the '
    "lens is the model's own output; in early layers it is a rough guide."
)
HEADS_PER_PASS = 0.15
"""Workload of one application of the output head, as a share of a pass over a prompt, roughly."""
FIGURE = LineFigure(
    name="layers",
    title="Refusal words through the logit lens, with 95 % intervals",
    x="layer",
    y="probability",
    by="class",
    style="model",
    low="low",
    high="high",
    y_label="summed probability of refusal words (0 to 1)",
)


class LensAnalysis(Analysis):
    """The summed probability of the refusal words' tokens after each layer, at the last prompt token."""

    settings = ("refusal_words",)
    default_splits = ("test", GENERAL)

    def workload(self, context: Context) -> Workload:
        """One pass over the test and general prompts, and the output head after each layer."""
        prompts = sum(map(len, context.prompts.test.values())) + len(context.prompts.general or ())
        heads = round(HEADS_PER_PASS * prompts * context.anatomy.num_layers)
        return context.states_workload("test", general=True) + Workload(own_passes=heads)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the probability ``(layers, prompts)`` for each class, and the tokens that were summed."""
        words = find_refusal_words(context.loaded.tokenizer, context.request.refusal_words)
        states = {name.in_words: last for name, last in context.last_states("test").items()}
        general = context.general_states()
        if general is not None:
            states[GENERAL] = general
        layers = range(context.anatomy.num_layers)
        with context.reporter.stage("Logit lens", len(layers) * len(states)) as advance:
            observation: Observation = {}
            for name, last in states.items():
                rows = []
                for layer in layers:
                    rows.append(_word_probability(context, last, layer, words))
                    advance(1)
                observation[f"{KEY}{name}"] = np.array(rows)
        return observation | words.as_arrays()

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return the probability by layer and class, and which tokens were summed."""
        by_layer = [
            (role, name.removeprefix(KEY), layer, *mean_with_interval(values))
            for role, observation in by_role(before, after).items()
            for name in observation
            if name.startswith(KEY)
            for layer, values in enumerate(observation[name])
        ]
        last = max(row[2] for row in by_layer)
        words = RefusalWords.from_arrays(before)
        columns = ("model", "class", "layer", "probability", "low", "high")
        tables = [
            make_table(
                "output",
                f"Probability that an answer begins with {' or '.join(words.counted)}, after layer {last}",
                columns,
                (row for row in by_layer if row[2] == last),
            ),
            make_table("layers", "Summed probability of the refusal words after each layer", columns, by_layer),
            words.table(),
        ]
        if after is None:
            values = ", ".join(f"{row[1]} {row[3]:.2g}" for row in tables[0].rows)
            summary = f"{tables[0].title}: {values}."
        else:
            rows = changes_with_intervals(_last_layer(before), _last_layer(after))
            title = f"Mean change of that probability per prompt, after layer {last}"
            tables.insert(1, make_table("change", title, ("class", *CHANGE_COLUMNS), rows))
            summary = describe_changes(rows, "Probability that an answer begins with a refusal word")
        left_out = [word for word in request.refusal_words if word not in words.counted]
        no_token = [f"Not counted, since no form is a single token: {', '.join(left_out)}."] if left_out else []
        return AnalysisResult(tables=tuple(tables), figures=(FIGURE,), summary=(summary, *no_token, HOW_TO_READ))


def _last_layer(observation: Observation) -> dict[str, np.ndarray]:
    """Return each prompt's probability after the last layer, by class."""
    return {name.removeprefix(KEY): values[-1] for name, values in observation.items() if name.startswith(KEY)}


def _word_probability(context: Context, last: LastStates, layer: int, words: RefusalWords) -> np.ndarray:
    """Return the summed probability of the words' tokens after a layer, ``(prompts,)``."""
    loaded = context.loaded
    size = BatchSize(context.request.batch_size, loaded.device)
    ids = torch.tensor(words.counted_ids, device=loaded.device)
    probabilities = np.empty(last.states.shape[1])
    for row, logits in unembed(loaded, context.anatomy, last, layer, size):
        probabilities[row] = float(logits.float().softmax(dim=-1)[ids].sum())
    return probabilities


@dataclass(frozen=True)
class RefusalWords:
    """Forms of the words, with the tokens of each form."""

    forms: tuple[tuple[str, str, tuple[int, ...]], ...]
    """For each form of a refusal word: the word, the form and its token ids."""

    @property
    def counted_ids(self) -> list[int]:
        """The ids of the single-token forms, each once."""
        return list(dict.fromkeys(ids[0] for _, _, ids in self.forms if len(ids) == 1))

    @property
    def counted(self) -> list[str]:
        """The words of which a form is a single token."""
        return list(dict.fromkeys(word for word, _, ids in self.forms if len(ids) == 1))

    def table(self) -> ResultTable:
        """Return the forms, one per row."""
        rows = [
            (word, form, " ".join(map(str, ids)), "yes" if len(ids) == 1 else "no") for word, form, ids in self.forms
        ]
        return make_table("tokens", "Forms of the refusal words", ("word", "form", "token_ids", "counted"), rows)

    def as_arrays(self) -> Observation:
        """Return the forms as arrays of an observation."""
        words, forms, ids = zip(*self.forms, strict=True)
        return {
            "words": np.array(words),
            "forms": np.array(forms),
            "ids": np.array([" ".join(map(str, i)) for i in ids]),
        }

    @classmethod
    def from_arrays(cls, observation: Observation) -> RefusalWords:
        """Return the forms from an observation."""
        rows = zip(observation["words"], observation["forms"], observation["ids"], strict=True)
        return cls(tuple((str(word), str(form), tuple(map(int, str(ids).split()))) for word, form, ids in rows))


def find_refusal_words(tokenizer: Any, words: Sequence[str]) -> RefusalWords:
    """Return all forms of the words with their tokens.

    Raises:
        InputError: no form of any word is a single token.
    """
    forms = []
    for word in words:
        for form in dict.fromkeys(space + case for space in ("", " ") for case in (word, word[0].upper() + word[1:])):
            forms.append((word, form, tuple(tokenizer(form, add_special_tokens=False)["input_ids"])))
    found = RefusalWords(tuple(forms))
    if not found.counted_ids:
        raise InputError(
            f"None of {', '.join(words)} is a single token of this model's tokenizer. Pass others with --refusal-words."
        )
    return found
