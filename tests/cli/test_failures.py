"""How a command ends that fails in a way nobody foresaw, or is interrupted: one line and an exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fixture_types import Make, Run

from prosafeprune.cli.failures import INTERNAL_ERROR


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``search`` fail with an error that has escape sequences and markup in its text."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("odd \x1b[2Jthing [bold][/]\nand more")

    monkeypatch.setattr("prosafeprune.cli.search.run", fail)


def test_an_unforeseen_error_is_one_line_with_a_log(
    run: Run, failing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = run("search", "m", "--judge-endpoint", "https://me:secret@host/v1")
    assert (code, out) == (INTERNAL_ERROR, "")
    assert err.count("\n") == 1
    assert err.startswith("Error: Unexpected RuntimeError: odd thing [bold][/]. ")
    (log,) = tmp_path.glob("prosafeprune-*.log")
    assert str(log) in err
    text = log.read_text()
    assert "Traceback" in text
    assert text.startswith("prosafeprune search m --judge-endpoint ...\n")
    assert "secret" not in text


@pytest.mark.parametrize("arguments", [("--debug", "search", "m"), ("search", "m", "--debug")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...], failing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prosafeprune import cli

    monkeypatch.setattr(sys, "argv", ["prosafeprune", *arguments])
    with pytest.raises(RuntimeError, match="odd"):
        cli.main()


def test_no_log_can_be_written(run: Run, failing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    code, _, err = run("search", "m")
    assert code == INTERNAL_ERROR
    assert "No log file could be written" in err


def test_ctrl_c_in_a_command_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prosafeprune.cli.search.run", interrupt)
    code, out, err = run("search", "m")
    assert (code, out) == (130, "")
    assert err.strip() == "Interrupted. Finished stages and answers are kept. To resume: prosafeprune search m"
    monkeypatch.setattr("prosafeprune.jobs.apply.run_apply", interrupt)  # at another strength it measures for long
    code, _, err = run("apply", "adapter", "m", "-o", "out")
    assert code == 130
    assert err.strip().endswith("answers are kept. To resume: prosafeprune apply adapter m -o out")
    monkeypatch.setattr("prosafeprune.jobs.split_prompts.run_split", interrupt)
    code, _, err = run("prompts", "split", "file.txt", "-o", "out")
    assert (code, err.strip()) == (130, "Interrupted. Nothing was written.")
    monkeypatch.setattr("prosafeprune.jobs.rate_prompts.run_rate", interrupt)
    code, _, err = run("prompts", "rate", "file.txt", "-o", "out", "--endpoint", "http://127.0.0.1:1/v1")
    assert (code, "what a server answered is not asked again" in err) == (130, True)


def test_ctrl_c_does_not_wait_until_the_memory_is_collected(tmp_path: Path) -> None:
    """With a model in memory and a busy machine, the prompt came back a minute after the line."""
    code = """
import atexit, sys
from pathlib import Path
from prosafeprune import cli
from prosafeprune.cli import search
from prosafeprune.files.claim import claimed
class Model:
    def __del__(self):
        print("collected")
model = Model()
atexit.register(print, "registered")
def run(*_, **__):
    with claimed(Path("deep/out")):
        raise KeyboardInterrupt
search.run = run
sys.argv = ["prosafeprune", "search", "m"]
cli.program()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "registered\n")
    assert done.stderr == "\nInterrupted. Finished stages and answers are kept. To resume: prosafeprune search m\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGTERM, "Terminated"), (signal.SIGHUP, "Hung up")], ids=["SIGTERM", "SIGHUP"]
)
def test_a_terminated_command_is_one_line_and_leaves_no_lock(number: int, said: str, tmp_path: Path) -> None:
    code = f"""
import os, signal
signal.signal({int(number)}, signal.SIG_DFL)  # the tests may run under nohup
from pathlib import Path
from prosafeprune import cli
from prosafeprune.cli import search
from prosafeprune.files.claim import claimed
def run(*_, **__):
    with claimed(Path("deep/out")):
        try:
            os.kill(os.getpid(), {number})
        finally:
            os.kill(os.getpid(), {signal.SIGTERM})  # impatience does not stop the tidying up
search.run = run
import sys; sys.argv = ["prosafeprune", "search", "m"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.strip() == f"{said}. Finished stages and answers are kept. To resume: prosafeprune search m"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", ["load_tokenizer", "_tokenised"])
def test_a_terminated_command_is_no_broken_tokenizer(
    read: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prosafeprune.model import chat_template, loading

    def end(*_: object, **__: object) -> None:
        sys.exit(143)

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", end)
    with pytest.raises(SystemExit):
        loading.load_tokenizer(tmp_path, "m") if read == "load_tokenizer" else chat_template._tokenised(end, "text")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A file of answers, labelled."""
    file = tmp_path / "answers.jsonl"
    row = {"prompt": "How do I pick a lock?", "completion": "I can't help with that.", "label": "full_refusal"}
    file.write_text("".join(json.dumps({**row, "n": number}) + "\n" for number in range(9)))
    return file


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; p='{sys.executable} -m prosafeprune'; {command}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_do_not_reach_what_is_written(closed: str, answers: Path) -> None:
    done = shell(f"$p judge answers.jsonl -o out.jsonl {closed}", answers.parent)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in (answers.parent / "out.jsonl").read_text().splitlines()]
    assert [row["class"] for row in rows] == ["full_refusal"] * 9


