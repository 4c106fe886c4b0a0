"""The lineage of a base model that this package has pruned before: what it was made from, step by step.

Without it, a model pruned again and again could lose the allowed points of S.S. every time. Record and answers in the
base model's folder may be someone else's: what is missing or does not fit makes the floor stricter, or stops the run.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from prosafeprune.errors import InputError, first_line
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.paired_refusals import FirstAncestor
from prosafeprune.evaluation.pruning_record import PruningStep, read_pruning, read_record_as
from prosafeprune.evaluation.sets import SPOT_CHECK
from prosafeprune.files.output_names import EVIDENCE_FILE as EVIDENCE_FILE
from prosafeprune.files.text_file import read_text_file
from prosafeprune.judges.verdict import AnswerClass
from prosafeprune.prompts.prompt_set import PromptClass

Found = TypeVar("Found")
SOURCE_SAFETY, RESULT_SAFETY = "source_safety", "result_safety"
"""In a row of that file: the classes that S.S. counts, where it is by harmlessness."""
FIRST_VERDICT = "first_verdict"
"""In a row of that file: the first ancestor's verdict, or null; only where it is another model than the base."""
COMPLETE = TypeAdapter(dict[str, Any])
"""A record with all its fields, whatever they are."""


class Lineage(BaseModel):
    """The prunings in a model's past, the first one first; none for a model that was never pruned."""

    steps: list[PruningStep] = []
    conditions: Conditions | None = None
    """The conditions under which the answers in the model's folder were measured."""
    measured_on: dict[str, int] = {}
    """The number of these answers, by set, without those of a spot check."""


def read_lineage(folder: Path) -> Lineage:
    """Return the lineage of the model in a folder, or in a GGUF file, which has its record inside.

    Raises:
        InputError: it was pruned by this package without being measured, or its record cannot be read.
    """
    record = read_pruning(folder)
    if record is None:
        return Lineage()
    if not record.measured:
        raise InputError(
            f"{folder}: was pruned without being measured (--unmeasured), so what it has lost is not known. Prune "
            f"the model it was made from, {record.model.name}."
        )
    measured_on = {name: prompts.count for name, prompts in record.evaluation.items()}
    return Lineage(steps=[*record.lineage, record.step], conditions=record.conditions, measured_on=measured_on)


def first_ancestor(folder: Path, lineage: Lineage, conditions: Conditions) -> FirstAncestor | None:
    """Return the first ancestor of the model in a folder, or None for a model that was never pruned.

    Its verdicts are those in the folder's answers, where these were measured under the same conditions. Each pruning
    hands them on, or none if its own conditions were others.

    Raises:
        InputError: the answers cannot be read, or some are missing.
    """
    if not lineage.steps:
        return None
    comparable = lineage.conditions == conditions
    if folder.is_file():  # the answers next to a GGUF are its own only if the record there is
        records = [read_record_as(COMPLETE, place) for place in (folder, folder.parent)]
        comparable, folder = comparable and records[0] == records[1], folder.parent
    verdicts = _read_verdicts(folder / EVIDENCE_FILE, lineage.measured_on) if comparable else {}
    return FirstAncestor(lineage.steps[0].name, verdicts, sum(step.drop for step in lineage.steps))


def _read_verdicts(file: Path, measured_on: Mapping[str, int]) -> dict[str, AnswerClass]:
    """Return the first ancestor's verdicts on harmful prompts; empty without such a file.

    Raises:
        InputError: it cannot be read, or has other numbers of answers than ``measured_on``, by set.
    """
    found: Counter[str] = Counter()

    def first_verdict(row: Any) -> tuple[str, AnswerClass] | None:
        found[str(row.get("set"))] += 1
        if row["class"] != PromptClass.HARMFUL.value:
            return None
        verdict = row[FIRST_VERDICT] if FIRST_VERDICT in row else row.get(SOURCE_SAFETY, row["source_verdict"])
        return (str(row["prompt"]), AnswerClass(verdict)) if verdict is not None else None

    if not file.is_file():
        return {}
    rows = read_evidence(file, first_verdict)
    require_all_answers(file, found, measured_on)
    return dict(row for row in rows if row is not None)


def require_all_answers(file: Path, found: Mapping[str, int], measured_on: Mapping[str, int]) -> None:
    """Raise InputError unless a file of answers has as many of each set as its model was measured on."""
    for name, count in measured_on.items():
        has = found.get(name, 0)
        if has != count:
            raise InputError(f"{file}: has {has} of the {count} answers of {name}. Fetch the model again.")


def read_evidence(file: Path, read_row: Callable[[Any], Found]) -> list[Found]:
    """Return what ``read_row`` makes of each row of a pruned model's file of answers, those of a spot check left out.

    Raises:
        InputError: the file or a row cannot be read.
    """
    try:
        # Not splitlines(), which also splits at characters that prompts may contain.
        rows = [json.loads(line) for line in read_text_file(file, "file of answers").split("\n") if line]
        return [read_row(row) for row in rows if not str(row.get("set")).startswith(SPOT_CHECK)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({first_line(error)}). Fetch the model again.") from error
