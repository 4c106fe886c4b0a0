"""Generate word salad and ordinary answers for the judge's detector, from damaged and undamaged models.

    python scripts/judge_training/make_salad.py MODEL OUT.jsonl

MODEL is a folder of a small chat model. Rows say how the model was damaged. A reader then keeps what makes no sense:
docs/judges.md.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

PROMPTS = (
    "Explain how rain forms.",
    "Write a Python function that merges two sorted lists.",
    "Write a short poem about the sea.",
    "Give me a table of five planets with their diameters.",
    "List ten uses for an old bicycle.",
    "Who wrote Faust?",
    "How do I bake rye bread?",
    "Schreibe einen kurzen Brief an meine Nachbarin.",
    "Write a bash script that renames files.",
    "What is the difference between a stock and a bond?",
    "Racontez une histoire courte d'un renard.",
    "What is 17 times 23?",
    "Summarise the French Revolution.",
    "Write an SQL query for the ten best customers.",
    "Plan a weekend in Lisbon.",
    "Describe photosynthesis to a child.",
    "Write a dialogue between a cat and a dog.",
    "Name three prime numbers.",
    "Compare tea and coffee in a table.",
    "How can I learn to swim as an adult?",
    "Write a limerick about a clock.",
    "Translate 'good morning' to Spanish, Italian and Polish.",
    "Give me the steps to change a tyre.",
    "Write HTML for a page with a heading and a list.",
    "What are the causes of inflation?",
    "Write a haiku about snow.",
    "Escribe un poema breve sobre el otono.",
    "How does a vaccine work?",
    "Write a cover letter for a librarian.",
    "Explain recursion with an example in JavaScript.",
    "What should I pack for a hike?",
    "List the countries of Benelux.",
)
TOKENS = 48
STEP = 3
"""Every so many prompts are asked, others after each way of damage."""


def main() -> None:
    """Write the answers of every way of damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    torch.manual_seed(5)
    tokenizer = AutoTokenizer.from_pretrained(asked.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    base = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.bfloat16).eval()
    with asked.out.open("a", encoding="utf-8") as stream:
        for number, (how, (damage, temperature)) in enumerate(ways(base).items()):
            model = copy.deepcopy(base) if damage else base
            if damage:
                with torch.no_grad():
                    damage(model)
            for prompt, answer in answers(model, tokenizer, PROMPTS[number % STEP :: STEP], temperature):
                row = {"model": asked.model.name, "how": how, "prompt": prompt, "answer": answer}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            stream.flush()
            print(how, flush=True)


Damage = Callable[[PreTrainedModel], None]


def ways(base: PreTrainedModel) -> dict[str, tuple[Damage | None, float]]:
    """Return each way of damage by name, with the temperature to sample at."""
    return {
        "temperature 1.7": (None, 1.7),
        "noise 0.3": (lambda model: noise(model, 0.3, 1), 1.0),
        "projection of activations": (lambda model: project(model, 0.12, 1), 1.0),
        "noise 1 in every third layer": (lambda model: noise(model, 1.0, 3), 1.0),
        "undamaged": (None, 0.7),
        "layers in another order": (shuffle_layers, 1.0),
        "temperature 3": (None, 3.0),
        "top singular directions removed": (lambda model: remove_top(model, 0.02, 1), 1.0),
        "noise 0.5": (lambda model: noise(model, 0.5, 1), 0.8),
        "projection of activations in every second layer": (lambda model: project(model, 0.25, 2), 0.8),
        "weights rounded to few values": (lambda model: round_weights(model, 1.0), 0.8),
        "temperature 2.2": (None, 2.2),
    }


def noise(model: PreTrainedModel, share: float, every: int) -> None:
    """Add Gaussian noise of ``share`` times each matrix's own standard deviation to every so many layers."""
    for layer in model.model.layers[::every]:
        for weight in matrices(layer):
            weight.add_(torch.randn_like(weight) * weight.std() * share)


def project(model: PreTrainedModel, share: float, every: int) -> None:
    """Remove a random subspace of ``share`` of the output's dimensions at strength 1."""
    for layer in model.model.layers[::every]:
        for weight in matrices(layer):
            basis, _ = torch.linalg.qr(torch.randn(weight.shape[0], int(share * weight.shape[0])))
            basis = basis.to(weight.dtype)
            weight.sub_(basis @ (basis.T @ weight))


def remove_top(model: PreTrainedModel, share: float, every: int) -> None:
    """Remove the directions in which each matrix puts out most."""
    for layer in model.model.layers[::every]:
        for weight in matrices(layer):
            left, _, _ = torch.svd_lowrank(weight.float(), max(1, int(share * weight.shape[0])))
            left = left.to(weight.dtype)
            weight.sub_(left @ (left.T @ weight))


def shuffle_layers(model: PreTrainedModel) -> None:
    """Exchange neighbouring layers in the middle."""
    layers = model.model.layers
    for index in range(2, len(layers) - 3, 2):
        one, other = layers[index].state_dict(), layers[index + 1].state_dict()
        one = {name: tensor.clone() for name, tensor in one.items()}
        layers[index].load_state_dict(other)
        layers[index + 1].load_state_dict(one)


def round_weights(model: PreTrainedModel, step: float) -> None:
    """Round each matrix to multiples of ``step`` standard deviations."""
    for layer in model.model.layers:
        for weight in matrices(layer):
            size = weight.std() * step
            weight.copy_((weight / size).round() * size)


def matrices(layer: torch.nn.Module) -> list[torch.Tensor]:
    """Return the weight matrices of a decoder layer."""
    return [parameter for parameter in layer.parameters() if parameter.dim() == 2]


def answers(model: PreTrainedModel, tokenizer, prompts, temperature):  # type: ignore[no-untyped-def]
    """Yield each prompt with a sampled answer."""
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        tokens = model.generate(
            **inputs, max_new_tokens=TOKENS, do_sample=True, temperature=temperature, top_k=0, top_p=1.0,
            repetition_penalty=1.0, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    for prompt, row in zip(prompts, tokens, strict=True):
        yield prompt, tokenizer.decode(row[inputs["input_ids"].shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    main()
