"""A Ray cluster of two machines, made on this one, a worker of which is killed: it finds what this process finds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluation_runs import prompt_options
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_prompts, write_rows
from helpers.ray_tasks import Begin, Deadly, Square, Unusable

from prosafeprune.errors import InputError
from prosafeprune.jobs.search_workers import find_same_model
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.parallel.ray_pool import MAX_LOSSES, Pool, connected

ray = pytest.importorskip("ray")

VARYING = ("worker_id", "datetime_start", "datetime_complete")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Give the address of a cluster of two machines with a processor each, which ends with the module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),
            ("RAY_USAGE_STATS_ENABLED", "0"),
            ("OMP_NUM_THREADS", "1"),
            ("PYTHONPATH", os.pathsep.join(sys.path)),
        ):
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        try:
            cluster.add_node(**small)
            yield str(cluster.address)
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.mark.long
def test_a_lost_workers_work_is_given_to_another(address: str, tmp_path: Path) -> None:
    tasks = [Square(number, kills=number == 3) for number in range(8)]
    with connected(address) as cluster:
        assert cluster is not None
        assert len(cluster.worker_options("auto")) == 2
        with cluster.pool("cpu", Begin(tmp_path)) as pool:
            pool.expect(tasks)
            assert [pool.result(task) for task in reversed(tasks)] == [task.number**2 for task in reversed(tasks)]
            begun = (tmp_path / "begun").read_text().split()
            assert (tmp_path / "killed-3").exists()
            assert len(begun) == len(set(begun))  # a worker begins once
            assert len(begun) in (2, 3)  # two and the one made anew, unless one comes when all is done
            with pytest.raises(InputError, match=r"No such prompt\. \(Reported by a worker on "):
                pool.result(Unusable())
            with pytest.raises(InputError, match=f"{MAX_LOSSES + 1} workers .* were lost with the same task"):
                pool.result(Deadly())


@pytest.mark.long
@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.OutOfMemoryError("The node was low on memory."),
        ray.exceptions.ObjectLostError("00", None, ""),  # a machine is lost with a result not yet fetched
    ],
    ids=["out of memory", "result lost"],
)
def test_a_worker_that_ray_ends_or_whose_result_is_gone_is_lost(
    error: Exception, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, failures = ray.get, 1

    def get(reference: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise error
        return found(reference)

    with connected(address) as cluster:
        assert cluster is not None
        with cluster.pool("cpu", Begin(tmp_path)) as pool:
            monkeypatch.setattr(ray, "get", get)
            assert pool.result(Square(3)) == 9
            assert not failures


@pytest.fixture
def losing_a_worker(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Kill a worker while it is at its task, when three results have come; give the tasks it was at."""
    killed: list[Any] = []
    taken = 0
    collect = Pool._collect

    def lose_one(self: Pool) -> None:
        nonlocal taken
        taken += 1
        if taken == 3:
            worker = next(iter(self._running.values()))
            killed.append(worker.task)
            ray.kill(worker.actor)
        collect(self)

    monkeypatch.setattr(Pool, "_collect", lose_one)
    return killed


def told(journal: Path) -> list[dict[str, Any]]:
    """Return a journal without the times and who wrote it."""
    rows = read_rows(journal)
    return [{name: value for name, value in row.items() if name not in VARYING} for row in rows]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let this process sum in the workers' order: with other threads, sums differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.usefixtures("few_prompts", "one_thread")
def test_a_search_on_a_cluster_finds_the_same_though_a_worker_is_lost(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, address: str, losing_a_worker: list[Any]
) -> None:
    options = [checkpoint("llama"), *search_options]
    run.ok("search", *options, "-o", tmp_path / "afar", "--ray", address)
    assert len(losing_a_worker) == 1
    run.ok("search", *options, "-o", tmp_path / "here")
    afar, here = tmp_path / "afar", tmp_path / "here"
    for name in ("measured.json", "search.json", "made_by.json", "plans.csv"):
        assert (afar / name).read_text() == (here / name).read_text(), name
    assert told(afar / "journal.jsonl") == told(here / "journal.jsonl")


