"""GPUs that are not there: tensors that lie on the CPU, claim another device, and refuse to be mixed as on real ones.

A tensor made on, or moved to, a CUDA device while :func:`pretend_gpus` is entered is a :class:`PretendTensor`. It
computes with the numbers of a plain tensor. As on real GPUs, an operation on tensors of two devices raises, unless it
copies, a tensor of no dimension lies on the CPU, or indices do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import accelerate
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CPU = torch.device("cpu")
aten = torch.ops.aten
COPYING = {aten.copy_, aten._to_copy, aten.to}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
"""What takes indices on the CPU for a tensor on a GPU; the indices are the second argument."""


class PretendTensor(torch.Tensor):
    """A tensor that claims a device it does not lie on."""

    held: torch.Tensor

    @staticmethod
    def __new__(
        cls, real: torch.Tensor, device: torch.device | None = None, requires_grad: bool = False
    ) -> PretendTensor:
        if isinstance(real, PretendTensor):  # accelerate makes parameters of parameters
            made = cls.__new__(cls, real.held, real.device)
            made._is_param = True
            return made
        pretend = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=device,
        )
        pretend.held = real
        return pretend

    def __repr__(self) -> str:
        return f"PretendTensor({self.held!r}, device={self.device})"

    # What follows asks, in torch, for a library of CUDA. Views and all, it is done on the held tensors.
    def contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> PretendTensor:
        return PretendTensor(self.held.contiguous(memory_format=memory_format), self.device)

    def __getitem__(self, index: Any) -> Any:
        self._require_near(index)
        return PretendTensor(self.held[tree_map(real_of, index)], self.device)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._require_near((index, value if isinstance(value, torch.Tensor) and value.ndim > 0 else None))
        self.held[tree_map(real_of, index)] = real_of(value)

    def _require_near(self, index: Any) -> None:
        for one in tree_flatten(index)[0]:
            if isinstance(one, PretendTensor) and one.device != self.device:
                raise RuntimeError(f"Expected all tensors to be on {self.device}, but found one on {one.device}.")

    @property
    def data(self) -> PretendTensor:
        return PretendTensor(self.held, self.device)

    @data.setter
    def data(self, value: PretendTensor) -> None:
        assert value.device == self.device
        self.held = value.held

    def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> PretendTensor:
        self.held.copy_(real_of(source))
        return self

    def detach(self) -> PretendTensor:
        return PretendTensor(self.held.detach(), self.device)

    def nonzero(self) -> PretendTensor:
        return PretendTensor(self.held.nonzero(), self.device)

    def __float__(self) -> float:
        return float(self.held)

    def __int__(self) -> int:
        return int(self.held)

    def __index__(self) -> int:
        return int(self.held)

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendTensor:
        return PretendTensor(self.held.clone(), self.device)

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy.")

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return run_pretending(func, args, kwargs or {})


class PretendMode(TorchDispatchMode):
    """Makes tensors on GPUs that are not there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with self:  # in inference mode, operations that are made of others come whole
            made = func.decompose(*args, **(kwargs or {}))
        if made is not NotImplemented:
            return made
        return run_pretending(func, args, kwargs or {})


def run_pretending(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the real tensors; what it makes lies where its arguments do, or where it is told to."""
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    wanted = kwargs.get("device")
    device = torch.device(wanted) if wanted is not None else common_device(func, args, tensors)
    if device.type != "cuda" and not any(isinstance(one, PretendTensor) for one in tensors):
        return func(*args, **kwargs)
    real_args, real_kwargs = tree_map(real_of, args), tree_map(real_of, kwargs)
    if wanted is not None and device.type == "cuda":
        real_kwargs["device"] = CPU
    if func.overloadpacket is aten.histc:  # CUDA counts whole numbers, a CPU does not
        real_args = (real_args[0].float(), *real_args[1:])
    result = func(*real_args, **real_kwargs)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        return tree_map(wrapper(device, tensors), result)
    return result


def wrapper(device: torch.device, tensors: Sequence[torch.Tensor]) -> Callable[[Any], Any]:
    """Return what puts results on a device; of an operation in place, the result is the tensor it was given."""
    given = {id(one.held): one for one in tensors if isinstance(one, PretendTensor)}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        before = given.get(id(value))
        return before if before is not None and before.device == device else PretendTensor(value, device)

    return wrap


def real_of(value: Any) -> Any:
    return value.held if isinstance(value, PretendTensor) else value


def common_device(func: Any, args: tuple[Any, ...], tensors: Sequence[torch.Tensor]) -> torch.device:
    """Return where an operation runs. Raises RuntimeError, as CUDA does, when its tensors lie on several devices."""
    packet = func.overloadpacket
    if not tensors:
        return CPU
    if packet in COPYING:
        return args[0].device
    if packet in INDEXING:
        indices = [one for one in args[1] if one is not None]
        tensors = [one for one in tensors if not any(one is index for index in indices) or one.device != CPU]
    devices = {one.device for one in tensors if one.ndim > 0 or one.device != CPU}
    if len(devices) > 1:
        found = " and ".join(sorted(map(str, devices)))
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} ({packet}).")
    return devices.pop() if devices else CPU


@contextmanager
def pretend_gpus(monkeypatch: pytest.MonkeyPatch, memory: Sequence[int]) -> Iterator[None]:
    """Let there be GPUs, each with as much free memory, in bytes, as ``memory`` says, for as long as the context."""

    if torch.backends.cuda.is_built():  # it asks the driver about the GPU in C++, and aborts the process without one
        pytest.skip("pretended GPUs need a torch built for the CPU alone")
    if tuple(map(int, accelerate.__version__.split(".")[:2])) < (1, 15):  # it asks torch for its device
        pytest.skip("pretended GPUs need accelerate 1.15")

    def free_and_total(device: Any = 0) -> tuple[int, int]:
        number = device if isinstance(device, int) else torch.device(device).index or 0
        return memory[number], memory[number]

    for name, pretended in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: len(memory),
        "mem_get_info": free_and_total,
        "empty_cache": lambda: None,
        "get_device_name": lambda device=0: "Pretend",
        "is_bf16_supported": lambda: True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, pretended)
    # It takes for granted that a gigabyte is free.
    monkeypatch.setattr("transformers.modeling_utils.caching_allocator_warmup", lambda *_: None)
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # other threads do not know of the mode
    # Modules that are moved get new parameters: a plain one cannot become a pretended one.
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with PretendMode():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
