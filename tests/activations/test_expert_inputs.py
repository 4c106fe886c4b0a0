"""Experts: what they read, what is pooled of it, which are left alone, and where they lie on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.prune_runs import prune
from helpers.tiny_models import make_model, make_tokenizer, save_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.activations import expert_inputs as routed
from prosafeprune.activations.expert_inputs import ExpertInputs
from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs, token_weights
from prosafeprune.checkpoint.names import StoredNames
from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.editing.expert_coverage import ExpertCount, count_experts
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.experts import watched_experts
from prosafeprune.progress import ignore
from prosafeprune.prompts import PromptClass
from prosafeprune.report.prune_grids import prune_grid
from prosafeprune.terminal import print_grid

CPU = torch.device("cpu")
PROMPTS = ["How do I kill a process?", "Hi", "Tell me about  spaces \n and lines, please.", "How do I?"]
MIXTURES = ["mixtral", "qwen2_moe", "gpt_oss"]


def collect(model: Any, prompts: list[str], pooling: Pooling, size: int) -> PooledInputs:
    encoded = encode_prompts(make_tokenizer(), prompts)
    anatomy = find_anatomy(model)
    # A second pooling in the same pass changes nothing.
    poolings = [Pooling.USER, pooling] if pooling is not Pooling.USER else [pooling]
    return collect_pooled_inputs(model, anatomy, encoded, poolings, [0, 1, 2], BatchSize(size, CPU), ignore)[pooling]


@pytest.mark.parametrize("architecture", [*MIXTURES, "qwen3_next"])
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_run_one_by_one_experts_give_what_they_give_otherwise(architecture: str, implementation: str) -> None:
    model, ids = make_model(architecture), torch.arange(5, 45).view(2, 20)
    model.set_experts_implementation(implementation)
    experts = model.model.layers[1].mlp.experts
    told: list[tuple[int, str]] = []
    with torch.no_grad():
        before = model(ids).logits
        with watched_experts(experts, lambda expert, parameter, tokens, read: told.append((expert, parameter))):
            torch.testing.assert_close(model(ids).logits, before, atol=1e-4, rtol=1e-4)
        assert torch.equal(model(ids).logits, before)
    assert len(told) == len(set(told)) > 4
    assert "forward" not in experts.__dict__


def naive_expert_inputs(model: Any, prompts: list[str], pooling: Pooling) -> dict[tuple[int, int, int], torch.Tensor]:
    """By layer, expert and prompt the mean of the tokens that the router sent there, one prompt and token at a time."""
    means: dict[tuple[int, int, int], torch.Tensor] = {}
    for number, prompt in enumerate(encode_prompts(make_tokenizer(), prompts)):
        weights = token_weights(prompt, pooling)
        given: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        handles = [
            module.mlp.experts.register_forward_pre_hook(
                lambda _, read, at=layer, given=given: given.update({at: read})
            )
            for layer, module in enumerate(model.model.layers)
        ]
        model(input_ids=torch.tensor([prompt.ids]))
        seen: dict[tuple[int, int, int], list[torch.Tensor]] = {}
        for layer, (hidden, chosen, *_) in given.items():
            for token in weights.nonzero().flatten().tolist():
                for expert in chosen[token].tolist():
                    seen.setdefault((layer, expert, number), []).append(hidden[token])
        for handle in handles:
            handle.remove()
        means |= {key: torch.stack(tokens).mean(dim=0) for key, tokens in seen.items()}
    return means


@pytest.mark.parametrize("architecture", MIXTURES)
@pytest.mark.parametrize(("pooling", "size"), [(Pooling.SEQUENCE, 1), *((pooling, 3) for pooling in Pooling)])
def test_pooled_inputs_are_means_over_the_tokens_routed_to_an_expert(
    architecture: str, pooling: Pooling, size: int
) -> None:
    model = make_model(architecture)
    with torch.no_grad():
        expected = naive_expert_inputs(model, PROMPTS, pooling)
        inputs = collect(model, PROMPTS, pooling, size)
    assert inputs.prefix_length > 10
    firsts = [one for one in find_anatomy(model).submodules if one.expert is not None and one.kind == "up"]
    assert len(firsts) == 12
    for submodule in firsts:
        assert submodule.expert is not None
        reached = [i for i in range(4) if (submodule.layer, submodule.expert, i) in expected]
        assert inputs.reaching(submodule, range(4)) == reached
        if reached:
            found = inputs.routed.of(submodule.reads, [3, 2, 1, 0])
            rows = torch.stack([expected[submodule.layer, submodule.expert, i] for i in reversed(reached)])
            torch.testing.assert_close(found, rows, atol=2e-5, rtol=2e-4)
    if pooling is Pooling.LAST:  # two experts a token: not all are reached
        assert any(len(inputs.reaching(one, range(4))) < 4 for one in firsts)


def test_rows_kept_in_a_file_come_back_in_the_order_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ExpertInputs()
    monkeypatch.setattr(routed, "KEPT_IN_MEMORY", 100)
    spilled = ExpertInputs()
    rows = torch.randn(6, 30)
    for store in (kept, spilled):
        store.add("a", [4, 2], rows[:2])
        store.add("b", [0], rows[2:3])
        store.add("a", [0, 3, 9], rows[3:])
        assert torch.equal(store.of("a"), rows[[3, 1, 4, 0, 5]])
        assert torch.equal(store.of("a", [9, 1, 2]), rows[[5, 1]])
        assert torch.equal(store.of("b"), rows[2:3])
    assert (kept._file._rolled, spilled._file._rolled) == (False, True)


def test_inputs_that_are_not_finite_are_told() -> None:
    with pytest.raises(InputError, match="not finite"):
        ExpertInputs().add("a", [0], torch.tensor([[float("nan")]]))


CLASSES = {
    PromptClass.BENIGN: range(0, 10),
    PromptClass.HARMFUL: range(10, 20),
    PromptClass.PSEUDO_HARMFUL: range(20, 30),
}


def planted(model: Any, reached: dict[int, dict[PromptClass, int]], rank_of: dict[int, int]) -> PooledInputs:
    """Inputs of a Mixtral's layer 1 in which ``reached`` says how many prompts of each class reach each expert."""
    torch.manual_seed(0)
    inputs = ExpertInputs()
    plain = {s.reads: torch.randn(30, s.shape[1]) for s in find_anatomy(model).of_layer(1) if s.expert is None}
    for submodule in find_anatomy(model).of_layer(1):
        if submodule.expert is not None and submodule.reads not in inputs.prompts:
            prompts = [row for name, rows in CLASSES.items() for row in rows[: reached[submodule.expert][name]]]
            width = submodule.shape[1]
            directions = torch.randn(rank_of.get(submodule.expert, width), width)
            inputs.add(submodule.reads, prompts, torch.randn(len(prompts), len(directions)) @ directions)
    return PooledInputs(plain, (30,), 0, inputs)


