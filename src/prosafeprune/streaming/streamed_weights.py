"""The weights of a model on the meta device, read from the shards when they are needed and freed again."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import convert_and_load_state_dict_in_model
from transformers.modeling_utils import LoadStateDictConfig

from prosafeprune.checkpoint.safetensors_file import StoredTensor
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading_checks import require_finite
from prosafeprune.model.stored_names import (
    LAYER_NUMBER,
    Becomes,
    parameters_of,
    require_complete,
    require_no_further_layers,
    require_one_each,
    require_real_numbers,
    unused_of,
)
from prosafeprune.streaming.meta_model import MetaModel
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint, StreamedTensor


class StreamedWeights:
    """Which tensors on disk make up which part of the model; loads and frees them."""

    def __init__(self, meta: MetaModel, anatomy: Anatomy, checkpoint: StreamedCheckpoint) -> None:
        """Match the tensors on disk with the model's.

        Raises:
            InputError: they have more layers than its config, two become one, or one holds no real numbers; or some are
                missing or
                have the wrong shape, also of layers that are copied without being run.
        """
        self.meta, self.anatomy, self.checkpoint = meta, anatomy, checkpoint
        found = parameters_of(meta.model, checkpoint.stored)
        self._parameter_of = {name: becomes.parameter for name, becomes in found.items()}
        known = meta.model.state_dict()
        require_one_each(found, known, meta.name)
        require_real_numbers(
            found, {name: entry.dtype for name, entry in checkpoint.stored.items()}, meta.model, meta.name
        )
        require_complete(_absent(meta.model, found, checkpoint.stored), meta.name)
        self.unused = unused_of(meta.model, found, known)
        """Parameters that tensors on disk would become and the model does not have; these tensors are copied."""
        require_no_further_layers(self.unused, known, meta.name)
        self._embedding_names = _names_of(meta.model, meta.model.get_input_embeddings())
        self._head_names = _names_of(meta.model, meta.model.get_output_embeddings())

    def of_layer(self, layer: int) -> list[str]:
        """Return the names on disk of a layer's tensors."""
        return self._below(f"{self.anatomy.layers_name}.{layer}.")

    @property
    def around_layers(self) -> list[str]:
        """Names on disk of the tensors before and after the decoder layers, except embeddings and LM head."""
        parent = self.anatomy.layers_name.rpartition(".")[0]
        inside = set(self._below(f"{self.anatomy.layers_name}."))
        large = self._embedding_names | self._head_names
        around = self._below(f"{parent}." if parent else "")
        return [name for name in around if name not in inside and self._parameter_of[name] not in large]

    @property
    def finite(self) -> set[str]:
        """Names on disk of the tensors that must be finite: those that the model uses."""
        known = self.meta.model.state_dict()
        return {name for name, parameter in self._parameter_of.items() if parameter in known}

    @property
    def embedding(self) -> str:
        """Name on disk of the embeddings. Raises InputError when there are none."""
        for name, parameter in self._parameter_of.items():
            if parameter in self._embedding_names:
                return name
        raise InputError(f"{self.meta.name}: holds no embeddings. Fetch it again.")

    def load_around_layers(self, token_ids: Collection[int]) -> None:
        """Load for good the tensors around the layers, and only the rows of the embeddings that ``token_ids`` need.

        Raises:
            InputError: a tensor is missing, has the wrong shape or is not finite.
        """
        device = self.meta.device
        self._load(self.around_layers)
        rows = sorted(token_ids)
        module: Any = self.meta.model.get_input_embeddings()
        row_of = torch.zeros(module.weight.shape[0], dtype=torch.long, device=device)
        row_of[torch.tensor(rows, device=device)] = torch.arange(len(rows), device=device)
        few = self.checkpoint.read_rows(self.embedding, rows).to(device, self.meta.run_dtype)
        require_finite([(self.embedding, few)], self.meta.name)
        module.weight, module.padding_idx = nn.Parameter(few, requires_grad=False), None
        look_up = module.forward
        module.forward = lambda ids: look_up(row_of[ids])

    @contextmanager
    def layer(self, layer: int) -> Iterator[dict[str, StreamedTensor]]:
        """Load a layer's weights into the model inside the context; yields its tensors as stored, by name on disk.

        Raises:
            InputError: a tensor is missing, has the wrong shape or is not finite.
        """
        module = self.anatomy.layers[layer]
        empty = dict(module.named_parameters())
        try:
            held = self._load(self.of_layer(layer))
            absent = [name for name, parameter in module.named_parameters() if parameter.is_meta]
            if absent:
                raise InputError(
                    f"{self.meta.name}: {len(absent)} tensors of layer {layer} are missing or have the wrong shape, "
                    f"such as {absent[0]}. Fetch it again."
                )
            prefix = f"{self.anatomy.layers_name}.{layer}"
            require_finite(
                ((f"{prefix}.{name}", parameter) for name, parameter in module.named_parameters()), self.meta.name
            )
            yield held
        finally:
            for name, parameter in empty.items():
                owner, _, last = name.rpartition(".")
                setattr(module.get_submodule(owner), last, parameter)

    def _below(self, prefix: str) -> list[str]:
        return [name for name, parameter in self._parameter_of.items() if parameter.startswith(prefix)]

    def _load(self, names: Sequence[str]) -> dict[str, StreamedTensor]:
        held = {name: self.checkpoint.read(name) for name in names}
        meta = self.meta
        _load_some(meta.model, {name: streamed.tensor for name, streamed in held.items()}, meta.device, meta.run_dtype)
        return held


