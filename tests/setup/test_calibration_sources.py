"""Several calibration sources of a class: files and public sets by name, joined, recorded and kept out of the tests."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest
from helpers.json_lines import write_prompts
from helpers.reporters import KeptNotes
from helpers.stored_records import stored_record

from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import EarlierPruning
from prosafeprune.evaluation.prompts_record import PromptsRecord, prompts_record
from prosafeprune.evaluation.pruning_record import MeasuredPruning
from prosafeprune.evaluation.sets import SetChoice, choose_sets, require_no_leak
from prosafeprune.prompts import Prompt, PromptClass, PromptSet, find_overlaps
from prosafeprune.requests.recipe import Recipe, make_recipe, make_request, recipe_of
from prosafeprune.requests.search import SearchRequest
from prosafeprune.setup.calibration_sources import read_users_prompts, require_not_measured
from prosafeprune.setup.prompt_sets import describe_calibration, disjoint_prompts, read_calibration

P, U, S = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL, PromptClass.BENIGN


def asked(**settings: Any) -> Recipe:
    return make_recipe(model="org/name", **settings)


def users(prompt_class: PromptClass = P, **settings: Any) -> PromptSet:
    found = read_users_prompts(asked(**settings), prompt_class)
    assert found is not None
    return found


def unlike(name: str, count: int) -> list[str]:
    """Prompts of which no two share words."""
    return [f"{name}{i} x{name}{i} y{name}{i} z{name}{i}" for i in range(count)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Public sets as their homes publish them."""
    folder = tmp_path / "data"
    folder.mkdir()

    def write(name: str, rows: list[dict[str, str]]) -> None:
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    kinds = ("harmless", "controversial")
    write("phtest", [{"Request": text, "Harmfulness": kinds[i % 2]} for i, text in enumerate(unlike("ph", 40))])
    write("or_bench_80k", [{"prompt": text, "category": "deception"} for text in unlike("ob", 300)])
    labels = ("safe", "unsafe")
    write("xstest", [{"prompt": text, "label": labels[i % 2]} for i, text in enumerate(unlike("xs", 40))])
    write("alpaca_cleaned", [{"instruction": text} for text in unlike("al", 30)])
    write("hex_phi", [{"Instruction": text} for text in unlike("hex", 30)])
    return folder


def test_several_files_are_one_set_and_each_has_its_count_and_hash(tmp_path: Path) -> None:
    first, second = unlike("a", 5), unlike("b", 4)
    repeated = [second[0], first[1].upper(), *second[1:], f"{first[2]}!"]
    files = [write_prompts(tmp_path / "a.jsonl", first), write_prompts(tmp_path / "b.jsonl", repeated)]
    found = read_calibration(asked(pseudo_harmful=files, only_mine=True), 3, 0).sets[P]
    assert found.texts == [*first, *second]  # what is in both, nearly equal, is of the first
    assert found.source == " + ".join(files)
    record = prompts_record(found)
    assert (record.source, record.count) == ("a.jsonl + b.jsonl", 9)
    digests = [hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest() for texts in (first, second)]
    expected = [("a.jsonl", 5, digests[0]), ("b.jsonl", 4, digests[1])]
    assert [(part.source, part.count, part.sha256) for part in record.sources] == expected
    assert PromptsRecord.model_validate_json(record.model_dump_json()) == record
    (overlap,) = find_overlaps(found, PromptSet(P, "test", (Prompt(second[1]),)))
    assert (overlap.first_source, overlap.first_line) == (files[1], 3)  # its line in its own file


def test_what_is_not_the_users_is_recorded_as_before(tmp_path: Path) -> None:
    alone = prompts_record(read_calibration(asked(samples=20), 16, 0).sets[P])
    assert set(alone.model_dump()) == {"source", "count", "sha256"}
    mine = write_prompts(tmp_path / "a.jsonl", unlike("a", 5))
    mixed = prompts_record(read_calibration(asked(samples=20, pseudo_harmful=mine), 16, 0).sets[P])
    assert [(part.source, part.count) for part in mixed.sources] == [("a.jsonl", 5), ("bundled calibration", 15)]


def test_a_single_value_and_none_are_taken_as_before(tmp_path: Path) -> None:
    assert asked(harmful="a.txt").harmful == asked(harmful=["a.txt"]).harmful == ("a.txt",)
    assert Recipe.model_validate({"model": "m", "harmful": None, "benign": Path("b.txt")}).harmful == ()
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: m\npseudo-harmful: [or-bench-80k, mine.txt]\nbenign: alpaca-cleaned\n")
    made = make_recipe(recipe)
    assert (made.pseudo_harmful, made.benign) == (("or-bench-80k", "mine.txt"), ("alpaca-cleaned",))
    with pytest.raises(InputError, match="harmful: must be a valid tuple"):
        asked(harmful=3)


