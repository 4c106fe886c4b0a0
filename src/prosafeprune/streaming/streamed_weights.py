"""The weights of an outlined model, read from the shards when they are needed and let go again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading import require_finite
from prosafeprune.streaming.meta_model import MetaModel
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint, StreamedTensor


class StreamedWeights:
    """Which tensors on disk make up which part of the model, and their coming and going."""

    def __init__(self, meta: MetaModel, anatomy: Anatomy, checkpoint: StreamedCheckpoint) -> None:
        self.meta, self.anatomy, self.checkpoint = meta, anatomy, checkpoint
        self._homes = _homes(meta.model, checkpoint.places)
        embedding = meta.model.get_input_embeddings().weight
        self._embedding_names = _names_of(meta.model, embedding)
        head = meta.model.get_output_embeddings()
        self._head_names = _names_of(meta.model, head.weight) if head is not None else set()

    def of_layer(self, layer: int) -> list[str]:
        """Return the names on disk of a layer's tensors."""
        return self._below(f"{self.anatomy.layers_name}.{layer}.")

    @property
    def of_surroundings(self) -> list[str]:
        """Names on disk of what lies around the decoder layers, but for the two large matrices of the vocabulary."""
        parent = self.anatomy.layers_name.rpartition(".")[0]
        inside = set(self._below(f"{self.anatomy.layers_name}."))
        large = self._embedding_names | self._head_names
        around = self._below(f"{parent}." if parent else "")
        return [name for name in around if name not in inside and self._homes[name] not in large]

    @property
    def embedding(self) -> str:
        """Name on disk of the embeddings. Raises InputError when there are none."""
        for name, home in self._homes.items():
            if home in self._embedding_names:
                return name
        raise InputError(f"{self.meta.name}: holds no embeddings. Fetch it again.")

    def enter(self, token_ids: Collection[int]) -> None:
        """Load, to stay, what lies around the layers, and of the embeddings the rows of those tokens alone.

        Raises:
            InputError: a tensor is missing, misshapen or not finite.
        """
        model, device = self.meta.model, self.meta.device
        self._load(self.of_surroundings)
        rows = sorted(token_ids)
        module = model.get_input_embeddings()
        slots = torch.zeros(module.weight.shape[0], dtype=torch.long, device=device)
        slots[torch.tensor(rows, device=device)] = torch.arange(len(rows), device=device)
        few = self.checkpoint.read_rows(self.embedding, rows).to(device, self.meta.run_dtype)
        require_finite([(self.embedding, few)], self.meta.name)
        module.weight, module.padding_idx = nn.Parameter(few, requires_grad=False), None
        look_up = module.forward
        module.forward = lambda ids: look_up(slots[ids])

    @contextmanager
    def layer(self, layer: int) -> Iterator[dict[str, StreamedTensor]]:
        """Have a layer's weights in the model while the context lasts; give its tensors as stored, by name on disk.

        Raises:
            InputError: a tensor is missing, misshapen or not finite.
        """
        module = self.anatomy.layers[layer]
        empty = dict(module.named_parameters())
        try:
            held = self._load(self.of_layer(layer))
            absent = [name for name, parameter in module.named_parameters() if parameter.is_meta]
            if absent:
                raise InputError(
                    f"{self.meta.name}: {len(absent)} tensors of layer {layer} are missing or misshapen, such as "
                    f"{absent[0]}. Fetch it again."
                )
            prefix = f"{self.anatomy.layers_name}.{layer}"
            require_finite(((f"{prefix}.{name}", one) for name, one in module.named_parameters()), self.meta.name)
            yield held
        finally:
            for name, parameter in empty.items():
                owner, _, last = name.rpartition(".")
                setattr(module.get_submodule(owner), last, parameter)

    def _below(self, prefix: str) -> list[str]:
        return [name for name, home in self._homes.items() if home.startswith(prefix)]

    def _load(self, names: Sequence[str]) -> dict[str, StreamedTensor]:
        held = {name: self.checkpoint.read(name) for name in names}
        meta = self.meta
        _load_few(meta.model, {name: one.tensor for name, one in held.items()}, meta.device, meta.run_dtype)
        return held


def _homes(model: Any, names: Collection[str]) -> dict[str, str]:
    """Return for each tensor on disk the parameter it becomes, or the first of those it goes into."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings = [one for one in mapping if isinstance(one, WeightRenaming)]
    converters = [one for one in mapping if isinstance(one, WeightConverter)]
    known, prefix = model.state_dict(), model.base_model_prefix
    homes = {}
    for name in names:
        home = rename_source_key(name, renamings, converters, prefix, known)[0]
        # A name that is right as it stands is not to be renamed, as in transformers' own loading.
        homes[name] = home if home in known or name not in known else name
    return homes


def _load_few(model: Any, tensors: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Put some of a checkpoint's tensors into the model as ``from_pretrained`` would, renamed and converted alike."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import convert_and_load_state_dict_in_model
    from transformers.modeling_utils import LoadStateDictConfig

    convert_and_load_state_dict_in_model(
        model,
        tensors,
        LoadStateDictConfig(
            device_map={"": device},
            dtype=dtype,
            dtype_plan=model._get_dtype_plan(dtype),
            weight_mapping=get_model_conversion_mapping(model),
        ),
    )
    model.requires_grad_(False)


def _names_of(model: nn.Module, wanted: torch.Tensor) -> set[str]:
    return {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter is wanted}