def _absent(model: PreTrainedModel, found: Mapping[str, Becomes], stored: Mapping[str, StoredTensor]) -> list[str]:
    """Return the model's tensors that are not on disk, only in part, or in another shape.

    What one tensor is split into cannot be told from the names: of layers, the parameters that some layer has on disk
    must be there in all that have them, made of as many tensors.
    """
    known = model.state_dict()
    parts = Counter(becomes.parameter for becomes in found.values())
    of_any_layer: dict[str, int] = {}
    for parameter, count in parts.items():
        alike = LAYER_NUMBER.sub(".0.", parameter)
        of_any_layer[alike] = max(count, of_any_layer.get(alike, 0))
    keys: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})  # custom model code may set none
    tied = {**keys, **{source: name for name, source in keys.items()}}
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_missing or ()]
    absent = []
    for parameter in known:
        wanted = of_any_layer.get(LAYER_NUMBER.sub(".0.", parameter), 0 if LAYER_NUMBER.search(parameter) else 1)
        is_tied = tied.get(parameter) in parts
        if parts[parameter] < wanted and not is_tied and not any(pattern.search(parameter) for pattern in ignored):
            absent.append(parameter)
    plain = {name: becomes.parameter for name, becomes in found.items() if becomes.part is None}
    return absent + [
        parameter
        for name, parameter in plain.items()
        if parameter in known and tuple(known[parameter].shape) != stored[name].shape
    ]


def _load_some(
    model: PreTrainedModel, tensors: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype
) -> None:
    """Put some of a checkpoint's tensors into the model, renamed and converted as ``from_pretrained`` does it."""
    mapping: Any = get_model_conversion_mapping(model)
    convert_and_load_state_dict_in_model(
        model,
        tensors,
        LoadStateDictConfig(
            device_map={"": device}, dtype=dtype, dtype_plan=model._get_dtype_plan(dtype), weight_mapping=mapping
        ),
    )
    model.requires_grad_(False)


def _names_of(model: nn.Module, module: nn.Module | None) -> set[str]:
    """Return all names of the matrix of the embeddings or the LM head; tied ones share theirs."""
    weight = getattr(module, "weight", None)
    return {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter is weight}
