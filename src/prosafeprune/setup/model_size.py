"""The sizes of a model that decide what a run takes, from config.json and tensor headers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from prosafeprune.model.model_files import EXPERT_COUNTS, shard_files
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import layer_count, text_config
from prosafeprune.model.storage import KEPT_IN_MEMORY
from prosafeprune.streaming.needs import FLOAT32

TOKENS_OF_A_PROMPT = 30
"""For the experts that a prompt reaches."""
LAYER_NUMBER = re.compile(r"\.(\d+)\.")
QUANTISED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Bytes per weight of linear layers with ``--load``; in 4 bits, a block of 64 has its largest magnitude in float32."""


@dataclass(frozen=True)
class ModelSize:
    """The size of a model from config.json and its weight files; None if unknown."""

    weight_bytes: int
    """Bytes of the weights on disk."""
    layers: int | None
    hidden: int | None
    """Width of the hidden states."""
    inner: int | None
    """Width inside the MLP."""
    vocabulary: int = 0
    """Logits of a token; 0 if unknown."""
    is_tied: bool = True
    """Whether one table is both the input embeddings and the output matrix."""

    @classmethod
    def of_bytes(cls, weight_bytes: int, config: Mapping[str, Any]) -> ModelSize:
        """Return the size of a model with ``weight_bytes`` of weights, given its config.json."""
        known = {**config, **text_config(config)}

        def number(*names: str) -> int | None:
            found = next((known[name] for name in names if isinstance(known.get(name), int)), None)
            return int(found) if found is not None else None

        hidden = number("hidden_size", "n_embd")
        return cls(
            weight_bytes=weight_bytes,
            layers=layer_count(config),
            hidden=hidden,
            inner=number("intermediate_size", "n_inner") or (4 * hidden if hidden is not None else None),
            vocabulary=number("vocab_size") or 0,
            is_tied=known.get("tie_word_embeddings") is not False,
        )

    def passed(self, parameters: float) -> tuple[float, float]:
        """Return the number of weights that a token passes through when it is read, and when it is generated.

        Embeddings are looked up, and logits computed of generated tokens alone.

        Args:
            parameters: of the model; of a mixture, without the experts that a token is not routed to.
        """
        table = self.vocabulary * (self.hidden or 0)
        read = parameters - table * (1 if self.is_tied else 2)
        return (read, read + table) if read > 0 else (parameters, parameters)

    def inputs(self, layers: int, prompts: int) -> int:
        """Return the bytes of the pooled inputs of ``layers`` layers without experts."""
        return FLOAT32 * prompts * layers * (3 * (self.hidden or 0) + (self.inner or 0))


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model that decide what it takes."""

    size: ModelSize
    parameters: float
    """Number of weights."""
    active: float
    """Number of weights without the experts that a token is not routed to."""
    largest_layer: int
    """Bytes of the largest decoder layer, as stored."""
    largest_matrix: int
    """Elements of the largest matrix of a decoder layer; one expert counts as a matrix."""
    side_lengths: int
    """Sum of rows and columns of all matrices of the largest decoder layer."""
    experts: int
    """Experts of a layer; 0 for a dense model."""
    experts_reached: int
    """Maximum experts of a layer that the tokens of a prompt reach."""
    expert_inner: int
    """Width inside an expert."""
    linear: float = 0.0
    """Number of weights in the matrices of decoder layers that a quantised copy has in fewer bits; not experts'."""

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, tuple[Sequence[int], int]], config: Mapping[str, Any]) -> ModelShape:
        """Return the shape of a model from its tensors' shapes and bytes, by name, and its config.json."""
        known = {**config, **text_config(config)}
        experts = next((int(known[key]) for key in EXPERT_COUNTS if isinstance(known.get(key), int)), 0)
        chosen = int(known.get("num_experts_per_tok") or 0) if experts else 0
        share = chosen / experts if experts else 1.0
        of_layer: dict[int, list[tuple[Sequence[int], int]]] = {}
        parameters = active = linear = 0.0
        for name, (shape, size) in tensors.items():
            count = prod(shape)
            parameters += count
            active += count * (share if ".experts." in name else 1.0)
            found = LAYER_NUMBER.search(name)
            if found is not None:
                of_layer.setdefault(int(found[1]), []).append((shape, size))
                linear += count if len(shape) == 2 and ".experts." not in name else 0
        layers = list(of_layer.values()) or [list(tensors.values())]
        largest = max(layers, key=lambda layer: sum(size for _, size in layer))
        matrices = [tuple(shape)[-2:] for shape, _ in largest if len(shape) >= 2]
        total = sum(size for _, size in tensors.values())
        return cls(
            size=ModelSize.of_bytes(total, config),
            parameters=parameters,
            active=active,
            largest_layer=sum(size for _, size in largest),
            largest_matrix=max((prod(shape) for shape in matrices), default=0),
            side_lengths=sum(sum(shape[-2:]) * prod(shape[:-2]) for shape, _ in largest if len(shape) >= 2),
            experts=experts,
            experts_reached=min(experts, chosen * TOKENS_OF_A_PROMPT),
            expert_inner=int(known.get("moe_intermediate_size") or known.get("intermediate_size") or 0),
            linear=linear,
        )

    @classmethod
    def of_folder(cls, folder: Path, config: Mapping[str, Any]) -> ModelShape:
        """Return the shape of a checkpoint from its headers. Raises InputError when one cannot be read."""
        tensors = {
            name: (entry.shape, entry.end - entry.start)
            for file in shard_files(folder)
            for name, entry in read_shard_header(file).tensors.items()
        }
        return cls.of_tensors(tensors, config)

    @property
    def passed(self) -> tuple[float, float]:
        """The number of weights that a token passes through: see :meth:`ModelSize.passed`."""
        return self.size.passed(self.active)

    def bytes_per_weight(self, ratio: float, load: str | None) -> float:
        """Return the bytes of the weights as they run over those on disk.

        Args:
            ratio: the same of the dtype that it runs in.
            load: ``8bit`` or ``4bit`` for a quantised copy.
        """
        if load is None:
            return ratio
        stored = self.size.weight_bytes / self.parameters
        return ratio - self.linear * (ratio * stored - QUANTISED_BYTES[load]) / self.size.weight_bytes

    def inputs(self, layers: int, prompts: int) -> float:
        """Return the bytes of memory that the pooled inputs of ``layers`` layers take; those of many experts spill."""
        dense = self.size.inputs(layers, prompts)
        if not self.experts:
            return dense
        in_place_of = FLOAT32 * prompts * layers * (self.size.inner or 0)
        return dense - in_place_of + min(self._inputs_of_experts(layers, prompts), KEPT_IN_MEMORY)

    def spilled_inputs(self, layers: int, prompts: int) -> float:
        """Return the bytes of experts' pooled inputs that go to a temporary file: all, where they are many."""
        size = self._inputs_of_experts(layers, prompts)
        return size if size > KEPT_IN_MEMORY else 0.0

    def _inputs_of_experts(self, layers: int, prompts: int) -> float:
        width = (self.size.hidden or 0) + self.expert_inner
        return FLOAT32 * prompts * layers * self.experts_reached * width if self.experts else 0.0
