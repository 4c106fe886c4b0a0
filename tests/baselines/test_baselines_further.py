"""The published methods where it gets harder: experts, hybrids, towers, other templates, prompts that are left out."""

from __future__ import annotations

from typing import Any

import helpers.slow_baselines as slow
import pytest
import torch
from helpers.agreement import scan_agrees, surgical_agrees
from helpers.baseline_runs import PROMPTS, TOKENS, fit_context, loaded, same_in_batches

from prosafeprune.baselines import published_prompts as strings
from prosafeprune.baselines.abliteration import Abliteration
from prosafeprune.baselines.first_token_probabilities import FirstTokenProbabilities
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.baselines.scan import Scan, turn_end
from prosafeprune.baselines.self_cd import SelfCd
from prosafeprune.baselines.surgical import Surgical, refusal_tokens, template_tail
from prosafeprune.generation import Decoding
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.helpful_prompt import HELPFULNESS

FURTHER = ["mixtral", "qwen3_5", "gemma3_vision"]
"""Experts; layers with and without attention; a text tower beside a vision tower."""
INST = "{% for m in messages %}<s>[INST] {{ m['content'].strip() }} [/INST]{% endfor %}"
ENDS = list(range(150, 175))
"""Bytes that no template and no prompt here has."""
TOPICS = ["soup", "a long night by the sea", "maps", "how rivers bend", "chess", "old trains", "verbs", "bees and wax"]
TOPICS += ["paint", "clouds over the town", "a quiz", "bread", "wolves", "clay pots", "the moon", "ink"]
TOPICS += ["a violin", "tea", "snow on roofs", "dust", "a ladder", "whales", "corn", "stone walls and moss"]


# Tokens, alone and in batches


@pytest.mark.parametrize("architecture", FURTHER)
def test_self_cd_on_further_architectures(architecture: str) -> None:
    tiny = loaded(architecture)
    expected = [slow.self_cd(tiny, prompt, TOKENS, 2.5, strings.SELF_CD_SAFETY) for prompt in PROMPTS]
    same_in_batches(tiny, SelfCd(), FittedParts(), expected)


@pytest.mark.parametrize("architecture", FURTHER)
def test_scan_on_further_architectures(architecture: str) -> None:
    scan_agrees(loaded(architecture))


@pytest.mark.parametrize("architecture", FURTHER)
def test_surgical_on_further_architectures(architecture: str) -> None:
    tiny = loaded(architecture)
    layers = find_anatomy(tiny.model).layers
    mixers = [layer.self_attn if hasattr(layer, "self_attn") else layer.linear_attn for layer in layers]
    surgical_agrees(tiny, [*mixers, *(layer.mlp for layer in layers)])


@pytest.mark.parametrize("architecture", FURTHER)
@pytest.mark.parametrize("stopped", [False, True])
def test_further_models_are_left_as_they_were(architecture: str, stopped: bool) -> None:
    tiny = loaded(architecture)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    slow.states(tiny, [5, 6])  # when states are first asked for, transformers installs hooks that stay
    transformers_own = hooks(tiny)
    for method in (SelfCd(), Scan(first_layer=0, end_layer=3), Surgical(divergence=10.0)):
        answered = method.generator(tiny, 1, method.fit(fit_context(tiny))).answer(
            PROMPTS[:2], Decoding(max_new_tokens=2)
        )
        next(answered)
        if stopped:
            answered.close()
        else:
            assert len(list(answered)) == 1
        now = tiny.model.state_dict()
        assert now.keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in now.items())
        assert hooks(tiny) == transformers_own
        assert not any("forward" in module.__dict__ for module in tiny.model.modules())


def hooks(tiny: LoadedModel) -> list[tuple[list[Any], list[Any]]]:
    modules = tiny.model.modules()
    return [(list(one._forward_hooks.values()), list(one._forward_pre_hooks.values())) for one in modules]


# SCAN


