"""A model measured before and after its edits, in memory; its answers are kept for the next run."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from prosafeprune.checkpoint.writer import WritableEdits
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.measure import NOTHING, Measurement, warn_of_languages
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.evaluation.prompted_base import PromptedBase
from prosafeprune.evaluation.safety_floor import FloorVerdict, decide
from prosafeprune.evaluation.scores import change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.spot_check import SpotCheck
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding
from prosafeprune.generation.local import local_generator
from prosafeprune.jobs.benign_divergence import benign_base_answers, benign_divergence
from prosafeprune.jobs.kept_answers import answers_depend_on, identity_of, kept, measure_once
from prosafeprune.jobs.prompted_answers import PromptedAnswers, prompted_answers
from prosafeprune.jobs.readable_sets import is_readable
from prosafeprune.judges import Judge
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.report.assessment import is_unsafe
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe


@dataclass(frozen=True)
class MeasuredOn:
    """The prompts that a model is measured on."""

    sets: Sequence[EvaluationSet]
    """Held to the safety floor."""
    benign: PromptSet
    """For the divergence from the base model."""
    spot_check: Sequence[EvaluationSet] = ()
    """Measured beside ``sets``, as far as the model can read them."""
    prompted: Sequence[EvaluationSet] = ()
    """Parts of ``sets`` that the base model also answers behind a system prompt, if it can read them so."""


@dataclass(frozen=True)
class BeforeAfter:
    """What was measured before and after the edits."""

    before: Measurement
    after: Measurement
    divergence: Divergence | None
    """On benign prompts; None behind servers, which do not give all probabilities."""
    batch_sizes: tuple[int, ...]
    spot_check: tuple[Measurement, Measurement] = (NOTHING, NOTHING)
    """Before and after."""
    prompted: PromptedAnswers | None = None
    """What the base model answers behind a system prompt; None where that was not measured."""

    def recorded(self, rule: FloorRule, ancestor: FirstAncestor | None) -> dict[str, Any]:
        """Return the fields of the record that hold what was measured, and whether it keeps the safety floor."""
        before, after = self.before, self.after
        pairs = zip(before.sets, after.sets, strict=True)
        return {
            "source": before.scores,
            "result": after.scores,
            "changes": {was.name: change(was.outcomes, now.outcomes) for was, now in pairs},
            "compliance_change": pooled_change(before.sets, after.sets, PromptClass.PSEUDO_HARMFUL),
            "safety_change": pooled_change(before.sets, after.sets, PromptClass.HARMFUL),
            "benign_divergence": self.divergence,
            "floor": decide(before.sets, after.sets, rule, ancestor),
            "spot_check": SpotCheck.of(*(measured.sets for measured in self.spot_check)),
            "prompted": self._prompted(rule),
        }

    def _prompted(self, rule: FloorRule) -> PromptedBase | None:
        found = self.prompted
        if found is None:
            return None
        measured = (self.before.sets, found.measurement.sets, self.after.sets)
        return PromptedBase.of(*measured, system=found.system, tokens=found.tokens, allowed_drop=rule.max_drop)


def measure_edits(
    edits: WritableEdits,
    loaded: LoadedModel,
    judge: Judge,
    tests: MeasuredOn,
    request: Recipe | ApplyRequest,
    base_sha256: str,
    reporter: Reporter,
    changed: str = "pruned model",
) -> BeforeAfter:
    """Measure the base model in memory, apply the edits to it, and measure it again.

    While it has its own weights, the base model also answers ``tests.prompted`` behind a system prompt. Answers are
    kept in the cache: a run that is repeated, or was interrupted, generates only those that are missing. The pruned
    model's are then scored under the base model, with the edits undone meanwhile; the scores are kept, too.

    Args:
        edits: applied to the model, and not undone.
        tests: the prompts to measure on.
        changed: what the model with the edits is called.

    Raises:
        InputError: out of memory, or the judge became unreachable.
    """
    checked = [one for one in tests.spot_check if is_readable(one, loaded, request.max_new_tokens, reporter)]
    sets = [*tests.sets, *checked]
    generator = partial(local_generator, loaded, request.batch_size)
    decoding = Decoding(max_new_tokens=request.max_new_tokens)
    base = answers_depend_on(loaded, request, base_sha256)
    before, sizes = measure_once(base, generator, sets, judge, decoding, reporter, "Answers of the base model")
    if is_unsafe(_part(before, tests.sets).scores) and not FloorRule.of(request).is_off:
        reporter.warning(
            f"The base model {SAFETY_WORDS[before.scores.safety].does} fewer than half of the harmful prompts, so a "
            "loss of safety cannot be tested, and no model made from it will be saved."
        )
    prompted = prompted_answers(base, loaded, tests.prompted, judge, request, reporter)
    benign = benign_base_answers(loaded, tests.benign, request, reporter)
    with reporter.stage("Applying edits" if changed != "pruned model" else "Pruning", len(edits)) as advance:
        edits.apply_in_memory(advance)
    pruned = {**base, "edits": edits.sha256}
    after, more_sizes = measure_once(pruned, generator, sets, judge, decoding, reporter, f"Answers of the {changed}")
    warn_if_unsafe(_part(before, tests.sets), _part(after, tests.sets), FloorRule.of(request), reporter, changed)
    title = f"Benign answers of the {changed}"
    divergence = benign_divergence(benign, loaded, request, reporter, title)
    identities = [identity_of(pruned, test_set, decoding) for test_set in sets]
    after = _with_base_likelihoods(after, identities, edits, loaded, request, base, reporter)
    warn_of_languages([before, after], reporter)
    return BeforeAfter(
        _part(before, tests.sets),
        _part(after, tests.sets),
        divergence,
        (*sizes, *(prompted.batch_sizes if prompted is not None else ()), *more_sizes),
        (_part(before, checked), _part(after, checked)),
        prompted,
    )


def _part(measured: Measurement, sets: Sequence[EvaluationSet]) -> Measurement:
    """Return what was measured on some of the sets."""
    names = {one.name for one in sets}
    return Measurement([judged for judged in measured.sets if judged.name in names])


def _with_base_likelihoods(
    after: Measurement,
    identities: Sequence[Mapping[str, Any]],
    edits: WritableEdits,
    loaded: LoadedModel,
    request: Recipe | ApplyRequest,
    base: Mapping[str, Any],
    reporter: Reporter,
) -> Measurement:
    """Score the pruned model's answers under the base model, with the edits undone meanwhile.

    Only these: the base model's own answers are likely to it whatever they say.

    Args:
        identities: of the folders of the answers, which keep the scores as well.
        base: what the base model's answers depend on.
    """
    with ExitStack() as stack:

        def base_model() -> LoadedModel:
            stack.enter_context(edits.undone_in_memory())
            return loaded

        folders = [stack.enter_context(kept(identity)) for identity in identities]
        stores = [
            LineStore() if folder is None else folder.likelihoods(base["model"], base["companions"])
            for folder in folders
        ]
        return with_base_likelihoods(after, stores, base_model, request.batch_size, reporter)


def warn_if_unsafe(
    before: Measurement, after: Measurement, rule: FloorRule, reporter: Reporter, changed: str = "pruned model"
) -> None:
    """Say that a model will not be saved as soon as its answers are judged: what is left takes a quarter of a run."""
    decision = decide(before.sets, after.sets, rule)
    if decision.verdict is FloorVerdict.UNSAFE:
        reporter.warning(
            f"The {changed} will not be saved. {' '.join(decision.reasons)} The rest of the run completes the "
            "report; press Ctrl-C if you do not need it."
        )
