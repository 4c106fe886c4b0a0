"""The settings of each command as typed dictionaries, so that editors complete and check keyword arguments.

Written by ``scripts/make_typed_settings.py``; do not edit. The requests have the descriptions and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from prosafeprune.method.plan import Pooling, Projection


class OutputOptionsSettings(TypedDict, total=False):
    dequantise: bool
    format: Literal["checkpoint", "adapter", "gguf"]
    memory: Literal["normal", "low"]
    unmeasured: bool


class SafetyOptionsSettings(TypedDict, total=False):
    accept_unsafe: bool
    max_safety_drop: float


class FloorOptionsSettings(SafetyOptionsSettings, total=False):
    confidence: float
    floor: Literal["confident", "estimate"]


class DraftOptionsSettings(TypedDict, total=False):
    draft: bool


class FileOptionsSettings(TypedDict, total=False):
    prompt_field: str


class BenchmarkOptionsSettings(FileOptionsSettings, total=False):
    benchmark: str | Sequence[str]
    benchmark_samples: int | None
    data_dir: str | Path | None
    suite: Literal["bundled", "paper", "beyond"] | None
    test_harmful: str | Path | None
    test_pseudo_harmful: str | Path | None


class LoadOptionsSettings(TypedDict, total=False):
    load: Literal["8bit", "4bit"] | None


class SearchOptionsSettings(TypedDict, total=False):
    budget: int | str
    confirmations: int
    strategy: Literal["auto", "paper"]


class OperatorOptionsSettings(TypedDict, total=False):
    harmful_share: float | None
    pooling: Pooling | Literal["sequence", "tail", "user", "last"]
    projection: Projection | Literal["orthogonal", "oblique", "contrastive"]
    rank: int


class CalibrationOptionsSettings(FileOptionsSettings, total=False):
    benign: str | Path | Sequence[str | Path] | None
    calibration: Literal["bundled", "beyond", "paper", "all"]
    drop_overlaps: bool
    harmful: str | Path | Sequence[str | Path] | None
    hold_out: float | None
    only_mine: bool
    pseudo_harmful: str | Path | Sequence[str | Path] | None
    samples: int


class AnswerOptionsSettings(TypedDict, total=False):
    max_new_tokens: int


class SeedOptionsSettings(TypedDict, total=False):
    seed: int


class ModelOptionsSettings(TypedDict, total=False):
    batch_size: int | Literal["auto"]
    device: str
    dtype: str
    revision: str | None
    system: str | None
    thinking: Literal["on", "off", "both"]
    trust_remote_code: bool


class JudgeSettings(TypedDict, total=False):
    judge: str
    judge_concurrency: int
    judge_device: str
    judge_endpoint: str | None
    judge_model: str | Path | None
    safety: Literal["refusal", "harmlessness"]


class PlanSearchRequestSettings(
    SearchOptionsSettings,
    SafetyOptionsSettings,
    OperatorOptionsSettings,
    CalibrationOptionsSettings,
    AnswerOptionsSettings,
    SeedOptionsSettings,
    ModelOptionsSettings,
    JudgeSettings,
    total=False,
):
    pass


class SearchSettings(LoadOptionsSettings, PlanSearchRequestSettings, total=False):
    data_dir: str | Path | None


class PruneSettings(
    OutputOptionsSettings,
    FloorOptionsSettings,
    DraftOptionsSettings,
    BenchmarkOptionsSettings,
    SearchSettings,
    total=False,
):
    strength: float | str | Sequence[float]
    earlier: str | Path | None
    polish: bool
    prompting_samples: int
    test_samples: int | None


class PruneUnmeasuredSettings(
    FloorOptionsSettings,
    DraftOptionsSettings,
    BenchmarkOptionsSettings,
    SearchSettings,
    total=False,
):
    dequantise: bool
    format: Literal["checkpoint", "adapter", "gguf"]
    strength: float | str | Sequence[float]
    earlier: str | Path | None
    polish: bool
    prompting_samples: int
    test_samples: int | None


class ApplySettings(
    FloorOptionsSettings,
    AnswerOptionsSettings,
    BenchmarkOptionsSettings,
    ModelOptionsSettings,
    JudgeSettings,
    total=False,
):
    dequantise: bool
    format: Literal["checkpoint", "adapter"]


class EndpointOptionsSettings(TypedDict, total=False):
    concurrency: int
    endpoint: str | None
    request: str | Sequence[str]


class AbilityOptionsSettings(TypedDict, total=False):
    ability: str | Sequence[str]
    ability_samples: int | None
    ability_tokens: int


class MethodOptionsSettings(TypedDict, total=False):
    settings: str | Sequence[str]
    sft_data: str | Path | None


class EvaluateSettings(
    LoadOptionsSettings,
    EndpointOptionsSettings,
    AbilityOptionsSettings,
    DraftOptionsSettings,
    BenchmarkOptionsSettings,
    SeedOptionsSettings,
    MethodOptionsSettings,
    ModelOptionsSettings,
    JudgeSettings,
    total=False,
):
    base: str | Path | None
    fitted: str | Path | None
    max_new_tokens: int
    method: str
    repeats: int
    temperature: float


class CompareSettings(
    AbilityOptionsSettings,
    DraftOptionsSettings,
    BenchmarkOptionsSettings,
    MethodOptionsSettings,
    PlanSearchRequestSettings,
    total=False,
):
    strength: float | str | Sequence[float]
    choose: int | None
    pruned: str | Path | None
    search: str | Path | None


class PlanOptionsSettings(OperatorOptionsSettings, total=False):
    layers: int | str | Sequence[int] | None
    strength: float | str | Sequence[float]


class AnalyzeSettings(
    PlanOptionsSettings,
    CalibrationOptionsSettings,
    AbilityOptionsSettings,
    AnswerOptionsSettings,
    BenchmarkOptionsSettings,
    SeedOptionsSettings,
    ModelOptionsSettings,
    JudgeSettings,
    total=False,
):
    general: str | Path | None
    layer: int | None
    ranks: str | Sequence[int]
    refusal_words: str | Sequence[str]
    strengths: str | Sequence[float]
    submodule: str
    sweep_samples: int
    tuning_epochs: int
    tuning_prompts: int


class MineSettings(JudgeSettings, total=False):
    answer_field: str
    keep_personal: bool
    limit: int
    prompt_field: str


class RateSettings(EndpointOptionsSettings, FileOptionsSettings, ModelOptionsSettings, total=False):
    keep: str


class CheckSettings(FileOptionsSettings, total=False):
    benchmark: str | Sequence[str]
    data_dir: str | Path | None
    suite: Literal["paper"] | None


class SplitSettings(FileOptionsSettings, SeedOptionsSettings, total=False):
    shares: str
