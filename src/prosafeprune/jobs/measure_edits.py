"""A model measured before and after its edits, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prosafeprune.checkpoint.writer import WritableEdits
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.divergence import Divergence, divergence_from_base, record_base_answers
from prosafeprune.evaluation.measure import Measurement, measure, warn_of_languages
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.evaluation.safety_floor import FloorRule, decide
from prosafeprune.evaluation.scores import change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding
from prosafeprune.generation.replicated import local_generator
from prosafeprune.judge import Judge
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe


@dataclass(frozen=True)
class BeforeAfter:
    """What was measured before and after the edits."""

    before: Measurement
    after: Measurement
    divergence: Divergence
    batch_sizes: tuple[int, ...]

    def recorded(self, rule: FloorRule, ancestor: FirstAncestor | None) -> dict[str, Any]:
        """Return the fields of the record that hold what was measured, and whether it keeps the safety floor."""
        before, after = self.before, self.after
        pairs = zip(before.sets, after.sets, strict=True)
        return {
            "source": before.scores,
            "result": after.scores,
            "changes": {one.name: change(one.outcomes, two.outcomes) for one, two in pairs},
            "compliance_change": pooled_change(before.sets, after.sets, PromptClass.PSEUDO_HARMFUL),
            "safety_change": pooled_change(before.sets, after.sets, PromptClass.HARMFUL),
            "benign_divergence": self.divergence,
            "floor": decide(before.sets, after.sets, rule, ancestor),
        }


def measure_edits(
    edits: WritableEdits,
    loaded: LoadedModel,
    judge: Judge,
    tests: tuple[Sequence[EvaluationSet], PromptSet],
    request: Recipe | ApplyRequest,
    reporter: Reporter,
) -> BeforeAfter:
    """Measure the base model in memory, apply the edits to it, and measure it again.

    The answers of both are then scored under the base model, with the edits undone for as long.

    Args:
        edits: applied to the model, and not undone.
        loaded: the base model.
        judge: judges the answers to the evaluation sets.
        tests: evaluation sets, and benign prompts for the divergence.
        request: batch size and length of the answers.
        reporter: receives progress.

    Raises:
        InputError: out of memory, or the judge became unreachable.
    """
    sets, benign_prompts = tests
    generator = local_generator(loaded, request.batch_size)
    decoding = Decoding(max_new_tokens=request.max_new_tokens)
    before = measure(generator, sets, judge, decoding, reporter, "Answers of the base model")
    with reporter.stage("Benign answers of the base model", len(benign_prompts)) as advance:
        benign = record_base_answers(
            loaded, benign_prompts.texts, BatchSize(request.batch_size, loaded.device), advance
        )
    with reporter.stage("Pruning", len(edits)) as advance:
        edits.apply_in_memory(advance)
    after = measure(generator, sets, judge, decoding, reporter, "Answers of the pruned model")
    with reporter.stage("Benign answers of the pruned model", len(benign_prompts)) as advance:
        divergence = divergence_from_base(benign, loaded, BatchSize(request.batch_size, loaded.device), advance)
    with edits.undone_in_memory():
        before, after = (
            with_base_likelihoods(one, LineStore(), lambda: loaded, request.batch_size, reporter)
            for one in (before, after)
        )
    warn_of_languages([before, after], reporter)
    return BeforeAfter(before, after, divergence, tuple(generator.describe()["batch_sizes"]))
