"""Answers kept in the cache, so that an interrupted or repeated run does not generate them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import EvaluationFolder
from prosafeprune.evaluation.measure import Measurement, collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import locked_folder
from prosafeprune.generation import Decoding, Generator
from prosafeprune.judge import Judge
from prosafeprune.progress import Reporter

ANSWERS = "answers"
"""Folder in the cache."""


@dataclass(frozen=True)
class KeptMeasurement:
    """A measurement, and the sizes of the batches in which its answers were generated, in this run or earlier."""

    measurement: Measurement
    batch_sizes: tuple[int, ...]


def measure_once(
    made_by: Mapping[str, Any],
    generator: Generator,
    sets: Sequence[EvaluationSet],
    judge: Judge,
    decoding: Decoding,
    reporter: Reporter,
    title: str,
) -> KeptMeasurement:
    """Collect answers to all sets and judge them; answers that an earlier run with the same ``made_by`` got are reused.

    Args:
        made_by: all that the answers depend on besides the prompts.

    Raises:
        InputError: as the generator and the judge do.
    """
    # Answers depend on the composition of their batches, in the last bits: other prompts are another folder.
    texts = [text for one in sets for text in one.prompts.texts]
    identity = {**made_by, **decoding.model_dump(), "prompts": hashlib.sha256("\0".join(texts).encode()).hexdigest()}
    with _kept(identity) as folder:
        answers = folder.answers if folder is not None else LineStore()
        known = sum((0, text) in answers for text in dict.fromkeys(texts))
        if known:
            reporter.note(f"{title}: {known} are known from an earlier run.")
        before = len(_batch_sizes(generator))
        try:
            collect_answers(answers, lambda: generator, sets, decoding, 1, reporter, title)
        finally:
            new = _batch_sizes(generator)[before:]
            if folder is not None and new:
                folder.add_session({"batch_sizes": new})
        sessions = folder.sessions() if folder is not None else [{"batch_sizes": new}]
        measured = collect_verdicts(LineStore(), answers, judge, sets, 1, reporter)
    return KeptMeasurement(measured, tuple(size for session in sessions for size in session.get("batch_sizes", ())))


@contextmanager
def _kept(identity: Mapping[str, Any]) -> Iterator[EvaluationFolder | None]:
    """Yield the folder of the answers; None when the cache cannot be written or another run is writing there."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / ANSWERS / digest[:32]
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(path, overwrite=False))
            folder = EvaluationFolder(path, identity)
        except InputError:
            folder = None
        yield folder


def _batch_sizes(generator: Generator) -> list[int]:
    return list(generator.describe().get("batch_sizes", ()))  # servers batch as they like
