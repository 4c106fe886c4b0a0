"""The analyses there are, told without loading any of them.

To add one, write a class in this room (see docs/analysis.md) and add a line to ``CATALOGUE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from prosafeprune.errors import InputError

if TYPE_CHECKING:
    from prosafeprune.analysis.base import Analysis


class Need(StrEnum):
    """What an analysis cannot do without."""

    ACTIVATIONS = "activations"
    ANSWERS = "answers"
    """The model must answer test prompts, and a judge must read the answers."""
    QUESTIONS = "questions of general ability"
    PLAN = "a plan"
    """Layers, or a pruned model whose record tells its plan."""


@dataclass(frozen=True)
class Entry:
    """One analysis of the catalogue."""

    name: str
    title: str
    paper: str
    """Where it stands in the paper."""
    needs: frozenset[Need]
    home: str
    """Module of this room and class in it."""

    @property
    def needed(self) -> str:
        """What it needs, in words."""
        return " and ".join(sorted(self.needs))

    def load(self) -> Analysis:
        """Return the analysis itself."""
        module, _, name = self.home.partition(":")
        made: Analysis = getattr(import_module(f"prosafeprune.analysis.{module}"), name)()
        return made


ONLY_ACTIVATIONS = frozenset({Need.ACTIVATIONS})
ANSWERS_TO_A_PLAN = frozenset({Need.ACTIVATIONS, Need.ANSWERS, Need.PLAN})

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "probe",
        "Harmfulness by layer, told by linear probes",
        "sections 3.1, 4.2 and A.1, figures 1 and 3",
        ONLY_ACTIVATIONS,
        "probe:ProbeAnalysis",
    ),
    Entry(
        "layers",
        "Separability of the prompt classes by layer",
        "section 3.3, figure 2",
        ONLY_ACTIVATIONS,
        "layers:LayersAnalysis",
    ),
    Entry(
        "lens",
        "Refusal words by layer, through the logit lens",
        "section 5.2, figure 6",
        ONLY_ACTIVATIONS,
        "lens:LensAnalysis",
    ),
    Entry(
        "rank",
        "Overlap of subspaces by rank; with a plan, C.R., S.S. and T.S. too",
        "section D.1, figures 9 and 10",
        ONLY_ACTIVATIONS,
        "rank:RankAnalysis",
    ),
    Entry(
        "energy",
        "Energy and harmful overlap of the edit by layer",
        "sections A.3, D.1 and D.3, table 9, figure 12",
        ONLY_ACTIVATIONS,
        "energy:EnergyAnalysis",
    ),
    Entry(
        "categories",
        "Refusal directions of categories against the mean one",
        "section 5.3, table 4",
        ONLY_ACTIVATIONS,
        "categories:CategoriesAnalysis",
    ),
    Entry(
        "strength",
        "C.R., S.S. and T.S. by strength",
        "section D.2, figure 11",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:StrengthAnalysis",
    ),
    Entry(
        "submodules",
        "Each submodule alone against all",
        "section 5.1, table 2",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:SubmodulesAnalysis",
    ),
    Entry(
        "operator",
        "The overlap operator without its pseudo-harmful projector",
        "section 5.1, table 3",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:OperatorAnalysis",
    ),
    Entry(
        "depth",
        "The plan's layers against bottom, top and single ones",
        "section D.4, tables 10 and 11",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:DepthAnalysis",
    ),
    Entry(
        "alignment-tax",
        "Harmfulness against general ability: source, pruned, pruned and tuned to refuse",
        "section 5.2, figure 5",
        ANSWERS_TO_A_PLAN | {Need.QUESTIONS},
        "alignment_tax:AlignmentTaxAnalysis",
    ),
)
BY_NAME = {entry.name: entry for entry in CATALOGUE}


def find_entries(names: Sequence[str], *, everything: bool = False) -> list[Entry]:
    """Return the analyses of these names, in the order of the catalogue; or all of them.

    Raises:
        InputError: none is named, names are given beside ``everything``, or one is unknown.
    """
    known = ", ".join(BY_NAME)
    if everything:
        if names:
            raise InputError(f"{names[0]}: name analyses or take them all with --all, not both.")
        return list(CATALOGUE)
    if not names:
        raise InputError(f"Which analysis? Name one of {known}, or take them all with --all.")
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise InputError(f"{unknown[0]}: no such analysis. There are: {known}.")
    return [entry for entry in CATALOGUE if entry.name in names]
