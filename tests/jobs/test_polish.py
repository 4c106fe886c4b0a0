"""``prune --polish``: the training on the pruned model's own answers, and when it is merged."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.fixture_types import Make
from helpers.prune_runs import prune
from helpers.served_answers import PROMPTS, answer_all, decoded, load, question
from peft import LoraModel
from safetensors import safe_open
from safetensors.torch import load_file

from prosafeprune.baselines.candidates import Rates, Validation
from prosafeprune.baselines.prosafeprune import PrunedCheckpoint
from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.errors import InputError
from prosafeprune.jobs.polish import best_trial
from prosafeprune.jobs.served_model import served_model
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SilentReporter
from prosafeprune.report.polish_record import PolishTrial
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.serving.corrections import Applied
from prosafeprune.setup import workload

GAIN = [Rates(50.0, 50.0), Rates(50.0, 51.0), Rates(55.0, 50.0), Rates(90.0, 90.0), Rates(60.0, 55.0)]
"""At the strengths 0, 0.125, 0.25, 0.5 and 1."""


class ByFile:
    """Calls answers to the harmful prompts of a file refusals, and all others compliance."""

    def __init__(self, harmful: str) -> None:
        self.harmful = harmful

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        kinds = {True: AnswerClass.FULL_REFUSAL, False: AnswerClass.FULL_COMPLIANCE}
        return [Verdict(kinds[exchange.prompt in self.harmful], "") for exchange in exchanges]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt_files: dict[str, str]) -> Path:
    """Return the cache folder of runs whose training is short and strong and whose judge knows the prompts."""
    judge = ByFile(Path(prompt_files["harmful"]).read_text())
    monkeypatch.setattr("prosafeprune.baselines.own_answers.BuiltinJudge", lambda: judge)
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: "")
    method = SelfTraining(rank=2, epochs=1, answer_tokens=4, learning_rate=0.05, prompts=8)
    monkeypatch.setattr("prosafeprune.jobs.polish.make_method", lambda name: method)
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def with_rates(monkeypatch: pytest.MonkeyPatch, rates: Sequence[Rates]) -> None:
    left: Iterator[Rates] = iter(rates)
    monkeypatch.setattr(Validation, "rates", lambda self, generator, progress: next(left))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


@pytest.mark.long
def test_what_is_written_is_the_pruned_weights_and_the_trained_factors(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("phi3")  # whose matrices are fused
    with_rates(monkeypatch, GAIN)
    prune(base, tmp_path / "pruned", prompt_files)
    record = prune(base, tmp_path / "polished", prompt_files, polish=True).record
    assert record.polish is not None and record.polish.kept
    assert record.polish.strength == 0.5
    assert [trial[:3] for trial in record.polish.validation][2:4] == [(0.25, 55.0, 50.0), (0.5, 90.0, 90.0)]
    assert record.polish.validation[0].divergence < record.polish.validation[4].divergence
    assert record.polish.pairs.keys() == {"benign", "harmful", "pseudo_harmful"}
    (fit,) = cache.glob("polish/*/fitted.safetensors")
    with safe_open(fit, framework="pt") as stream:
        factors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
    pruned, polished = weights(tmp_path / "pruned"), weights(tmp_path / "polished")
    trained = {name.removesuffix(".a") for name in factors if name.endswith(".a")}
    assert len(trained) == 3 * 4  # every matrix of every layer, also of those that are not pruned
    for name, weight in pruned.items():
        module = name.removesuffix(".weight")
        change = 0.5 * factors[f"{module}.b"] @ factors[f"{module}.a"] if module in trained else torch.zeros(())
        torch.testing.assert_close(polished[name], weight + change, atol=1e-5, rtol=1e-4)
        assert torch.equal(polished[name], weight) == (module not in trained)
    assert set(record.edited_tensors) == {f"{module}.weight" for module in trained}
    page, card = ((tmp_path / "polished" / name).read_text() for name in ("report.html", "README.md"))
    assert "LoRA of rank 2, merged at strength 0.5" in page and "at 0.5 C.R. 90.0, S.S. 90.0" in page
    assert "fine-tuned on its own answers" in card and "All other weights are unchanged" not in card
    assert "--polish" in page  # in the command that reproduces it


@pytest.mark.long
def test_a_training_without_a_gain_is_not_merged_and_not_repeated(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("llama")
    with_rates(monkeypatch, [Rates(50.0, 50.0), Rates(50.0, 49.0), *[Rates(49.0, 50.0)] * 2, Rates(50.0, 50.0)])
    pruned = prune(base, tmp_path / "pruned", prompt_files)
    polished = prune(base, tmp_path / "polished", prompt_files, polish=True)
    assert polished.record.polish is not None and not polished.record.polish.kept
    assert polished.record.edited_tensors == pruned.record.edited_tensors
    monkeypatch.setattr(SelfTraining, "fit", lambda self, context: pytest.fail("trained again"))
    with_rates(monkeypatch, GAIN)
    again = prune(base, None, prompt_files, polish=True)
    assert again.record.polish is not None and again.record.polish.kept


def test_a_damaged_training_in_the_cache_is_made_again(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("llama")
    with_rates(monkeypatch, GAIN)
    first = prune(base, tmp_path / "first", prompt_files, polish=True)
    (fit,) = cache.glob("polish/*/fitted.safetensors")
    content = fit.read_bytes()
    fit.write_bytes(content[:200])
    with_rates(monkeypatch, GAIN)
    again = prune(base, tmp_path / "again", prompt_files, polish=True)
    assert again.record.polish == first.record.polish
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "first" / "model.safetensors"
    ).read_bytes()


def test_an_interrupt_while_the_adapter_is_added_is_one(
    checkpoint: Make, prompt_files: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: LoraModel, *_: Any, **__: Any) -> None:  # when some of the matrices have their adapter
        raise KeyboardInterrupt

    monkeypatch.setattr(LoraModel, "_mark_only_adapters_as_trainable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(checkpoint("llama"), None, prompt_files, polish=True)


def test_too_few_own_answers_leave_the_pruned_model(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.baselines.own_answers.BuiltinJudge", lambda: ByFile(""))
    base = checkpoint("llama")
    pruned = prune(base, tmp_path / "pruned", prompt_files)
    polished = prune(base, tmp_path / "polished", prompt_files, polish=True)
    assert polished.record.polish is not None and not polished.record.polish.kept
    assert polished.record.edited_tensors == pruned.record.edited_tensors
    assert all(
        torch.equal(tensor, weights(tmp_path / "pruned")[name]) for name, tensor in weights(polished.output).items()
    )  # type: ignore[arg-type]
    assert "own answers to harmful prompts are a full refusal" in (tmp_path / "polished" / "report.html").read_text()


@pytest.mark.long
def test_other_commands_answer_as_the_polished_checkpoint(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("qwen2")
    with_rates(monkeypatch, GAIN)
    output = tmp_path / "polished"
    prune(base, output, prompt_files, polish=True)
    expected = dict(transformers.AutoModelForCausalLM.from_pretrained(output).named_parameters())
    method = PrunedCheckpoint.of(output, model_hash(base))
    loaded = load(base)
    generator: Any = method.generator(loaded, 1, None)  # type: ignore[arg-type]
    with generator.edits():
        for name, parameter in loaded.model.named_parameters():
            assert torch.equal(parameter.float(), expected[name].float()), name
    options = ModelOptions(model=str(base), device="cpu", dtype="float32")
    with served_model(options, str(output), None, SilentReporter()) as served:
        edit = served.edits["pruned"]
        asked = [question(served.engine, prompt, applied=Applied(edit, edit.at(None))) for prompt in PROMPTS]
        assert [ids for ids, _ in answer_all(served.engine, asked)] == decoded(load(output))


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        ((60.0, 50.0, 0.01), 1.0),
        ((50.0, 50.0, 0.01), 0.0),  # no gain
        ((60.0, 47.0, 0.01), 1.0),  # as much as is allowed
        ((80.0, 46.9, 0.01), 0.0),
        ((47.0, 60.0, 0.01), 1.0),
        ((46.9, 99.0, 0.01), 0.0),  # C.R. is not given back for S.S.
        ((60.0, 50.0, 0.52), 0.0),  # half a nat costs five points
        ((60.0, 50.0, 0.50), 1.0),
    ],
)
def test_the_gain_must_be_worth_the_divergence_without_a_loss_of_ss(
    trial: tuple[float, float, float], expected: float
) -> None:
    trials = [PolishTrial(0.0, 50.0, 50.0, 0.01), PolishTrial(1.0, *trial)]
    assert best_trial(trials, 3.0).strength == expected


@pytest.mark.parametrize("other", [{"format": "adapter"}, {"memory": "low", "layers": "1", "unmeasured": True}])
def test_only_a_checkpoint_in_memory_is_polished(other: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="polish trains the complete model in memory"):
        make_recipe(model="m", polish=True, **other)


def test_the_estimate_has_the_numbers_of_the_method() -> None:
    method = SelfTraining()
    assert (method.prompts, method.answer_tokens) == (workload.POLISH_PROMPTS, workload.POLISH_TOKENS)
    assert method.epochs == workload.POLISH_EPOCHS
