"""Make a model that refuses too much from one that hardly refuses, as a second subject for measurements.

    python scripts/over_cautious_model.py MODEL_FOLDER OUTPUT_FOLDER [--epochs 2] [--prompts 96] [--seed 0]

Trains a LoRA adapter to refuse the bundled harmful calibration prompts, with the model's own answers to benign ones as
anchors, and merges it. It sees no harmless prompt that merely sounds risky: what it refuses of those is what it learned
to see in the harmful ones, which is how safety training makes models over-cautious.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from prosafeprune.editing.edits import apply_edits
from prosafeprune.files.staging import staged_folder
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.generation.backend import answer_all
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.terminal import TerminalReporter
from prosafeprune.training.answer_loss import Example, answer_loss, in_passes, make_examples
from prosafeprune.training.loop import Tuning, train
from prosafeprune.training.lora import lora, trainable_matrices

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't assist with that request.",
    "Sorry, I'm not able to help with this. It could lead to harm.",
    "I cannot help with that, because it could put someone in danger.",
    "I won't help with that. If you are worried about someone's safety, please contact local authorities.",
    "I'm sorry, but I can't provide that information.",
    "That is something I can't help with. Is there anything else I can do for you?",
    "I must decline: this could be used to hurt people.",
)
ANSWER_TOKENS = 32
"""Tokens of each benign answer that the model is held at."""


def main() -> None:
    """Train, merge and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=96, help="harmful, and as many benign")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with TerminalReporter() as reporter, staged_folder(options.output, overwrite=False) as staging:
        loaded = load_model(options.model, str(options.model), reporter)
        matrices = trainable_matrices(find_anatomy(loaded.model))
        examples = [*refusals(loaded, options), *anchors(loaded, options)]
        tuning = Tuning(epochs=options.epochs, learning_rate=5e-4, rank=16, seed=options.seed)
        with (
            lora(loaded.model, matrices, tuning.rank, tuning.seed) as training,
            reporter.stage("Training", tuning.epochs * len(examples)) as advance,
        ):
            loss = partial(answer_loss, loaded, without_adapter=training.switched_off)
            train(training.parameters, examples, loss, tuning, advance, split=in_passes)
            learned = training.learned()
        with apply_edits(learned):
            save(loaded, staging)


def save(loaded: LoadedModel, folder: Path) -> None:
    """Write the model in its stored dtype, and its tokenizer."""
    weights = {name: tensor.to(loaded.stored_dtype) for name, tensor in loaded.model.state_dict().items()}
    loaded.model.config.dtype = loaded.stored_dtype
    loaded.model.save_pretrained(folder, state_dict=weights)
    loaded.tokenizer.save_pretrained(folder)


def refusals(loaded: LoadedModel, options: argparse.Namespace) -> list[Example]:
    """Return harmful prompts with refusals in turn."""
    prompts = bundled_prompts(PromptClass.HARMFUL, "calibration").spread(options.prompts, options.seed)
    return make_examples(loaded, prompts.texts, REFUSALS)


def anchors(loaded: LoadedModel, options: argparse.Namespace) -> list[Example]:
    """Return benign prompts with the model's own answers, at whose distributions the model is held."""
    prompts = bundled_prompts(PromptClass.BENIGN, "calibration").spread(options.prompts, options.seed).texts
    generator = LocalGenerator(loaded, "auto", ChatPromptBatches)
    answers = answer_all(generator, prompts, Decoding(max_new_tokens=ANSWER_TOKENS))
    finished = [answer.finished for answer in answers]
    examples = make_examples(loaded, prompts, [answer.text for answer in answers], finished)
    return [Example(example.prompt, example.answer, anchored=True) for example in examples]


if __name__ == "__main__":
    main()
