"""Folders as ``prune`` writes them, made without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.pages import measurement, record
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.prompts_record import calibration_record, prompts_record
from prosafeprune.evaluation.safety_floor import decide
from prosafeprune.method.plan import Plan
from prosafeprune.model.companions import tokenizer_files_hash
from prosafeprune.model.loading import load_tokenizer
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SILENT
from prosafeprune.report.card import write_card
from prosafeprune.report.edit_record import template_hash
from prosafeprune.report.record import read_record
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import prepare_run

PLAN = Plan(layers=(1, 2), rank=8, strength=0.8)


def written(folder: Path, refused: int = 95, names: tuple[str, ...] = (), **settings: Any) -> Path:
    """Return a folder as ``prune`` writes it, of a model that complies with more and refuses so many of 100."""
    before, after = measurement(40, 95), measurement(60, refused)
    made = record(before, after, PLAN, **{"layers": "1-2", **settings})
    made = made.model_copy(update={"floor": decide(before.sets, after.sets, FloorRule.of(made.recipe))})
    moved = made.benign_divergence.model_copy(update={"worst_prompt": "How do I boil an egg?"})
    made = made.model_copy(update={"benign_divergence": moved})
    made = made.model_copy(update={"evaluation": dict.fromkeys(names, made.calibration["harmful"])})
    folder.mkdir()
    (folder / "source").mkdir()
    write_card(folder, made, "org/tiny", folder / "source")
    (folder / "source").rmdir()
    made.write(folder)
    for name in ("model-00001-of-00002", "model-00002-of-00002"):
        (folder / f"{name}.safetensors").write_bytes(name.encode() * 100)
    for name in ("config.json", "report.html", "prosafeprune_answers.jsonl", ".prosafeprune.files", "share.png"):
        (folder / name).write_text("{}")
    return folder


def written_of(base: Path, folder: Path, **settings: Any) -> Path:
    """Return such a folder whose record is of a model and prompts that are there."""
    prepared = prepare_run(
        make_recipe(**{"model": str(base), "layers": "1-2", **settings}), None, overwrite=False, reporter=SILENT
    )
    made = read_record(written(folder, **{"model": base.name, **shown_names(settings)}))
    template = template_hash(load_tokenizer(base, base.name))
    facts = {
        "model": made.model.model_copy(
            update={
                "sha256": model_hash(base),
                "chat_template_sha256": template,
                "tokenizer_sha256": tokenizer_files_hash(base),
            }
        ),
        "calibration": calibration_record(prepared.calibration),
        "evaluation": {test_set.name: prompts_record(test_set.prompts) for test_set in prepared.evaluation},
    }
    made.model_copy(update=facts).write(folder)
    return folder


def shown_names(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: Path(value).name if value is not None else None for name, value in settings.items()}
