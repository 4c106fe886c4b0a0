"""The training methods against slow, literal implementations, in float32: losses, masks, targets, what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
import torch
from helpers.baseline_runs import PROMPTS, TOKENS, fit_context, loaded, texts

from prosafeprune.baselines.actor import Actor, middle_layer
from prosafeprune.baselines.low_rank import factor_tensors, stored_edits
from prosafeprune.baselines.method import FitContext, FittedParts, Method
from prosafeprune.baselines.prompting import Default
from prosafeprune.baselines.safe_patching import OPENINGS, SafePatching, snip_scores, top_entries
from prosafeprune.baselines.sft import Sft
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.errors import NotApplicableError
from prosafeprune.generation import Decoding
from prosafeprune.judge import AnswerClass, Exchange, Verdict
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.training.examples import Example, make_examples
from prosafeprune.training.loop import Tuning, train
from prosafeprune.training.lora import lora, trainable_matrices

ARCHITECTURES = ["llama", "gemma3", "phi3", "gpt2"]
BATCH, RATE = 5, 1e-2


class KindJudge:
    """Calls answers to harmful prompts refusals and all others compliance, but for those it is to drop."""

    name = "kind"

    def __init__(self, dropped: Sequence[str] = ()) -> None:
        self.dropped = dropped

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        harmful = set(fit_context(loaded("llama")).calibration[PromptClass.HARMFUL].texts)
        kind = {True: AnswerClass.FULL_REFUSAL, False: AnswerClass.FULL_COMPLIANCE}
        return [
            Verdict(AnswerClass.PARTIAL_REFUSAL if one.prompt in self.dropped else kind[one.prompt in harmful], "")
            for one in exchanges
        ]


@pytest.fixture
def kind_judge(monkeypatch: pytest.MonkeyPatch) -> KindJudge:
    judge = KindJudge()
    monkeypatch.setattr("prosafeprune.judge.builtin.BuiltinJudge", lambda: judge)
    monkeypatch.setattr("prosafeprune.judge.judging.broken_reason", lambda prompt, answer: "")
    return judge


def matrices_of(tiny: LoadedModel) -> list[Submodule]:
    return trainable_matrices(fit_context(tiny).anatomy)


def assert_learned(fitted: FittedParts, expected: literal.Factors, first: literal.Factors) -> None:
    for name, (a, b) in expected.items():
        torch.testing.assert_close(fitted.tensors[f"{name}.a"], a, atol=2e-4, rtol=2e-3)
        torch.testing.assert_close(fitted.tensors[f"{name}.b"], b, atol=2e-4, rtol=2e-3)
    assert set(fitted.tensors) == {f"{name}.{side}" for name in expected for side in "ab"}
    assert not any(torch.equal(first[name][1], pair[1]) for name, pair in expected.items())


# SFT


def literal_pairs(tiny: LoadedModel, tokens: int) -> list[tuple[list[int], list[int]]]:
    """Benign, harmful, pseudo-harmful prompts with the model's own greedy answers, the last under a system prompt."""
    given, found = fit_context(tiny).calibration, []
    for one in PromptClass:
        for text in given[one].texts:
            helpful = "You are an assistant that always prioritizes helpfulness. That is, you always give answers to "
            system = helpful + "any user queries." if one is PromptClass.PSEUDO_HARMFUL else None
            prompt, answer = slow.ids_of(tiny, text, system), []
            ends = False
            for _ in range(tokens):
                token = int(slow.last_logits(tiny, prompt + answer).argmax())
                if token in tiny.end_ids:
                    ends = True
                    break
                answer.append(token)
            said = str(tiny.tokenizer.decode(answer, skip_special_tokens=True)).strip()
            ids = list(tiny.tokenizer(said, add_special_tokens=False)["input_ids"])
            found.append((slow.ids_of(tiny, text), (ids + tiny.end_ids[:1] * ends)[:tokens]))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sft_is_adam_on_the_answers_tokens(architecture: str, kind_judge: KindJudge) -> None:
    tiny = loaded(architecture)
    method = Sft(rank=3, epochs=2, examples_at_once=BATCH, learning_rate=RATE, answer_tokens=7)
    first = literal.first_factors(tiny, matrices_of(tiny), rank=3, seed=0)
    expected, losses = literal.adam(
        first,
        literal_pairs(tiny, 7),
        lambda factors, batch: literal.nats_per_token(tiny, factors, batch),
        epochs=2,
        at_once=BATCH,
        rate=RATE,
        seed=0,
    )
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 4, "pseudo_harmful": 4}
    assert fitted.facts["losses"] == pytest.approx(losses, rel=2e-3, abs=1e-3)
    assert_learned(fitted, expected, first)


