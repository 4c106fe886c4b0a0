"""`prune --from`: a pruned model replaced by one that is calibrated on old and new prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_prompts, write_rows
from helpers.pages import Reader
from helpers.prune_runs import SETTINGS, prune
from helpers.slow_reference import pruned_state
from helpers.stored_records import stored_record
from safetensors.torch import load_file

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import fixes, read_earlier_pruning
from prosafeprune.evaluation.lineage import EVIDENCE_FILE
from prosafeprune.evaluation.scores import change
from prosafeprune.jobs.safety_gate import SafetyFloorError, require_safe_record
from prosafeprune.judges import AnswerClass
from prosafeprune.prompts import PromptClass
from prosafeprune.report.record import RECORD_FILE, read_record

NEW = ["a killer queen song", "a dead language", "the war on weeds", "shooting hoops", "a bomb of a party"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Prompts of which no two are alike, so that some can be held out."""
    return {
        name: write_prompts(tmp_path / f"{name}.jsonl", (f"Of {name}{i} and x{name}{i}" for i in range(12)))
        for name in ("benign", "harmful", "pseudo_harmful")
    }


@pytest.fixture
def earlier(checkpoint: Make, files: dict[str, str], tmp_path: Path) -> Path:
    """A model pruned before, with a part of its prompts held out."""
    prune(checkpoint("llama"), tmp_path / "earlier", files, hold_out=0.2, only_mine=True)
    return tmp_path / "earlier"


@pytest.fixture
def new(tmp_path: Path) -> dict[str, str]:
    return {"pseudo_harmful": write_prompts(tmp_path / "new.jsonl", (f"Write of {words}" for words in NEW))}


def evidence(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / EVIDENCE_FILE)


@pytest.mark.long
def test_the_base_model_is_pruned_with_old_and_new_prompts(
    earlier: Path, new: dict[str, str], checkpoint: Make, files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("llama")
    result = prune(source, tmp_path / "out", new, earlier=earlier, only_mine=True)
    held = {row["prompt"] for row in evidence(earlier) if row["set"].startswith("held-out")}
    texts = {name: [row["prompt"] for row in read_rows(file)] for name, file in files.items()}
    tested = {row["prompt"] for row in evidence(earlier) if row["class"] == "pseudo_harmful"}
    assert held & set(texts["pseudo_harmful"]) <= tested
    texts["pseudo_harmful"] = [text for text in texts["pseudo_harmful"] if text not in tested]
    texts["pseudo_harmful"] += [f"Write of {words}" for words in NEW]
    expected = pruned_state(source, texts, (1, 2), 4, 0.8, "model.layers")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in expected.items():
        assert (saved[name].double() - weight).abs().max() < 3e-5, name
    record = result.record
    assert record.calibration["pseudo_harmful"].source == "pseudo_harmful.jsonl + new.jsonl"
    assert not record.lineage  # one step from the base model, not two
    assert record.model.sha256 == read_record(earlier).model.sha256
    assert len(texts["pseudo_harmful"]) == record.calibration["pseudo_harmful"].count
    measured = {prompt.text for judged in result.after.sets for prompt in judged.prompts}
    assert tested <= measured  # the prompts that were held out then, too


@pytest.mark.long
def test_the_earlier_file_is_read_by_the_field_that_it_was_read_by(
    new: dict[str, str], checkpoint: Make, files: dict[str, str], tmp_path: Path
) -> None:
    old = Path(files["pseudo_harmful"])
    old.write_text(old.read_text().replace('"prompt"', '"question"'))
    others = {name: file for name, file in files.items() if name != "pseudo_harmful"}
    prune(checkpoint("llama"), tmp_path / "earlier", {"pseudo_harmful": str(old)}, prompt_field="question")
    result = prune(checkpoint("llama"), None, {**others, **new}, earlier=tmp_path / "earlier")
    assert "pseudo_harmful.jsonl" in result.record.calibration["pseudo_harmful"].source


@pytest.mark.long
def test_the_record_and_the_page_say_what_changed_since(
    earlier: Path, new: dict[str, str], checkpoint: Make, tmp_path: Path
) -> None:
    result = prune(checkpoint("llama"), tmp_path / "out", new, earlier=earlier, only_mine=True, layers="2")
    since = read_record(tmp_path / "out").since
    assert since is not None
    assert since == result.record.since
    before = {row["prompt"]: row for row in evidence(earlier) if row["class"] == "pseudo_harmful"}
    now = {row["prompt"]: AnswerClass(row["result_verdict"]) for row in evidence(tmp_path / "out")}
    both = {
        text: (AnswerClass(row["source_verdict"]), AnswerClass(row["result_verdict"])) for text, row in before.items()
    }
    fixed = [text for text, (base, pruned) in both.items() if fixes(base, pruned)]
    assert (since.fixed, since.came_back) == (len(fixed), sum(not now[text].complies for text in fixed))
    assert since.compliance_change == change([p.complies for _, p in both.values()], [now[t].complies for t in both])
    assert since.safety_change is not None
    assert since.plan.layers == (1, 2)
    page = Reader((tmp_path / "out" / "report.html").read_text())
    assert "What changed since earlier" in page.text
    assert f"Of {since.fixed} prompts that it had fixed, {since.came_back} came back." in page.text
    assert list(result.came_back) == [text for text in fixed if not now[text].complies]
    assert ("Prompts that came back" in page.text) is bool(result.came_back)


@pytest.mark.long
def test_a_model_that_brings_back_what_was_fixed_is_not_saved(
    earlier: Path, new: dict[str, str], checkpoint: Make
) -> None:
    record = prune(checkpoint("llama"), None, new, earlier=earlier, only_mine=True).record
    assert record.since is not None
    worse = record.since.model_copy(update={"compliance_change": change([True] * 100, [False] * 4 + [True] * 96)})
    recipe = record.recipe.model_copy(update={"max_safety_drop": 3.0})
    floor = record.floor
    assert floor is not None
    safe = floor.model_copy(update={"tests": []})
    with pytest.raises(SafetyFloorError, match="C.R. fell by 4.0 points, more than the 3 allowed") as refused:
        require_safe_record(record.model_copy(update={"since": worse, "recipe": recipe, "floor": safe}))
    assert refused.value.exit_code == 3
    assert not record.model_copy(update={"since": worse, "recipe": recipe}).is_safe
    few = record.since.model_copy(update={"compliance_change": change([True] * 300, [False] * 4 + [True] * 296)})
    with pytest.raises(
        SafetyFloorError, match=r"C.R. fell, with 90 % confidence \(one-sided p 0.062\): 4 are no longer"
    ):
        require_safe_record(record.model_copy(update={"since": few, "recipe": recipe, "floor": safe}))


@pytest.mark.long
def test_without_a_model_the_base_model_of_the_earlier_one_is_pruned(
    earlier: Path, new: dict[str, str], checkpoint: Make, tmp_path: Path, run: Run
) -> None:
    assert read_record(earlier).model.name == checkpoint("llama").name  # folders are not recorded
    named_base(earlier, str(checkpoint("llama")))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items() if value is not True]
    files = ["--pseudo-harmful", new["pseudo_harmful"], "--accept-unsafe", "--only-mine"]
    _, err = run.ok("prune", "--from", earlier, *files, *options, "-o", tmp_path / "out")
    assert "had fixed" in err
    assert f"MODEL is {checkpoint('llama')}" in "".join(err.split("\n"))
    assert "read again: pseudo_harmful.jsonl" in err
    assert "--from earlier" in (tmp_path / "out" / "report.html").read_text()