def test_a_large_source_leaves_room_for_a_small_one(tmp_path: Path, data: Path) -> None:
    mine = write_prompts(tmp_path / "mine.jsonl", unlike("mine", 6))
    request = asked(pseudo_harmful=["or-bench-80k", "phtest", mine], data_dir=data, samples=40)
    found = read_calibration(request, 16, 0)
    counts = {part.source: len(part) for part in found.sets[P].by_source()}
    assert counts == {"or-bench-80k (or_bench_80k.csv)": 17, "phtest (phtest.csv)": 17, mine: 6}
    (line,) = describe_calibration(request, found)
    assert line.endswith(
        f"40 from or-bench-80k (or_bench_80k.csv) + phtest (phtest.csv) + {mine}; by source 17, 17, 6."
    )
    assert read_calibration(request, 16, 1).sets[P].texts != found.sets[P].texts
    few = PromptSet(P, "all", users(pseudo_harmful=["or-bench-80k", "phtest", mine], data_dir=data).prompts)
    assert [len(part) for part in few.spread_over_sources(2, 0).by_source()] == [1, 1]


def test_names_are_read_from_their_files_in_their_columns_and_of_their_class(data: Path) -> None:
    harmless = users(pseudo_harmful="phtest", data_dir=data)
    assert harmless.texts == unlike("ph", 40)[::2]  # not the controversial ones
    assert harmless.source == "phtest (phtest.csv)"
    assert users(pseudo_harmful=["xstest"], data_dir=data).texts == unlike("xs", 40)[::2]
    assert users(U, harmful=["xstest"], data_dir=data).texts == unlike("xs", 40)[1::2]
    assert users(U, harmful=["xstest"], data_dir=data).source == "xstest-unsafe (xstest.csv)"
    assert users(U, harmful=["hex-phi"], data_dir=data).texts == unlike("hex", 30)
    assert users(S, benign=["alpaca-cleaned"], data_dir=data).texts == unlike("al", 30)
    file = f"or-bench-80k={data / 'or_bench_80k.csv'}"
    assert users(pseudo_harmful=file).source == "or-bench-80k (or_bench_80k.csv)"
    assert users(pseudo_harmful=f"phtest={data / 'phtest.csv'}").texts == harmless.texts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pseudo_harmful": "advbench"}, "--pseudo-harmful advbench: has harmful prompts. Give it with --harmful."),
        ({"harmful": "or-bench-80k"}, "--harmful or-bench-80k: has pseudo-harmful prompts. Give it with"),
        ({"benign": "xstest"}, "--benign xstest: has pseudo-harmful prompts"),
        ({"harmful": "bundled-harmful"}, "are test prompts, which are measured on"),
        ({"pseudo_harmful": "phtst"}, "no such file, and no such public set. Did you mean phtest"),
        ({"pseudo_harmful": "phtst=a.csv"}, "no such file, and no such public set. Did you mean phtest"),
        ({"pseudo_harmful": "oktest", "data_dir": "DATA"}, "give its file with --pseudo-harmful oktest=FILE"),
        ({"harmful": "polyrefuse=a.json"}, "is one file for each part"),
        ({"harmful": ["xstest", "no/such.txt"], "data_dir": "DATA"}, "no/such.txt"),
        ({"harmful": "z" * 5000}, "not a usable path|no such file"),
    ],
)
def test_what_cannot_be_calibrated_on_is_one_line(settings: dict[str, Any], message: str, data: Path) -> None:
    settings = {name: data if value == "DATA" else value for name, value in settings.items()}
    with pytest.raises(InputError, match=message) as caught:
        read_calibration(asked(**settings), 4, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "home"), [("or-bench-80k", "or-bench-80k:train"), ("phtest", "furonghuang-lab/PHTest")]
)
def test_a_set_that_cannot_be_downloaded_is_one_line(name: str, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(InputError, match=home) as caught:
        users(pseudo_harmful=name)
    assert "--data-dir" in str(caught.value) and "--calibration" not in str(caught.value)


def test_a_set_that_is_measured_is_not_calibrated_on_too(data: Path) -> None:
    measured = choose_sets(SetChoice(benchmarks=["phtest", "xstest"], data_dir=data, samples=4))
    require_not_measured(asked(pseudo_harmful="or-bench-80k", data_dir=data), measured)
    for prompt_class, name, part in (
        (P, "phtest", "phtest"),
        (P, "xstest", "xstest-safe"),
        (U, "xstest", "xstest-unsafe"),
    ):
        request = asked(**{prompt_class.value: ["mine.txt", name]}, data_dir=data)
        with pytest.raises(
            InputError, match=rf"^{part}: is calibrated on \(--{prompt_class.in_words}\) and measured on"
        ):
            require_not_measured(request, measured)


def test_its_measured_prompts_are_dropped_from_calibration_where_that_is_asked(data: Path) -> None:
    measured = choose_sets(SetChoice(benchmarks=["phtest"], data_dir=data, samples=4))
    request = asked(pseudo_harmful="phtest", data_dir=data, drop_overlaps=True, only_mine=True)
    require_not_measured(request, measured)
    given, notes = read_calibration(request, 4, 0).sets, KeptNotes()
    kept, _ = disjoint_prompts(request, 4, given, {}, [one.prompts for one in measured], notes)
    assert set(kept[P].texts) == set(given[P].texts) - set(measured[0].prompts.texts)
    assert len(kept[P]) == 16
    assert any("phtest (phtest.csv) line" in line for line in notes.lines)


def test_a_model_is_not_measured_on_a_set_that_its_record_names(data: Path) -> None:
    sets = choose_sets(SetChoice(benchmarks=["phtest", "hex-phi"], data_dir=data))
    require_no_leak({P: {"source": "mine.csv + or-bench-80k (or_bench_80k.csv)"}}, sets)
    with pytest.raises(InputError, match="^phtest: the model was calibrated on prompts of this set"):
        require_no_leak({P: {"source": "mine.csv + phtest (phtest.csv) + bundled calibration"}}, sets)
    with pytest.raises(InputError, match="^hex-phi: the model was calibrated"):
        require_no_leak({U: {"source": "HEx-PHI (hex_phi.csv)"}}, sets)  # by --calibration paper


def test_an_earlier_pruning_needs_its_sets_named_again(data: Path, tmp_path: Path) -> None:
    written = {"source": "phtest (furonghuang-lab/PHTest:train) + bundled calibration", "count": 1, "sha256": ""}
    record = MeasuredPruning.model_validate(stored_record(calibration={"pseudo_harmful": written}))
    earlier = EarlierPruning(tmp_path / "earlier", record, {})
    request = asked(pseudo_harmful="or-bench-80k", data_dir=data)
    with pytest.raises(InputError, match=r"does not decide what is downloaded. Give it with --pseudo-harmful, besides"):
        read_calibration(request, 4, 0, earlier)
    again = asked(pseudo_harmful=["or-bench-80k", "phtest"], data_dir=data)
    found = read_calibration(again, 4, 0, earlier)
    assert found.from_user[P] == 320
    assert describe_calibration(again, found, earlier)[0].endswith("those that are still in phtest, the set given now.")


def test_a_file_of_an_earlier_pruning_is_found_next_to_that_of_a_public_set(data: Path, tmp_path: Path) -> None:
    write_prompts(data / "earlier.jsonl", unlike("early", 9))
    written = {"source": "earlier.jsonl", "count": 9, "sha256": ""}
    record = MeasuredPruning.model_validate(stored_record(calibration={"pseudo_harmful": written}))
    earlier = EarlierPruning(tmp_path / "earlier", record, {})
    found = read_calibration(asked(pseudo_harmful=f"phtest={data / 'phtest.csv'}"), 4, 0, earlier)
    assert found.from_user[P] == 29


def test_settings_for_files_need_such_files(data: Path) -> None:
    asked(pseudo_harmful="phtest", data_dir=data).require_read_files()
    asked(pseudo_harmful=["phtest", "mine.csv"], prompt_field="question").require_read_files()
    with pytest.raises(InputError, match="--prompt-field"):  # a public set has its own columns
        asked(pseudo_harmful="phtest", prompt_field="question")
    with pytest.raises(InputError, match="--data-dir"):
        asked(pseudo_harmful="mine.csv", data_dir=data)
    searched = make_request(SearchRequest, None, {"model": "m", "pseudo_harmful": "phtest", "data_dir": data})
    assert read_calibration(recipe_of(searched), 4, 0).from_user[P] == 20
    with pytest.raises(InputError, match="--data-dir: is for files of public sets to calibrate on"):
        make_request(SearchRequest, None, {"model": "m", "data_dir": data})
