"""An Apple GPU as far as the package's fallbacks see it, on the CPU: tensors that say ``mps`` and can do less.

In them there is no float64, no factorisation, and no NumPy; with tensors on the CPU they do not mix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

APPLE = torch.device("mps")
FACTORISATIONS = {torch.linalg.qr, torch.linalg.svd, torch.linalg.svdvals, torch.linalg.solve, torch.linalg.eigh}
PLAIN = torch._C.DisableTorchFunctionSubclass


class AppleTensor(torch.Tensor):
    """A tensor on the simulated GPU."""


def on_apple(tensor: torch.Tensor) -> torch.Tensor:
    with PLAIN():
        return tensor.as_subclass(AppleTensor)


def plain(value: Any) -> Any:
    with PLAIN():
        return value.as_subclass(torch.Tensor) if isinstance(value, AppleTensor) else value


class SimulatedApple(TorchFunctionMode):
    """Simulates the device inside the context."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        leaves = [one for one in tree_leaves((arguments, options)) if isinstance(one, torch.Tensor)]
        is_apple = any(isinstance(one, AppleTensor) for one in leaves)
        target = next((one for one in tree_leaves((arguments, options)) if isinstance(one, torch.device)), None)
        if function is torch.Tensor.to and target is None:  # as another tensor
            target = APPLE if any(isinstance(one, AppleTensor) for one in leaves[1:]) else None
        if function == torch.Tensor.device.__get__:
            return APPLE if is_apple else torch.device("cpu")
        if function is torch.Tensor.cpu or (function is torch.Tensor.to and target == torch.device("cpu")):
            return plain(leaves[0])
        if is_apple and function in FACTORISATIONS:
            raise NotImplementedError(f"{function.__name__} is not implemented for the MPS device")
        if is_apple and function is torch.Tensor.numpy:
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        moves = function is torch.Tensor.to and target == APPLE
        mixed = [one for one in leaves if not isinstance(one, AppleTensor) and plain_ndim(one) > 0]
        if is_apple and mixed and not moves:
            raise RuntimeError("Expected all tensors to be on the same device, mps:0 and cpu")
        kept = [None if isinstance(one, torch.device) and one == APPLE else one for one in arguments]
        if moves and kept[1:] == [None]:
            result = plain(arguments[0])
        else:
            result = function(*tree_map(plain, kept), **tree_map(plain, options))
        if not (is_apple or moves):
            return result
        wrapped = tree_map(lambda one: on_apple(one) if isinstance(one, torch.Tensor) else one, result)
        if any(isinstance(one, torch.Tensor) and one.dtype == torch.float64 for one in tree_leaves(result)):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return wrapped


def plain_ndim(tensor: torch.Tensor) -> int:
    with PLAIN():
        return tensor.ndim
