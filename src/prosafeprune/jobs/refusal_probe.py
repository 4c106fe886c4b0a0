"""A probe of refusals, fitted to the evidence of a pruned model: the base model's answers and their verdicts."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prosafeprune.errors import ProSafePruneError
from prosafeprune.evaluation.lineage import EVIDENCE_FILE, read_evidence
from prosafeprune.jobs.served_model import ServedModel
from prosafeprune.judges.verdict import AnswerClass
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import ending_at
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.plan_search.probe import WEAK_AUC, CrossFitted, fit_probe
from prosafeprune.progress import Reporter
from prosafeprune.prompts.conversation import stored_prompt
from prosafeprune.serving.engine import RefusalProbe
from prosafeprune.serving.running_answer import PROBED_TOKENS

MOST_ANSWERS = 120
LEAST_ANSWERS = 4
"""Minimum number of refusals and of other answers: fewer say nothing about answers that were held out."""
AT_A_TIME = 2
"""Prompts that an answer may have to wait for."""
IDLE_CHECK = 0.2
"""Seconds between two looks at whether the engine is idle."""


@dataclass(frozen=True)
class FittedRefusalProbe:
    """A probe of the base model's refusals, with how well it predicts verdicts that it was not fitted to."""

    probe: RefusalProbe
    auc: float | None
    answers: int


def watch_refusals(served: ServedModel, reporter: Reporter) -> threading.Thread:
    """Fit a probe in another thread, and let the engine use it from then on."""

    def fit() -> None:
        try:
            found = fit_refusal_probe(served)
        except ProSafePruneError as error:
            reporter.warning(f"No refusal probabilities: {error}")
            return
        if found is None:
            reporter.note("No refusal probabilities: they need the stored answers of a pruned model.")
            return
        served.engine.probe = found.probe
        auc = "unknown" if found.auc is None else f"{found.auc:.2f}"
        reporter.note(f"Refusal probabilities: from {found.answers} stored answers, held-out AUC {auc}.")
        if found.auc is not None and found.auc < WEAK_AUC:
            reporter.warning(
                f"The probe hardly tells refusals from other answers (held-out AUC {auc}, and chance is 0.5), so "
                "refusal probabilities mean little. Read the answers and their verdicts instead."
            )

    thread = threading.Thread(target=fit, name="refusal probe", daemon=True)
    thread.start()
    return thread


def fit_refusal_probe(served: ServedModel) -> FittedRefusalProbe | None:
    """Return a probe fitted to a pruned model's stored answers; None without enough of them of both kinds.

    The engine keeps answering: a few prompts run at a time, only while no answer is waiting.

    Raises:
        InputError: the evidence cannot be read.
    """
    if served.pruned is None or not (served.pruned / EVIDENCE_FILE).is_file():
        return None
    rows = _stored_answers(served.pruned / EVIDENCE_FILE)
    loaded, texts, outcomes = served.engine.loaded, [], []
    for prompt, answer, refuses in rows:
        tokens = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"][:PROBED_TOKENS]
        if len(tokens) == PROBED_TOKENS:
            texts.append((*served.engine.encode([("user", prompt)]), *tokens))
            outcomes.append(refuses)
    refused = np.array(outcomes, dtype=bool)
    if min(refused.sum(), (~refused).sum()) < LEAST_ANSWERS:
        return None
    states = np.concatenate(list(_states(served, texts)))
    fitted = CrossFitted(states, refused)
    probe = fit_probe(states, refused, fitted.ridge)
    return FittedRefusalProbe(
        lambda state: float(probe(state.double().cpu().numpy()[None])[0]), fitted.auc, len(refused)
    )


def _stored_answers(file: Path) -> list[tuple[str, str, bool]]:
    """Return prompts with the base model's answers and whether they refuse, spread over the file."""

    def answer(row: Any) -> tuple[str, str, bool]:
        return stored_prompt(str(row["prompt"])), str(row["source_answer"]), AnswerClass(row["source_verdict"]).refuses

    found = read_evidence(file, answer)
    taken = min(len(found), MOST_ANSWERS)
    return [found[place * len(found) // taken] for place in range(taken)]


def _states(served: ServedModel, texts: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
    """Yield the mean states at the answer tokens that end the texts, ``(rows, d)``."""
    shortest = min(map(len, texts))
    with served.engine.paused() as loaded:
        prefix = PrefixCache(loaded.model, texts, 0, at_most=shortest - PROBED_TOKENS)
        layers = find_anatomy(loaded.model).layers
    for start in range(0, len(texts), AT_A_TIME):
        while served.engine.load != (0, 0):
            time.sleep(IDLE_CHECK)
        with served.engine.paused():
            suffixes = [text[prefix.length :] for text in texts[start : start + AT_A_TIME]]
            yield _mean_states(loaded, layers, prefix, suffixes)


@torch.inference_mode()
def _mean_states(
    loaded: LoadedModel, layers: nn.ModuleList, prefix: PrefixCache, suffixes: Sequence[Sequence[int]]
) -> np.ndarray:
    recorded: list[torch.Tensor] = []
    with ending_at(loaded.model, layers, None, recorded, stop=False):
        prefix.run(suffixes, logits=PROBED_TOKENS)
    states: np.ndarray = recorded[0][:, -PROBED_TOKENS:].double().mean(dim=1).cpu().numpy()
    return states
