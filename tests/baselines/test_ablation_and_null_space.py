"""Abliteration and null-space steering against slow, literal implementations."""

from __future__ import annotations

import helpers.slow_baselines as slow
import pytest
import torch
import transformers
from helpers.baseline_runs import (
    BENIGN,
    HARMFUL,
    PROMPTS,
    PSEUDO,
    TOKENS,
    fit_context,
    left_as_it_was,
    loaded,
    same_in_batches,
    texts,
)

from prosafeprune.baselines.abliteration import Abliteration, NormPreservingAbliteration
from prosafeprune.baselines.method import FittedParts, Method
from prosafeprune.baselines.null_space import NullSpace, null_space_reader
from prosafeprune.baselines.prompting import Default
from prosafeprune.errors import NotApplicableError
from prosafeprune.generation import Decoding
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass

WRITERS = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "gemma3": ("self_attn.o_proj", "mlp.down_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "falcon": ("self_attention.dense", "mlp.dense_4h_to_h"),
}


def unit(seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(48, generator=torch.Generator().manual_seed(seed)), dim=0)


def ablate_literally(tiny: LoadedModel, architecture: str, direction: torch.Tensor, keep_norms: bool) -> None:
    """Change the weights for good, column by column: a column is what one input writes."""
    for layer in find_anatomy(tiny.model).layers:
        for name in WRITERS[architecture]:
            weight = layer.get_submodule(name).weight.data
            columns = weight if architecture == "gpt2" else weight.T  # GPT-2 stores inputs by row
            for i, column in enumerate(columns):
                left = column - float(column @ direction) * direction
                columns[i] = left * (float(column.norm()) / float(left.norm())) if keep_norms else left


@pytest.mark.long
@pytest.mark.parametrize("architecture", WRITERS)
@pytest.mark.parametrize("method", [Abliteration(), NormPreservingAbliteration()], ids=lambda method: method.name)
def test_abliteration_is_the_ablated_weights(architecture: str, method: Abliteration) -> None:
    tiny, direction = loaded(architecture), unit(3)
    default = texts(tiny, Default(), FittedParts(), 5)
    found = {size: texts(tiny, method, FittedParts({"direction": direction}), size) for size in (1, 5)}
    ablate_literally(tiny, architecture, direction, method.keep_norms)
    expected = [slow.plain(tiny, prompt, TOKENS) for prompt in PROMPTS]
    assert found == {1: expected, 5: expected}
    assert expected != default


def test_ablated_matrices_write_nothing_along_the_direction() -> None:
    from prosafeprune.baselines.abliteration import direction_edits

    tiny, direction = loaded("mixtral"), unit(1)
    for keep_norms in (False, True):
        edits = direction_edits(find_anatomy(tiny.model), direction, keep_norms)
        assert any(edit.submodule.expert is not None for edit in edits)
        for edit in edits:
            weight = edit.submodule.weight()
            found = edit.edited(weight)
            assert float((direction @ found).abs().max()) < 1e-5
            if keep_norms:
                torch.testing.assert_close(found.norm(dim=0), weight.norm(dim=0), atol=1e-5, rtol=1e-4)


def test_matrices_that_write_under_other_names_are_ablated_too() -> None:
    from prosafeprune.baselines.abliteration import direction_edits

    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.Lfm2Config(**sizes, vocab_size=300, block_ff_dim=80, layer_types=["conv", "full_attention"])
    anatomy = find_anatomy(transformers.AutoModelForCausalLM.from_config(config))
    found = {edit.submodule.module_name for edit in direction_edits(anatomy, unit(1), keep_norms=False)}
    writing = {0: ("conv.out_proj", "feed_forward.w2"), 1: ("self_attn.out_proj", "feed_forward.w2")}
    assert found == {f"model.layers.{layer}.{name}" for layer, names in writing.items() for name in names}


@pytest.mark.parametrize("kind", [Abliteration, NormPreservingAbliteration])
@pytest.mark.parametrize("tight", [True, False])
def test_abliteration_takes_the_direction_whose_edit_removes_refusals_most(
    tight: bool, kind: type[Abliteration]
) -> None:
    tiny, positions = loaded("llama"), 3
    given = fit_context(tiny)
    unchanged = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}

    def mean(prompts: list[str]) -> torch.Tensor:
        return torch.stack([slow.states(tiny, slow.ids_of(tiny, one))[:-1, -positions:] for one in prompts]).mean(dim=0)

    difference = (mean(HARMFUL) - mean(BENIGN)).transpose(0, 1)
    harmful, benign = (given.validation[one].texts for one in (PromptClass.HARMFUL, PromptClass.BENIGN))
    before = [slow.last_logits(tiny, slow.ids_of(tiny, one)).double().softmax(-1) for one in benign]
    refusal = [int(tiny.tokenizer.convert_tokens_to_ids("I"))]
    found = []
    for position in range(positions):
        for layer in range(2):  # the upper fifth of three layers has no candidates
            if float(difference[position, layer].norm()) < 1e-6:
                continue
            direction = difference[position, layer] / difference[position, layer].norm()
            ablate_literally(tiny, "llama", direction.float(), kind.keep_norms)
            score = sum(slow.refusal_score(tiny, one, refusal) for one in harmful) / len(harmful)
            found.append((score, slow.divergence(tiny, benign, before), position - positions, layer, direction))
            tiny.model.load_state_dict(unchanged)
    allowed = sum(sorted(one[1] for one in found)[:2]) / 2 if tight else 10.0
    score, moved, position, layer, direction = min((one for one in found if one[1] <= allowed), key=lambda one: one[0])
    fitted = kind(divergence=allowed).fit(given)
    assert (fitted.facts["position"], fitted.facts["layer"]) == (position, layer)
    assert fitted.facts["refusal_score"] == pytest.approx(score, abs=1e-4)
    assert fitted.facts["divergence"] == pytest.approx(moved, abs=1e-4)
    torch.testing.assert_close(fitted.tensors["direction"], direction, atol=1e-4, rtol=1e-3)


