"""Folders of resumable runs after a kill, under --overwrite, and with damaged files."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from helpers.json_lines import read_rows

from prosafeprune.errors import InputError
from prosafeprune.evaluation.folder import check_answer
from prosafeprune.files.line_store import LineStore
from prosafeprune.files.resumable_folder import MADE_BY, ResumableFolder, locked_folder


def make_folder(path: Path, **files: str) -> Path:
    with locked_folder(path, overwrite=False):
        ResumableFolder(path, {"model": "m"})
        for name, text in files.items():
            (path / name).write_text(text)
    return path


def test_a_folder_killed_before_its_first_file_was_whole_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{MADE_BY}.partial-{socket.gethostname()}-{2**22 + 1}").write_text("{")
    folder = make_folder(tmp_path / "out")
    assert [file.name for file in folder.iterdir()] == [MADE_BY]


def test_a_folder_killed_while_it_was_removed_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "out", **{"answers.jsonl": "x"})

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("prosafeprune.files.staging.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt), locked_folder(folder, overwrite=True):
            pass
    with locked_folder(folder, overwrite=True):
        assert not list(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no lock, no scratch


@pytest.mark.parametrize("foreign", ["thesis.txt", "data.csv", "default/photo.png", "model.safetensors", "link"])
def test_overwrite_never_removes_a_file_that_no_run_wrote(foreign: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out", **{"answers.jsonl": "x", "report.html": "x"})
    (folder / "default").mkdir()
    if foreign == "link":
        (folder / foreign).symlink_to(tmp_path)
    else:
        (folder / foreign).write_text("mine")
    with pytest.raises(InputError, match=f"{foreign} was not written by prosafeprune"), locked_folder(folder, True):
        pass
    assert (folder / foreign).exists()
    assert (folder / "answers.jsonl").exists()


def test_overwrite_removes_what_runs_write(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "out",
        **{"search.json": "{}", "plans.csv": "", "frontier.svg": "", ".x.partial": "", "likelihoods-0.jsonl": ""},
    )
    with locked_folder(folder, overwrite=True):
        assert not list(folder.iterdir())


def test_a_folder_that_no_run_wrote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.png").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("out", "file"):
        with pytest.raises(InputError, match="not written by prosafeprune"), locked_folder(tmp_path / name, True):
            pass


@pytest.mark.parametrize("content", ["[]", "3", '"x"', "null", "{", "[" * 100_000, "9" * 5000, "\udcff", "pipe"])
def test_a_damaged_kept_file_is_one_clear_line(content: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    (folder / MADE_BY).unlink()
    if content == "pipe":
        os.mkfifo(folder / MADE_BY)
    else:
        (folder / MADE_BY).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        ResumableFolder(folder, {"model": "m"})
    assert "\n" not in str(caught.value)
    assert MADE_BY in str(caught.value)


@pytest.mark.parametrize("name", ["made_by.json", "list"])
def test_a_list_where_an_object_is_meant_is_damage_and_the_other_way_round(name: str, tmp_path: Path) -> None:
    folder = ResumableFolder(tmp_path, {})
    folder.write("list", [1])
    folder.write("object", {"a": 1})
    assert (folder.read_list("list"), folder.read("object"), folder.read("nothing")) == ([1], {"a": 1}, None)
    for read, file in ((folder.read, "list"), (folder.read_list, "object")):
        with pytest.raises(InputError, match="is damaged"):
            read(file)


@pytest.mark.parametrize(
    "line", ["[1]", "3", "null", '{"prompt": 1, "repeat": 0}', '{"prompt": "a", "repeat": []}', "{", "[" * 100_000]
)
def test_a_damaged_row_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"prompt": "a", "repeat": 0}) + "\n" + line + "\n")
    with pytest.raises(InputError, match="line 2") as caught:
        LineStore(file)
    assert "\n" not in str(caught.value)


def test_answers_with_lone_surrogates_are_kept(tmp_path: Path) -> None:
    store = LineStore(tmp_path / "answers.jsonl")
    store.add(0, "a prompt", answer="cut \ud83d")
    store.add(0, "another", answer="whole \U0001f600")
    again = LineStore(tmp_path / "answers.jsonl")
    assert again[0, "a prompt"]["answer"] == "cut \ud83d"
    assert again[0, "another"]["answer"] == "whole \U0001f600"


def test_a_link_in_a_resumed_folder_is_refused(tmp_path: Path) -> None:
    """Answers would be appended to a person's own file."""
    folder = make_folder(tmp_path / "out")
    (tmp_path / "own").write_text("a person's\n")
    (folder / "answers.jsonl").symlink_to(tmp_path / "own")
    with (
        pytest.raises(InputError, match=r"answers\.jsonl was not written by prosafeprune: it is a link"),
        locked_folder(folder, overwrite=False),
    ):
        pass
    assert (tmp_path / "own").read_text() == "a person's\n"


def test_an_incomplete_last_line_stays_while_nothing_is_added(tmp_path: Path) -> None:
    """An evaluation that is only compared with is not changed."""
    file = tmp_path / "answers.jsonl"
    file.write_text('{"prompt": "a", "repeat": 0}\n{"prompt": "b"')
    store = LineStore(file)
    assert list(store) == [(0, "a")]
    assert file.read_text().endswith('{"prompt": "b"')
    store.add(0, "c")
    store.add(0, "d")
    assert [row["prompt"] for row in read_rows(file)] == ["a", "c", "d"]


@pytest.mark.parametrize("row", ['{"prompt": "a", "repeat": 0, "completion": null}', '{"prompt": "a", "repeat": 0}'])
def test_an_answer_without_text_is_named_by_its_line(row: str, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(row + "\n")
    with pytest.raises(InputError, match=r"answers\.jsonl, line 1: is damaged"):
        LineStore(tmp_path / "answers.jsonl", check_answer)


def test_a_long_setting_that_differs_is_shown_in_part(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    with pytest.raises(InputError, match="made with other settings") as caught:
        ResumableFolder(folder, {"model": "x" * 5000})
    assert len(str(caught.value)) < 1000


def test_a_kept_file_of_gigabytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ResumableFolder(tmp_path, {})
    for name in ("large.json", "answers.jsonl"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(2 * 10**9)  # sparse
    with pytest.raises(InputError, match="large.json: cannot be read .larger than 200 MB"):
        folder.read("large.json")
    with pytest.raises(InputError, match="answers.jsonl: is larger than 1 GB"):
        LineStore(tmp_path / "answers.jsonl")
