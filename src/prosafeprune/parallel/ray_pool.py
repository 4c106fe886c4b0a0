"""Workers on a Ray cluster: each sets up its state once, and the task of a lost worker goes to another.

Ray is an optional dependency, imported only when a cluster is asked for.
"""

import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from prosafeprune.errors import InputError, NotApplicableError, ProSafePruneError, first_line
from prosafeprune.parallel.launch import ALL_GPUS, require_one_process

Setup = Callable[[], Any]
"""Returns the state of a worker. It is pickled."""
CONNECT_SECONDS = 10
MAX_LOSSES = 3
"""Workers that may be lost with one task; beyond that, the task is what kills them."""


class Task(Hashable, Protocol):
    """Something to do with a worker's state. It is pickled; equal tasks run once."""

    def __call__(self, state: Any) -> Any:
        """Do it and return a result that can be pickled."""
        ...


@dataclass(frozen=True)
class _Failure:
    """An error that a person can act on."""

    reason: str
    not_applicable: bool


class _RemoteWorker:
    """What runs on the cluster: it sets up its state when it gets its first task."""

    def __init__(self) -> None:
        self.state: Any = None
        self.is_set_up = False

    def do(self, setup: list[Any], task: Task) -> Any:
        """Run the setup, in a list so that Ray does not fetch it for every task, unless it has run; then the task."""
        import ray

        try:
            if not self.is_set_up:
                self.state, self.is_set_up = ray.get(setup[0])(), True
            return task(self.state)
        except NotApplicableError as error:  # appears in results, which must not depend on the worker
            return _Failure(str(error), not_applicable=True)
        except ProSafePruneError as error:
            address = ray.util.get_node_ip_address()
            return _Failure(f"{error} (Reported by a worker on {address}.)", not_applicable=False)


@dataclass
class _Worker:
    options: dict[str, Any]
    """The worker's resources, for Ray's scheduler."""
    actor: Any = None
    task: Task | None = None
    """The task that the worker is running."""


class Pool:
    """Workers that get tasks as they become free. Results do not depend on which worker does what."""

    def __init__(self, worker_options: Iterable[dict[str, Any]], setup: Setup) -> None:
        import ray

        self._actor_class = ray.remote(_RemoteWorker)
        self._setup = [ray.put(setup)]
        self._workers = [_Worker(options) for options in worker_options]
        self._waiting: deque[Task] = deque()
        self._running: dict[Any, _Worker] = {}
        self._results: dict[Task, Any] = {}
        self._losses: Counter[Task] = Counter()

    def expect(self, tasks: Iterable[Task]) -> None:
        """Begin tasks whose results will be asked for, in this order."""
        known = {*self._results, *self._waiting, *(worker.task for worker in self._running.values())}
        self._waiting.extend(task for task in dict.fromkeys(tasks) if task not in known)
        self._dispatch()

    def result(self, task: Task) -> Any:
        """Return the result of a task, waiting for it if need be.

        Raises:
            InputError: the task raises it, or workers are lost whenever they try the task.
            NotApplicableError: the task raises it.
        """
        self.expect([task])
        while task not in self._results:
            self._collect()
            self._dispatch()
        found = self._results[task]
        if isinstance(found, _Failure):
            raise (NotApplicableError if found.not_applicable else InputError)(found.reason)
        return found

    def close(self) -> None:
        """End the workers."""
        import ray

        for worker in self._workers:
            if worker.actor is not None:
                ray.kill(worker.actor)
        self._running.clear()

    def _dispatch(self) -> None:
        for worker in self._workers:
            if worker.task is None and self._waiting:
                if worker.actor is None:
                    worker.actor = self._actor_class.options(**worker.options).remote()
                worker.task = self._waiting.popleft()
                self._running[worker.actor.do.remote(self._setup, worker.task)] = worker

    def _collect(self) -> None:
        """Wait for a worker and store its result or, when the worker is lost, put its task back."""
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
        except (
            ray.exceptions.RayActorError,
            ray.exceptions.OutOfMemoryError,  # Ray ends one that takes too much
            ray.exceptions.ObjectLostError,  # its machine is gone with a result that nobody had fetched
        ):
            ray.kill(worker.actor)
            worker.actor = None  # replaced at its next task
            self._losses[task] += 1
            self._waiting.appendleft(task)
        if self._losses[task] > MAX_LOSSES:
            raise InputError(
                f"{self._losses[task]} workers of the Ray cluster were lost with the same task. See its logs: does "
                "each have enough memory for the model?"
            )
        if not self._workers:
            raise InputError("All nodes of the Ray cluster are gone. Restart it and run again: finished work is kept.")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    address: str

    def worker_options(self, device: str) -> list[dict[str, Any]]:
        """Return the resources of each worker: one worker per GPU or, without GPUs, one per machine.

        Raises:
            InputError: the cluster has no such device, or ``device`` names a particular GPU or all of them.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if ":" in device or device == ALL_GPUS:
            raise InputError(f"--device {device}: with --ray each worker has its own GPU. Use cuda, cpu or auto.")
        machines = [machine for machine in ray.nodes() if machine["Alive"]]
        gpus = int(sum(machine["Resources"].get("GPU", 0) for machine in machines))
        if gpus and device != "cpu":
            return [{"num_gpus": 1} for _ in range(gpus)]
        cpus = {machine["NodeID"]: machine["Resources"].get("CPU", 0) for machine in machines}
        if device == "cuda" or not any(cpus.values()):
            raise InputError(f"--ray {self.address}: the cluster has no {'GPUs' if device == 'cuda' else 'CPUs'}.")
        return [
            {"num_cpus": count, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            for node, count in cpus.items()
            if count
        ]

    @contextmanager
    def pool(self, device: str, setup: Setup) -> Iterator[Pool]:
        """Provide workers inside the context. Raises InputError as :meth:`worker_options` does."""
        pool = Pool(self.worker_options(device), setup)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """Connect to the Ray cluster at an address inside the context; without an address, yield None.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    if address is None:
        yield None
        return
    require_one_process("--ray")  # torchrun and Ray share work in different ways
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
        if host and port.isdigit():  # Ray itself would keep trying for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--ray {address}: no cluster can be reached there ({first_line(error)}). Check the address."
        ) from error
