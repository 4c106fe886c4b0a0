"""The process that renders chat templates: one that the system ends is started anew."""

from collections.abc import Iterator
from typing import Any

import pytest

from prosafeprune.model import template_process
from prosafeprune.model.template_process import TemplateLimitError, TemplateProcess

MESSAGES = [{"role": "user", "content": "Hi"}]
TEMPLATE = "{{ messages[0].content }}!"


@pytest.fixture
def renderer() -> Iterator[TemplateProcess]:
    found = TemplateProcess()
    yield found
    found.stop()


def killing(monkeypatch: pytest.MonkeyPatch, renderer: TemplateProcess, times: int) -> list[int]:
    """Let the process end as each of the first ``times`` requests is sent; return a list of the numbers of requests."""
    write, sent = template_process._write, []

    def kill_and_write(pipe: Any, content: bytes) -> None:
        sent.append(len(sent))
        if len(sent) <= times and renderer._process is not None:
            renderer._process.kill()
            renderer._process.wait()
        write(pipe, content)

    monkeypatch.setattr(template_process, "_write", kill_and_write)
    return sent


def test_a_process_that_was_ended_is_started_anew(monkeypatch: pytest.MonkeyPatch, renderer: TemplateProcess) -> None:
    sent = killing(monkeypatch, renderer, 1)
    assert renderer.render(TEMPLATE, MESSAGES, {}) == "Hi!"
    assert len(sent) == 2


def test_one_that_ends_twice_is_the_templates_fault(monkeypatch: pytest.MonkeyPatch, renderer: TemplateProcess) -> None:
    sent = killing(monkeypatch, renderer, 2)
    with pytest.raises(TemplateLimitError, match="the process that renders it ended"):
        renderer.render(TEMPLATE, MESSAGES, {})
    assert len(sent) == 2
    assert renderer.render(TEMPLATE, MESSAGES, {}) == "Hi!"
