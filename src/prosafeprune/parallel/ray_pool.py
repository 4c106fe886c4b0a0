"""Workers on a Ray cluster: each makes what it works with once, and what a lost one had to do is given to another.

Ray is an extra, and imported only where a cluster is asked for.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from prosafeprune.errors import InputError, NotApplicableError, ProSafePruneError
from prosafeprune.parallel.launch import ALL_GPUS, require_one_process

Setup = Callable[[Any], Any]
"""Makes of what a worker has, None at first, what it has from then on. It is pickled."""
SECONDS_TO_ANSWER = 10
MOST_LOSSES = 3
"""Workers that may be lost with the same task: more, and it is the task that ends them."""


class Task(Hashable, Protocol):
    """Something to do with what a worker has. It is pickled; equal tasks are done once."""

    def __call__(self, state: Any) -> Any:
        """Do it; what is returned is pickled."""
        ...


@dataclass(frozen=True)
class _Failure:
    """An error that a person can act on."""

    reason: str
    not_applicable: bool


class _Hand:
    """What runs on the cluster: it makes its state when it gets its first task."""

    def __init__(self) -> None:
        self.state: Any = None
        self.done = 0

    def do(self, setups: list[Any], task: Task) -> Any:
        """Do a task, after those of the setups that are new."""
        import ray

        try:
            for setup in setups[self.done :]:
                self.state = ray.get(setup)(self.state)
                self.done += 1
            return task(self.state)
        except NotApplicableError as error:  # told in results, which must not depend on who found it
            return _Failure(str(error), not_applicable=True)
        except ProSafePruneError as error:
            place = ray.util.get_node_ip_address()
            return _Failure(f"{error} (Said by a worker on {place}.)", not_applicable=False)


@dataclass
class _Worker:
    options: dict[str, Any]
    """What Ray needs to place it."""
    hand: Any = None
    task: Task | None = None
    """What it does at the moment."""


class Pool:
    """Workers that are given tasks as they become free. Results do not depend on which of them does what."""

    def __init__(self, places: Iterable[dict[str, Any]], setup: Setup) -> None:
        import ray

        self._make_hand = ray.remote(_Hand)
        self._setups = [ray.put(setup)]
        self._workers = [_Worker(options) for options in places]
        self._waiting: deque[Task] = deque()
        self._running: dict[Any, _Worker] = {}
        self._results: dict[Task, Any] = {}
        self._losses: Counter[Task] = Counter()

    def change(self, setup: Setup) -> None:
        """Let all workers, those made later too, change what they have before they begin another task."""
        import ray

        self._setups.append(ray.put(setup))

    def expect(self, tasks: Iterable[Task]) -> None:
        """Begin with tasks whose results will be asked for, those named first before the others."""
        known = {*self._results, *self._waiting, *(worker.task for worker in self._running.values())}
        self._waiting.extend(task for task in dict.fromkeys(tasks) if task not in known)
        self._hand_out()

    def result(self, task: Task) -> Any:
        """Return what comes of a task, done already or now.

        Raises:
            InputError: it cannot be done, or workers are lost whenever they try.
            NotApplicableError: as the task does.
        """
        self.expect([task])
        while task not in self._results:
            self._take_in()
            self._hand_out()
        found = self._results[task]
        if isinstance(found, _Failure):
            raise (NotApplicableError if found.not_applicable else InputError)(found.reason)
        return found

    def close(self) -> None:
        """End the workers."""
        import ray

        for worker in self._workers:
            if worker.hand is not None:
                ray.kill(worker.hand)
        self._running.clear()

    def _hand_out(self) -> None:
        for worker in self._workers:
            if worker.task is None and self._waiting:
                if worker.hand is None:
                    worker.hand = self._make_hand.options(**worker.options).remote()
                worker.task = self._waiting.popleft()
                self._running[worker.hand.do.remote(self._setups, worker.task)] = worker

    def _take_in(self) -> None:
        """Wait for a worker, and keep what it has done or, when it is lost, put its task back."""
        import ray

        done, _ = ray.wait(list(self._running), num_returns=1)
        worker = self._running.pop(done[0])
        task, worker.task = worker.task, None
        assert task is not None
        try:
            self._results[task] = ray.get(done[0])
        except ray.exceptions.ActorUnschedulableError:  # its machine is gone
            self._workers.remove(worker)
            self._waiting.appendleft(task)
        except ray.exceptions.RayActorError:
            worker.hand = None  # another is made with its next task
            self._losses[task] += 1
            self._waiting.appendleft(task)
        if self._losses[task] > MOST_LOSSES:
            raise InputError(
                f"{self._losses[task]} workers of the Ray cluster were lost with the same work. See its logs; is there "
                "memory enough for the model on each?"
            )
        if not self._workers:
            raise InputError("All machines of the Ray cluster are gone. Mend it and run again: what was done is kept.")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected with."""

    address: str

    def places(self, device: str) -> list[dict[str, Any]]:
        """Return where workers go: one to each GPU or, where none is wanted or there, one to each machine.

        Raises:
            InputError: the cluster has nothing of the kind, or the device is one of several.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if ":" in device or device == ALL_GPUS:
            raise InputError(f"--device {device}: with --ray each worker has a GPU of its own. Use cuda, cpu or auto.")
        machines = [one for one in ray.nodes() if one["Alive"]]
        gpus = int(sum(one["Resources"].get("GPU", 0) for one in machines))
        if gpus and device != "cpu":
            return [{"num_gpus": 1} for _ in range(gpus)]
        cpus = {one["NodeID"]: one["Resources"].get("CPU", 0) for one in machines}
        if device == "cuda" or not any(cpus.values()):
            raise InputError(f"--ray {self.address}: the cluster has no {'GPUs' if device == 'cuda' else 'CPUs'}.")
        return [
            {"num_cpus": count, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            for node, count in cpus.items()
            if count
        ]

    @contextmanager
    def pool(self, device: str, setup: Setup) -> Iterator[Pool]:
        """Give workers for as long as the context. Raises InputError as :meth:`places` does."""
        pool = Pool(self.places(device), setup)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """Connect with the Ray cluster at an address for as long as the context; with none where there is no address.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    if address is None:
        yield None
        return
    require_one_process("--ray")  # either has its own way to share work
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray: Ray is not installed. Install prosafeprune with its extra: [ray].") from error
    ours = not ray.is_initialized()
    if ours:
        _connect(address)
    try:
        yield Cluster(address)
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for many minutes
            socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"--ray {address}: no cluster can be reached there ({reason}). Check the address.") from error
