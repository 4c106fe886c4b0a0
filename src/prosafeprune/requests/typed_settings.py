"""The settings of each command as typed dictionaries, so that editors complete and check keyword arguments.

Written by ``scripts/make_typed_settings.py``; do not edit. The requests have the descriptions and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from prosafeprune.method.plan import Pooling, Projection


class PruneSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.Recipe`."""

    accept_unsafe: bool
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    benign: str | None
    budget: int | str
    confidence: float
    confirmations: int
    data_dir: str | Path | None
    device: str
    draft: bool
    drop_overlaps: bool
    dtype: str
    floor: Literal["confident", "estimate"]
    format: Literal["checkpoint", "adapter"]
    harmful: str | None
    harmful_share: float | None
    hold_out: float | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    max_safety_drop: float
    memory: Literal["normal", "low"]
    only_mine: bool
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    prompt_field: str
    pseudo_harmful: str | None
    rank: int
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    samples: int
    seed: int
    strategy: Literal["auto", "paper"]
    strength: float | str | Sequence[float]
    suite: Literal["bundled", "paper"] | None
    system: str | None
    test_harmful: str | None
    test_pseudo_harmful: str | None
    test_samples: int | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool
    unmeasured: bool


class PruneUnmeasuredSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.Recipe`."""

    accept_unsafe: bool
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    benign: str | None
    budget: int | str
    confidence: float
    confirmations: int
    data_dir: str | Path | None
    device: str
    draft: bool
    drop_overlaps: bool
    dtype: str
    floor: Literal["confident", "estimate"]
    format: Literal["checkpoint", "adapter"]
    harmful: str | None
    harmful_share: float | None
    hold_out: float | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    max_safety_drop: float
    only_mine: bool
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    prompt_field: str
    pseudo_harmful: str | None
    rank: int
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    samples: int
    seed: int
    strategy: Literal["auto", "paper"]
    strength: float | str | Sequence[float]
    suite: Literal["bundled", "paper"] | None
    system: str | None
    test_harmful: str | None
    test_pseudo_harmful: str | None
    test_samples: int | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class SearchSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.SearchRequest`."""

    accept_unsafe: bool
    batch_size: int | Literal["auto"]
    benign: str | None
    budget: int | str
    confirmations: int
    device: str
    drop_overlaps: bool
    dtype: str
    harmful: str | None
    harmful_share: float | None
    hold_out: float | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    max_safety_drop: float
    only_mine: bool
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    prompt_field: str
    pseudo_harmful: str | None
    rank: int
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    samples: int
    seed: int
    strategy: Literal["auto", "paper"]
    system: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class ApplySettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.ApplyRequest`."""

    accept_unsafe: bool
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    confidence: float
    data_dir: str | Path | None
    device: str
    dtype: str
    floor: Literal["confident", "estimate"]
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    max_safety_drop: float
    prompt_field: str
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    suite: Literal["bundled", "paper"] | None
    system: str | None
    test_harmful: str | None
    test_pseudo_harmful: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class EvaluateSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.EvaluateRequest`."""

    ability: str | Sequence[str]
    ability_samples: int | None
    ability_tokens: int
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    concurrency: int
    data_dir: str | Path | None
    device: str
    draft: bool
    dtype: str
    endpoint: str | None
    fitted: str | Path | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    method: str
    prompt_field: str
    repeats: int
    request: str | Sequence[str]
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    seed: int
    settings: str | Sequence[str]
    sft_data: str | Path | None
    source: str | None
    suite: Literal["bundled", "paper"] | None
    system: str | None
    temperature: float
    test_harmful: str | None
    test_pseudo_harmful: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class CompareSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.CompareRequest`."""

    accept_unsafe: bool
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    benign: str | None
    budget: int | str
    choose: int | None
    confirmations: int
    data_dir: str | Path | None
    device: str
    draft: bool
    drop_overlaps: bool
    dtype: str
    harmful: str | None
    harmful_share: float | None
    hold_out: float | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    max_new_tokens: int
    max_safety_drop: float
    only_mine: bool
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    prompt_field: str
    pruned: str | Path | None
    pseudo_harmful: str | None
    rank: int
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    samples: int
    search: str | Path | None
    seed: int
    settings: str | Sequence[str]
    sft_data: str | Path | None
    strategy: Literal["auto", "paper"]
    strength: float | str | Sequence[float]
    suite: Literal["bundled", "paper"] | None
    system: str | None
    test_harmful: str | None
    test_pseudo_harmful: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class AnalyzeSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.AnalyzeRequest`."""

    ability: str | Sequence[str]
    ability_samples: int | None
    ability_tokens: int
    batch_size: int | Literal["auto"]
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    benign: str | None
    data_dir: str | Path | None
    device: str
    drop_overlaps: bool
    dtype: str
    general: str | None
    harmful: str | None
    harmful_share: float | None
    hold_out: float | None
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    layer: int | None
    layers: int | str | Sequence[int] | None
    max_new_tokens: int
    only_mine: bool
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    prompt_field: str
    pseudo_harmful: str | None
    rank: int
    ranks: str | Sequence[int]
    refusal_words: str | Sequence[str]
    revision: str | None
    safety: Literal["refusal", "harmlessness"]
    samples: int
    seed: int
    strength: float | str | Sequence[float]
    strengths: str | Sequence[float]
    submodule: str
    suite: Literal["bundled", "paper"] | None
    sweep_samples: int
    system: str | None
    test_harmful: str | None
    test_pseudo_harmful: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool
    tuning_epochs: int
    tuning_prompts: int


class JudgeSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.JudgeOptions`."""

    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    safety: Literal["refusal", "harmlessness"]


class MineSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.MineRequest`."""

    answer_field: str
    judge: Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | None
    keep_personal: bool
    limit: int
    prompt_field: str
    safety: Literal["refusal", "harmlessness"]


class RateSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.RateRequest`."""

    batch_size: int | Literal["auto"]
    concurrency: int
    device: str
    dtype: str
    endpoint: str | None
    keep: str
    model: str
    prompt_field: str
    request: str | Sequence[str]
    revision: str | None
    system: str | None
    thinking: Literal["on", "off"]
    trust_remote_code: bool


class CheckSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.BenchmarkOptions`."""

    benchmark: str | Sequence[str]
    data_dir: str | Path | None
    prompt_field: str
    suite: Literal["bundled", "paper"] | None


class SplitSettings(TypedDict, total=False):
    """Fields of :class:`prosafeprune.SplitRequest`."""

    prompt_field: str
    seed: int
    shares: str