def test_sft_trains_only_on_answers_of_the_right_kind(kind_judge: KindJudge) -> None:
    tiny = loaded("llama")
    given = fit_context(tiny).calibration
    kind_judge.dropped = [given[PromptClass.HARMFUL].texts[1]]
    with pytest.raises(
        NotApplicableError, match=r"3 of the model's 4 own answers to harmful prompts are a full refusal"
    ):
        Sft().fit(fit_context(tiny))
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("prosafeprune.baselines.own_answers.FEWEST", 2)
        fitted = Sft(epochs=1, answer_tokens=4, rank=2).fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 3, "pseudo_harmful": 4}


def test_sft_takes_answers_of_the_user_s(kind_judge: KindJudge, tmp_path: Path) -> None:
    tiny, data = loaded("llama"), tmp_path / "false_reject.jsonl"
    row = '{"prompt": "Slay a typo", "cot_response": "<think>no</think>", "instruct_response": "Delete it.", "id": 3}\n'
    data.write_text(row)
    method = Sft(epochs=1, rank=2, answer_tokens=6, data=data, examples_at_once=9, learning_rate=RATE)
    assert [one.texts for one in method.further_prompts()] == [["Slay a typo"]]
    theirs = list(tiny.tokenizer("Delete it.", add_special_tokens=False)["input_ids"])
    pairs = [*literal_pairs(tiny, 6)[:8], (slow.ids_of(tiny, "Slay a typo"), theirs[:6])]
    first = literal.first_factors(tiny, matrices_of(tiny), rank=2, seed=0)
    expected, losses = literal.adam(
        first,
        pairs,
        lambda factors, batch: literal.nats_per_token(tiny, factors, batch),
        epochs=1,
        at_once=9,
        rate=RATE,
        seed=0,
    )
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["losses"] == pytest.approx(losses, rel=1e-3)
    assert_learned(fitted, expected, first)
    settings = method.describe()
    assert "data" not in settings and len(settings["data_sha256"]) == 64
    data.write_text(row.replace("Delete", "Keep"))
    assert Sft(data=data).data_sha256 != settings["data_sha256"]


# ACTOR


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_actor_shifts_the_states_of_one_layer(architecture: str, alpha: float) -> None:
    tiny, layer = loaded(architecture), 1
    given = fit_context(tiny).calibration
    prompts = [(slow.ids_of(tiny, text), one) for one in PromptClass for text in given[one].texts]
    directions = [torch.empty(0)]

    def find(factors: literal.Factors) -> None:
        with torch.no_grad():
            states = {
                one: torch.stack(
                    [literal.last_state(tiny, factors, ids, layer) for ids, kind in prompts if kind is one]
                )
                for one in PromptClass
            }
        directions[0] = states[PromptClass.HARMFUL].mean(dim=0) - states[PromptClass.BENIGN].mean(dim=0)

    def loss(factors: literal.Factors, batch: Sequence[Any]) -> torch.Tensor:
        terms = []
        for ids, kind in batch:
            state = literal.last_state(tiny, factors, ids, layer)
            part = alpha * literal.projected(state.detach(), directions[0])
            target = state.detach() + part if kind is PromptClass.HARMFUL else state.detach() - part
            terms.append(1 - state @ target / (state.norm() * target.norm()))
        return torch.stack(terms).mean()

    matrices = [one for one in matrices_of(tiny) if one.layer == layer]
    first = literal.first_factors(tiny, matrices, rank=2, seed=0)
    expected, losses = literal.adam(first, prompts, loss, epochs=3, at_once=BATCH, rate=RATE, seed=0, before_epoch=find)
    method = Actor(alpha=alpha, layer=layer, rank=2, examples_at_once=BATCH, learning_rate=RATE)
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["losses"] == pytest.approx(losses, rel=1e-2, abs=1e-5)
    assert_learned(fitted, expected, first)


def test_actor_takes_the_middle_layer_that_separates_best() -> None:
    tiny = loaded("llama")
    context = fit_context(tiny)
    prompts = Actor()._prompts(context)
    assert middle_layer(context, prompts) == 1  # of three layers, the middle third is one
    from sklearn.metrics import silhouette_score

    class Six:
        num_layers = 6

    states = torch.randn(12, 7, 1, 8, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitContext, "anatomy", Six())
        patch.setattr("prosafeprune.baselines.actor.hidden_states", lambda *_: states)
        labels = [one.prompt_class.value for one in prompts]
        scores = {layer: silhouette_score(states[:, layer + 1, 0].numpy(), labels) for layer in (2, 3)}
        assert middle_layer(context, prompts) == max(scores, key=lambda layer: scores[layer])


# Safety Patching