def test_scan_where_no_token_ends_the_user_s_turn() -> None:
    tiny = loaded("llama", ENDS)
    tiny.tokenizer.chat_template = INST
    (prompt,) = encode_prompts(tiny.tokenizer, ["Hi"])
    assert tiny.tokenizer.decode(prompt.ids).endswith("[/INST]")
    assert turn_end(prompt, tiny.end_ids) == len(prompt) - 1
    scan_agrees(tiny)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "mixtral"])
@pytest.mark.parametrize("method", [Scan(first_layer=1, end_layer=3), Surgical(divergence=10.0)], ids=lambda m: m.name)
def test_what_is_learned_does_not_depend_on_the_batch(architecture: str, method: Method) -> None:
    tiny = loaded(architecture)
    alone, together = (method.fit(of_topics(tiny, size)) for size in (1, 16))
    assert alone.facts.keys() == together.facts.keys()
    for name, fact in alone.facts.items():
        assert fact == pytest.approx(together.facts[name], abs=2e-4), name
    assert alone.tensors.keys() == together.tensors.keys()
    for name, tensor in alone.tensors.items():
        torch.testing.assert_close(tensor, together.tensors[name], atol=1e-4, rtol=1e-3)


def of_topics(tiny: LoadedModel, batch_size: int = 4) -> FitContext:
    """Twenty-four prompts of each class, of many lengths."""
    openings = {PromptClass.HARMFUL: "Ruin", PromptClass.BENIGN: "Describe", PromptClass.PSEUDO_HARMFUL: "Kill for"}

    def sets(suffix: str) -> dict[PromptClass, PromptSet]:
        return {
            name: PromptSet(name, "", tuple(Prompt(f"{opening} {topic}{suffix}") for topic in TOPICS))
            for name, opening in openings.items()
        }

    return FitContext(tiny, sets(""), sets(" today"), batch_size, 0, SilentReporter())


# Surgical: which prompts count


@pytest.fixture
def undecided() -> LoadedModel:
    """A model that is about to say I to about half of the prompts, whatever their class."""
    tiny = loaded("llama", [])
    given = of_topics(tiny)
    prompts = [text for one in given.calibration.values() for text in one.texts]
    states = torch.stack([slow.states(tiny, slow.ids_of(tiny, text))[-1, -1] for text in prompts])
    mean = states.mean(dim=0)
    torch.manual_seed(1)
    across = torch.randn(48)
    across -= (across @ mean) / (mean @ mean) * mean
    with torch.no_grad():
        tiny.model.lm_head.weight[i_of(tiny)] = across * 40 / (states @ across).abs().mean()
    return tiny


def i_of(tiny: LoadedModel) -> int:
    return int(tiny.tokenizer.convert_tokens_to_ids("I"))


def test_surgical_counts_prompts_that_the_model_takes_as_expected(undecided: LoadedModel) -> None:
    given = of_topics(undecided)
    score = {
        text: slow.refusal_score(undecided, text, [i_of(undecided)])
        for one in given.calibration.values()
        for text in one.texts
    }
    of = {name: one.texts for name, one in given.calibration.items()}
    kept = {
        "harmful": [text for text in of[PromptClass.HARMFUL] if score[text] > 0],
        "pseudo_harmful": [text for text in of[PromptClass.PSEUDO_HARMFUL] if score[text] > 0],
        "benign": [text for text in of[PromptClass.BENIGN] if score[text] < 0],
    }
    assert all(8 <= len(one) < len(TOPICS) for one in kept.values())
    fitted = Surgical(divergence=1e9).fit(given)
    assert fitted.facts["prompts"] == {name: len(one) for name, one in kept.items()}
    place = fitted.facts["position"], fitted.facts["layer"]

    def direction(harmful: Any, pseudo: Any, benign: Any) -> torch.Tensor:
        return slow.surgical_candidates(undecided, harmful, pseudo, benign, 3, 1.0)[place].float()

    expected = direction(kept["harmful"], kept["pseudo_harmful"], kept["benign"])
    torch.testing.assert_close(fitted.tensors["direction"], expected, atol=1e-4, rtol=1e-3)
    every = direction(of[PromptClass.HARMFUL], of[PromptClass.PSEUDO_HARMFUL], of[PromptClass.BENIGN])
    assert float(every @ expected) < 0.99  # which prompts count does matter here


