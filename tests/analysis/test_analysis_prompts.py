"""What holds for every analysis: the model is left as it was, and its prompts are read and kept apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.analysis_context import context_of
from helpers.tiny_models import make_model

from prosafeprune.analysis.analysis_prompts import read_analysis_prompts
from prosafeprune.analysis.energy_analysis import EnergyAnalysis
from prosafeprune.analysis.layers_analysis import LayersAnalysis
from prosafeprune.analysis.lens_analysis import LensAnalysis
from prosafeprune.analysis.probe_analysis import ProbeAnalysis
from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings


def test_the_model_is_left_as_it_was() -> None:
    model = make_model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    context = context_of(model)
    for analysis in (ProbeAnalysis(), LayersAnalysis(), LensAnalysis(), EnergyAnalysis()):
        analysis.observe(context, None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_general_prompts_come_from_a_task(tmp_path: Path) -> None:
    (tmp_path / "gsm8k_test.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    request = validate_settings(AnalyzeRequest, {"model": "m", "general": "gsm8k", "data_dir": tmp_path})
    prompts = read_analysis_prompts(request)
    assert prompts.general is not None
    assert "What is 1 + 1?" in prompts.general.texts[0]
    assert "general prompts" in prompts.hashes(["general"])
    assert len(prompts.test[PromptClass.HARMFUL]) == len(bundled_prompts(PromptClass.HARMFUL, "test"))


def test_calibration_and_test_prompts_must_differ(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(f"Tell me of {i}" for i in range(20)))
    request = validate_settings(
        AnalyzeRequest,
        {"model": "m", "pseudo_harmful": str(own), "benchmark": (f"phtest={own}",), "prompt_field": "prompt"},
    )
    with pytest.raises(InputError, match="are in two sets that must be disjoint"):
        read_analysis_prompts(request)