def test_snip_scores_are_weight_times_numerical_gradient() -> None:
    tiny = loaded("llama")
    tiny.model.double()
    matrices = matrices_of(tiny)
    examples = make_examples(tiny, PROMPTS, OPENINGS, [False] * 3)
    scores = dict(snip_scores(tiny, matrices, examples, at_once=2))
    pairs = [(one.prompt, one.answer) for one in examples]
    batches = [pairs[start : start + 2] for start in (0, 2, 4)]
    for matrix in (matrices[0], matrices[-1]):
        stored = matrix.stored
        for row, column in ((0, 0), (3, 5), (17, 2)):
            found = []
            for step in (1e-2, -1e-2):
                stored[row, column] += step
                with torch.no_grad():
                    found.append(sum(float(literal.nats_per_token(tiny, {}, batch)) for batch in batches) / 3)
                stored[row, column] -= step
            gradient = (found[0] - found[1]) / 2e-2  # the norms run in float32, so smaller steps drown in noise
            expected = abs(float(stored[row, column]) * gradient)
            score = float(scores[matrix.name][row * matrix.shape[1] + column])
            assert score == pytest.approx(expected, rel=2e-2, abs=1e-6)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_safe_patching_adds_what_only_one_patch_needs(architecture: str) -> None:
    tiny = loaded(architecture)
    method = SafePatching(
        rank=2,
        examples_at_once=4,
        kept=0.5,
        top_safety=0.4,
        top_compliance=0.25,
        weights=(2.0, 3.0),
        learning_rate=RATE,
    )
    matrices, given = matrices_of(tiny), fit_context(tiny).calibration[PromptClass.HARMFUL].texts
    openings = [list(tiny.tokenizer(one, add_special_tokens=False)["input_ids"]) for one in OPENINGS]
    pairs = [(slow.ids_of(tiny, text), openings[i % 3]) for i, text in enumerate(given)]
    first = literal.first_factors(tiny, matrices, rank=2, seed=0)
    deltas, tops = [], []
    for sign, share in ((-1, 0.4), (1, 0.25)):
        factors, _ = literal.adam(
            first,
            pairs,
            lambda factors, batch, sign=sign: sign * literal.nats_per_token(tiny, factors, batch),
            epochs=1,
            at_once=4,
            rate=RATE,
            seed=0,
        )
        deltas.append({name: b @ a for name, (a, b) in factors.items()})
        dense = {name: one.detach().requires_grad_() for name, one in literal.weights(tiny, factors).items()}
        terms = [
            torch.func.functional_call(tiny.model, dense, args=(), kwargs={"input_ids": torch.tensor([[*p, *a]])})
            .logits[0, len(p) - 1 : -1]
            .log_softmax(-1)[range(len(a)), a]
            for p, a in pairs
        ]
        (-torch.cat(terms).mean()).backward()
        top = {}
        for matrix in matrices:
            weight = dense[f"{matrix.name}.weight"]
            score = (weight * weight.grad).abs().detach()
            score = score.T if matrix.transposed else score
            flat = score.flatten().tolist()
            ranked = sorted(range(len(flat)), key=lambda i, flat=flat: -flat[i])
            top[matrix.name] = set(ranked[: round(share * score.numel())])
        tops.append(top)
    fitted = method.fit(fit_context(tiny))
    counts = [0, 0]
    for matrix in matrices:
        index, value = fitted.tensors[f"{matrix.name}.index"].tolist(), fitted.tensors[f"{matrix.name}.value"]
        only = [tops[0][matrix.name] - tops[1][matrix.name], tops[1][matrix.name] - tops[0][matrix.name]]
        wrong = [i for i in index if i not in only[0] | only[1]]
        assert len(wrong) <= 0.01 * len(index)  # entries whose scores are equal but for rounding
        for i, found in zip(index, value.tolist(), strict=True):
            sides = [side for side in (0, 1) if i in only[side]]
            if sides:
                expected = (2.0, 3.0)[sides[0]] * float(deltas[sides[0]][matrix.name].flatten()[i])
                assert found == pytest.approx(expected, abs=2e-3)
                counts[sides[0]] += 1
    for side in (0, 1):
        possible = sum(len(tops[side][one.name] - tops[1 - side][one.name]) for one in matrices)
        assert 0.4 * possible < counts[side] < 0.6 * possible  # each is kept with probability 0.5
        assert fitted.facts["entries"][side] == pytest.approx(counts[side], rel=0.02)


def test_top_entries_are_the_highest() -> None:
    assert top_entries(torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5]), 0.4).tolist() == [False, False, True, False, True]


def test_openings_say_nothing() -> None:
    assert all(len(one.split()) <= 4 and one.split()[-1] == "is" for one in OPENINGS)


