"""Pages in a real browser: no error, no request, nothing wider than a phone, readable in dark mode and in print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.accessibility import CONTRAST, axe_faults
from helpers.browser import CHROMIUM, DRIVER, Browser
from helpers.hostile_pages import pages_of_evil
from helpers.pages import compared, measurement

from prosafeprune.report.page import write_page
from prosafeprune.requests.compare import METHOD_NAMES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs Chromium and its driver"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for number, (kind, make) in enumerate(pages_of_evil().items()):
        made[kind] = folder / f"{number}.html"
        write_page(make(), made[kind])
    return made


@pytest.mark.parametrize("kind", pages_of_evil())
def test_a_page_loads_nothing_runs_nothing_and_fits(
    kind: str, browser: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    """The screenshots are for people: pytest --basetemp=DIR keeps them."""
    for width in (320, 360, 1280):
        browser.open(pages[kind], width=width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.scripts.length") == 0
        captions = "[...document.querySelectorAll('caption span')].map(e => e.getBoundingClientRect().right)"
        assert max(browser.evaluate(captions)) <= width  # however wide their tables
        browser.screenshot(tmp_path / f"{width}.png")
        images = "[...document.images].map(i => i.complete && i.naturalWidth > 200 && i.width <= innerWidth)"
        assert all(browser.evaluate(images))
    assert all((tmp_path / f"{width}.png").stat().st_size > 10_000 for width in (320, 360, 1280))
    assert browser.console() == []
    assert {url for url in browser.requests() if not url.startswith("data:")} == {pages[kind].resolve().as_uri()}


@pytest.mark.parametrize("width", [360, 1280])
def test_the_averages_of_a_comparison_are_in_view(width: int, browser: Browser, tmp_path: Path) -> None:
    measured = {name: measurement(50 + number, 95 - number) for number, name in enumerate(METHOD_NAMES)}
    write_page(compared(measured), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=width)
    headings = "[...document.querySelector('table').tHead.rows[0].cells].slice(0, 4)"
    edges = browser.evaluate(f"{headings}.map(e => e.getBoundingClientRect().right)")
    assert edges == sorted(edges)
    assert edges[-1] <= width
    assert "S.S." in browser.evaluate(f"{headings}[3].innerText")


def test_figures_are_dark_in_dark_mode(browser: Browser, pages: dict[str, Path]) -> None:
    look = "getComputedStyle(document.querySelector('.paper img')).filter"
    browser.open(pages["pruned"], scheme="light")
    assert browser.evaluate(look) == "none"
    browser.open(pages["pruned"], scheme="dark")
    assert "invert" in browser.evaluate(look)
    browser.open(pages["pruned"], scheme="dark", media="print")
    assert browser.evaluate(look) == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(scheme: str, browser: Browser, pages: dict[str, Path]) -> None:
    backs = set()
    for page in pages.values():
        browser.open(page, scheme=scheme)
        assert browser.evaluate(CONTRAST) == []
        backs.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert backs == {{"light": "rgb(255, 255, 255)", "dark": "rgb(17, 20, 24)"}[scheme]}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
@pytest.mark.parametrize("kind", pages_of_evil())
def test_everyone_can_read_a_page(kind: str, width: int, scheme: str, browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages[kind], width=width, scheme=scheme)
    assert axe_faults(browser) == []


def test_print_is_dark_on_light_and_cuts_nothing_off(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    browser.open(pages["pruned"], width=700, scheme="dark", media="print")
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    overflowing = "[...document.querySelectorAll('.scroll, pre')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert browser.evaluate(overflowing) == 0
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_the_keyboard_reaches_the_content_and_the_tables(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["pruned"], width=390)
    for kind in ("keyDown", "keyUp"):
        browser.command("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.evaluate("document.activeElement.className") == "skip"
    assert browser.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    assert browser.evaluate("[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0)")


def test_a_phone_shows_both_rates_and_the_change(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["pruned"], width=360)
    headings = "[...document.querySelector('table').tHead.rows[0].cells].slice(0, 4)"
    assert "change" in browser.evaluate(f"{headings}[3].innerText")
    assert browser.evaluate(f"{headings}[3].getBoundingClientRect().right") <= 360