@pytest.mark.long
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_reader_that_goes_does_not_change_how_a_command_ends(more: str, answers: Path) -> None:
    done = shell(f"$p judge answers.jsonl -o out.jsonl {more} | true", answers.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert len((answers.parent / "out.jsonl").read_text().splitlines()) == 9


@pytest.mark.long
def test_a_full_disk_under_stdout_is_one_line(answers: Path) -> None:
    done = shell("$p judge answers.jsonl --json > /dev/full", answers.parent)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr


def test_json_in_a_terminal_without_unicode_has_escapes() -> None:
    code = 'from prosafeprune.terminal import print_json; print_json(\'{"a": "\\u00e9\\u4e2d"}\')'
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert json.loads(done.stdout.decode("ascii")) == {"a": "\u00e9\u4e2d"}


@pytest.mark.long
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # the latter is Python's in the C locale
def test_a_terminal_without_unicode_shows_what_it_can(errors: str, tmp_path: Path) -> None:
    file = tmp_path / "\u4e2d.jsonl"
    file.write_text(json.dumps({"prompt": "\u4e2d?", "completion": "\u4e2d\u6587.", "label": "broken"}) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "prosafeprune", "judge", file, "--labels", "label"],
        env={**os.environ, "PYTHONIOENCODING": f"ascii:{errors}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_is_typed_in_another_encoding_is_read(errors: str) -> None:
    code = """
from prosafeprune import cli
cli.run_command = lambda: print(ascii(input()))
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=b"caf\xe9?\n",
        env={**os.environ, "PYTHONIOENCODING": f"utf-8:{errors}"},
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().strip() == r"'caf\ufffd?'", done.stderr


def test_a_current_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    code = """
import os, sys
os.rmdir(os.getcwd())
from prosafeprune import cli
sys.argv = ["prosafeprune", "evaluate", "m"]
cli.main()
"""
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=gone)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: The current folder no longer exists. Change to another one.\n"


@pytest.mark.parametrize("module", ["typer", "prosafeprune.cli.application", "torch"])
def test_ctrl_c_while_libraries_load_is_one_line(module: str, checkpoint: Make, tmp_path: Path) -> None:
    code = f"""
import builtins, sys
imported = builtins.__import__
def load(name, *rest, **more):
    if name == {module!r} or name.startswith({module!r} + "."):
        raise KeyboardInterrupt
    return imported(name, *rest, **more)
builtins.__import__ = load
from prosafeprune import cli
sys.argv = ["prosafeprune", "search", {str(checkpoint("llama"))!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip().startswith("Interrupted.")
    assert not re.search("Traceback|Abort", done.stderr)


def test_a_usage_error_is_exit_code_2(run: Run) -> None:
    code, out, err = run("search", "m", "--no-such-option")
    assert (code, out) == (2, "")
    assert "No such option" in err


def test_an_error_of_the_package_cannot_draw_on_the_terminal(run: Run) -> None:
    code, _, err = run("search", "missing\x1b]0;title\x07[/bold]\nmodel")
    assert code == 2
    assert "\x1b" not in err
    assert err.count("Error: ") == 1
    assert "missing[/bold] model" in err


class PanicException(BaseException):
    """What PyO3 raises when Rust code panics."""


def test_a_panic_of_a_library_in_rust_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("prosafeprune.cli.search.run", panic)
    code, out, err = run("search", "m")
    assert (code, out) == (INTERNAL_ERROR, "")
    assert err.startswith("Error: Unexpected PanicException: index out of bounds. ")


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ENOSPC, errno.EACCES])
def test_what_the_system_refuses_is_no_bug(number: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr("prosafeprune.cli.search.run", refuse)
    code, out, err = run("search", "m")
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: some/file: cannot be used ({os.strerror(number)}). Check the path")