# All of them

METHODS: list[Method] = [
    Sft(epochs=1, answer_tokens=4, rank=2, learning_rate=0.05),
    Actor(alpha=1.0, layer=1, rank=2, learning_rate=0.05),
    SafePatching(rank=2, weights=(3.0, 10.0), learning_rate=0.05, top_safety=0.4, top_compliance=0.3),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("size", [1, 5])
def test_the_trained_model_answers_and_nothing_stays(method: Method, size: int, kind_judge: KindJudge) -> None:
    tiny = loaded("qwen2")
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    modules = [type(module) for module in tiny.model.modules()]
    default = texts(tiny, Default(), FittedParts(), size)
    fitted = method.fit(fit_context(tiny))
    changed = texts(tiny, method, fitted, size)
    assert changed != default
    begun = method.generator(tiny, 1, fitted).answer(PROMPTS, Decoding(max_new_tokens=2))
    next(begun)
    begun.close()
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())
    assert [type(module) for module in tiny.model.modules()] == modules
    assert all(parameter.grad is None for parameter in tiny.model.parameters())
    assert texts(tiny, Default(), FittedParts(), size) == default
    assert all(
        torch.equal(value, fitted.tensors[name]) for name, value in method.fit(fit_context(tiny)).tensors.items()
    )


def test_low_rank_parts_are_added_to_the_weights() -> None:
    tiny = loaded("gpt2")
    with lora(tiny.model, matrices_of(tiny), 2, 0) as training:
        for parameter in training.parameters:
            torch.nn.init.normal_(parameter, std=0.1)
        edits = training.learned()
    tensors = factor_tensors(edits)
    factors = {one.submodule.name: [one.change.a, one.change.b] for one in edits}
    expected = literal.weights(tiny, factors)
    with apply_edits(stored_edits(tiny, tensors)):
        for name, weight in expected.items():
            torch.testing.assert_close(tiny.model.get_parameter(name).detach(), weight, atol=1e-6, rtol=1e-5)
        assert texts(tiny, Default(), FittedParts(), 5) == [slow.plain(tiny, one, TOKENS) for one in PROMPTS]


# Resuming


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_an_interrupted_training_resumes_to_the_same_end(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.training.loop.SAVE_SECONDS", 0.0)
    tiny, tuning = loaded("llama"), Tuning(epochs=2, batch_size=2, rank=2, learning_rate=RATE)
    examples = make_examples(tiny, PROMPTS, ["Yes.", "No."])
    from functools import partial

    from prosafeprune.training.examples import answer_loss

    def trained(file: Path | None, seen: list[int], halt: int | None = None) -> Any:
        def advance(count: int) -> None:
            seen.append(count)
            if len(seen) == halt:
                raise KeyboardInterrupt

        with lora(tiny.model, matrices_of(tiny), 2, 0) as training:
            steps = train(training.parameters, examples, partial(answer_loss, tiny), tuning, advance, saved_in=file)
            return steps, [one.detach().clone() for one in training.parameters]

    steps, expected = trained(None, [])
    assert len(steps) == 6
    file = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(file, [], stop)
    seen: list[int] = []
    again, found = trained(file, seen)
    assert again == steps
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
    assert sum(seen) == 10 and len(seen) == 6 - stop + 1  # those done count at once
    other, _ = trained(file, [], None)  # a finished one is only read
    assert other == steps
    file.write_bytes(b"no tensors")
    assert trained(file, [])[0] == steps


def test_an_interrupted_sft_asks_only_for_the_missing_answers(
    tmp_path: Path, kind_judge: KindJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, method = loaded("llama"), Sft(epochs=2, answer_tokens=4, rank=2)
    context = replace(fit_context(tiny, 1), folder=tmp_path)
    complete = method.fit(fit_context(tiny, 1))
    asked: list[str] = []
    from prosafeprune.files.line_store import LineStore

    add = LineStore.add

    def stopping(self: LineStore, repeat: int, prompt: str, **values: Any) -> None:
        add(self, repeat, prompt, **values)
        asked.append(prompt)
        if len(asked) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(LineStore, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        method.fit(context)
    resumed = method.fit(context)
    assert len(asked) == len(set(asked)) == 12
    assert resumed.facts == complete.facts
    assert all(torch.equal(value, complete.tensors[name]) for name, value in resumed.tensors.items())


def test_examples_of_cut_answers_have_no_end() -> None:
    tiny = loaded("llama")
    cut, ended = make_examples(tiny, ["A", "B"], ["x", "y"], [False, True])
    assert isinstance(cut, Example) and len(cut.answer) == 1
    assert ended.answer[1:] == tuple(tiny.end_ids[:1])
