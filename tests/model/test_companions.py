"""Files next to the weights that answers depend on: kept folders notice when one has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.adapter_runs import prune
from helpers.fixture_types import Make, Run

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.files.resumable_folder import ResumableFolder
from prosafeprune.model.companions import companions_hash

CHANGED = [
    *("generation_config.json", "vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json", "tokenizer.json"),
    *("special_tokens_map.json", "chat_template.jinja", "chat_template.json", "preprocessor_config.json"),
    *("modeling_own.py", "additional_chat_templates/tools.jinja"),
]


@pytest.mark.parametrize("name", CHANGED)
def test_each_file_that_answers_depend_on_counts(name: str, tmp_path: Path) -> None:
    before = companions_hash(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    added = companions_hash(tmp_path)
    (tmp_path / name).write_text("[]")
    assert len({before, added, companions_hash(tmp_path)}) == 3


WITHOUT_EFFECT = [
    *("README.md", "LICENSE.txt", "prosafeprune.json", "model.safetensors.index.json"),
    *("original/params.json", "original/tokenizer.model", "onnx/config.json"),  # other programs download these later
]


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_files_without_effect_do_not_count(name: str, tmp_path: Path) -> None:
    before = companions_hash(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert companions_hash(tmp_path) == before
    assert companions_hash(tmp_path / name) is None  # as of a GGUF file


@pytest.fixture
def model(checkpoint: Make, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("llama"), tmp_path / "model"))


def change(model: Path, name: str) -> None:
    """Add something to a file that the model runs with as before."""
    known = json.loads((model / name).read_text()) if (model / name).exists() else {}
    (model / name).write_text(json.dumps({**known, "later": 1}))


@pytest.mark.parametrize("name", ["generation_config.json", "added_tokens.json", "tokenizer_config.json"])
def test_an_evaluation_does_not_resume_on_other_files(
    name: str, model: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    def evaluate() -> None:
        options: dict[str, Any] = {"max_new_tokens": 1, "device": "cpu", "progress": False}
        prosafeprune.evaluate(str(model), output=tmp_path / "out", harmful=prompt_files["harmful"], **options)

    evaluate()
    evaluate()
    change(model, name)
    with pytest.raises(InputError, match=r"made with other settings \(.*companions"):
        evaluate()


def test_an_evaluation_of_an_adapter_notices_its_config(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, few_prompts: None
) -> None:
    adapter = tmp_path / "adapter"
    prune(checkpoint("llama"), adapter, prompt_files)
    other = tmp_path / "other.txt"
    other.write_text("Explain smuggling.\n")

    def evaluate() -> None:
        options: dict[str, Any] = {"max_new_tokens": 1, "device": "cpu", "progress": False}
        prosafeprune.evaluate(str(adapter), output=tmp_path / "out", harmful=str(other), **options)

    evaluate()
    config = json.loads((adapter / "adapter_config.json").read_text())
    alphas = {name: 2 * value for name, value in config["alpha_pattern"].items()}
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "alpha_pattern": alphas}))
    with pytest.raises(InputError, match=r"made with other settings \(companions"):
        evaluate()


@pytest.mark.usefixtures("few_prompts")
def test_a_search_notices_another_chat_template(
    run: Run, model: Path, search_options: list[object], tmp_path: Path
) -> None:
    search = ["search", model, "-o", tmp_path / "search", *search_options]
    run.ok(*search)
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("kind", "calm"))
    code, _, err = run(*search)
    assert code == 2
    assert "was made with other settings (companions" in err
    code, _, err = run("prune", model, "--search", tmp_path / "search", "--choose", 1, *search_options)
    assert code == 2
    assert "another tokenizer, chat template or generation config" in err
    # A folder of an earlier version has no such entry: it stays readable, and from then on it has.
    for name in ("made_by.json", "search.json"):
        written = json.loads((tmp_path / "search" / name).read_text())
        (written if name == "made_by.json" else written["made_by"]).pop("companions")
        (tmp_path / "search" / name).write_text(json.dumps(written))
    run.ok("prune", model, "--search", tmp_path / "search", "--choose", 1, *search_options)


def test_an_entry_added_later_is_noticed_from_then_on(tmp_path: Path) -> None:
    ResumableFolder(tmp_path, {"model": "m"})
    ResumableFolder(tmp_path, {"model": "m", "companions": "a"})
    assert json.loads((tmp_path / "made_by.json").read_text()) == {"model": "m", "companions": "a"}
    with pytest.raises(InputError, match="companions 'a', now 'b'"):
        ResumableFolder(tmp_path, {"model": "m", "companions": "b"})
    with pytest.raises(InputError, match="tokenizer None, now 't'"):
        ResumableFolder(tmp_path, {"model": "m", "companions": "a", "tokenizer": "t"})
