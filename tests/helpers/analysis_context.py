"""Prompts whose classes differ in one letter, the context of an analysis of them, and what its findings say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from helpers.tiny_models import make_tokenizer
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import AnalysisResult, ResultTable
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings

CPU = torch.device("cpu")
LETTERS = {PromptClass.BENIGN: "Q", PromptClass.HARMFUL: "X", PromptClass.PSEUDO_HARMFUL: "Z"}
"""They stand in no other word."""
WORDS = {"calibration": ["bread", "maps", "bees", "soup", "chess", "rivers"], "test": ["paint", "verbs", "clouds"]}
TEXTS = [f"Tell me of {word} {letter}" for words in WORDS.values() for word in words for letter in LETTERS.values()]


def prompts_of(split: str) -> dict[PromptClass, PromptSet]:
    """The classes have the same prompts but for their last letter."""
    return {
        name: PromptSet(name, split, tuple(Prompt(f"Tell me of {word} {letter}") for word in WORDS[split]))
        for name, letter in LETTERS.items()
    }


def context_of(model: Any, **settings: Any) -> Context:
    request = validate_settings(AnalyzeRequest, {"model": "tiny", "rank": 4, "batch_size": 8, **settings})
    prompts = AnalysisPrompts(prompts_of("calibration"), prompts_of("test"), prompts_of("test"), [], None)
    loaded = SimpleNamespace(model=model, tokenizer=make_tokenizer(), device=CPU, name="tiny", run_dtype=torch.float32)
    local: Any = SimpleNamespace(loaded=loaded, made_by=dict, generator=None)
    return Context(request, prompts, local, Path("/nowhere"), SilentReporter())


def letter_id(name: PromptClass) -> int:
    return int(make_tokenizer()(LETTERS[name], add_special_tokens=False)["input_ids"][0])


def by_layer(result: AnalysisResult, value: str, **wanted: Any) -> dict[int, float]:
    table: ResultTable = result.table("layers")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {
        int(row["layer"]): float(row[value])  # type: ignore[arg-type]
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    }
