"""Outputs that appear complete or not at all, whenever a run is killed, and never cost a person's files."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.files.staging import MANIFEST, RECORD_FILE, claimed_output, remove_folder, staged_folder, write_whole

DEAD = f"{socket.gethostname()}-{2**22 + 1}"
"""The end of a scratch folder's name whose process is no more."""


def make_output(folder: Path, text: str = "old") -> Path:
    with staged_folder(folder, overwrite=True) as staging:
        (staging / RECORD_FILE).write_text(text)
        (staging / "sub").mkdir()
        (staging / "sub" / "weights").write_text(text)
    return folder


def test_an_output_killed_between_the_two_renames_is_put_back_before_anything_else(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    output.rename(tmp_path / f".out.old-{DEAD}")
    with claimed_output(output, overwrite=True):
        assert (output / RECORD_FILE).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_was_put_back_is_not_overwritten_without_being_told(tmp_path: Path) -> None:
    make_output(tmp_path / "out").rename(tmp_path / f".out.old-{DEAD}")
    with pytest.raises(InputError, match="exists already"), claimed_output(tmp_path / "out", overwrite=False):
        pass
    assert (tmp_path / "out" / RECORD_FILE).read_text() == "old"


def test_staging_alone_puts_the_old_output_back_too(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    output.rename(tmp_path / f".out.old-{DEAD}")
    with pytest.raises(KeyError), staged_folder(output, overwrite=True):
        raise KeyError
    assert (output / RECORD_FILE).read_text() == "old"


def test_the_old_output_of_a_finished_replacement_is_removed(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    make_output(tmp_path / f".out.old-{DEAD}")
    make_output(tmp_path / "out", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / RECORD_FILE).read_text() == "new"


@pytest.mark.parametrize("foreign", ["thesis.txt", "sub/notes.md", ".hidden"])
def test_a_file_of_someone_else_inside_an_output_is_never_removed(foreign: str, tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    (output / foreign).write_text("mine")
    with pytest.raises(InputError, match=f"{foreign} was not written by prosafeprune"):
        make_output(output, "new")
    assert (output / foreign).read_text() == "mine"
    assert (output / RECORD_FILE).read_text() == "old"


def test_a_link_inside_an_output_is_someone_elses(tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    (output / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="link was not written by prosafeprune"):
        make_output(output, "new")


@pytest.mark.parametrize("manifest", [None, "", "{}", "[1, null]", "[" * 100_000])
def test_an_output_without_a_sound_list_of_its_files_is_not_removed(manifest: str | None, tmp_path: Path) -> None:
    output = make_output(tmp_path / "out")
    if manifest is None:
        (output / MANIFEST).unlink()
    else:
        (output / MANIFEST).write_text(manifest)
    with pytest.raises(InputError, match="was not written by prosafeprune"):
        make_output(output, "new")
    assert (output / RECORD_FILE).read_text() == "old"


@pytest.mark.parametrize(("name", "other"), [("o*", "old"), ("out[1]", "out1"), ("a", "a.b"), ("?", "x")])
def test_scratch_is_cleaned_by_exact_name(name: str, other: str, tmp_path: Path) -> None:
    own, others = tmp_path / f".{name}.partial-{DEAD}", tmp_path / f".{other}.partial-{DEAD}"
    own.mkdir()
    others.mkdir()
    make_output(tmp_path / name)
    assert not own.exists()
    assert others.exists()


def test_another_run_that_is_at_work_on_an_output_is_found_at_the_start(tmp_path: Path) -> None:
    with (
        claimed_output(tmp_path / "out", overwrite=False),
        pytest.raises(InputError, match="another run is writing there"),
        claimed_output(tmp_path / "out", overwrite=False),
    ):
        pass


def test_an_output_that_appears_before_the_claim_is_found_at_the_start(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    with pytest.raises(InputError, match="exists already"), claimed_output(tmp_path / "out", overwrite=False):
        pass
    with claimed_output(None, overwrite=False):  # nothing to write, nothing to claim
        pass


def test_a_file_or_a_link_in_place_of_an_output_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "link", "pipe"):
        with pytest.raises(InputError, match="is not a folder"), claimed_output(tmp_path / name, overwrite=True):
            pass


def test_a_folder_is_never_removed_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = make_output(tmp_path / "out")

    def killed(folder: Path, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("prosafeprune.files.staging.shutil.rmtree", killed)
        remove_folder(output)
    assert not output.exists()
    remove_folder(make_output(tmp_path / "out"))
    assert not list(tmp_path.iterdir())


def test_text_with_lone_surrogates_is_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "a\ud83db")
    assert (tmp_path / "file").read_text() == "a?b"


def test_a_file_is_never_written_through_a_link_in_a_foreign_folder(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("mine")
    (tmp_path / f".out.jsonl.partial-{socket.gethostname()}-{os.getpid()}").symlink_to(own)
    write_whole(tmp_path / "out.jsonl", "new")
    assert own.read_text() == "mine"
    assert not (tmp_path / "out.jsonl").is_symlink()
    assert (tmp_path / "out.jsonl").read_text() == "new"
    (tmp_path / ".b.lock").symlink_to(tmp_path / "made")
    with pytest.raises(InputError, match="cannot be written to"), claimed(tmp_path / "b"):
        pass
    assert not (tmp_path / "made").exists()


SLOW_WRITER = """
import sys
from pathlib import Path
from prosafeprune.files.staging import write_whole

def replace(partial, path, rename=Path.replace):
    print("written", flush=True)
    sys.stdin.readline()
    return rename(partial, path)

Path.replace = replace
write_whole(Path(sys.argv[1]), "of the other process")
"""


def test_two_processes_that_write_the_same_file_do_not_spoil_each_others(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", SLOW_WRITER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "written\n"
        write_whole(file, "own")
        assert file.read_text() == "own"
        other.stdin.write("\n")
    assert other.returncode == 0
    assert file.read_text() == "of the other process"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_of_a_file_is_removed_when_it_is_written_again(tmp_path: Path) -> None:
    (tmp_path / f".out.jsonl.partial-{DEAD}").write_text("half")
    write_whole(tmp_path / "out.jsonl", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_files_and_folders_are_on_the_disk_before_they_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[int] = set()
    events: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def record(descriptor: int) -> None:
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)
        if os.fstat(descriptor).st_ino == tmp_path.stat().st_ino:
            events.append("names flushed")

    def renamed(path: Path, target: Path) -> Path:
        inside = [path, *path.rglob("*")]
        events.append("flushed" if {file.stat().st_ino for file in inside} <= flushed else "torn by a power cut")
        return replace(path, target) if path.is_file() else rename(path, target)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(Path, "replace", renamed)
    monkeypatch.setattr(Path, "rename", renamed)
    write_whole(tmp_path / "out.jsonl", "new")
    make_output(tmp_path / "out")
    assert events == ["flushed", "names flushed"] * 2


def test_a_full_disk_is_one_line_that_names_the_output_and_not_a_file_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(read: str, written: str, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), written)

    with pytest.raises(InputError) as raised, staged_folder(tmp_path / "out", overwrite=False) as staging:
        full("source", str(staging / "model.safetensors"))
    assert str(raised.value) == (
        f"{tmp_path / 'out'}: could not be written (No space left on device). Nothing was left behind."
    )
    with pytest.raises(InputError, match="the disk is full"), staged_folder(tmp_path / "out", overwrite=False):
        raise OSError("1152 requested and 752 written")  # numpy's, when a GGUF is written
    with pytest.raises(InputError) as raised, staged_folder(tmp_path / "out", overwrite=False) as staging:
        monkeypatch.setattr(Path, "replace", lambda self, path: full("", str(path)))
        write_whole(staging / "report.html", "page")
    assert str(raised.value).startswith(f"{tmp_path / 'out' / 'report.html'}: could not be written (No space left")
    assert "space on the disk" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == []
