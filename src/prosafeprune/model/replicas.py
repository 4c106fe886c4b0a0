"""Replicas of a model in the follower processes: each holds the complete model and runs its share of the prompts."""

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prosafeprune.model.loading import LoadedModel
from prosafeprune.parallel.process_group import Leader, broadcast, current_leader
from prosafeprune.progress import SILENT, Reporter

Task = Callable[[LoadedModel, Sequence[int]], Iterator[Any]]
"""What a process does with its model for the items at some indices. It is pickled, and so is what it yields."""
MODEL = "model"
"""Key of the replica in a follower's state."""


class Replicas:
    """The replicas of one model, kept equal to it when its weights change."""

    def __init__(self, leader: Leader, loaded: LoadedModel) -> None:
        self.leader, self.loaded = leader, loaded
        self._versions = self._current_versions()

    @property
    def size(self) -> int:
        """Number of processes with the model, including this one."""
        return self.leader.size

    def deal(self, lengths: Sequence[int]) -> list[list[int]]:
        """Deal items to the processes so that all get items of similar length; return each process's indices."""
        order = sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True)
        return [order[rank :: self.size] for rank in range(self.size)]

    def share(self, task: Task, shares: Sequence[Sequence[int]], own: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """Run a task in all processes; yield its results, with the rank of the process, as they arrive.

        Args:
            task: what the followers do.
            shares: the indices for each process.
            own: what this process does with the first share.

        Raises:
            InputError: as the task does, in any process.
        """
        self._synchronise()
        self.leader.give(_Share(task, shares))
        for item in own:
            yield 0, item
            yield from self.leader.arrived()
        yield from self.leader.remaining()

    def change(self, change: Callable[[LoadedModel], None]) -> None:
        """Make the same structural change to the replicas that this process is about to make to its model."""
        self._synchronise()
        self.leader.give(_Change(change))
        self._finish()

    def _synchronise(self) -> None:
        """Broadcast the weights that have been changed in place since the last time.

        torch counts in-place changes of every tensor, so code that edits weights need not know of replicas.
        """
        parameters = self.loaded.model.named_parameters()
        changed = [name for name, parameter in parameters if self._versions.get(id(parameter)) != parameter._version]
        if changed:
            self.leader.give(_Receive(changed))
            broadcast(_weights(self.loaded, changed))
            self._finish()
            self._versions = self._current_versions()

    def _current_versions(self) -> dict[int, int]:
        return {id(parameter): parameter._version for parameter in self.loaded.model.parameters()}

    def _finish(self) -> None:
        for _ in self.leader.remaining():
            pass


@dataclass
class ReplicatedModel(LoadedModel):
    """A model that follower processes hold, too."""

    leader: Leader
    replicas: Replicas = field(init=False)

    def __post_init__(self) -> None:
        self.replicas = Replicas(self.leader, self)


def load_with_replicas(load: Callable[..., LoadedModel], reporter: Reporter) -> LoadedModel:
    """Load a model in this process and, at the same time, in all followers there are.

    ``load`` is pickled, and called with a ``reporter``.

    Raises:
        InputError: as ``load`` does, in any process.
    """
    leader = current_leader()
    if leader is None:
        return load(reporter=reporter)
    leader.give(_Load(load))
    loaded = load(reporter=reporter)
    with reporter.stage("Waiting for the other processes to load it", 1) as advance:
        for _ in leader.remaining():
            pass
        advance(1)
    return ReplicatedModel(**vars(loaded), leader=leader)


@dataclass(frozen=True)
class _Load:
    load: Callable[..., LoadedModel]

    def __call__(self, state: dict[str, Any]) -> Iterator[Any]:
        state.pop(MODEL, None)
        gc.collect()  # two models at once may not fit
        state[MODEL] = self.load(reporter=SILENT)
        yield from ()


@dataclass(frozen=True)
class _Change:
    change: Callable[[LoadedModel], None]

    def __call__(self, state: dict[str, Any]) -> Iterator[Any]:
        self.change(state[MODEL])
        yield from ()


@dataclass(frozen=True)
class _Receive:
    names: list[str]

    def __call__(self, state: dict[str, Any]) -> Iterator[Any]:
        broadcast(_weights(state[MODEL], self.names))
        yield from ()


@dataclass(frozen=True)
class _Share:
    task: Task
    shares: Sequence[Sequence[int]]

    def __call__(self, state: dict[str, Any]) -> Iterator[Any]:
        indices = self.shares[torch.distributed.get_rank()]
        if indices:
            yield from self.task(state[MODEL], indices)


def _weights(loaded: LoadedModel, names: Sequence[str]) -> list[torch.Tensor]:
    parameters = dict(loaded.model.named_parameters())
    return [parameters[name].detach() for name in names]
