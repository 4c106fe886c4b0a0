"""The method once more, slowly and literally: no code of the package, dense projectors, one prompt at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

Parts = dict[str, list[int]]


def in_turn(groups: int, **widths: int) -> Parts:
    """Rows dealt out group by group, so many to each part."""
    parts: Parts = {name: [] for name in widths}
    row = 0
    for _ in range(groups):
        for name, width in widths.items():
            for _ in range(width):
                parts[name].append(row)
                row += 1
    return parts


FUSED = {  # by hand, for the sizes in tests/architectures.py
    "phi3": {"qkv_proj": in_turn(1, q=48, k=24, v=24), "gate_up_proj": in_turn(1, gate=80, up=80)},
    "gpt2": {"c_attn": in_turn(1, q=48, k=48, v=48)},
    "gpt_neox": {"query_key_value": in_turn(4, q=12, k=12, v=12)},
    "falcon": {"query_key_value": in_turn(2, q=24, k=12, v=12)},
    "qwen3_next": {"q_proj": in_turn(4, q=16, gate=16), "in_proj_qkvz": in_turn(2, q=8, k=8, v=16, z=16)},
    "qwen3_5_text": {"q_proj": in_turn(4, q=16, gate=16), "in_proj_qkv": in_turn(1, q=16, k=16, v=32)},
}
MATRICES = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
ROUTERS_AND_GATES = ("mlp.gate", "mlp.router", "shared_expert_gate", "in_proj_a", "in_proj_b", "in_proj_ba")


def pruned_state(
    folder: Path,
    prompts: Mapping[str, Sequence[str | list[dict[str, str]]]],
    layers: tuple[int, ...],
    rank: int,
    strength: float,
    stem: str,
    of_harmful: float | None = None,
) -> dict[str, torch.Tensor]:
    """Return the expected weights (by parameter name, float64) of every matrix the method changes.

    Pools over the tokens from the user's first word on, of a conversation (its messages) from that of the last turn.
    ``stem`` is the name of the list of layers. Of the experts of a layer all matrices are given, those that too few
    prompts reach as they were. With ``of_harmful`` the last projector is the fitted one that reads such a share of
    harmful outputs.
    """
    model = load(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pooled = {name: [_outputs(model, tokenizer, text, stem) for text in texts] for name, texts in prompts.items()}
    expected = {}
    for name, module in model.named_modules():
        if not any(name.startswith(f"{stem}.{layer}.") for layer in layers) or name.endswith(ROUTERS_AND_GATES):
            continue
        if isinstance(module, MATRICES):
            transposed = not isinstance(module, torch.nn.Linear)
            weight = (module.weight.T if transposed else module.weight).detach().double().clone()
            parts = FUSED.get(model.config.model_type, {}).get(name.rsplit(".", 1)[-1], {"": list(range(len(weight)))})
            for rows in parts.values():
                outputs = {c: [one[name][rows] for one in outputs] for c, outputs in pooled.items()}
                weight[rows] = _pruned(weight[rows], outputs, rank, strength, of_harmful)
            expected[f"{name}.weight"] = weight.T if transposed else weight
        elif type(module).__name__.endswith("Experts"):
            expected |= _pruned_experts(name, module, pooled, rank, strength, of_harmful)
    return expected


def load(folder: Path) -> Any:
    """Load a checkpoint, as what its config says it is."""
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    return getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32).eval()


def _pruned(
    weight: torch.Tensor,
    outputs: dict[str, list[torch.Tensor]],
    rank: int,
    strength: float,
    of_harmful: float | None,
) -> torch.Tensor:
    projectors = {}
    for prompt_class, columns in outputs.items():
        left = torch.linalg.svd(torch.stack(columns, dim=1))[0][:, :rank]
        projectors[prompt_class] = left @ left.T
    identity = torch.eye(len(weight), dtype=torch.float64)
    if of_harmful is not None:
        projectors["pseudo_harmful"] = fitted_projector(projectors["pseudo_harmful"], outputs, of_harmful, ridge=1.0)
    omega = (identity - projectors["benign"]) @ projectors["harmful"] @ projectors["pseudo_harmful"]
    return (identity - strength * omega) @ weight


def fitted_projector(
    projector: torch.Tensor, outputs: dict[str, list[torch.Tensor]], of_harmful: float, ridge: float
) -> torch.Tensor:
    """The matrix M that is nearest to ``share * projector`` on the outputs of each class, in least squares."""
    shares = {"benign": 0.0, "harmful": of_harmful, "pseudo_harmful": 1.0}
    size, count = len(projector), sum(len(columns) for columns in outputs.values())
    left, right = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    spread = 0.0
    for prompt_class, columns in outputs.items():
        mean = sum(columns) / len(columns)
        for column in columns:
            outer = torch.outer(column, column) / len(columns)
            left += outer
            right += shares[prompt_class] * projector @ outer
            spread += float((column - mean).square().sum()) / len(columns)
    left += ridge * spread / min(size, count) * torch.eye(size, dtype=torch.float64)
    return right @ torch.linalg.inv(left)


def _pruned_experts(
    name: str,
    module: Any,
    pooled: dict[str, list[dict[str, torch.Tensor]]],
    rank: int,
    strength: float,
    of_harmful: float | None,
) -> dict[str, torch.Tensor]:
    expected = {}
    for parameter in ("gate_up_proj", "down_proj"):
        stored = getattr(module, parameter).detach().double().clone()
        expected[f"{name}.{parameter}"] = stored
        for expert in range(len(stored)):
            weight = stored[expert].T if is_gpt_oss(module) else stored[expert]
            for kind, rows in expert_rows(module, parameter, len(weight)).items():
                key = f"{name} {expert} {kind}"
                outputs = {c: [one[key] for one in outputs if key in one] for c, outputs in pooled.items()}
                if min(len(columns) for columns in outputs.values()) >= 2 * rank:
                    weight[rows] = _pruned(weight[rows], outputs, rank, strength, of_harmful)  # into what is stored
    return expected


def is_gpt_oss(module: Any) -> bool:
    return type(module).__name__ == "GptOssExperts"


def expert_rows(module: Any, parameter: str, outputs: int) -> Parts:
    if parameter == "down_proj":
        return {"down": list(range(outputs))}
    if is_gpt_oss(module):
        return in_turn(outputs // 2, gate=1, up=1)
    return in_turn(1, gate=outputs // 2, up=outputs // 2)


def _outputs(model: Any, tokenizer: Any, text: str | list[dict[str, str]], stem: str) -> dict[str, torch.Tensor]:
    """Return the mean of what each matrix puts out; of experts, over the tokens that were sent to each."""
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    first = len(tokenizer(rendered[: rendered.rindex(messages[-1]["content"])], add_special_tokens=False)["input_ids"])
    ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
    caught: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, arguments: Any, output: torch.Tensor) -> None:
            caught[name] = output.detach().double().reshape(ids.shape[1], -1)[first:].mean(dim=0)

        return keep

    def expert_hook(name: str) -> Any:
        def keep(module: Any, arguments: Any) -> None:
            caught.update(_expert_outputs(name, module, *arguments[:2], first))

        return keep

    handles = []
    for name, module in model.named_modules():
        if name.startswith(f"{stem}.") and isinstance(module, MATRICES):
            handles.append(module.register_forward_hook(hook(name)))
        elif name.startswith(f"{stem}.") and type(module).__name__.endswith("Experts"):
            handles.append(module.register_forward_pre_hook(expert_hook(name)))
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return caught


def _expert_outputs(
    name: str, module: Any, hidden: torch.Tensor, chosen: torch.Tensor, first: int
) -> dict[str, torch.Tensor]:
    seen: dict[str, list[torch.Tensor]] = {}
    for token in range(first, len(hidden)):
        for expert in chosen[token].tolist():
            both = _matrix(module, "gate_up_proj", expert) @ hidden[token].double()
            both = both + _bias(module, "gate_up_proj", expert)
            rows = expert_rows(module, "gate_up_proj", len(both))
            gate, up = both[rows["gate"]], both[rows["up"]]
            if is_gpt_oss(module):
                low, middle = gate.clamp(max=module.limit), up.clamp(-module.limit, module.limit)
                inner = low / (1 + torch.exp(-module.alpha * low)) * (middle + 1)
            else:
                inner = gate / (1 + torch.exp(-gate)) * up
            down = _matrix(module, "down_proj", expert) @ inner + _bias(module, "down_proj", expert)
            for kind, output in (("gate", gate), ("up", up), ("down", down)):
                seen.setdefault(f"{name} {expert} {kind}", []).append(output)
    return {key: torch.stack(outputs).mean(dim=0) for key, outputs in seen.items()}


def _matrix(module: Any, parameter: str, expert: int) -> torch.Tensor:
    stored = getattr(module, parameter)[expert].detach().double()
    return stored.T if is_gpt_oss(module) else stored


def _bias(module: Any, parameter: str, expert: int) -> Any:
    return getattr(module, f"{parameter}_bias")[expert].detach().double() if is_gpt_oss(module) else 0.0
