"""Two processes that torchrun starts against one: the same answers, activations and plans; one writes; all leave."""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows
from helpers.small_sets import use_small_sets
from helpers.tiny_models import make_model, make_tokenizer
from torch import distributed

from prosafeprune import cli
from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.activations.shards import CollectShard, merge_shards
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.device_placement import choose_device
from prosafeprune.model.loading import LoadedModel
from prosafeprune.parallel.process_group import MAX_BYTES_IN_STORE, Follower, Leader, Mailbox

CPU = torch.device("cpu")
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def in_two_processes(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*LAUNCH, *map(str, arguments)]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=1200)


def commands(model: Path, folder: Path, prompts: dict[str, str]) -> list[list[str]]:
    """Evaluate, prune either way, and search, all into ``folder``."""
    own = [text for name, file in prompts.items() for text in (f"--{name.replace('_', '-')}", file)]
    measured = ["--test-pseudo-harmful", prompts["pseudo_harmful"], "--test-harmful", prompts["harmful"]]
    few = ["--max-new-tokens", "5", "--device", "cpu"]
    pruning = ["--rank", "4", "--max-safety-drop", "100", "--accept-unsafe", "--only-mine", *own, *few]
    plan = ["--layers", "0-1", "--strength", "1", "--test-samples", "100", "--prompting-samples", "6", *pruning]
    return [
        ["evaluate", str(model), "-o", str(folder / "evaluation"), "--method", "scan", *measured, *few],
        ["prune", str(model), "-o", str(folder / "pruned"), *plan],
        ["prune", str(model), "-o", str(folder / "adapter"), "--format", "adapter", *plan],
        ["search", str(model), "-o", str(folder / "search"), "--budget", "2", "--confirmations", "1", *pruning],
        ["evaluate", str(folder / "nowhere"), "-o", str(folder / "none"), *measured, *few],
    ]


