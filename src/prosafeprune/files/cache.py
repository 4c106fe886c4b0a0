"""The cache folder: downloads, and whatever else is kept between runs."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from prosafeprune.files.user_path import user_path


def cache_folder() -> Path:
    """Return the folder for what can be computed or downloaded again; set by PROSAFEPRUNE_CACHE if given."""
    own = os.environ.get("PROSAFEPRUNE_CACHE")
    if own:
        return user_path(own)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "prosafeprune"


def digest_of(identity: Any) -> str:
    """Return the SHA-256 of what a result depends on, as JSON, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def folder_of(kind: str, identity: Any) -> Path:
    """Return the folder of the cache for results of a kind that depend on ``identity``."""
    return cache_folder() / kind / digest_of(identity)[:32]
