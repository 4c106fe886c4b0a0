"""The base model that the record of an earlier pruning names, where the command names none.

A record may be someone else's. It decides neither what is downloaded nor whose code runs, and the hash it gives is
compared before the model is used.
"""

from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import read_earlier_pruning
from prosafeprune.files.user_path import user_path
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import check_checkpoint_folder, is_hub_id


def find_recorded_base(earlier: Path) -> dict[str, str]:
    """Return the settings that name the first base model of an earlier pruning, which must be on this machine.

    Raises:
        InputError: there is no earlier pruning, its base model is not on this machine, or is not the recorded one.
    """
    pruning = read_earlier_pruning(user_path(earlier))
    name = pruning.record.first_base.name
    path = user_path(name)
    if path.exists():
        found = {"model": name}
    else:
        path = _in_hub_cache(name, earlier)
        found = {"model": name, "revision": path.name}
    if path.is_dir():
        check_checkpoint_folder(path, name, edited=True)
    elif path.suffix.lower() != ".gguf":
        raise InputError(f"--from {earlier}: its base model {name} is not a usable model on this machine. Give MODEL.")
    pruning.require_base(model_hash(path))
    return found


def _in_hub_cache(name: str, earlier: Path) -> Path:
    """Return the folder of a hub model in the hub's cache, without network access."""
    from huggingface_hub import snapshot_download

    try:
        if is_hub_id(name):
            return Path(snapshot_download(name, local_files_only=True))
    except Exception:  # noqa: BLE001  no such name, or not in the cache
        pass
    raise InputError(
        f"--from {earlier}: its record names the base model {name}, which is not on this machine, and a record does "
        "not decide what is downloaded. Give MODEL."
    )