# Null space


def literal_map(
    kept: torch.Tensor, moved: torch.Tensor, target: torch.Tensor, ratio: float, ridge: float
) -> torch.Tensor:
    """``D (d, d)`` by the equation, with the projection from all singular vectors."""
    u, _, _ = torch.linalg.svd(kept, full_matrices=True)
    strongest = min(round((1 - ratio) * len(kept)), kept.shape[1])
    projection = torch.eye(len(kept)) - sum(torch.outer(u[:, i], u[:, i]) for i in range(strongest))
    x = projection @ moved
    gamma = ridge * float(sum((x[:, i] ** 2).sum() for i in range(x.shape[1])) / x.shape[1])
    targets = target[:, None].expand(-1, moved.shape[1])
    return targets @ x.T @ torch.linalg.inv(x @ x.T + gamma * torch.eye(len(kept))) @ projection


def random_states(count: int, seed: int) -> torch.Tensor:
    return torch.randn(20, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("kept", [6, 14])
def test_the_map_has_rank_one(kept: int, ridge: float) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        benign, pseudo, target = random_states(kept, 1), random_states(5, 2), random_states(1, 3)[:, 0]
        expected = literal_map(benign, pseudo, target, 0.5, ridge)
        reader = null_space_reader(benign, pseudo, 0.5, ridge)
        torch.testing.assert_close(torch.outer(target, reader), expected, atol=1e-9, rtol=1e-6)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_reader_is_zero_on_what_is_kept_and_one_on_what_is_moved() -> None:
    kept, moved = random_states(8, 1), random_states(5, 2)
    reader = null_space_reader(kept, moved, 0.5, 1e-6)
    assert float((reader @ kept).abs().max()) < 1e-9
    torch.testing.assert_close(reader @ moved, torch.ones(5, dtype=torch.float64), atol=1e-4, rtol=0)
    # of more states than it may leave out, it is blind to the strongest directions
    many = random_states(18, 4)
    strongest = torch.linalg.svd(many).U[:, :10]
    assert float((null_space_reader(many, moved, 0.5, 1e-6) @ strongest).abs().max()) < 1e-9


def test_no_direction_left_is_said() -> None:
    kept = random_states(8, 1)
    with pytest.raises(NotApplicableError, match="leave no direction"):
        null_space_reader(kept, torch.zeros_like(kept), 0.5, 0.1)


def steered_text(tiny: LoadedModel, prompt: str, layer: int, reader: torch.Tensor, shift: torch.Tensor) -> str:
    """The whole sequence again for each token: the shift is that of the prompt's last token, from there on."""
    ids = slow.ids_of(tiny, prompt)

    def change(_: int, states: torch.Tensor) -> torch.Tensor:
        amount = float(states[0, len(ids) - 1] @ reader)
        steered = (torch.arange(states.shape[1]) >= len(ids) - 1)[None, :, None]
        return states + steered * amount * shift

    with slow.wrapped([find_anatomy(tiny.model).layers[layer]], change):
        return slow.greedy(tiny, lambda written: slow.last_logits(tiny, ids + written), TOKENS)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "falcon"])
def test_null_space_shifts_each_prompt_by_its_own_state(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.generation.prefill.GROUP", 2)
    tiny = loaded(architecture)
    method = NullSpace(strength=30.0, ridge=0.1)
    fitted = method.fit(fit_context(tiny))
    assert (fitted.facts["first_layer"], fitted.facts["end_layer"]) == (0, 1)  # of three
    states = [torch.stack([slow.states(tiny, slow.ids_of(tiny, one))[1, -1] for one in each]).double().T
              for each in (BENIGN, HARMFUL, PSEUDO)]  # fmt: skip
    target = states[0].mean(dim=1) - states[1].mean(dim=1)
    expected = literal_map(torch.cat(states[:2], dim=1).float(), states[2].float(), target.float(), 0.5, 0.1)
    torch.testing.assert_close(
        torch.outer(fitted.tensors["targets"][0], fitted.tensors["readers"][0]), expected, atol=1e-4, rtol=1e-2
    )
    reader, shift = fitted.tensors["readers"][0], 30.0 * fitted.tensors["targets"][0]
    told = [steered_text(tiny, prompt, 0, reader, shift) for prompt in PROMPTS]
    same_in_batches(tiny, method, fitted, told)
    kept = [float(reader @ state) for state in torch.cat(states[:2], dim=1).T.float()]
    assert max(map(abs, kept)) < 1e-3


@pytest.mark.parametrize("method", [Abliteration(divergence=10.0), NullSpace(strength=1.0)], ids=lambda one: one.name)
@pytest.mark.parametrize("stopped", [False, True])
def test_the_model_is_left_as_it_was(method: Method, stopped: bool) -> None:
    with left_as_it_was() as tiny:
        begun = method.generator(tiny, 2, method.fit(fit_context(tiny))).answer(PROMPTS, Decoding(max_new_tokens=2))
        next(begun)
        if stopped:
            begun.close()
        else:
            assert len(list(begun)) == len(PROMPTS) - 1
