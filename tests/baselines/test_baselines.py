"""Each method against a slow, literal implementation: token for token in float32, alone and in batches."""

from __future__ import annotations

import helpers.slow_baselines as slow
import pytest
import torch
from helpers.agreement import scan_agrees, surgical_agrees
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
from helpers.tiny_models import REQUIRED, make_model, make_tokenizer

from prosafeprune.baselines.method import FittedParts, Method
from prosafeprune.baselines.prompting import Prompting
from prosafeprune.baselines.prosafeprune import PromptedProSafePrune, ProSafePrune
from prosafeprune.baselines.published_prompts import SELF_CD_SAFETY
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.self_cd import ContrastPromptBatches, SelfCd
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.editing.edits import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import encode_prompts, render
from prosafeprune.model.residual_stream import writers
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.helpful_prompt import HELPFULNESS

ARCHITECTURES = [*REQUIRED, "falcon", "gpt_neox"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_system_prompt_stands_before_each_prompt(architecture: str) -> None:
    tiny = loaded(architecture)
    expected = [slow.plain(tiny, prompt, TOKENS, HELPFULNESS) for prompt in PROMPTS]
    same_in_batches(tiny, Prompting(strategy="helpful"), FittedParts(), expected)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_self_cd_takes_the_difference_away(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.generation.prefill.GROUP", 2)
    tiny = loaded(architecture)
    expected = [slow.self_cd(tiny, prompt, TOKENS, 2.5, SELF_CD_SAFETY) for prompt in PROMPTS]
    same_in_batches(tiny, SelfCd(), FittedParts(), expected)


def test_self_cd_reads_both_prompts_in_one_pass() -> None:
    tiny = loaded("llama", [])
    shapes: list[tuple[int, int]] = []
    tiny.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    texts(tiny, SelfCd(), FittedParts(), 5, tokens=4)
    assert shapes[-3:] == [(10, 1)] * 3


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_self_cd_at_its_ends_is_one_of_its_branches(ratio: float) -> None:
    tiny = loaded("qwen2")
    stress = f"{SELF_CD_SAFETY} " if ratio == 0 else ""
    branch = answer_all(
        LocalGenerator(tiny, 5), [stress + prompt for prompt in PROMPTS], Decoding(max_new_tokens=TOKENS)
    )
    assert texts(tiny, SelfCd(ratio=ratio), FittedParts(), 5) == [answer.text for answer in branch]


def test_self_cd_s_branches_differ_by_the_stress_alone() -> None:
    # A system prompt that the template writes by itself must stand in both, or it would be what is taken away.
    tiny = loaded("llama")
    tiny.tokenizer.chat_template = "System: Be Tiny. " + tiny.tokenizer.chat_template
    reading = ContrastPromptBatches(tiny, ["Hi"], TOKENS, 2.5, SELF_CD_SAFETY)
    stressed, plain = (tiny.tokenizer.decode(branch.ids[0]) for branch in (reading.stressed, reading.plain))
    assert plain.startswith("System: Be Tiny.")
    assert stressed == plain.replace("Hi", f"{SELF_CD_SAFETY} Hi")


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scan_steers_each_prompt_by_its_class(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.generation.prefill.GROUP", 2)
    scan_agrees(loaded(architecture))


def test_scan_treats_equal_prompts_alike() -> None:
    # All tokens but the last are then the shared prefix, which must end before anything is steered.
    tiny = loaded("llama")
    method = Scan(first_layer=0, end_layer=3)
    fitted = method.fit(fit_context(tiny))
    (alone,) = answer_all(method.generator(tiny, 1, fitted), PROMPTS[:1], Decoding(max_new_tokens=TOKENS))
    twice = answer_all(method.generator(tiny, 2, fitted), PROMPTS[:1] * 2, Decoding(max_new_tokens=TOKENS))
    assert twice == [alone, alone]


def test_scan_s_layers_follow_the_size_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = loaded("llama")
    for parameters, layers, expected in (
        (7.6e9, 28, (10, 20)),
        (13e9, 40, (16, 26)),
        (1.5e9, 28, (9, 18)),
        (70e9, 80, (25, 50)),
        (1e5, 3, (1, 2)),
    ):
        monkeypatch.setattr(tiny.model, "num_parameters", lambda parameters=parameters: int(parameters))
        assert Scan().layers(tiny, layers) == expected
    with pytest.raises(InputError, match="layers 2 to 8"):
        Scan(first_layer=2, end_layer=9).layers(tiny, 3)


PARTS = {
    "llama": ("self_attn", "mlp"),
    "qwen2": ("self_attn", "mlp"),
    "gemma3": ("self_attn", "mlp"),
    "phi3": ("self_attn", "mlp"),
    "gpt2": ("attn", "mlp"),
    "falcon": ("self_attention", "mlp"),
    "gpt_neox": ("attention", "mlp"),
    "stablelm": ("self_attn", "mlp"),
    "mixtral": ("self_attn", "mlp"),
    "qwen2_moe": ("self_attn", "mlp"),
}


@pytest.mark.parametrize("architecture", PARTS)
def test_what_writes_into_the_stream_is_attention_and_mlp(architecture: str) -> None:
    anatomy = find_anatomy(make_model(architecture))
    expected = {getattr(layer, name) for layer in anatomy.layers for name in PARTS[architecture]}
    assert set(writers(anatomy)) == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_surgical_ablates_its_direction_everywhere(architecture: str) -> None:
    tiny = loaded(architecture)
    layers = find_anatomy(tiny.model).layers
    surgical_agrees(tiny, [getattr(layer, name) for layer in layers for name in PARTS[architecture]])


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("tight", [True, False])
def test_surgical_chooses_the_direction_that_the_published_rule_chooses(architecture: str, tight: bool) -> None:
    tiny = loaded(architecture)
    given = fit_context(tiny)
    anatomy = given.anatomy
    layers = list(anatomy.layers)
    parts = [getattr(layer, name) for layer in layers for name in PARTS[architecture]]
    # What the tiny template writes behind the user's words, and the one byte that refusals of these models begin with.
    positions = len(["</s>", "\n", "<|assistant|>"])
    refusal = [int(tiny.tokenizer.convert_tokens_to_ids("I"))]
    candidates = slow.surgical_candidates(tiny, HARMFUL, PSEUDO, BENIGN, positions, 1.0)
    pseudo, benign = given.validation[PromptClass.PSEUDO_HARMFUL].texts, given.validation[PromptClass.BENIGN].texts
    before = [slow.last_logits(tiny, slow.ids_of(tiny, one)).double().softmax(-1) for one in benign]
    found = []
    for position in range(positions):
        for layer in range(int(3 * 0.8)):
            if not candidates[position, layer].any():
                continue  # published: 0 / 0, and dropped as not a number
            with slow.without(layers, parts, candidates[position, layer].float()):
                score = sum(slow.refusal_score(tiny, one, refusal) for one in pseudo) / len(pseudo)
                moved = slow.divergence(tiny, benign, before)
            found.append((score, moved, position - positions, layer))
    ordered = sorted(one[1] for one in found)
    allowed = sum(ordered[:2]) / 2 if tight else 10.0
    score, moved, position, layer = min(one for one in found if one[1] <= allowed)
    fitted = Surgical(divergence=allowed).fit(given)
    assert (fitted.facts["position"], fitted.facts["layer"]) == (position, layer)
    assert fitted.facts["refusal_score"] == pytest.approx(score, abs=1e-4)
    assert fitted.facts["divergence"] == pytest.approx(moved, abs=1e-4)
    expected = candidates[position, layer].float()
    torch.testing.assert_close(fitted.tensors["direction"], expected, atol=1e-4, rtol=1e-3)


def test_surgical_is_blind_to_true_refusal() -> None:
    tiny = loaded("llama")
    fitted = Surgical(divergence=10.0).fit(fit_context(tiny))
    means = [
        torch.stack([slow.states(tiny, slow.ids_of(tiny, text))[:-1, fitted.facts["position"]] for text in given])
        for given in (HARMFUL, BENIGN)
    ]
    true_refusal = (means[0].mean(0) - means[1].mean(0))[fitted.facts["layer"]]
    cosine = torch.nn.functional.cosine_similarity(true_refusal, fitted.tensors["direction"], dim=0)
    assert abs(float(cosine)) < 1e-4


def test_surgical_says_when_nothing_is_within_the_divergence() -> None:
    with pytest.raises(InputError, match="moves the answers to benign prompts"):
        Surgical(divergence=1e-12).fit(fit_context(loaded("llama")))  # the embeddings of its template differ in nothing


@pytest.mark.parametrize("architecture", REQUIRED)
def test_prosafeprune_answers_as_the_pruned_model_and_undoes_it(architecture: str) -> None:
    tiny = loaded(architecture)
    method = ProSafePrune(plan=Plan(layers=(0, 2), rank=2, strength=(1.0, 0.5)))
    fitted = method.fit(fit_context(tiny))
    with apply_edits(method.edits(tiny, fitted)):
        expected = [slow.plain(tiny, prompt, TOKENS) for prompt in PROMPTS]
    same_in_batches(tiny, method, fitted, expected)


METHODS: list[Method] = [
    Prompting(strategy="few-shot"),
    SelfCd(),
    Scan(first_layer=0, end_layer=3),
    Surgical(divergence=10.0),
    ProSafePrune(plan=Plan(layers=(1,), rank=2)),
]


def test_prompting_and_pruning_together_is_the_prompt_before_the_pruned_model() -> None:
    tiny = loaded("llama")
    method = PromptedProSafePrune(plan=Plan(layers=(0, 2), rank=2, strength=1.0))
    fitted = method.fit(fit_context(tiny))
    together = texts(tiny, method, fitted, 4)
    with apply_edits(method.edits(tiny, fitted)):
        assert together == texts(tiny, Prompting(system=method.system), FittedParts(), 4)
    assert together != texts(tiny, Prompting(strategy="helpful"), FittedParts(), 4)
    assert together != texts(tiny, ProSafePrune(plan=method.plan), fitted, 4)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("stopped", [False, True])
def test_the_model_is_left_as_it_was(method: Method, stopped: bool) -> None:
    with left_as_it_was() as tiny:
        fitted = method.fit(fit_context(tiny))
        if stopped:
            begun = method.generator(tiny, 1, fitted).answer(PROMPTS, Decoding(max_new_tokens=2))
            next(begun)
            begun.close()
        else:
            texts(tiny, method, fitted, 5)


@pytest.mark.parametrize("refusing", [True, False])
def test_without_a_system_role_its_words_stand_before_the_user_s(refusing: bool) -> None:
    tokenizer = make_tokenizer()
    first = "{% for m in messages %}{% if m['role'] == 'system' %}"
    first += "{{ raise_exception('System role not supported') }}" if refusing else ""
    rest = "{% else %}<|user|>{{ m['content'] | trim }}</s>{% endif %}{% endfor %}<|assistant|>"
    tokenizer.chat_template = first + rest
    assert render(tokenizer, "Hi", "Be kind.") == "<|user|>Be kind.\n\nHi</s><|assistant|>"
    (encoded,) = encode_prompts(tokenizer, ["Hi"], "Be kind.")
    assert tokenizer.decode(encoded.ids[encoded.user_start : encoded.user_end]) == "Hi"
