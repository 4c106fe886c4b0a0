"""The weights of a folder that this package wrote, and whether they are still those of its record."""

from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.files.text_file import read_json_object
from prosafeprune.model.adapters import CONFIG as ADAPTER_CONFIG
from prosafeprune.model.model_hash import CHANGED, file_hash, hashed_files, model_hash, require_hash
from prosafeprune.model.source import ADAPTER_WEIGHTS
from prosafeprune.progress import Reporter
from prosafeprune.report.record import Record

NEVER_WRITTEN = (
    "use_rslora",
    "use_dora",
    "modules_to_save",
    "exclude_modules",
    "layers_to_transform",
    "lora_bias",
    "trainable_token_indices",
)
"""Settings of an adapter that change what it does, and that this package leaves off."""


def with_weights_hash(record: Record, folder: Path) -> Record:
    """Return a record with the hash of what was written into ``folder``; that of an adapter has its own already."""
    if record.recipe.format == "adapter":
        return record
    return record.model_copy(update={"weights_sha256": model_hash(_model_in(folder, record))})


def require_recorded_weights(folder: Path, record: Record, reporter: Reporter) -> None:
    """Check that the weights in a folder are those of its record; older records of checkpoints do not have a hash.

    Raises:
        InputError: they are not, or cannot be read.
    """
    if record.adapter_sha256 is not None:
        file = folder / ADAPTER_WEIGHTS
        if not file.is_file() or file_hash(file) != record.adapter_sha256:
            raise InputError(f"{folder}: its weights ({ADAPTER_WEIGHTS}) {CHANGED}")
        _require_written_scale(folder)
        return
    if record.weights_sha256 is None:
        reporter.warning(
            f"{folder}: its record is of an earlier release, without a hash of the weights. Whether they are "
            "those that were measured was not checked."
        )
        return
    model = _model_in(folder, record)
    with reporter.stage("Checking the weights", len(hashed_files(model))) as advance:
        require_hash(model, record.weights_sha256, folder, advance)


def _require_written_scale(folder: Path) -> None:
    """Raise InputError unless an adapter's config scales all its factors by 1, as it is written."""
    config = read_json_object(folder / ADAPTER_CONFIG, "adapter config")
    pairs = (("lora_alpha", "r"), ("alpha_pattern", "rank_pattern"))
    changed = [name for name, equal in pairs if config.get(name) != config.get(equal)]
    changed += [name for name in NEVER_WRITTEN if config.get(name)]
    if changed:
        raise InputError(
            f"{folder}: its {ADAPTER_CONFIG} was changed ({changed[0]}), so the adapter does not do what was measured. "
            "Make it again."
        )


def _model_in(folder: Path, record: Record) -> Path:
    """Return the GGUF file in a folder, or the folder, which is a checkpoint. Raises InputError when there is none."""
    found = sorted(folder.glob("*.gguf" if record.recipe.format == "gguf" else "config.json"))
    if not found:
        raise InputError(f"{folder}: its weights or config.json are missing. Make the model again.")
    return found[0] if record.recipe.format == "gguf" else folder