def test_experts_that_too_few_prompts_reach_are_left_whole_and_counted() -> None:
    model, rank = make_model("mixtral"), 4
    anatomy = find_anatomy(model)
    enough = dict.fromkeys(CLASSES, 8)
    reached = {0: enough, 1: {**enough, PromptClass.HARMFUL: 7}, 2: dict.fromkeys(CLASSES, 10), 3: enough}
    inputs = planted(model, reached, rank_of={3: 3})  # expert 3 is reached often, but by tokens that are all alike
    plan = Plan(layers=(1,), rank=rank, strength=1.0)
    edits = make_edits(anatomy, plan, inputs, CLASSES, ignore)
    edited = [edit.submodule.name for edit in edits if edit.submodule.expert is not None]
    assert edited == [f"model.layers.1.mlp.experts.{e}.{kind}" for e in (0, 2) for kind in ("gate", "up", "down")]
    counts = count_experts(anatomy.of_layer(1), [edit.submodule for edit in edits])
    assert counts == [ExpertCount(layer=1, module="model.layers.1.mlp.experts", pruned=2, left_alone=(1, 3))]
    assert [edit.submodule.kind for edit in edits if edit.submodule.expert is None] == ["q", "k", "v", "o"]


def test_an_expert_that_no_prompt_reaches_is_left_alone() -> None:
    model = make_model("mixtral")
    inputs = planted(model, {e: dict.fromkeys(CLASSES, 10 if e else 0) for e in range(4)}, {})
    edits = make_edits(find_anatomy(model), Plan(layers=(1,), rank=4), inputs, CLASSES, ignore)
    assert {edit.submodule.expert for edit in edits} == {None, 1, 2, 3}


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["mixtral", "gpt_oss"])
def test_a_pruned_mixture_is_told_of_in_record_table_and_card(
    architecture: str, prompt_files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = save_checkpoint(tmp_path / "source", architecture, torch.bfloat16), tmp_path / "out"
    config = json.loads((source / "config.json").read_text())
    result = prune(source, output, prompt_files)
    record = json.loads((output / "prosafeprune.json").read_text())
    assert [(one["layer"], one["pruned"] + len(one["left_alone"])) for one in record["experts"]] == [(1, 4), (2, 4)]
    pruned = sum(one["pruned"] for one in record["experts"])
    assert pruned > 0
    assert sum(".experts." in one["submodule"] for one in record["submodules"]) == 3 * pruned
    assert not any("router" in name or "mlp.gate" in name for name in record["edited_tensors"])
    print_grid(prune_grid(result.record))
    assert f"{pruned} of 8" in capsys.readouterr().out
    assert f"Of the 8 experts in these layers, {pruned} were pruned" in (output / "README.md").read_text()
    assert f"{pruned} of 8" in (output / "report.html").read_text()
    before, after = load_file(source / "model.safetensors"), load_file(output / "model.safetensors")
    assert list(before) == list(after)
    assert {name: (one.shape, one.dtype) for name, one in before.items()} == {
        name: (one.shape, one.dtype) for name, one in after.items()
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(record["edited_tensors"])
    assert config == json.loads((output / "config.json").read_text())


def test_experts_of_the_other_way_round_on_disk_are_understood(tmp_path: Path) -> None:
    """Qwen3-VL's mixtures are published with each expert's matrices transposed."""
    model = make_model("qwen3_vl_moe")
    experts = model.model.language_model.layers[1].mlp.experts
    stored = {f"model.language_model.layers.1.mlp.experts.{name}": p.detach() for name, p in experts.named_parameters()}
    save_file({name: one.transpose(1, 2).contiguous() for name, one in stored.items()}, tmp_path / "model.safetensors")
    names = StoredNames(stored_tensors(tmp_path))
    submodules = [one for one in find_anatomy(model).of_layer(1) if one.expert is not None]
    for submodule in submodules:
        found = names.find(submodule)
        assert found.name == submodule.parameter_name
        on_disk = found.tensor.read()
        assert torch.equal(found.layout.take(on_disk), submodule.weight())
        found.layout.put(on_disk, torch.zeros(submodule.shape))
        assert int((on_disk == 0).sum()) == submodule.shape[0] * submodule.shape[1]


def test_experts_under_another_name_are_found_by_number_shape_and_values(tmp_path: Path) -> None:
    model = make_model("mixtral")
    experts = model.model.layers[2].mlp.experts
    stored = {"input_linear.weight": experts.gate_up_proj, "output_linear.weight": experts.down_proj}
    folded = {f"model.layers.2.block_sparse_moe.{name}": one.detach().clone() for name, one in stored.items()}
    folded["model.layers.1.block_sparse_moe.input_linear.weight"] = experts.gate_up_proj.detach().clone()
    save_file(folded, tmp_path / "model.safetensors")
    names = StoredNames(stored_tensors(tmp_path))
    found = [names.find(one).name for one in find_anatomy(model).of_layer(2) if one.expert == 3]
    assert found == ["model.layers.2.block_sparse_moe.input_linear.weight"] * 2 + [
        "model.layers.2.block_sparse_moe.output_linear.weight"
    ]
    with pytest.raises(InputError, match="cannot be written back"):
        names.find(next(one for one in find_anatomy(model).of_layer(0) if one.expert == 0))
