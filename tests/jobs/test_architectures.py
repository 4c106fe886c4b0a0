"""Every architecture of docs/architectures.md: pruned, saved, reloaded, compared with slow code, asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.architectures import ARCHITECTURES
from helpers.fixture_types import Make
from helpers.slow_reference import load, pruned_state
from helpers.tiny_models import make_model
from safetensors.torch import load_file

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.editing.edits import PruningEdit, apply_edits
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts, render
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.progress import SilentReporter, ignore
from prosafeprune.prompts import PromptClass

LAYERS, RANK, STRENGTH = (1, 2), 4, 0.8
CPU = torch.device("cpu")


@pytest.fixture
def prompts(prompt_files: dict[str, str]) -> dict[str, list[str]]:
    return {name: [json.loads(line)["prompt"] for line in Path(file).open()] for name, file in prompt_files.items()}


def loaded(folder: Path) -> LoadedModel:
    return load_model(folder, "tiny", SilentReporter(), device="cpu")


def edits_of(model: LoadedModel, prompts: dict[str, list[str]], layers: tuple[int, ...] = LAYERS) -> list[PruningEdit]:
    texts, rows = [], {}
    for name, of_class in prompts.items():
        rows[PromptClass(name)] = range(len(texts), len(texts) + len(of_class))
        texts += of_class
    anatomy = find_anatomy(model.model)
    encoded = encode_prompts(model.tokenizer, texts)
    tail = Pooling.TAIL
    inputs = collect_pooled_inputs(model.model, anatomy, encoded, [tail], layers, BatchSize(7, CPU), ignore)[tail]
    plan = Plan(layers=layers, rank=RANK, strength=STRENGTH, pooling=tail)
    return make_edits(anatomy, plan, inputs, rows, ignore)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pruned_saved_reloaded_and_answering(
    architecture: str, checkpoint: Make, prompts: dict[str, list[str]], tmp_path: Path
) -> None:
    source, output = checkpoint(architecture), tmp_path / "out"
    model = loaded(source)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    edits = edits_of(model, prompts)
    tensors = EditedTensors(source, locate_tensors(source, [edit.submodule for edit in edits]), edits)
    output.mkdir()
    tensors.write(output, ignore)

    stem = find_anatomy(model.model).layers_name
    expected = pruned_state(source, prompts, LAYERS, RANK, STRENGTH, stem)
    reloaded = load(output)
    original = dict(load(source).named_parameters())
    for name, parameter in reloaded.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.detach().double(), expected[name], atol=1e-4, rtol=1e-3, msg=name)
            assert not torch.equal(parameter, original[name]), name
        else:
            assert torch.equal(parameter, original[name]), name
    stored = [load_file(folder / "model.safetensors") for folder in (source, output)]
    assert list(stored[0]) == list(stored[1])
    assert {name for name in stored[0] if not torch.equal(stored[0][name], stored[1][name])} == set(tensors.names)

    with apply_edits(edits):
        assert any(not torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    tensors.apply_in_memory(ignore)
    in_memory = dict(model.model.named_parameters())
    assert all(torch.equal(in_memory[name], parameter) for name, parameter in loaded(output).model.named_parameters())
    assert_answers_as_plain_generate(loaded(output))


def assert_answers_as_plain_generate(model: LoadedModel) -> None:
    prompts = ["Hi", "How do I bake bread?", "Tell me of the sea"]
    answers = dict(LocalGenerator(model, 3).answer(prompts, Decoding(max_new_tokens=6)))
    for place, prompt in enumerate(prompts):
        ids = model.tokenizer(render(model.tokenizer, prompt), add_special_tokens=False, return_tensors="pt")
        whole = model.model.generate(**ids, max_new_tokens=6, do_sample=False, eos_token_id=model.end_ids)
        text = model.tokenizer.decode(whole[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert answers[place].text == text


ORDER = [
    "q",
    "q_a_proj",
    "q_b_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "k",
    "v",
    "output_gate",
    "o",
    "gate",
    "up",
    "down",
    "per_layer_input_gate",
    "per_layer_projection",
]


def row_of(architecture: str) -> tuple[str, str]:
    """Return what the table of docs/architectures.md must say is found in an architecture, and what is left alone."""
    anatomy = find_anatomy(make_model(architecture))
    kinds = {None: set(), 0: set()}
    for submodule in anatomy.submodules:
        kinds.setdefault(submodule.expert, set()).add(submodule.kind)
    found, of_expert = (" ".join(sorted(kinds[expert], key=ORDER.index)) for expert in (None, 0))
    return found + (f"; of each expert {of_expert}" if of_expert else ""), ", ".join(
        f"`{name}` ({reason.value})" for name, reason in anatomy.skipped.items()
    ) or "-"


def test_the_table_in_the_docs_is_what_is_tested_here() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:3] == "| `"]
    assert [row[0].strip("`") for row in rows] == list(ARCHITECTURES)
    for name, _, found, left_alone in rows:
        assert (found, left_alone) == row_of(name.strip("`")), name
