"""A model measured before and after its edits, in memory; its answers are kept for the next run."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prosafeprune.checkpoint.writer import WritableEdits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.base_likelihoods import with_base_likelihoods
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import (
    NOTHING,
    Measurement,
    collect_set_by_set,
    collect_verdicts,
    warn_of_languages,
)
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.evaluation.safety_floor import FloorRule, FloorVerdict, decide
from prosafeprune.evaluation.scores import change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.evaluation.spot_check import SpotCheck
from prosafeprune.files.cache import folder_of
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import locked_folder
from prosafeprune.generation import Decoding, Generator
from prosafeprune.generation.local import local_generator
from prosafeprune.jobs.benign_divergence import benign_base_answers, benign_divergence
from prosafeprune.judges import Judge
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.loading import LoadedModel, tokenizer_hash
from prosafeprune.model.prefix_cache import require_positions
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.report.assessment import is_unsafe
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe

ANSWERS = "answers"
"""Folder in the cache."""


@dataclass(frozen=True)
class MeasuredOn:
    """The prompts that a model is measured on."""

    sets: Sequence[EvaluationSet]
    """Held to the safety floor."""
    benign: PromptSet
    """For the divergence from the base model."""
    spot_check: Sequence[EvaluationSet] = ()
    """Measured beside ``sets``, as far as the model can read them."""


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
        }


def measure_edits(
    edits: WritableEdits,
    loaded: LoadedModel,
    judge: Judge,
    tests: MeasuredOn,
    request: Recipe | ApplyRequest,
    base_sha256: str,
    reporter: Reporter,
) -> BeforeAfter:
    """Measure the base model in memory, apply the edits to it, and measure it again.

    Answers are kept in the cache: a run that is repeated, or was interrupted, generates only those that are missing.
    The pruned model's are then scored under the base model, with the edits undone meanwhile; the scores are kept, too.

    Args:
        edits: applied to the model, and not undone.
        tests: the prompts to measure on.

    Raises:
        InputError: out of memory, or the judge became unreachable.
    """
    checked = [one for one in tests.spot_check if _is_readable(one, loaded, request.max_new_tokens, reporter)]
    sets = [*tests.sets, *checked]
    generator = partial(local_generator, loaded, request.batch_size)
    decoding = Decoding(max_new_tokens=request.max_new_tokens)
    base = answers_depend_on(loaded, request, base_sha256)
    before, sizes = measure_once(base, generator, sets, judge, decoding, reporter, "Answers of the base model")
    if is_unsafe(_part(before, tests.sets).scores) and not FloorRule.of(request).is_off:
        reporter.warning(
            "The base model refuses fewer than half of the harmful prompts, so a loss of safety cannot be tested, and "
            "no model made from it will be saved."
        )
    benign = benign_base_answers(loaded, tests.benign, request, reporter)
    with reporter.stage("Pruning", len(edits)) as advance:
        edits.apply_in_memory(advance)
    pruned = {**base, "edits": edits.sha256}
    after, more_sizes = measure_once(pruned, generator, sets, judge, decoding, reporter, "Answers of the pruned model")
    warn_if_unsafe(_part(before, tests.sets), _part(after, tests.sets), FloorRule.of(request), reporter)
    title = "Benign answers of the pruned model"
    divergence = benign_divergence(benign, loaded, request, reporter, title)
    identities = [_identity(pruned, test_set, decoding) for test_set in sets]
    after = _with_base_likelihoods(after, identities, edits, loaded, request, base_sha256, reporter)
    warn_of_languages([before, after], reporter)
    return BeforeAfter(
        _part(before, tests.sets),
        _part(after, tests.sets),
        divergence,
        (*sizes, *more_sizes),
        (_part(before, checked), _part(after, checked)),
    )


def _is_readable(one: EvaluationSet, loaded: LoadedModel, max_new_tokens: int, reporter: Reporter) -> bool:
    """Return whether a model's chat template and positions take all prompts of a set; say why if they do not."""
    config = loaded.model.config.get_text_config(decoder=True)
    try:
        longest = max(len(encoded.ids) for encoded in encode_prompts(loaded.tokenizer, one.prompts.texts))
        require_positions(config, longest + max_new_tokens, max_new_tokens)
    except InputError as error:
        reporter.note(f"Not measured: {one.title}. {error}")
        return False
    return True


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
    base_sha256: str,
    reporter: Reporter,
) -> Measurement:
    """Score the pruned model's answers under the base model, with the edits undone meanwhile.

    Only these: the base model's own answers are likely to it whatever they say.

    Args:
        identities: of the folders of the answers, which keep the scores as well.
    """
    with ExitStack() as stack:

        def base_model() -> LoadedModel:
            stack.enter_context(edits.undone_in_memory())
            return loaded

        folders = [stack.enter_context(_kept(identity)) for identity in identities]
        stores = [LineStore() if folder is None else folder.likelihoods(base_sha256) for folder in folders]
        return with_base_likelihoods(after, stores, base_model, request.batch_size, reporter)


