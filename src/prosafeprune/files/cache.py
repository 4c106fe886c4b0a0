"""Where things are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for what can be made or fetched again; PROSAFEPRUNE_CACHE moves it elsewhere."""
    own = os.environ.get("PROSAFEPRUNE_CACHE")
    if own:
        return Path(own).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "prosafeprune"