@pytest.mark.parametrize(("refused", "counted"), [(7, 24), (8, 8), (24, 24)])
def test_surgical_takes_all_prompts_when_too_few_count(
    refused: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = loaded("llama")
    told: list[str] = []
    monkeypatch.setattr("prosafeprune.progress.SilentReporter.warning", lambda _, text: told.append(text))
    scores = torch.tensor([1.0] * refused + [-1.0] * (24 - refused))
    monkeypatch.setattr(FirstTokenProbabilities, "refusal_scores", lambda self, prompts: scores)
    first_tokens = FirstTokenProbabilities(tiny, [0], BatchSize(4, tiny.device))
    for name, expected in ((PromptClass.HARMFUL, counted), (PromptClass.PSEUDO_HARMFUL, counted)):
        found = Surgical()._treated_as_expected(of_topics(tiny), name, first_tokens)
        assert len(found) == expected
        assert list(found) == of_topics(tiny).calibration[name].sample(24, 0).texts[:expected]
    assert len(told) == (2 if refused < 8 else 0)
    benign = Surgical()._treated_as_expected(of_topics(tiny), PromptClass.BENIGN, first_tokens)
    assert len(benign) == (24 - refused if refused < 24 else 24)


@pytest.mark.parametrize(("score", "warned"), [(-18.0, True), (-5.0, False)])
def test_a_direction_chosen_by_first_tokens_that_never_refuse_is_warned_of(
    score: float, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("prosafeprune.progress.SilentReporter.warning", lambda _, text: told.append(text))
    monkeypatch.setattr(
        FirstTokenProbabilities, "refusal_scores", lambda self, prompts: torch.full((len(prompts),), score)
    )
    Abliteration(divergence=1e9).fit(fit_context(loaded("llama")))
    expected = "Abliteration: the first token of no answer to harmful prompts likely begins a refusal"
    assert [text.startswith(expected) for text in told] == [True] * warned


@pytest.mark.parametrize(
    ("architecture", "words"), [("llama", "I"), ("gemma3", "I"), ("mixtral", "I"), ("qwen2", "IA"), ("qwen3_5", "IA")]
)
def test_refusals_begin_with_the_published_tokens(architecture: str, words: str) -> None:
    # Each byte is one token of the tiny tokenizer, so that "As" begins with "A".
    tiny = loaded(architecture)
    assert refusal_tokens(tiny) == sorted(tiny.tokenizer.convert_tokens_to_ids(list(words)))


@pytest.mark.parametrize(
    ("template", "behind"),
    [
        ("<|user|>{{ messages[0]['content'] }}</s>\n<|assistant|>", ["</s>", "\n", "<|assistant|>"]),
        ("[INST] {{ messages[0]['content'] }} [/INST]", list(" [/INST]")),
        ("{{ messages[0]['content'] }}<|assistant|>", ["<|assistant|>"]),
    ],
)
def test_the_template_s_tail_is_what_stands_behind_the_user_s_words(template: str, behind: list[str]) -> None:
    tiny = loaded("llama")
    tiny.tokenizer.chat_template = template
    assert template_tail(tiny) == len(behind)


# The published words


def test_published_words_are_as_published() -> None:
    assert strings.SELF_CD_SAFETY == (
        "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
        "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content."
    )
    assert HELPFULNESS == (
        "You are an assistant that always prioritizes helpfulness. "
        "That is, you always give answers to any user queries."
    )
    assert strings.SCAN_AGREEMENT == "Sure"
    assert strings.REFUSAL_BEGINNINGS == ("I",)
    assert strings.REFUSAL_BEGINNINGS_OF == {"qwen": ("I", "As")}
    assert (SelfCd().ratio, Scan().multiplier, Scan().threshold, Scan().anchors) == (2.5, 3.5, 0.75, 64)
    assert SelfCd().stress == strings.SELF_CD_SAFETY
