"""The method once more, slowly and literally: no code of the package, dense projectors, one prompt at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

FUSED = {
    "phi3": {
        "qkv_proj": {"q": (0, 48), "k": (48, 72), "v": (72, 96)},
        "gate_up_proj": {"gate": (0, 80), "up": (80, 160)},
    },
    "gpt2": {"c_attn": {"q": (0, 48), "k": (48, 96), "v": (96, 144)}},
}


def pruned_state(
    folder: Path,
    prompts: dict[str, list[str]],
    layers: tuple[int, ...],
    rank: int,
    strength: float,
    stem: str,
) -> dict[str, torch.Tensor]:
    """Return the expected weights (by parameter name, float64) of every matrix the method changes.

    Pools over the tokens from the user's first word on. ``stem`` is the name of the list of layers.
    """
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pooled = {name: [_outputs(model, tokenizer, text, stem) for text in texts] for name, texts in prompts.items()}
    expected = {}
    for name, module in model.named_modules():
        in_layer = any(name.startswith(f"{stem}.{layer}.") for layer in layers)
        if not in_layer or type(module).__name__ not in ("Linear", "Conv1D"):
            continue
        transposed = type(module).__name__ == "Conv1D"
        weight = (module.weight.T if transposed else module.weight).detach().double().clone()
        parts = FUSED.get(model.config.model_type, {}).get(name.rsplit(".", 1)[-1], {"": (0, weight.shape[0])})
        for start, end in parts.values():
            projectors = {}
            for prompt_class, outputs in pooled.items():
                matrix = torch.stack([output[name][start:end] for output in outputs], dim=1)
                left = torch.linalg.svd(matrix)[0][:, :rank]
                projectors[prompt_class] = left @ left.T
            omega = (torch.eye(end - start, dtype=torch.float64) - projectors["benign"]) @ projectors["harmful"]
            omega = omega @ projectors["pseudo_harmful"]
            weight[start:end] = (torch.eye(end - start, dtype=torch.float64) - strength * omega) @ weight[start:end]
        expected[f"{name}.weight"] = weight.T if transposed else weight
    return expected


def _outputs(model: Any, tokenizer: Any, text: str, stem: str) -> dict[str, torch.Tensor]:
    caught: dict[str, torch.Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda m, i, out, name=name: caught.__setitem__(name, out.detach().double().clone())
        )
        for name, module in model.named_modules()
        if name.startswith(f"{stem}.") and type(module).__name__ in ("Linear", "Conv1D")
    ]
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    first = len(tokenizer(rendered[: rendered.index(text)], add_special_tokens=False)["input_ids"])
    ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return {name: output[0, first:].mean(dim=0) for name, output in caught.items()}
