"""Safe patching against a slow, literal implementation in float32."""

from __future__ import annotations

import zlib

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
import torch
from helpers.baseline_runs import PROMPTS, fit_context, loaded
from helpers.training_runs import RATE, matrices_of

from prosafeprune.baselines.registry import make_method
from prosafeprune.baselines.safe_patching import OPENINGS, SafePatching, _Patch, snip_scores, top_entries
from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.prompts import PromptClass
from prosafeprune.training.answer_loss import make_examples


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
    deltas, tops, curves = [], [], []
    for sign, share in ((-1, 0.4), (1, 0.25)):
        factors, losses = literal.adam(
            first,
            pairs,
            lambda factors, batch, sign=sign: sign * literal.nats_per_token(tiny, factors, batch),
            epochs=1,
            at_once=4,
            rate=RATE,
            seed=0,
        )
        curves.append([sign * loss for loss in losses])
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
    assert list(fitted.facts["losses"]) == ["ascent (safety)", "descent (compliance)"]
    for found, expected in zip(fitted.facts["losses"].values(), curves, strict=True):
        assert found == pytest.approx(expected, rel=2e-3) and min(found) > 0
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


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_entries_are_kept_at_random_as_in_a_loop(share: float) -> None:
    matrices = matrices_of(loaded("llama"))[:2]
    draws = torch.Generator().manual_seed(5)
    patches = []
    for _ in range(2):  # for safety, and against over-safety
        changes = {
            one.name: LowRankChange(
                *(torch.randn(size, generator=draws) for size in ((one.shape[0], 2), (2, one.shape[1])))
            )
            for one in matrices
        }
        tops = {one.name: torch.rand(one.shape[0] * one.shape[1], generator=draws) < 0.4 for one in matrices}
        edits = {one.name: LowRankEdit(one, changes[one.name]) for one in matrices}
        patches.append(_Patch(edits, tops, []))
    for matrix in matrices:
        columns = matrix.shape[1]
        generator = torch.Generator().manual_seed(7 + zlib.crc32(matrix.name.encode()))
        found = SafePatching(kept=share)._entries(matrix, patches, 7)
        for side in (0, 1):
            own, other = patches[side], patches[1 - side]
            drawn = torch.rand(matrix.shape[0] * columns, generator=generator).tolist()
            change = own.edits[matrix.name].change
            expected = [
                i
                for i, number in enumerate(drawn)
                if number < share and own.tops[matrix.name][i] and not other.tops[matrix.name][i]
            ]
            assert found[side].index.tolist() == expected
            values = [float(change.b[i // columns] @ change.a[:, i % columns]) for i in expected]
            assert found[side].value.tolist() == pytest.approx(values, abs=1e-5)
            if share == 1.0:  # nothing is left to chance
                assert expected == (own.tops[matrix.name] & ~other.tops[matrix.name]).nonzero().flatten().tolist()


def test_top_entries_are_the_highest() -> None:
    assert top_entries(torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5]), 0.4).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("weights", ["0,1", "-1,1", "1,0", "1,-1", "1,11", "nan,1"])
def test_the_patch_against_refusals_is_not_fitted_alone(weights: str) -> None:
    with pytest.raises(ValueError, match="both must be positive|a finite number"):
        SafePatching(weights=weights)
    assert SafePatching(weights="1,10").weights == (1.0, 10.0)


def test_openings_say_nothing() -> None:
    assert all(len(one.split()) <= 4 and one.split()[-1] == "is" for one in OPENINGS)


# All of them


@pytest.mark.parametrize("weights", ["1", "1,3,5"])
def test_weights_are_two_numbers(weights: str) -> None:
    with pytest.raises(InputError, match=r"weights: must be two numbers, such as 1,3 \(given"):
        make_method("safe-patching", {"weights": weights})