@pytest.fixture(scope="module")
def both(checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Give the folders that the same commands left in one process, and in two."""
    folder = tmp_path_factory.mktemp("processes")
    topics = ["bread", "rivers", "chess", "a crime novel", "a knife block", "a long war", "x", "the murder of crows"]
    prompts = {}
    for name in ("benign", "harmful", "pseudo_harmful"):
        prompts[name] = str(folder / f"{name}.txt")
        Path(prompts[name]).write_text("".join(f"{name}: tell me of {topic}\n" for topic in topics))
    one, two = folder / "one", folder / "two"
    for place in (one, two):
        place.mkdir()
    asked = commands(checkpoint("llama"), two, prompts)
    (two / "commands.json").write_text(json.dumps(asked))
    script = Path(__file__).parents[1] / "helpers" / "commands_in_processes.py"
    ended = in_two_processes(script, two / "commands.json", two / "codes.json")
    assert ended.returncode == 0, ended.stderr
    codes = []
    with pytest.MonkeyPatch.context() as patch:
        use_small_sets(patch, prompted=True)
        for arguments in commands(checkpoint("llama"), one, prompts):
            patch.setattr(sys, "argv", ["prosafeprune", *arguments])
            try:
                cli.main()
            except SystemExit as end:
                codes.append(end.code or 0)
    (one / "codes.json").write_text(json.dumps(codes))
    yield one, two


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.long
def test_an_error_of_one_command_leaves_the_others(both: tuple[Path, Path]) -> None:
    for folder in both:
        assert read(folder / "codes.json") == [0, 0, 0, 0, 2]


@pytest.mark.long
def test_two_processes_answer_as_one_does(both: tuple[Path, Path]) -> None:
    one, two = (
        {row["prompt"]: row["completion"] for row in read_rows(folder / "evaluation" / "answers.jsonl")}
        for folder in both
    )
    assert one == two
    assert len(one) == 16
    session = read(both[1] / "evaluation" / "sessions.json")[0]
    assert (session["processes"], session["batch_sizes"]) == (2, [8, 8])


@pytest.mark.long
@pytest.mark.parametrize("name", ["pruned", "adapter"])
def test_what_the_first_process_does_to_the_weights_the_others_do(both: tuple[Path, Path], name: str) -> None:
    one, two = (read_rows(folder / name / "prosafeprune_answers.jsonl") for folder in both)
    assert one == two
    assert any(row["source_answer"] != row["result_answer"] for row in one)
    run = read(both[1] / name / "prosafeprune.json")["run"]
    assert run["processes"] == 2
    assert run["calibration_batch_sizes"] == [12, 12]  # of the first process, then of the second
    assert read(both[0] / name / "prosafeprune.json")["run"]["processes"] == 1
    prompted = [read(folder / name / "prosafeprune.json")["prompted"] for folder in both]  # behind a system prompt
    assert prompted[0] == prompted[1]
    assert prompted[0]["prompted"]["safety"]["total"] == 6


@pytest.mark.long
def test_a_search_finds_the_same(both: tuple[Path, Path]) -> None:
    one, two = (read(folder / "search" / "search.json") for folder in both)
    assert [point["plan"] for point in one["points"]] == [point["plan"] for point in two["points"]]
    assert [point["measured"] for point in one["points"]] == [point["measured"] for point in two["points"]]
    assert one["silhouettes"] == pytest.approx(two["silhouettes"], abs=1e-4)


@pytest.mark.long
def test_an_error_is_told_once_and_all_leave(tmp_path: Path) -> None:
    ended = in_two_processes("-m", "prosafeprune", "prune", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert ended.returncode != 0
    told = [line for line in ended.stderr.splitlines() if line.startswith("Error:")]
    assert len(told) == 1, ended.stderr
    assert "nowhere" in told[0]
    assert "prosafeprune FAILED" in ended.stderr  # by torchrun, for scripts that look at its exit code


@pytest.mark.parametrize("architecture", ["llama", "mixtral"])
def test_parts_joined_are_the_whole(architecture: str) -> None:
    model, tokenizer = make_model(architecture), make_tokenizer()
    loaded = LoadedModel("tiny", Path(), model, tokenizer, CPU, torch.float32, torch.float32, [1])
    prompts = encode_prompts(tokenizer, [f"Tell me {'more ' * n}of {n}" for n in range(7)])
    task = CollectShard(prompts, [Pooling.SEQUENCE], [0, 2], 3, with_experts=True)
    sent = pickle.loads(pickle.dumps(task))
    parts = [part for places in ([6, 1, 3], [0, 2], [5, 4]) for part in sent(loaded, places)]
    joined = merge_shards([pickle.loads(pickle.dumps(part))[Pooling.SEQUENCE] for part in parts])
    anatomy = find_anatomy(model)
    whole = collect_pooled_inputs(
        model, anatomy, prompts, [Pooling.SEQUENCE], [0, 2], BatchSize(3, CPU), lambda done: None
    )[Pooling.SEQUENCE]
    assert joined.batch_sizes == (3, 2, 2)
    for submodule in (one for layer in (0, 2) for one in anatomy.of_layer(layer)):
        assert joined.reaching(submodule, range(7)) == whole.reaching(submodule, range(7))
        if whole.reaching(submodule, range(7)):
            assert torch.allclose(_outputs(joined, submodule), _outputs(whole, submodule), atol=1e-5)


def _outputs(inputs: PooledInputs, submodule: Any) -> torch.Tensor:
    return inputs.outputs(submodule, submodule.weight())


@pytest.fixture
def leader() -> Iterator[Leader]:
    """Give a leader whose one follower is a thread."""
    mailbox = Mailbox(distributed.HashStore())
    leader = Leader(mailbox, 2)
    follower = threading.Thread(target=Follower(mailbox, 1).work, daemon=True)
    follower.start()
    try:
        yield leader
    finally:
        leader.dismiss()
        follower.join(10)
        assert not follower.is_alive()


def count_up(state: dict[str, Any]) -> Iterator[int]:
    state["begun"] = True
    yield from range(10**9)


def fail(state: dict[str, Any]) -> Iterator[int]:
    yield 1
    raise InputError("No room.")


def keys_of_state(state: dict[str, Any]) -> Iterator[list[str]]:
    yield list(state)


def test_a_followers_error_is_the_leaders(leader: Leader) -> None:
    leader.give(fail)
    found: list[Any] = []
    with pytest.raises(InputError, match=r"No room\. \(Reported by process 1"):
        found.extend(leader.remaining())


def test_new_work_ends_what_is_left_of_the_old(leader: Leader) -> None:
    leader.give(count_up)
    arrived: list[Any] = []
    while not arrived:
        arrived += _take(leader.arrived(), 3)
    leader.give(keys_of_state)
    assert list(leader.remaining()) == [(1, ["begun"])]


def large(state: dict[str, Any]) -> Iterator[bytes]:
    yield bytes(2 * MAX_BYTES_IN_STORE)


def test_a_large_result_that_nobody_waits_for_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # As when the first process fails at its own share: between processes, what is sent waits until it is taken.
    sent: queue.Queue[torch.Tensor] = queue.Queue()
    taken = threading.Semaphore(0)

    def send(tensor: torch.Tensor, dst: int) -> None:
        sent.put(tensor)
        assert taken.acquire(timeout=60)

    def recv(tensor: torch.Tensor, src: int) -> None:
        tensor.copy_(sent.get(timeout=60))
        taken.release()

    monkeypatch.setattr(distributed, "send", send)
    monkeypatch.setattr(distributed, "recv", recv)
    mailbox = Mailbox(distributed.HashStore())
    leader = Leader(mailbox, 2)
    follower = threading.Thread(target=Follower(mailbox, 1).work, daemon=True)
    follower.start()
    leader.give(large)
    while sent.empty():
        time.sleep(0.01)
    leader.dismiss()
    follower.join(10)
    assert not follower.is_alive()


def _take(items: Iterator[Any], count: int) -> list[Any]:
    return [item for _, item in zip(range(count), items, strict=False)]


def test_commands_that_one_process_does_alone_are_refused(
    run: Run, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.parallel.launch.process_count", lambda: 2)
    monkeypatch.setattr(cli, "_process_group", nullcontext)
    model = checkpoint("llama")
    low = ["--memory", "low", "--unmeasured", "--layers", "1"]
    for arguments, words in (
        (["compare", model], "prosafeprune compare runs in a single process"),
        (["evaluate", "--endpoint", "http://127.0.0.1:1/v1"], "--endpoint runs in a single process"),
        (["prune", model, *low], "--memory low runs in a single process"),
    ):
        run.refused(words, *arguments)


def test_each_process_of_a_machine_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="cuda:0: is one GPU"):
        choose_device("cuda:0")
    with pytest.raises(InputError, match="--device all: takes all GPUs"):
        choose_device("all")
    if torch.cuda.device_count() < 2:
        with pytest.raises(InputError, match="--device cuda: cannot be used here"):
            choose_device("cuda")
