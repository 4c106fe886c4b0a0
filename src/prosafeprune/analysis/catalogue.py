"""The list of analyses, readable without importing any of them.

To add one, write a class in this package (see docs/analysis.md) and add a line to ``CATALOGUE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from prosafeprune.errors import InputError
from prosafeprune.text import did_you_mean

if TYPE_CHECKING:
    from prosafeprune.analysis.base import Analysis


class Requirement(StrEnum):
    """What an analysis needs."""

    ACTIVATIONS = "activations"
    ANSWERS = "answers"
    """Generated answers to test prompts, and a judge for them."""
    QUESTIONS = "questions of general ability"
    PLAN = "a plan"
    """Layers, or a pruned model whose record has the plan."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One analysis of the catalogue."""

    name: str
    title: str
    paper: str
    """Where the paper has this analysis: sections, figures and tables."""
    needs: frozenset[Requirement]
    target: str
    """The module in this package, and the class in the module."""

    @property
    def needed(self) -> str:
        """Its requirements, in words."""
        return ", ".join(sorted(self.needs))

    def load(self) -> Analysis:
        """Return the analysis."""
        module, _, name = self.target.partition(":")
        analysis: Analysis = getattr(import_module(f"prosafeprune.analysis.{module}"), name)()
        return analysis


ONLY_ACTIVATIONS = frozenset({Requirement.ACTIVATIONS})
ANSWERS_TO_A_PLAN = frozenset({Requirement.ACTIVATIONS, Requirement.ANSWERS, Requirement.PLAN})

CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        "probe",
        "Harmfulness by layer, from linear probes",
        "sections 3.1, 4.2 and A.1, figures 1 and 3",
        ONLY_ACTIVATIONS,
        "probe_analysis:ProbeAnalysis",
    ),
    CatalogueEntry(
        "layers",
        "Separability of the prompt classes by layer",
        "section 3.3, figure 2",
        ONLY_ACTIVATIONS,
        "layers_analysis:LayersAnalysis",
    ),
    CatalogueEntry(
        "lens",
        "Refusal words by layer, through the logit lens",
        "section 5.2, figure 6",
        ONLY_ACTIVATIONS,
        "lens_analysis:LensAnalysis",
    ),
    CatalogueEntry(
        "rank",
        "Overlap of subspaces by rank; with a plan, also C.R., S.S. and T.S.",
        "section D.1, figures 9 and 10",
        ONLY_ACTIVATIONS,
        "rank_analysis:RankAnalysis",
    ),
    CatalogueEntry(
        "energy",
        "Energy and harmful overlap of the edit by layer",
        "sections A.3, D.1 and D.3, table 9, figure 12",
        ONLY_ACTIVATIONS,
        "energy_analysis:EnergyAnalysis",
    ),
    CatalogueEntry(
        "categories",
        "Refusal directions of the categories against their mean",
        "section 5.3, table 4",
        ONLY_ACTIVATIONS,
        "categories_analysis:CategoriesAnalysis",
    ),
    CatalogueEntry(
        "strength",
        "C.R., S.S. and T.S. by strength",
        "section D.2, figure 11",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:StrengthAnalysis",
    ),
    CatalogueEntry(
        "submodules",
        "Each submodule pruned alone against all of them",
        "section 5.1, table 2",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:SubmodulesAnalysis",
    ),
    CatalogueEntry(
        "operator",
        "The overlap operator without its pseudo-harmful projector",
        "section 5.1, table 3",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:OperatorAnalysis",
    ),
    CatalogueEntry(
        "depth",
        "The plan's layers against bottom, top and single layers",
        "section D.4, tables 10 and 11",
        ANSWERS_TO_A_PLAN,
        "sweep_analyses:DepthAnalysis",
    ),
    CatalogueEntry(
        "alignment-tax",
        "Harmfulness against general ability: base model, pruned, pruned and tuned to refuse",
        "section 5.2, figure 5",
        ANSWERS_TO_A_PLAN | {Requirement.QUESTIONS},
        "alignment_tax_analysis:AlignmentTaxAnalysis",
    ),
)
BY_NAME = {entry.name: entry for entry in CATALOGUE}


def find_entries(names: Sequence[str], *, everything: bool = False) -> list[CatalogueEntry]:
    """Return the analyses with these names, in the order of the catalogue, or all of them.

    Raises:
        InputError: no name is given, names are given with ``everything``, or a name is unknown.
    """
    known = ", ".join(BY_NAME)
    if everything:
        if names:
            raise InputError(f"{names[0]}: name analyses or run all with --all, not both.")
        return list(CATALOGUE)
    if not names:
        raise InputError(f"Which analysis? Name one of {known}, or run all with --all.")
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        like = did_you_mean(unknown[0], BY_NAME)
        raise InputError(f"{unknown[0]}: no such analysis.{like} Choose from {known}.")
    return [entry for entry in CATALOGUE if entry.name in names]
