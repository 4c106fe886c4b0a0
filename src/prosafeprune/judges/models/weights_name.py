"""The name of a judge's model, under which verdicts are kept and compared."""

from pathlib import Path

from prosafeprune.files.user_path import user_path
from prosafeprune.model.model_hash import model_hash
from prosafeprune.text import shared_name


def weights_name(name: str, folder: Path) -> str:
    """Return the name of a model in memory: the id of a hub model; of a folder its name, and a hash of its weights.

    Two folders may have one name, and one may be trained further: verdicts of other weights are another judge's.

    Args:
        name: as the user gave it.
        folder: where its weights are.
    """
    if not user_path(name).is_dir():
        return shared_name(name)
    return f"{folder.resolve().name}-{model_hash(folder)[:8]}"
