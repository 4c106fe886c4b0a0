"""A command with one bad input, as the generators of bad inputs give it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fault_campaign.children import Setup
from fault_campaign.world import World


@dataclass(frozen=True)
class Bad:
    """A command with one bad input."""

    arguments: list[object]
    what: str
    may_succeed: bool = True
    """Whether what is wrong may have no effect, such as a value that nobody reads."""
    resumes: Path | None = None
    """A folder that the command continues, and may change."""
    setup: Setup | None = None
    """Called in the process of the command, first."""


Tries = Callable[[World, Path, random.Random], Bad]
