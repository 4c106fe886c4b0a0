"""Copies of a model in the processes that follow this one: each holds it whole, and runs its share of the prompts."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prosafeprune.model.loading import LoadedModel
from prosafeprune.parallel.messages import broadcast
from prosafeprune.parallel.process_group import Leader, current_leader
from prosafeprune.progress import Reporter, SilentReporter

Task = Callable[[LoadedModel, Sequence[int]], Iterator[Any]]
"""What a process does with its model for the items at some places. It is pickled, and so is what it yields."""
MODEL = "model"
"""What a follower has at hand under this name is its copy."""


class Replicas:
    """The copies of one model, which follow whatever is done to its weights."""

    def __init__(self, leader: Leader, loaded: LoadedModel) -> None:
        self.leader, self.loaded = leader, loaded
        self._versions = self._current_versions()

    @property
    def size(self) -> int:
        """How many processes have the model, this one among them."""
        return self.leader.size

    def deal(self, lengths: Sequence[int]) -> list[list[int]]:
        """Deal items to the processes so that all get as long ones: their places, for each process."""
        order = sorted(range(len(lengths)), key=lambda place: lengths[place], reverse=True)
        return [order[rank :: self.size] for rank in range(self.size)]

    def share(self, task: Task, shares: Sequence[Sequence[int]], own: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        """Run a task in all processes; yield what it yields, with the number of the process, as it comes.

        Args:
            task: what to do in the others.
            shares: the places that each process takes.
            own: what this process does with the first share.

        Raises:
            InputError: as the task does, in whatever process.
        """
        self._bring_up_to_date()
        self.leader.give(_Share(task, shares))
        for item in own:
            yield 0, item
            yield from self.leader.arrived()
        yield from self.leader.remaining()

    def change(self, change: Callable[[LoadedModel], None]) -> None:
        """Let the others change what their copies are made of, as this process is about to do with its model."""
        self._bring_up_to_date()
        self.leader.give(_Change(change))
        self._finish()

    def _bring_up_to_date(self) -> None:
        """Send the weights that have been changed in place since the last time.

        torch counts such changes of every tensor, so that no one who edits weights has to think of the copies.
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


def load_with_replicas(load: Callable[..., LoadedModel], reporter: Reporter) -> LoadedModel:
    """Load a model here and, where other processes follow this one, in all of them at once.

    ``load`` is pickled, and called with a ``reporter``.

    Raises:
        InputError: as ``load`` does, in whatever process.
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
    loaded.replicas = Replicas(leader, loaded)
    return loaded


@dataclass(frozen=True)
class _Load:
    load: Callable[..., LoadedModel]

    def __call__(self, at_hand: dict[str, Any]) -> Iterator[Any]:
        at_hand.pop(MODEL, None)
        gc.collect()  # two at once may not fit
        at_hand[MODEL] = self.load(reporter=SilentReporter())
        yield from ()


@dataclass(frozen=True)
class _Change:
    change: Callable[[LoadedModel], None]

    def __call__(self, at_hand: dict[str, Any]) -> Iterator[Any]:
        self.change(at_hand[MODEL])
        yield from ()


@dataclass(frozen=True)
class _Receive:
    names: list[str]

    def __call__(self, at_hand: dict[str, Any]) -> Iterator[Any]:
        broadcast(_weights(at_hand[MODEL], self.names))
        yield from ()


@dataclass(frozen=True)
class _Share:
    task: Task
    shares: Sequence[Sequence[int]]

    def __call__(self, at_hand: dict[str, Any]) -> Iterator[Any]:
        places = self.shares[torch.distributed.get_rank()]
        if places:
            yield from self.task(at_hand[MODEL], places)


def _weights(loaded: LoadedModel, names: Sequence[str]) -> list[torch.Tensor]:
    parameters = dict(loaded.model.named_parameters())
    return [parameters[name].detach() for name in names]
