"""Answers of models to sets of test prompts, kept in the cache for each set on its own, so that none is given twice."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_set_by_set, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.cache import folder_of
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import locked_folder
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judges import Judge
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.loading import LoadedModel, tokenizer_hash
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.progress import Reporter
from prosafeprune.report.run_record import library_versions
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import Recipe

ANSWERS = "answers"
"""Folder in the cache."""


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
        folders = [stack.enter_context(kept(identity_of(made_by, test_set, decoding))) for test_set in sets]
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


def identity_of(made_by: Mapping[str, Any], test_set: EvaluationSet, decoding: Decoding) -> dict[str, Any]:
    """Return what the answers to a set depend on.

    Other prompts are another folder: answers depend on the composition of their batches, in the last bits.
    """
    texts = "\0".join(test_set.prompts.texts)
    return {**made_by, **decoding.model_dump(), "prompts": hashlib.sha256(texts.encode()).hexdigest()}


@contextmanager
def kept(identity: Mapping[str, Any]) -> Iterator[EvaluationFolder | None]:
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