def warn_if_unsafe(before: Measurement, after: Measurement, rule: FloorRule, reporter: Reporter) -> None:
    """Say that a model will not be saved as soon as its answers are judged: what is left takes a quarter of a run."""
    decision = decide(before.sets, after.sets, rule)
    if decision.verdict is FloorVerdict.UNSAFE:
        reporter.warning(
            f"The pruned model will not be saved. {' '.join(decision.reasons)} The rest of the run completes the "
            "report; press Ctrl-C if you do not need it."
        )


def answers_depend_on(loaded: LoadedModel, request: Recipe | ApplyRequest, sha256: str) -> dict[str, Any]:
    """Return what a model's answers depend on besides prompts and decoding."""
    return {
        "model": sha256,
        "companions": companions_hash(loaded.folder),
        "tokenizer": tokenizer_hash(loaded.tokenizer),
        "end_ids": sorted(loaded.end_ids),
        "chat_template": hashlib.sha256(str(loaded.tokenizer.chat_template).encode()).hexdigest(),
        "thinking": request.thinking,
        "system": request.system,
        "device": loaded.device_name,
        "dtype": loaded.runs_in,
        "batch_size": request.batch_size,
        "replicas": loaded.replicas.size if isinstance(loaded, ReplicatedModel) else 1,
        "versions": library_versions(),
    }


def measure_once(
    made_by: Mapping[str, Any],
    make_generator: Callable[[], Generator],
    sets: Sequence[EvaluationSet],
    judge: Judge,
    decoding: Decoding,
    reporter: Reporter,
    title: str,
) -> tuple[Measurement, tuple[int, ...]]:
    """Collect answers to all sets and judge them; those to a set that an earlier run measured alike are reused.

    Args:
        made_by: all that the answers depend on besides the prompts.
        make_generator: called for each set, so that its batches do not depend on what else is measured.

    Returns:
        The measurement, and the sizes of the batches in which its answers were generated, in this run or earlier.

    Raises:
        InputError: as the generator and the judge do.
    """
    generators: dict[str, Generator] = {}

    def generator_of(test_set: EvaluationSet) -> Generator:
        generators[test_set.name] = make_generator()
        return generators[test_set.name]

    with ExitStack() as stack:
        folders = [stack.enter_context(_kept(_identity(made_by, test_set, decoding))) for test_set in sets]
        stores = [LineStore() if folder is None else folder.answers for folder in folders]
        known = sum(len(answers.rows) for answers in stores)
        if known:
            reporter.note(f"{title}: {known} are known from an earlier run.")
        try:
            answers = collect_set_by_set(stores, generator_of, sets, decoding, reporter, title)
        finally:
            new = {name: _batch_sizes(generator) for name, generator in generators.items()}
            for folder, test_set in zip(folders, sets, strict=True):
                if folder is not None and new.get(test_set.name):
                    folder.add_session({"batch_sizes": new[test_set.name]})
        sizes = [
            _all_batch_sizes(folder, new.get(test_set.name, ())) for folder, test_set in zip(folders, sets, strict=True)
        ]
    measured = collect_verdicts(LineStore(), answers, judge, sets, 1, reporter)
    return measured, tuple(size for of_set in sizes for size in of_set)


def _identity(made_by: Mapping[str, Any], test_set: EvaluationSet, decoding: Decoding) -> dict[str, Any]:
    """Return what the answers to a set depend on.

    Other prompts are another folder: answers depend on the composition of their batches, in the last bits.
    """
    texts = "\0".join(test_set.prompts.texts)
    return {**made_by, **decoding.model_dump(), "prompts": hashlib.sha256(texts.encode()).hexdigest()}


@contextmanager
def _kept(identity: Mapping[str, Any]) -> Iterator[EvaluationFolder | None]:
    """Yield the folder of the answers; None when the cache cannot be written or another run is writing there."""
    path = folder_of(ANSWERS, identity)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(path, overwrite=False))
            folder = EvaluationFolder(path, identity)
        except InputError:
            folder = None
        yield folder


def _batch_sizes(generator: Generator) -> list[int]:
    return list(generator.describe().get("batch_sizes", ()))  # servers batch as they like


def _all_batch_sizes(folder: EvaluationFolder | None, new: Sequence[int]) -> Sequence[int]:
    """Return the batch sizes of all runs that answered a set."""
    if folder is None:
        return new
    return [size for session in folder.sessions() for size in session.get("batch_sizes", ())]
