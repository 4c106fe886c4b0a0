"""`prosafeprune apply` with a fit: a trained LoRA adapter becomes a model, measured, and only above the floor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_runs import MEASURING, apply
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prosafeprune.baselines.fitting import FITTED, write_fitted
from prosafeprune.baselines.low_rank import factor_tensors, stored_edits
from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.registry import SAVEABLE, make_method
from prosafeprune.editing.edits import LowRankEdit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import read_lineage
from prosafeprune.jobs.push import existing_output
from prosafeprune.jobs.safety_gate import SafetyFloorError
from prosafeprune.judges import AnswerClass, Exchange, Verdict
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SILENT
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.report.record import read_record
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.training.lora import trainable_matrices

BUNDLED = {name.value: {"source": "bundled calibration", "count": 4, "sha256": "0" * 64} for name in PromptClass}
IDS = torch.tensor([[3, 7, 11, 5, 2, 9]])


def in_memory(folder: Path) -> LoadedModel:
    return load_model(folder, folder.name, SILENT, device="cpu")


def make_fit(folder: Path, base: Path, kind: str = "sft", size: float = 0.05, **made_by: Any) -> Path:
    """Write the fit of a method: random factors of rank 3 of every matrix."""
    torch.manual_seed(0)
    edits = [
        LowRankEdit(matrix, LowRankChange(size * torch.randn(d_out, 3), torch.randn(3, d_in)))
        for matrix in trainable_matrices(find_anatomy(in_memory(base).model))
        for d_out, d_in in [matrix.stored_shape]
    ]
    folder.mkdir(exist_ok=True)
    parts = FittedParts(factor_tensors(edits), {"losses": [2.0, 1.5], "pairs": {"benign": 4}}, 3.0)
    described = {"model": model_hash(base), "calibration": BUNDLED, "seed": 7, "method": make_method(kind).describe()}
    write_fitted(folder / FITTED, parts, {**described, **made_by})
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def logits_with(base: Path, fit: Path, strength: float = 1.0) -> torch.Tensor:
    """The logits of the base model in memory with the fit, as evaluate --fitted has it."""
    loaded = in_memory(base)
    tensors = load_file(fit / FITTED)
    scaled = {name: tensor * strength if name.endswith(".b") else tensor for name, tensor in tensors.items()}
    with apply_edits(stored_edits(loaded, scaled)):
        return logits(loaded.model)


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2"])
def test_the_written_checkpoint_is_the_fitted_model(architecture: str, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint(architecture)
    fit = make_fit(tmp_path / "sft", base)
    applied = apply(fit, base, tmp_path / "out")
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    expected = logits_with(base, fit)
    assert torch.equal(logits(written), expected)
    assert not torch.allclose(expected, logits(in_memory(base).model), atol=1e-3)
    record = read_record(tmp_path / "out")
    assert record == applied.record
    assert record.plan is None and record.submodules == [] and record.adapter_sha256 is None
    assert record.fit is not None
    assert (record.fit.method, record.fit.strength, record.fit.settings["seed"]) == ("sft", 1.0, 7)
    assert record.recipe.seed == 7
    assert record.calibration["harmful"].source == "bundled calibration"
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    assert sorted(changed) == record.edited_tensors


def test_a_weaker_fit_is_its_change_times_the_strength(checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "actor", base, "actor")
    applied = apply(fit / FITTED, base, tmp_path / "out", strength=0.25)  # the file is as good as its folder
    written = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out"))
    torch.testing.assert_close(written, logits_with(base, fit, 0.25), atol=1e-5, rtol=1e-5)
    assert applied.record.fit is not None and applied.record.fit.in_words == "actor at strength 0.25"
    assert "actor at strength 0.25" in applied.grids()[0].caption


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gpt2"])
def test_the_written_adapter_loads_with_peft(architecture: str, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint(architecture)
    fit = make_fit(tmp_path / "self-training", base, "self-training")
    applied = apply(fit, base, tmp_path / "out", format="adapter")
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out")
    torch.testing.assert_close(logits(adapted), logits_with(base, fit), atol=2e-5, rtol=2e-5)
    assert applied.record.adapter_sha256 is not None
    assert not (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(InputError, match="was made from a fit, not by pruning"):
        apply(tmp_path / "out", base, tmp_path / "again")


def test_card_page_and_terminal_say_what_it_is(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base)
    common = ("--max-new-tokens", 2, "--device", "cpu", "--max-safety-drop", 100, "--accept-unsafe")
    out, err = run.ok("apply", fit, base, "-o", tmp_path / "out", *common)
    assert "fine-tuned model" in out and "pruned model" not in out + err
    assert "It loads like any model" in err
    card = (tmp_path / "out" / "README.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "fine-tuned to reduce over-refusal" in card and "fine-tuned by the method `sft` of prosafeprune" in card
    assert "fine-tuned to reduce over-refusal" in page and "loss of each batch before its update" in page
    assert "prosafeprune apply sft" in page and str(tmp_path) not in page + card
    for text in (card, page):
        assert "pruned model" not in text and "Pruning" not in text and "before pruning" not in text
    assert "batch sizes, answers" in page and "batch sizes, calibration" not in page and "prompt prefix" not in page
    _, err = run.ok("apply", fit, base, "-o", tmp_path / "adapter", *common, "--format", "adapter")
    assert "It loads with PEFT" in err


class Rigged:
    """Calls answers refusals: all of the first so many, which are the base model's, then none to a harmful prompt."""

    name = "rigged"

    def __init__(self, lost: bool) -> None:
        self.lost, self.seen = lost, set[str]()

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        found = []
        for exchange in exchanges:
            again = exchange.prompt in self.seen
            self.seen.add(exchange.prompt)
            refuses = not (self.lost and again)
            found.append(Verdict(AnswerClass.FULL_REFUSAL if refuses else AnswerClass.FULL_COMPLIANCE, "rigged"))
        return found


