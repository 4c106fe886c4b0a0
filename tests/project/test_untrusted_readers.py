"""Every reader of files that may be someone else's: any file is read, or is one line; nothing else happens."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fault_campaign import mutations
from helpers.limits import limited
from helpers.stored_records import stored_record
from helpers.tiny_models import make_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from prosafeprune.ability.questions import read_task
from prosafeprune.analysis.analysis_folder import AnalysisFolder, read_provenance
from prosafeprune.baselines.fitting import read_fitted
from prosafeprune.baselines.sft import read_pairs
from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.errors import InputError
from prosafeprune.evaluation.base_likelihoods import stored_likelihood
from prosafeprune.evaluation.conditions import Conditions
from prosafeprune.evaluation.folder import EvaluationFolder, open_evaluation
from prosafeprune.evaluation.lineage import Lineage, PruningStep, first_ancestor, read_lineage
from prosafeprune.files import staging
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.jobs.search_trials import Trials
from prosafeprune.judges.answers_file import read_answers
from prosafeprune.judges.models.chat_model import VerdictCache
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.model.adapters import find_subject
from prosafeprune.model.chat_template import read_chat_template
from prosafeprune.model.source import read_config
from prosafeprune.plan_search.optuna_study import search_plans
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_record import ValidationRates
from prosafeprune.plan_search.search_space import SearchSpace
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import read_prompts
from prosafeprune.report.record import read_record
from prosafeprune.requests.parsing import read_yaml
from prosafeprune.requests.search import Budget
from prosafeprune.setup.finished_search import read_search
from prosafeprune.training.loop import Tuning, train

PLAN = Plan(layers=(0,), rank=2)
SCORED = ScoredPlan(plan=PLAN, compliance_rate=50.0, safety_score=90.0, divergence=0.1).model_dump(mode="json")
RATES = ValidationRates(compliance_rate=50.0, safety_score=90.0).model_dump()
ROW = {"prompt": "a", "repeat": 0, "completion": "b", "finished": True, "tokens": 2, "seconds": 0.5}
VERDICT = {"prompt": "a", "repeat": 0, "class": "full_refusal", "reason": "c", "log_likelihood": -1.0}
RECORDED = stored_record(lineage=[{"name": "b", "sha256": "1", "drop": 2.0}])
SEARCH = {
    "made_by": {"model": "0"},
    "silhouettes": {"0": 0.1},
    "candidates": [0],
    "source": RATES,
    "lowest_safety": 80.0,
    "trials": 1,
    "points": [{"number": 1, "plan": PLAN.model_dump(mode="json"), "estimated": SCORED, "measured": RATES}],
    "chosen": 1,
}
CONDITIONS = Conditions(judge="j", max_new_tokens=9)
PAST = Lineage(steps=[PruningStep(name="a", sha256="0", drop=1.0)], conditions=CONDITIONS)
KEPT = {"prompt": "a", "class": "harmful", "source_verdict": "full_refusal", "first_verdict": None}
TABLE = {"name": "a", "title": "b", "columns": ["c"], "rows": [[1.0]]}
Reader = Callable[[Path], object]


def untemplated() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    return tokenizer


def evaluation(folder: Path) -> EvaluationFolder:
    return EvaluationFolder(folder, {"model": "0"})


def provenance(folder: Path) -> object:
    entry: Any = SimpleNamespace(name=".")
    return read_provenance(ResumableFolder(folder, {"model": "0"}), entry)


def likelihoods(folder: Path) -> object:
    scores = evaluation(folder).likelihoods("0", None)
    return [stored_likelihood(scores, key) for key in scores]


def trials(folder: Path) -> Trials:
    unused: Any = SimpleNamespace(budget="1")
    evaluator: Any = SimpleNamespace(expect_scores=lambda plans: None, expect_measurements=lambda plans: None)
    return Trials(evaluator, unused, unused, unused, ResumableFolder(folder, {}), SilentReporter())


def search_once(folder: Path) -> object:
    space = SearchSpace((0,), (Pooling.TAIL,), 2, Projection.ORTHOGONAL)
    scored = ScoredPlan.model_validate(SCORED)
    journal = folder / "journal.jsonl"
    return search_plans(lambda plan: scored, space, 0.0, Budget("1"), journal, 0, SilentReporter())


def resumed_training(folder: Path) -> object:
    weights = torch.zeros(2, requires_grad=True)
    losses = [torch.ones(2), torch.zeros(2)]
    tuning = Tuning(epochs=1, batch_size=1)
    return train(
        [weights],
        losses,
        lambda batch: sum((weights - one).square().sum() for one in batch),
        tuning,
        lambda steps: None,
        saved_in=folder / "training.file",
    )


def cached_verdict(folder: Path) -> object:
    cache = VerdictCache(folder)
    cache._file = lambda asked: folder / "verdict.json"  # type: ignore[method-assign]
    return cache.get("a")


READERS: dict[str, tuple[str, Reader]] = {
    "adapter_config.json": (
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "../base", "revision": None, "r": 4}),
        lambda folder: find_subject(str(folder)),
    ),
    "chat_template.json": (
        json.dumps({"chat_template": "{{ messages[0]['content'] }}"}),
        lambda folder: read_chat_template(untemplated(), folder),
    ),
    "prosafeprune.json": (json.dumps(RECORDED), lambda folder: (read_lineage(folder), read_record(folder))),
    "prosafeprune_answers.jsonl": (json.dumps(KEPT) + "\n", lambda folder: first_ancestor(folder, PAST, CONDITIONS)),
    "config.json": (
        json.dumps({"num_hidden_layers": 2, "model_type": "llama"}),
        lambda folder: read_config(folder, "a model"),
    ),
    "model.safetensors.index.json": (
        json.dumps({"metadata": {}, "weight_map": {"a": "adapter_model.safetensors"}}),
        stored_tensors,
    ),
    "given.jsonl": (json.dumps(ROW) + "\n", lambda folder: read_answers(folder / "given.jsonl", "tokens")),
    "given.csv": (
        'prompt,completion,label\na,"b, c",broken\n',
        lambda folder: read_answers(folder / "given.csv", "label"),
    ),
    "prompts.jsonl": ('{"prompt": "a"}\n', lambda folder: read_prompts(str(folder / "prompts.jsonl"), "harmful")),
    "recipe.yaml": ("layers: 0-2\nrank: 3\n", lambda folder: read_yaml(folder / "recipe.yaml")),
    "answers.jsonl": (json.dumps(ROW) + "\n", lambda folder: open_evaluation(folder, "j")),
    "verdicts-j.jsonl": (json.dumps(VERDICT) + "\n", lambda folder: open_evaluation(folder, "j")),
    "ability-9.jsonl": (json.dumps(ROW) + "\n", lambda folder: evaluation(folder).ability(9)),
    "likelihoods-0.jsonl": (
        json.dumps({"prompt": "a", "repeat": 0, "answer_nats": -1.0, "prompt_nats": -2.0}) + "\n",
        likelihoods,
    ),
    "made_by.json": (json.dumps({"model": "0"}), evaluation),
    "sessions.json": (json.dumps([{"batch_sizes": [1]}]), lambda folder: evaluation(folder).sessions()),
    "divergences.json": (json.dumps({"0": {"mean": 0.1}}), lambda folder: evaluation(folder).stored_divergence("0")),
    "search.json": (
        json.dumps(SEARCH),
        read_search,
    ),
    "measured.json": (json.dumps({"a": RATES}), lambda folder: trials(folder)._measure([], lambda: True)),
    "journal.jsonl": ("", search_once),
    "mmlu_dev.jsonl": (
        json.dumps({"question": "Which?", "choices": ["one", "two"], "answer": 0}) + "\n",
        lambda folder: read_task("mmlu", str(folder)),
    ),
    "pairs.jsonl": (
        json.dumps({"prompt": "a", "response": "b"}) + "\n",
        lambda folder: read_pairs(folder / "pairs.jsonl"),
    ),
    "before.npz": ("", lambda folder: AnalysisFolder(folder, {"model": "0"}).observation("before")),
    "findings.json": (
        json.dumps({"summary": ["a"], "figures": [], "tables": [TABLE]}),
        lambda folder: AnalysisFolder(folder, {"model": "0"}).result(),
    ),
    "request.json": (
        json.dumps({"model": "m", "judge": "builtin", "layers": [0]}),
        provenance,
    ),
    "verdict.json": (json.dumps({"class": "full_refusal", "reason": "b"}), cached_verdict),
    ".prosafeprune.files": (json.dumps(["a"]), staging._manifest),
    "training.file": ("", resumed_training),
    "fitted.file": ("", lambda folder: read_fitted(folder / "fitted.file", {})),
}
ONLY_IN_PART = {"adapter_config.json", "prosafeprune.json", "divergences.json", "fitted.file"}
"""Files above that are refused in the end: the fields that are read last are left out."""
SPOILING: tuple[mutations.Mutation, ...] = (
    *(mutations.spoil_bytes, mutations.invalid_utf8, mutations.deep_json, mutations.no_file),
    *[mutations.spoil_json] * 6,
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every reader finds what it reads."""
    folder = tmp_path_factory.mktemp("valid") / "folder"
    folder.mkdir()
    for name, (content, _) in READERS.items():
        (folder / name).write_text(content)
    save_file({"a": torch.zeros(2)}, folder / "adapter_model.safetensors")
    parts = {"format": 1, "made_by": {"method": {}}, "facts": {}}
    save_file({"a": torch.zeros(2)}, folder / "fitted.file", {"prosafeprune": json.dumps(parts)})
    for name in ("journal.jsonl", "training.file"):
        (folder / name).unlink()
    search_once(folder)
    resumed_training(folder)
    np.savez_compressed(folder / "before.npz", a=np.zeros(3))
    return folder


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited by what Linux says of it")
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_any_file_is_read_or_is_one_line(name: str, valid: Path, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(valid, Path(place) / "folder"))
        usual = SPOILING if name.endswith(("json", "jsonl")) else SPOILING[:4]
        draw.choice(usual)(folder / name, draw)
        listed = sorted(file.name for file in folder.iterdir())
        with limited():
            try:
                READERS[name][1](folder)
            except InputError as error:
                assert "\n" not in str(error)
                assert len(str(error)) < 2000
        assert [entry for entry in sorted(file.name for file in folder.iterdir()) if entry not in listed] in (
            [],
            ["made_by.json"],
            ["journal.jsonl"],
            ["training.file"],
        )
        assert list(Path(place).iterdir()) == [folder]


@pytest.mark.parametrize("name", sorted(READERS.keys() - ONLY_IN_PART))
def test_what_is_as_it_should_be_is_read(name: str, valid: Path) -> None:
    """Otherwise the readers above might refuse everything."""
    READERS[name][1](valid)
