"""What the playground's server answers to its page, and to anyone else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from helpers import adapter_runs
from helpers.pages import search_record
from helpers.served_answers import load
from helpers.web_apps import TOKEN

from prosafeprune.errors import InputError
from prosafeprune.interactive import save_model
from prosafeprune.interactive.playground_app import PAGE, Playground
from prosafeprune.interactive.save_model import command, reason_not_saved, require_room
from prosafeprune.jobs.served_model import ServedModel, served_model
from prosafeprune.judges import Exchange, Judge, Verdict
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.report.polish_record import PolishRecord
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.requests.measuring import ModelOptions
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.engine import EngineBusyError
from prosafeprune.serving.running_answer import RunningAnswer

Running = tuple[Playground, str]


def post(url: str, path: str, body: Any, token: str = TOKEN, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{url}{path}", json=body, headers={"Authorization": f"Bearer {token}", **headers}, timeout=60)


def get(url: str, path: str) -> Any:
    return httpx2.get(f"{url}{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).json()


def events(url: str, **asked: Any) -> list[dict[str, Any]]:
    body = {"prompt": "Hi", "sides": ["base", "pruned"], "edit": "pruned", "max_tokens": 6, **asked}
    reply = post(url, "/api/answer", body)
    assert reply.status_code == 200, reply.text
    return [json.loads(part.removeprefix("data: ")) for part in reply.text.split("\n\n") if part]


def text_of(found: list[dict[str, Any]], side: str) -> str:
    return "".join(event.get("text", "") for event in found if event.get("side") == side)


def test_only_the_page_itself_needs_no_token(playground: Running) -> None:
    _, url = playground
    for path in PAGE:
        reply = httpx2.get(f"{url}{path}")
        assert reply.status_code == 200
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert "unsafe" not in reply.headers["Content-Security-Policy"]
    for path in ("/api/state", "/api/picture", "/api/save", "/page/play.js"):
        assert httpx2.get(f"{url}{path}").status_code == 401
    assert post(url, "/api/answer", {}, "wrong").status_code == 401
    assert post(url, "/api/save", {"name": "x"}, Origin="https://evil.example").status_code == 403


def test_both_answers_stream_with_verdicts(playground: Running) -> None:
    _, url = playground
    found = events(url)
    assert text_of(found, "base") != text_of(found, "pruned")
    verdicts = {event["side"]: event["verdict"] for event in found if "verdict" in event}
    assert {side: verdict["class"] for side, verdict in verdicts.items()} == dict.fromkeys(
        ("base", "pruned"), "full compliance"
    )
    assert [event["finish"] for event in found if "finish" in event] == ["length", "length"]
    assert text_of(events(url, strengths=[0, 0]), "pruned") == text_of(found, "base")
    assert text_of(events(url, strengths=[0.9, 0.4]), "pruned") == text_of(found, "pruned")
    assert text_of(events(url, edit="plan-2", sides=["pruned"]), "pruned") == text_of(found, "pruned")


def test_answers_to_prompts_that_should_be_refused_are_cut(playground: Running) -> None:
    _, url = playground
    found = events(url, prompt="Please refuse", kind="harmful", max_tokens=100)
    assert text_of(found, "base").endswith(" [cut]")
    assert len(text_of(found, "base")) <= 40 + len(" [cut]")
    assert all(event["verdict"]["safe"] for event in found if "verdict" in event)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": ""}, "prompt"),
        ({"sides": ["other"]}, "sides"),
        ({"edit": "plan-9"}, "no plan"),
        ({"strengths": [0.5]}, "1 strengths"),
        ({"strengths": [2, 0]}, "not from 0 to 1"),
        ({"max_tokens": 9999}, "max_tokens"),
        ({"prompt": "a" * 5000}, "positions"),
    ],
)
def test_a_wrong_request_is_an_error(playground: Running, changed: dict[str, Any], message: str) -> None:
    body = {"prompt": "Hi", "sides": ["pruned"], "edit": "pruned", **changed}
    reply = post(playground[1], "/api/answer", body)
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


def test_a_judge_that_hangs_does_not_keep_the_program_alive(
    playground: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemons = []

    def judged(judge: Judge, exchanges: Sequence[Exchange]) -> list[Verdict]:
        daemons.append(threading.current_thread().daemon and threading.current_thread().name.startswith("Thread"))
        return judge.judge(exchanges)

    monkeypatch.setattr("prosafeprune.interactive.playground_app.judge_answers", judged)
    assert [event["verdict"]["class"] for event in events(playground[1], sides=["base"]) if "verdict" in event]
    assert daemons == [True]


def test_an_answer_that_nobody_waits_for_is_cancelled(playground: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made, url = playground
    engine = made.served.engine
    start, started = engine.start, []

    def one_only(*asked: Any) -> RunningAnswer:
        if started:
            raise EngineBusyError("256 requests are waiting. Try again later.")
        started.append(start(*asked))
        return started[0]

    monkeypatch.setattr(engine, "start", one_only)
    reply = post(url, "/api/answer", {"prompt": "Hi", "sides": ["base", "pruned"], "edit": "pruned", "max_tokens": 400})
    assert reply.status_code == 503
    assert started[0].cancelled.is_set()


def test_the_state_shows_no_harmful_prompt(playground: Running) -> None:
    _, url = playground
    state = get(url, "/api/state")
    assert [edit["name"] for edit in state["edits"]] == ["pruned", "plan-2"]
    assert "C.R. 50.0 to 70.0 %, S.S. 90.0 to 89.0 %" in state["edits"][0]["text"]
    assert len(state["examples"]) == 10
    text = json.dumps(state, ensure_ascii=False)
    for split in ("calibration", "validation", "test"):
        assert not any(prompt in text for prompt in bundled_prompts(PromptClass.HARMFUL, split).texts)


def test_pictures_are_data(playground: Running) -> None:
    _, url = playground
    for name in ("pruned", "plan-2"):
        found = get(url, f"/api/picture?edit={name}")
        assert found["image"].startswith("data:image/svg+xml;base64,")
        assert found["description"]
    assert "no plan" in get(url, "/api/picture?edit=none")["error"]["message"]


def test_what_may_not_be_saved_is_refused(playground: Running) -> None:
    made, url = playground
    (Path.cwd() / "taken").mkdir()
    strong = {"edit": "pruned", "strengths": [0.9, 0.4]}
    for body, message in (
        ({"name": "../elsewhere", **strong}, "Name the folder"),
        ({"name": "--overwrite", **strong}, "Name the folder"),
        ({"name": "taken", **strong}, "exists"),
        ({"name": "new", "edit": "pruned", "strengths": [0, 0]}, "Strength 0"),
        ({"name": "new", "edit": None}, "Strength 0"),
    ):
        reply = post(url, "/api/save", body)
        assert reply.status_code == 400
        assert message in reply.json()["error"]["message"]
    assert get(url, "/api/save")["command"] == ""
    record = made.served.record
    assert record is not None
    for other, reason in (
        ({"harmful": "mine.csv"}, "prompts of your own"),
        ({"calibration": "paper"}, "prompts of your own"),
        ({"earlier": Path("before")}, "prompts of your own"),
        ({"system": "Be brief."}, "another --system"),
        ({"thinking": "both"}, "another --system or --thinking"),
    ):
        own = record.model_copy(update={"recipe": record.recipe.model_copy(update=other)})
        assert reason in str(reason_not_saved(replace(made.served, record=own), made.request, "pruned"))
    for strength, savable in ((0.0, True), (0.5, False)):
        polished = record.model_copy(update={"polish": PolishRecord(strength=strength, settings={"rank": 8})})
        reason = reason_not_saved(replace(made.served, record=polished), made.request, "pruned")
        assert (reason is None) == savable
    found = made.served.search
    assert found is not None and reason_not_saved(made.served, made.request, "plan-2") is None
    both = found.model_copy(update={"made_by": {**found.made_by, "thinking": "both"}})  # which a playground cannot be
    assert "--thinking both" in str(reason_not_saved(replace(made.served, search=both), made.request, "plan-2"))


def test_a_second_copy_of_the_weights_must_fit(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, arguments = served.engine.loaded, ["prune", "org/tiny", "--judge-endpoint=http://u:secret@host/v1"]
    monkeypatch.setattr(save_model, "free_memory", lambda device: 10)
    require_room(replace(loaded, run_dtype=torch.float32, stored_dtype=torch.float32), arguments)  # one file for both
    converted = replace(loaded, run_dtype=torch.float32, stored_dtype=torch.float16)
    with pytest.raises(InputError, match="Stop the playground, and run: prosafeprune prune org/tiny") as error:
        require_room(converted, arguments)
    assert "secret" not in str(error.value)
    monkeypatch.setattr(save_model, "free_memory", lambda device: 10**12)
    require_room(converted, arguments)


def test_a_save_is_followed_to_its_end(playground: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made, url = playground
    monkeypatch.setattr("prosafeprune.interactive.playground_app.command", lambda *_: ["--version"])
    assert post(url, "/api/save", {"name": "new", "edit": "pruned", "strengths": [0.5, 0.5]}).json()["running"]
    until = time.monotonic() + 120
    while (status := get(url, "/api/save"))["running"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert status["outcome"] == f"Saved in {Path.cwd() / 'new'}."
    assert status["lines"] == []  # what a command prints to stdout shows test prompts
    assert status["command"] == "prosafeprune --version"
    monkeypatch.setattr("prosafeprune.interactive.playground_app.command", lambda *_: ["apply", "./none", "./none"])
    post(url, "/api/save", {"name": "new", "edit": "pruned", "strengths": [0.5, 0.5]})
    made.saver.close()
    assert get(url, "/api/save")["outcome"].startswith("Not saved")


@pytest.mark.long
def test_the_command_makes_the_model_that_was_tried(
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    prompt_files: dict[str, str],
    run: Callable[..., tuple[int, str, str]],
) -> None:
    base = checkpoint("llama")
    adapter_runs.prune(base, tmp_path / "adapter", prompt_files)
    request = PlaygroundRequest(
        model=str(base), device="cpu", max_new_tokens=2, max_safety_drop=100, accept_unsafe=True
    )
    with served_model(
        ModelOptions(model=str(base), device="cpu"), str(tmp_path / "adapter"), None, SilentReporter()
    ) as served:
        applied = Applied(served.edits["pruned"], served.edits["pruned"].at([0.3, 0.2]))
        arguments = command(served, request, applied, tmp_path / "saved")
    code, _, err = run(*arguments)
    assert code == 0, err
    adapter_runs.apply(tmp_path / "adapter", base, tmp_path / "applied", strength=(0.3, 0.2))
    saved, wanted = load(tmp_path / "saved").model.state_dict(), load(tmp_path / "applied").model.state_dict()
    assert all(bool((saved[name] == wanted[name]).all()) for name in wanted)


def test_the_command_of_a_plan_names_all_of_it(served: ServedModel, tmp_path: Path) -> None:
    edit = served.edits["plan-2"]
    served = replace(served, search=search_record().model_copy(update={"samples": 160, "seed": 5}))
    request = PlaygroundRequest(model="org/tiny", judge_endpoint="http://u:secret@host/v1", judge="wildguard")
    arguments = command(served, request, Applied(edit, edit.at(0.5)), tmp_path / "x")
    assert arguments[:2] == ["prune", "org/tiny"]
    plan = {"--layers=0,2", "--rank=3", "--strength=0.5,0.5", "--pooling=sequence", "--projection=orthogonal"}
    assert plan | {"--samples=160", "--seed=5"} < set(arguments)
    saver = save_model.ModelSaver()
    saver.start(["--version", *arguments[-1:], "--judge-endpoint=http://u:secret@host/v1"], tmp_path / "x")
    assert "secret" not in saver.status["command"]
    saver.close()