@pytest.mark.parametrize("form", ["checkpoint", "adapter"])
def test_a_fit_that_loses_refusals_is_not_written(
    form: str, run: Run, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base)
    asked = ("--max-new-tokens", 2, "--device", "cpu", "--floor", "estimate", "--format", form)
    monkeypatch.setattr("prosafeprune.judges.judging.broken_reason", lambda prompt, answer: None)
    monkeypatch.setattr("prosafeprune.jobs.measure_edits._with_base_likelihoods", lambda after, *_: after)
    monkeypatch.setattr("prosafeprune.jobs.apply_fit.make_judge", lambda settings, reporter: Rigged(lost=True))
    code, _, err = run("apply", fit, base, "-o", tmp_path / "out", *asked)
    assert code == 3
    assert "S.S. fell by 100.0 points" in err and "Use a smaller --strength." in err and "--layers" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-not-saved.html", "sft"]
    settings = {"floor": "estimate", "format": form, "max_safety_drop": 3.0, "accept_unsafe": False}
    monkeypatch.setattr("prosafeprune.jobs.apply_fit.make_judge", lambda settings, reporter: Rigged(lost=True))
    with pytest.raises(SafetyFloorError):
        apply(fit, base, tmp_path / "out", **settings)
    monkeypatch.setattr("prosafeprune.jobs.apply_fit.make_judge", lambda settings, reporter: Rigged(lost=False))
    assert apply(fit, base, tmp_path / "out", **settings).output is not None


def test_only_lora_fits_may_become_models() -> None:
    assert list(SAVEABLE) == ["sft", "self-training", "actor"]


