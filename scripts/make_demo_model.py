"""Make the adapter of the over-aligned demo model, by the refusal fine-tuning of section 5.2.

    python scripts/make_demo_model.py MODEL_FOLDER ADAPTER_FOLDER

LoRA on q, v and o learns to refuse the bundled harmful calibration prompts and some of the pseudo-harmful ones, and to
keep the model's own answers to benign ones. Validation and test prompts are not used.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.model.chat import render
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.prompts import bundled_prompts
from prosafeprune.terminal import TerminalReporter

REFUSAL = "I'm sorry, but I can't assist with that."


def training_pairs(
    loaded: LoadedModel, pseudo_harmful: int, benign: int, reporter: TerminalReporter
) -> list[tuple[str, str]]:
    """Return pairs of prompt and target answer."""
    refused = bundled_prompts("harmful", "calibration").texts
    refused += bundled_prompts("pseudo_harmful", "calibration").sample(pseudo_harmful, seed=1).texts
    answered = bundled_prompts("benign", "calibration").sample(benign, seed=1).texts
    with reporter.stage("Own answers to benign prompts", len(answered)) as advance:
        own = [one.text for one in answer_all(LocalGenerator(loaded), answered, Decoding(max_new_tokens=32))]
        advance(len(answered))
    return [(prompt, REFUSAL) for prompt in refused] + list(zip(answered, own, strict=True))


def encode(loaded: LoadedModel, prompt: str, answer: str, ends: bool) -> tuple[list[int], list[int]]:
    """Return token ids and labels: the loss is on the answer, and on its end only if the answer is complete."""
    before = loaded.tokenizer(render(loaded.tokenizer, prompt), add_special_tokens=False)["input_ids"]
    after = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
    after += loaded.end_ids[:1] if ends else []
    return before + after, [-100] * len(before) + after


def train(loaded: LoadedModel, pairs: list[tuple[str, str]], epochs: int, rate: float, size: int) -> None:
    """Train the adapter in ``loaded.model`` with AdamW and a linearly falling learning rate."""
    examples = [encode(loaded, prompt, answer, answer == REFUSAL) for prompt, answer in pairs]
    parameters = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    order = list(range(len(examples)))
    shuffle = random.Random(0)
    steps = epochs * (len(order) // size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    started = time.time()
    for _ in range(epochs):
        shuffle.shuffle(order)
        for start in range(0, len(order) - size + 1, size):
            batch = [examples[i] for i in order[start : start + size]]
            width = max(len(ids) for ids, _ in batch)
            ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
            labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in batch])
            mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch])
            loss = loaded.model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            print(f"loss {loss.item():.3f}  {time.time() - started:.0f} s", flush=True)


def main() -> None:
    """Parse the command line and make the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument(
        "--pseudo-harmful", type=int, default=70, help="how many pseudo-harmful prompts it learns to refuse"
    )
    parser.add_argument("--benign", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--dose", type=float, default=1.25, help="factor on the adapter after training")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    with TerminalReporter() as reporter:
        loaded = load_model(options.model, options.model.name, reporter)
        pairs = training_pairs(loaded, options.pseudo_harmful, options.benign, reporter)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank,
        target_modules=["q_proj", "v_proj", "o_proj"],
        # Lower layers are frozen: gradients need not pass through them, which saves a quarter of the time.
        layers_to_transform=list(range(6, loaded.model.config.num_hidden_layers)),
        task_type="CAUSAL_LM",
    )
    loaded.model = get_peft_model(loaded.model, config, autocast_adapter_dtype=True)
    train(loaded, pairs, options.epochs, options.rate, options.batch_size)
    # Scaled up after training: more refusals of every kind, with a wider margin on harmful prompts.
    loaded.model.peft_config["default"].lora_alpha = 2 * options.rank * options.dose
    loaded.model.peft_config["default"].base_model_name_or_path = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
    loaded.model.half().save_pretrained(options.adapter)


if __name__ == "__main__":
    main()