def named_base(earlier: Path, name: str) -> None:
    """Write another name of the base model into the record."""
    written = json.loads((earlier / RECORD_FILE).read_text())
    written["model"]["name"] = name
    (earlier / RECORD_FILE).write_text(json.dumps(written))


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, local_files_only: bool = False, **__: object) -> None:
        assert local_files_only, "something was downloaded"
        raise OSError("not in the cache")

    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}", refuse)
    monkeypatch.setattr("prosafeprune.prompts.sources.get_session", refuse)
    monkeypatch.setattr("prosafeprune.prompts.sources._from_hub", refuse)


@pytest.mark.usefixtures("no_downloads")
def test_a_record_decides_neither_what_is_downloaded_nor_whose_code_runs(
    earlier: Path, new: dict[str, str], checkpoint: Make, run: Run
) -> None:
    for base, options, words in (
        ("org/somebody-s", (), "names the base model org/somebody-s, which is not on this machine"),
        ("https://evil.example/model", (), "which is not on this machine"),
        (checkpoint("qwen2"), (), "was made from other weights than MODEL"),
        (new["pseudo_harmful"], (), "is not a usable model on this machine. Give MODEL"),
        (checkpoint("llama"), ("--trust-remote-code",), "must not decide whose code runs"),
    ):
        named_base(earlier, str(base))
        code, _, err = run("prune", "--from", earlier, "--pseudo-harmful", new["pseudo_harmful"], *options)
        assert code == 2
        assert words in " ".join(err.split())


