"""Answers per second: one prompt at a time, plain padded batches, and this package, in one run and one dtype.

    python benchmarks/generation.py MODEL_FOLDER --prompts or_bench_hard.jsonl [--size 40] [--tokens 24]

(a) is the loop that the baselines' papers use: one prompt at a time through ``model.generate``. (b) pads batches of 40
on the left and calls ``model.generate``. (c) is this package. Same prompts, same token limit, greedy. Prints one JSON
object: answers per second of each, the ratios, and which share of answers is the same. Run it once more with
``--dtype float32``: there, equal mathematics gives equal answers but for ties.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import transformers

from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.model.chat_template import render
from prosafeprune.model.loading import LoadedModel, dtype_name, load_model
from prosafeprune.prompts import PromptClass, read_prompts
from prosafeprune.terminal import TerminalReporter

BATCH = 40


def plain_generate(loaded: LoadedModel, prompts: Sequence[str], tokens: int, batch: int) -> list[str]:
    """Answer with ``model.generate``, ``batch`` prompts at a time, padded on the left, in the order given."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(loaded.folder, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    answers: list[str] = []
    for start in range(0, len(prompts), batch):
        texts = [render(loaded.tokenizer, prompt) for prompt in prompts[start : start + batch]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(loaded.device)
        with torch.inference_mode():
            out = loaded.model.generate(  # type: ignore[operator]  # of GenerationMixin
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=loaded.end_ids,
                pad_token_id=tokenizer.pad_token_id,
            )
        rows = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [row.strip() for row in rows]
    return answers


def timed(work: Callable[[], list[str]]) -> tuple[list[str], float]:
    """Return the answers and the seconds they took."""
    started = time.perf_counter()
    answers = work()
    return answers, time.perf_counter() - started


def main() -> None:
    """Time the three, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    prompts = read_prompts(options.prompts, PromptClass.PSEUDO_HARMFUL).sample(options.size, seed=0).texts
    with TerminalReporter() as reporter:
        loaded = load_model(options.model, options.model.name, reporter, dtype=options.dtype)
        # The model's own sampling settings would only warn; all three are greedy.
        loaded.model.generation_config = transformers.GenerationConfig()
        plain_generate(loaded, prompts[:1], 2, 1)  # so that none pays for the first call

        def ours() -> list[str]:
            decoding = Decoding(max_new_tokens=options.tokens)
            return [answer.text for answer in answer_all(LocalGenerator(loaded), prompts, decoding)]

        found: dict[str, list[str]] = {}
        seconds: dict[str, float] = {}
        for name, work in {
            "ours": ours,
            "padded batches": lambda: plain_generate(loaded, prompts, options.tokens, BATCH),
            "one at a time": lambda: plain_generate(loaded, prompts, options.tokens, 1),
        }.items():
            reporter.note(f"{name} ...")
            found[name], seconds[name] = timed(work)
            reporter.note(f"{name}: {len(prompts) / seconds[name]:.2f} answers a second")
    alone = found["one at a time"]
    print(
        json.dumps(
            {
                "model": options.model.name,
                "dtype": dtype_name(loaded.run_dtype),
                "prompts": len(prompts),
                "tokens": options.tokens,
                "threads": torch.get_num_threads(),
                "answers_per_second": {name: round(len(prompts) / spent, 3) for name, spent in seconds.items()},
                "ours_to_one_at_a_time": round(seconds["one at a time"] / seconds["ours"], 2),
                "ours_to_padded_batches": round(seconds["padded batches"] / seconds["ours"], 2),
                "same_as_one_at_a_time": {
                    name: sum(one == two for one, two in zip(answers, alone, strict=True)) / len(alone)
                    for name, answers in found.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
