"""Adapters of parameters: PEFT adds the product of two factors to each expert's matrix of a stacked parameter.

It wraps the module of the parameter, and once more for a second parameter of the same module.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from prosafeprune.model.submodule import Submodule


def wrapper_names(submodules: Iterable[Submodule]) -> dict[str, str]:
    """Return, by the name of a parameter, the name of the module in which PEFT keeps its factors.

    PEFT is asked, on a skeleton of modules and parameters with the same names.

    Args:
        submodules: in the parameters that an adapter changes.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora.layer import ParamWrapper

    parameters = {submodule.parameter_name: submodule for submodule in submodules}
    if not parameters:
        return {}
    skeleton: Any = nn.Module()
    for name, module in {one.module_name: one.module for one in parameters.values()}.items():
        parent, _, last = name.rpartition(".")
        _make_module(skeleton, parent).add_module(last, _without_numbers(module))
    inject_adapter_in_model(LoraConfig(target_modules=[], target_parameters=list(parameters), r=1), skeleton)
    return {
        f"{name.replace('.base_layer', '')}.{module.parameter_name}": name
        for name, module in skeleton.named_modules()
        if isinstance(module, ParamWrapper)
    }


def _make_module(root: nn.Module, name: str) -> nn.Module:
    for part in name.split("."):
        if not hasattr(root, part):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root


def _without_numbers(module: nn.Module) -> nn.Module:
    copy = nn.Module()
    for name, parameter in module.named_parameters(recurse=False):  # in the order in which PEFT wraps them
        copy.register_parameter(name, nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False))
    return copy