@pytest.mark.parametrize("method", ["abliteration", "abliteration-norms", "safe-patching", "null-space", "surgical"])
def test_the_fit_of_any_other_method_is_refused(method: str, run: Run, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / method, base, method)
    run.refused(f"is the fit of {method}, of which no model is written", "apply", fit, base, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "of another model": ({"model": "1" * 64}, "is not the model that"),
    "without a method": ({"method": {}}, "is not a fit for this model"),
    "of no method": ({"method": {"method": "mine"}}, "is the fit of mine, of which no model is written"),
    "of odd settings": ({"method": {"method": "sft", "rank": "many"}}, "rank"),
    "of odd prompts": ({"calibration": {"harmful": {"source": 3}}}, "is not a fit for this model"),
    "of odd classes": ({"calibration": {"odd": BUNDLED["harmful"]}}, "is not a fit for this model"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fit_that_cannot_be_used_is_one_line(fault: str, run: Run, checkpoint: Make, tmp_path: Path) -> None:
    base, (made_by, words) = checkpoint("llama"), FAULTS[fault]
    fit = make_fit(tmp_path / "sft", base, **made_by)
    run.refused(words, "apply", fit, base, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["renamed", "one factor", "narrow", "infinite", "half"])
def test_factors_that_do_not_fit_the_model_are_one_line(fault: str, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base)
    tensors = load_file(fit / FITTED)
    name = min(tensors).removesuffix(".a")
    if fault == "renamed":
        tensors |= {f"nowhere.{side}": tensors.pop(f"{name}.{side}") for side in "ab"}
    elif fault == "one factor":
        del tensors[f"{name}.b"]
    elif fault == "narrow":
        tensors[f"{name}.a"] = tensors[f"{name}.a"][:, :-1].contiguous()
    elif fault == "infinite":
        tensors[f"{name}.a"][0, 0] = torch.inf
    else:
        tensors[f"{name}.a"] = tensors[f"{name}.a"].half()
    described = {"model": model_hash(base), "calibration": BUNDLED, "seed": 7, "method": make_method("sft").describe()}
    write_fitted(fit / FITTED, FittedParts(tensors), described)
    with pytest.raises(InputError, match="is not a fit for this model"):
        apply(fit, base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_strength_per_layer_and_a_format_of_an_adapter_are_refused(
    run: Run, checkpoint: Make, tmp_path: Path
) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base)
    run.refused("merged with a factor from 0 to 1", "apply", fit, base, "-o", tmp_path / "out", "--strength", "1.5")
    run.refused("a fit has one strength", "apply", fit, base, "-o", tmp_path / "out", "--strength", "0.1,0.2")
    run.refused("the fit's folder", "apply", fit, base, "-o", fit / "out")
    run.refused("is for a fit", "apply", tmp_path, base, "-o", tmp_path / "out", "--format", "adapter")


@pytest.mark.parametrize("split", ["calibration", "validation"])
def test_prompts_that_the_fit_was_made_from_are_not_measured_on(split: Any, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base)
    used = write_prompts(tmp_path / "test.jsonl", bundled_prompts(PromptClass.HARMFUL, split).texts[:3])
    with pytest.raises(InputError, match="must"):
        apply(fit, base, tmp_path / "out", test_harmful=used)
    assert not (tmp_path / "out").exists()


def test_own_prompts_that_the_fit_was_made_from_are_not_measured_on(
    run: Run, checkpoint: Make, tmp_path: Path, options: list[str]
) -> None:
    base, own = checkpoint("llama"), tmp_path / "mine.jsonl"
    write_prompts(own, [f"How do I whittle spoon {i}?" for i in range(6)])
    fast = [f"actor.{setting}" for setting in ("alpha=1", "layer=1", "prompts=4")]
    asked = [*options, "--methods", "actor", *(part for one in fast for part in ("-s", one)), "--pseudo-harmful", own]
    run.ok("compare", base, "-o", tmp_path / "cmp", *asked)
    tested = write_prompts(tmp_path / "tested.jsonl", ["Something else?", "how do I WHITTLE spoon 3"])
    measured = ("--test-pseudo-harmful", tested, "--device", "cpu", "-o", tmp_path / "out")
    words = "was fitted on 1 of the prompts of own pseudo-harmful"
    run.refused(words, "apply", tmp_path / "cmp" / "actor", base, *measured)
    fitted = ("--method", "actor", "--fitted", tmp_path / "cmp" / "actor" / FITTED)
    run.refused(words, "evaluate", base, *measured, *fitted)
    assert not (tmp_path / "out").exists()


def test_another_system_prompt_than_the_fit_s_is_a_warning(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit = make_fit(tmp_path / "sft", base, system="Be kind.")
    common = ("--max-new-tokens", 2, "--device", "cpu", "--max-safety-drop", 100, "--accept-unsafe")
    _, err = run.ok("apply", fit, base, "-o", tmp_path / "out", *common)
    assert "was fitted with another --system" in " ".join(err.split())


def test_what_reads_records_knows_a_model_of_a_fit(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    base = checkpoint("llama")
    fit, made = make_fit(tmp_path / "sft", base), tmp_path / "out"
    apply(fit, base, made)
    assert [step.sha256 for step in read_lineage(made).steps] == [model_hash(base)]  # its losses count from there on
    run.refused("was made from a fit of sft, not pruned", "prune", base, "--from", made, "-o", tmp_path / "new")
    compared = ("compare", base, "-o", tmp_path / "cmp", "--methods", "default,prosafeprune", "--device", "cpu")
    run.refused("was made from a fit of sft, not pruned", *compared, "--pruned", made)
    run.refused("was made from a fit, not by pruning", "serve", base, made, "--device", "cpu")
    asked = ApplyRequest.model_validate({"model": str(base), **MEASURING})
    assert existing_output(made, asked, str(fit)) == read_record(made)  # --push sends it without making it again
    for other in ({"strength": 0.5}, {"format": "adapter"}, {"max_safety_drop": 3.0}, {"judge": "mine:Judge"}):
        assert existing_output(made, asked.model_copy(update=other), str(fit)) is None
    record = json.loads((made / "prosafeprune.json").read_text())
    (made / "prosafeprune.json").write_text(json.dumps({**record, "fit": None}))
    run.refused("cannot be read as a record", "prune", made, "--layers", 1, "-o", tmp_path / "new")
