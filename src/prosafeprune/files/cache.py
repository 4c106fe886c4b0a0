"""The cache folder: downloads, and whatever else is kept between runs."""

import os
from pathlib import Path

from prosafeprune.files.user_path import user_path


def cache_folder() -> Path:
    """Return the folder for what can be computed or downloaded again; set by PROSAFEPRUNE_CACHE if given."""
    own = os.environ.get("PROSAFEPRUNE_CACHE")
    if own:
        return user_path(own)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "prosafeprune"
