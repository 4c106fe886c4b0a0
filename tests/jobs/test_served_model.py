"""What ``chat`` and ``serve`` open: an adapter, a checkpoint or a search, at any strength, as ``apply`` makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from helpers import adapter_runs
from helpers.fixture_types import Make
from helpers.served_answers import PROMPTS, answer_all, decoded, load, question
from helpers.tiny_models import make_model
from safetensors.torch import load_file, save_file

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.jobs.served_model import ServedModel, served_model, with_polish
from prosafeprune.method.plan import Plan
from prosafeprune.model import template_process
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.serving.corrections import Applied
from prosafeprune.setup import calibrate

DRAWN = {"samples": 10, "seed": 3}
"""Other calibration prompts than the default ones."""


def opened(
    base: Path, pruned: Path | None = None, search: Path | None = None, system: str | None = None
) -> AbstractContextManager[ServedModel]:
    options = ModelOptions(model=str(base), device="cpu", dtype="float32", system=system)
    return served_model(options, str(pruned) if pruned else None, search, SilentReporter())


def answers(served: ServedModel, name: str, strength: float | None) -> list[list[int]]:
    edit = served.edits[name]
    asked = [question(served.engine, prompt, applied=Applied(edit, edit.at(strength))) for prompt in PROMPTS]
    return [ids for ids, _ in answer_all(served.engine, asked)]


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3_moe"])
def test_adapter_and_checkpoint_at_a_strength_are_the_model_that_apply_writes(
    architecture: str, checkpoint: Make, tmp_path: Path, prompt_files: dict[str, str]
) -> None:
    base = checkpoint(architecture)
    adapter_runs.prune(base, tmp_path / "adapter", prompt_files, rank=2)
    adapter_runs.apply(tmp_path / "adapter", base, tmp_path / "own")
    adapter_runs.apply(tmp_path / "adapter", base, tmp_path / "weaker", strength=0.6)
    wanted = {None: decoded(load(tmp_path / "own")), 0.6: decoded(load(tmp_path / "weaker"))}
    assert wanted[None] != wanted[0.6]
    for pruned in ("adapter", "own"):
        with opened(base, tmp_path / pruned) as served:
            assert served.default == "pruned"
            for strength, expected in wanted.items():
                assert answers(served, "pruned", strength) == expected


def refuse_odd_searches(base: Path, search: Path, folder: Path) -> None:
    """A search folder may be someone else's."""
    record = json.loads((search / "search.json").read_text())
    point = record["points"][0]
    beyond = {**point, "plan": {**point["plan"], "layers": [99], "strength": 0.5}}
    for change, message in (
        ({"points": []}, "found no plan"),
        ({"points": [beyond]}, "the model has 3 layers"),
        ({"samples": -1}, "cannot be read as the record of a search"),
        ({"seed": -1}, "cannot be read as the record of a search"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / "search.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(InputError, match=message), opened(base, search=folder):
            pass


def test_the_plans_of_a_search_are_served_without_calibrating_again(
    checkpoint: Make, tmp_path: Path, few_prompts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("llama")
    found = prosafeprune.search(
        base,
        tmp_path / "search",
        budget="3",
        confirmations=1,
        max_new_tokens=2,
        rank=4,
        max_safety_drop=100,
        accept_unsafe=True,
        device="cpu",
        progress=False,
        **DRAWN,
    )
    point = found.record.points[0]
    monkeypatch.setattr(calibrate, "collect_pooled_inputs", None)  # the search has kept them in the cache
    refuse_odd_searches(base, tmp_path / "search", tmp_path / "odd")
    with opened(base, search=tmp_path / "search") as served:
        assert list(served.edits) == [f"plan-{point.number}" for point in found.record.points]
        ids = answers(served, f"plan-{point.number}", None)
    with (
        pytest.raises(InputError, match="made with another --system"),
        opened(base, search=tmp_path / "search", system="Be brief."),
    ):
        pass
    plan = point.plan
    pruned = prosafeprune.prune(
        base,
        None,
        progress=False,
        **{name: getattr(plan, name) for name in ("layers", "rank", "strength", "pooling", "projection")},
        harmful_share=plan.harmful_share,
        max_new_tokens=2,
        max_safety_drop=100,
        accept_unsafe=True,
        device="cpu",
        **DRAWN,
    )
    assert ids == decoded(pruned.loaded)


def test_a_chat_has_the_plans_of_a_search_made_with_its_system_prompt(
    checkpoint: Make,
    tmp_path: Path,
    few_prompts: None,
    run: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, folder = checkpoint("llama"), tmp_path / "search"
    options: dict[str, Any] = {"budget": "1", "confirmations": 1, "max_new_tokens": 2, "rank": 4, "samples": 10}
    options |= {"max_safety_drop": 100, "accept_unsafe": True, "device": "cpu", "progress": False}
    prosafeprune.search(base, folder, system="Be brief.", **options)
    rendered: list[list[dict[str, str]]] = []
    shown, lines = template_process.shared.render, iter(["Hi", "/system", "Hi"])

    def render(template: str, messages: Any, variables: Any) -> str:
        rendered.append(messages)
        return shown(template, messages, variables)

    def read(prompt: str) -> str:
        monkeypatch.setattr(template_process.shared, "render", render)
        return next(lines, "/quit")

    monkeypatch.setattr("builtins.input", read)
    code, _, err = run("chat", base, "--search", folder, "--system", "Be brief.", "--device", "cpu")
    assert code == 0, err
    assert [[message["role"] for message in messages] for messages in rendered] == [["system", "user"], ["user"]]
    assert rendered[0][0]["content"] == "Be brief."


def test_what_does_not_belong_together_is_refused(
    checkpoint: Make, tmp_path: Path, prompt_files: dict[str, str]
) -> None:
    base, other = checkpoint("llama"), checkpoint("qwen2")
    adapter_runs.prune(base, tmp_path / "pruned", prompt_files, format="checkpoint")
    for pruned, message in (
        (tmp_path / "pruned", "was pruned from another model"),
        (tmp_path / "none", "no such folder"),
        (other, "has no prosafeprune.json"),
    ):
        with pytest.raises(InputError, match=message), opened(other, pruned):
            pass
    record = json.loads((tmp_path / "pruned" / "prosafeprune.json").read_text())
    record["plan"] |= {"layers": [99], "strength": 0.5}
    (tmp_path / "pruned" / "prosafeprune.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="the model has 3 layers"), opened(base, tmp_path / "pruned"):
        pass
    with pytest.raises(InputError, match="has no finished search"), opened(base, search=tmp_path):
        pass
    weights = tmp_path / "pruned" / "model.safetensors"
    save_file({name: tensor + 0.1 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(InputError, match="are not those of its record"), opened(base, tmp_path / "pruned"):
        pass
    record["recipe"]["format"] = "gguf"
    (tmp_path / "pruned" / "prosafeprune.json").write_text(json.dumps(record))
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    for pruned in (tmp_path / "pruned", tmp_path / "tiny.gguf"):
        with pytest.raises(InputError, match="is a GGUF, which runs by itself"), opened(base, pruned):
            pass


def test_layers_pruned_at_strength_0_are_served_with_their_training() -> None:
    anatomy = find_anatomy(make_model("llama"))
    plan = with_polish(Plan(layers=(1, 2), strength=(0.0, 0.8)), 4, anatomy)
    assert (plan.layers, plan.strength, plan.rank) == ((0, 1, 2), (1.0, 1.0, 0.8), 20)
