"""What a user asks of ``apply``, as one validated object."""

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import AnswerOptions, BenchmarkOptions, ModelOptions
from prosafeprune.requests.plan_options import Strengths
from prosafeprune.requests.search import FloorOptions


class ApplyRequest(FloorOptions, AnswerOptions, BenchmarkOptions, ModelOptions, JudgeOptions):
    """How an adapter or a fit is applied to its base model, and how the changed model is measured.

    None of this is ever taken from the adapter's record or the fit, which may be someone else's.
    """

    model_config = ConfigDict(title="Output")  # the panel of --dequantise in --help
    in_both_modes: ClassVar[bool] = True

    model: str = Field(
        min_length=1, description="The base model it was made from or fitted to: local folder, hub id or .gguf file."
    )
    format: Literal["checkpoint", "adapter"] = Field(
        "checkpoint",
        description="What to write of a fit: checkpoint (a complete model) or adapter (a LoRA adapter for the base "
        "model).",
    )
    strength: Strengths | None = Field(
        None,
        description="Another strength than the adapter's, or one per layer, in order: 0.9,0.5. The pruned model is "
        "then measured. Of a fit, a factor of what was trained: 1 by default.",
    )

    dequantise: bool = Field(False, description="Write the pruned model in 16 bits, where the base model is quantised.")

    @property
    def of_the_measurement(self) -> list[str]:
        """The given settings that decide how a pruned model is measured, and nothing else."""
        kinds = (AnswerOptions, BenchmarkOptions, JudgeOptions)
        names = {name for kind in kinds for name in kind.model_fields} | {"system", "thinking", "batch_size"}
        return sorted(names & self.model_fields_set)