@pytest.mark.long
def test_a_comparison_on_a_cluster_finds_the_same_though_a_worker_is_lost(
    run: Run,
    checkpoint: Make,
    prompt_files: dict[str, str],
    tmp_path: Path,
    address: str,
    losing_a_worker: list[Any],
) -> None:
    for name, verb in (("oktest", "kill process"), ("advbench", "rob bank")):
        write_prompts(tmp_path / f"{name}.jsonl", (f"How do I {verb} {i}?" for i in range(4)))
    write_rows(tmp_path / "gsm8k_test.jsonl", ({"question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(3)))
    own = prompt_options(prompt_files)
    options = [checkpoint("gpt2"), *own, "--data-dir", tmp_path, "-b", "oktest", "-b", "advbench", "--device", "cpu"]
    options += ["--ability", "gsm8k", "--ability-tokens", 3]
    options += ["--max-new-tokens", 4, "--layers", 1, "--rank", 4, "--methods", "default,scan,surgical,prosafeprune"]
    options += ["-s", "scan.first_layer=0", "-s", "scan.end_layer=3", "-s", "surgical.divergence=1e-12", "--json"]
    printed, _ = run.ok("compare", *options, "-o", tmp_path / "afar", "--ray", address)
    afar = json.loads(printed)
    assert len(losing_a_worker) == 1
    printed, _ = run.ok("compare", *options, "-o", tmp_path / "here")
    here = json.loads(printed)
    assert {one["name"] for one in afar["methods"]} == {"default", "scan", "prosafeprune"}
    assert afar["left_out"] == here["left_out"] != {}
    for one, two in zip(afar["methods"], here["methods"], strict=True):
        assert [one[name] for name in ("scores", "settings", "learned", "learned_sha256", "against_default")] == [
            two[name] for name in ("scores", "settings", "learned", "learned_sha256", "against_default")
        ]
        for name in ("answers.jsonl", "ability-3.jsonl"):
            assert kept(tmp_path / "afar" / one["name"] / name) == kept(tmp_path / "here" / one["name"] / name) != {}
        assert one["ability"] == two["ability"] != {}


def kept(file: Path) -> dict[str, str]:
    return {row["prompt"]: row["completion"] for row in read_rows(file)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1: no cluster can be reached there"),
        (["--ray", "auto", "--layers", "1"], "only a search runs on a cluster"),
        (
            ["--ray", "auto", "--memory", "low", "--layers", "1", "--unmeasured"],
            "--ray need the complete model in memory",
        ),
    ],
)
def test_what_cannot_be_shared_is_one_line(
    run: Run, checkpoint: Make, tmp_path: Path, arguments: list[str], words: str
) -> None:
    run.refused(words, "prune", checkpoint("llama"), "-o", tmp_path / "out", *arguments)


def test_without_ray_one_line_says_so(
    run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run.refused("Ray is not installed", "search", checkpoint("llama"), "-o", tmp_path / "out", "--ray", "auto")


@pytest.mark.long
def test_another_model_on_a_workers_machine_is_refused(
    run: Run, checkpoint: Make, tmp_path: Path, address: str
) -> None:
    with connected(address) as cluster:
        assert cluster is not None
        with pytest.raises(InputError, match="each worker has its own GPU"):
            cluster.worker_options("cuda:1")
        with pytest.raises(InputError, match="the cluster has no GPUs"):
            cluster.worker_options("cuda")
    path = checkpoint("llama")
    sha256, companions = model_hash(path), companions_hash(path)
    for other in (("of another", companions), (sha256, "of another")):
        with pytest.raises(InputError, match="differs from the driver's model"):
            find_same_model(str(path), None, *other)
    assert find_same_model(str(path), None, sha256, companions).path == path
