"""The experts of a layer: matrices stacked in three-dimensional parameters, each read by the tokens routed to it.

transformers keeps the experts of a layer in one module with parameters ``gate_up_proj`` (without a gate, ``up_proj``)
and ``down_proj``, one matrix per expert. Attributes of the module give their layout: transposed or not, gate and up
stacked or interleaved, with or without biases.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from prosafeprune.model.partial_pass import replaced_forward
from prosafeprune.model.submodule import Layout, Submodule

OnExpertInput = Callable[[int, str, torch.Tensor, torch.Tensor], torch.Tensor | None]
"""Called with an expert, the name of its parameter, the indices ``(n,)`` of the tokens routed to it, counted over all
rows of the batch, and the parameter's inputs ``(n, d_in)``. What it returns, ``(n, d_out)``, is added to the outputs;
None adds nothing."""
LAYOUT_ATTRIBUTES = ("has_gate", "has_bias", "is_transposed", "is_concatenated")


def is_experts(module: nn.Module) -> bool:
    """Return whether a module is the experts of a layer, with attributes that give the layout of its matrices."""
    down = getattr(module, "down_proj", None)
    is_stacked = isinstance(down, nn.Parameter) and down.ndim == 3
    return is_stacked and all(hasattr(module, name) for name in LAYOUT_ATTRIBUTES)


def expert_submodules(module: Any, layer: int, module_name: str) -> list[Submodule]:
    """Return the matrices of every expert under the paper's names: gate (if there is one), up and down."""
    found = []
    for expert in range(len(module.down_proj)):
        for kind, rows in _first_rows(module).items():
            layout = Layout(rows, module.is_transposed, expert)
            found.append(Submodule(layer, kind, module_name, module, layout, _first(module)))
        layout = Layout(None, module.is_transposed, expert)
        found.append(Submodule(layer, "down", module_name, module, layout, "down_proj"))
    return found


@contextmanager
def watched_experts(module: Any, on_input: OnExpertInput) -> Iterator[None]:
    """Inside the context, run the experts one by one and call ``on_input`` with the input of each of their matrices.

    This replaces the model's ``experts_implementation``: the faster ones multiply the tokens of all experts at once, so
    that seeing one expert's inputs would take a second product.
    """
    with replaced_forward(module, partial(_run, module, on_input)):
        yield


def _run(
    module: Any,
    on_input: OnExpertInput,
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """Run the experts on ``hidden_states (tokens, d)``, routed by indices and weights, both ``(tokens, k)``."""
    output = torch.zeros_like(hidden_states)
    for expert in top_k_index.unique().tolist():
        if expert >= len(module.down_proj):  # an expert on another device
            continue
        tokens, choice = torch.where(top_k_index == expert)
        inputs = hidden_states[tokens]
        inner = _product(module, _first(module), expert, inputs, on_input(expert, _first(module), tokens, inputs))
        inner = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)
        result = _product(module, "down_proj", expert, inner, on_input(expert, "down_proj", tokens, inner))
        if getattr(module, "has_post_expert_norm", False):
            result = module.post_expert_norm(result)
        # A token goes to an expert at most once, so the order of these additions is fixed.
        output.index_add_(0, tokens, (result * top_k_weights[tokens, choice, None]).to(output.dtype))
    return output


def _product(
    module: Any, parameter: str, expert: int, inputs: torch.Tensor, added: torch.Tensor | None
) -> torch.Tensor:
    matrix = getattr(module, parameter)[expert]
    bias = getattr(module, f"{parameter}_bias")[expert] if module.has_bias else None
    outputs = functional.linear(inputs, matrix.T if module.is_transposed else matrix, bias)
    return outputs if added is None else outputs + added


def _first(module: Any) -> str:
    return "gate_up_proj" if module.has_gate else "up_proj"


def _first_rows(module: Any) -> dict[str, torch.Tensor | None]:
    """Return by kind the rows of an expert's first matrix; None means all."""
    if not module.has_gate:
        return {"up": None}
    rows = torch.arange(module.gate_up_proj.shape[2 if module.is_transposed else 1])
    half = len(rows) // 2
    if module.is_concatenated:
        return {"gate": rows[:half], "up": rows[half:]}
    return {"gate": rows[::2], "up": rows[1::2]}