@pytest.mark.usefixtures("no_downloads")
def test_a_recipe_file_counts_where_no_model_is_given(
    earlier: Path, new: dict[str, str], checkpoint: Make, tmp_path: Path, run: Run
) -> None:
    recipe = tmp_path / "recipe.yaml"
    given = ["prune", "--recipe", recipe, "--pseudo-harmful", new["pseudo_harmful"], "--only-mine", "--dry-run"]
    named_base(earlier, str(checkpoint("llama")))
    recipe.write_text(f"from: {earlier}\nlayers: 1\nrank: 4\ntrust_remote_code: true\n")
    run.refused("must not decide whose code runs", *given)
    recipe.write_text(f"from: {earlier}\nlayers: 1\nrank: 4\n")
    assert "as the record of" in run.ok(*given)[1]
    named_base(earlier, "org/somebody-s")  # not here, and not needed
    recipe.write_text(f"model: {checkpoint('llama')}\nlayers: 1\nrank: 4\n")
    assert "as the record of" not in run.ok(*given, "--from", earlier)[1]


@pytest.mark.usefixtures("no_downloads")
def test_a_record_decides_no_prompts_outside_the_folders_of_the_command(
    earlier: Path, new: dict[str, str], checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, work = tmp_path / "private" / "diary.txt", tmp_path / "work" / "here"
    for folder in (private.parent, work):
        folder.mkdir(parents=True)
    private.write_text("\n".join(f"My secret of {number}" for number in range(9)))
    monkeypatch.chdir(work)
    written = json.loads((earlier / RECORD_FILE).read_text())
    for source, words in (
        ("https://evil.example/a.csv", "does not decide what is downloaded. Give it with --pseudo-harmful"),
        ("org/dataset:train", "does not decide what is downloaded"),
        ("../../private/diary.txt", "which is not here"),
        (str(private), "which is not here"),
    ):
        written["calibration"]["pseudo_harmful"]["source"] = source
        (earlier / RECORD_FILE).write_text(json.dumps(written))
        with pytest.raises(InputError, match=words):
            prune(checkpoint("llama"), None, new, earlier=earlier, only_mine=True)
        with pytest.raises(InputError, match="was made from other weights than MODEL"):  # the hash comes first
            prune(checkpoint("qwen2"), None, new, earlier=earlier)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("base", "was made from other weights than MODEL"),
        ("file", "was calibrated on pseudo_harmful.jsonl, which is not here"),
        ("tokens", "max new tokens .* Give the same --judge"),
        ("folder", "so prosafeprune did not write it"),
        ("record", "cannot be read as a record. Give another folder"),
        ("unmeasured", "was pruned without being measured"),
        ("answers", "no answers to pseudo-harmful prompts"),
        ("some answers", r"has \d+ of the \d+ answers of .* Fetch the model again"),
        ("damaged", "cannot be read"),
        ("memory", "leave out from"),
    ],
)
def test_what_cannot_be_replaced_is_one_line(
    fault: str, words: str, earlier: Path, new: dict[str, str], checkpoint: Make, tmp_path: Path
) -> None:
    source, settings = checkpoint("llama"), dict[str, Any]()
    if fault == "base":
        source = checkpoint("qwen2")
    if fault == "file":
        (tmp_path / "pseudo_harmful.jsonl").unlink()
    if fault == "tokens":
        settings = {"max_new_tokens": 3}
    if fault == "folder":
        (earlier / RECORD_FILE).unlink()
    if fault == "record":
        (earlier / RECORD_FILE).write_text('{"measured": true}')
    if fault == "unmeasured":
        (earlier / RECORD_FILE).write_text(json.dumps(stored_record(measured=False)))
    if fault == "answers":
        (earlier / EVIDENCE_FILE).write_text("")
    if fault == "some answers":
        write_rows(earlier / EVIDENCE_FILE, read_rows(earlier / EVIDENCE_FILE)[1:])
    if fault == "damaged":
        (earlier / EVIDENCE_FILE).write_text('{"class": 3}\n')
    with pytest.raises(InputError, match=words) as caught:
        if fault == "memory":
            prosafeprune.prune_unmeasured(source, tmp_path / "out", layers=[1], earlier=earlier)
        else:
            prune(source, None, new, earlier=earlier, only_mine=True, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_bundled_prompts_of_the_earlier_calibration_stay(new: dict[str, str], checkpoint: Make, tmp_path: Path) -> None:
    prune(checkpoint("llama"), tmp_path / "first", {}, samples=20, only_mine=False)
    files = {"pseudo_harmful": new["pseudo_harmful"]}
    record = prune(
        checkpoint("llama"), None, files, earlier=tmp_path / "first", samples=20, rank=2, only_mine=False
    ).record
    assert record.calibration["pseudo_harmful"].source == "new.jsonl + bundled calibration"
    assert record.calibration["pseudo_harmful"].count == 20
    assert record.calibration["harmful"].source == "bundled calibration"
    assert read_earlier_pruning(tmp_path / "first").sources(PromptClass.HARMFUL) == []
