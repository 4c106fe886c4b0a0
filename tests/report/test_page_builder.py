"""The builder of pages: nothing gets in unescaped, nothing is loaded, everyone can read it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.pages import EVIL, Reader
from matplotlib.figure import Figure

from prosafeprune.errors import InputError
from prosafeprune.files.staging import write_whole
from prosafeprune.plotting import figure_files, new_figure
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import (
    AnsweredPrompt,
    Block,
    Code,
    ExampleAnswer,
    Examples,
    Facts,
    Headline,
    Mark,
    Page,
    Paragraph,
    Picture,
    Points,
    Section,
    Subheading,
    render_page,
    write_page,
)

SVG = "data:image/svg+xml;base64,"


def lines(label: str = "a line") -> Figure:
    figure = new_figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1, 4, 2], "o-", label=label)
    axes.set_xlabel("rank $r$, directions")
    axes.legend()
    return figure


def heat_map() -> Figure:
    figure = new_figure()
    image = figure.subplots().imshow([[1, 2], [3, 4]])
    figure.colorbar(image)
    return figure


def every_block(text: str) -> list[Block]:
    return [
        Paragraph(text),
        Subheading(text),
        Points([text]),
        Facts([(text, text)]),
        Code(text, text),
        Grid(text, ["", f"{text}\n{text}"], [[text, f"{text}\n{text}"]], [text], marked=[0]),
        Picture(lines(text[:30]), text, text),
        Examples([AnsweredPrompt(text, [ExampleAnswer(text, text, text)])]),
    ]


def make_page(text: str = "Some words") -> Page:
    blocks = [*every_block(text), Picture(heat_map(), "a map", "A map"), Picture(lines(), "lines again", "Again")]
    return Page(text, Headline(Mark.GOOD, text, text, [text]), [Section(text, blocks), Section("Second", [])])


def test_whatever_is_written_stays_text() -> None:
    html = render_page(make_page(EVIL))
    page = Reader(html)
    assert not page.all("script")
    assert all(image.keys() == {"src", "alt"} and image["src"].startswith(SVG) for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    seen = EVIL.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.text.count(seen) >= 15  # as it was, templates' braces too
    assert page.text.count("49") == 0
    html.encode("utf-8")  # a lone surrogate would raise


def test_equal_pages_are_equal_to_the_byte_however_often_they_are_drawn() -> None:
    page = make_page()
    assert render_page(page) == render_page(page) == render_page(make_page())


def test_the_policy_lets_in_the_page_s_own_style_and_nothing_else() -> None:
    html = render_page(make_page())
    page = Reader(html)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    (style,) = re.findall("<style>(.*?)</style>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    # It must come before anything it governs, and no element may need what it forbids.
    assert html.index("Content-Security-Policy") < html.index("<style>") < html.index("<img")
    assert not any("style" in attributes for _, attributes in page.elements)


def test_nothing_is_loaded() -> None:
    page = Reader(render_page(make_page()))
    references = [a[name] for _, a in page.elements for name in ("src", "href", "xlink:href", "srcset") if name in a]
    assert len(references) > 5
    assert all(reference.startswith(("#", "data:")) for reference in references)
    assert not page.all("iframe")
    assert "@import" not in render_page(make_page())
    assert "http" not in re.sub(f'{SVG}[^"]+', "", render_page(make_page())).replace("http-equiv", "")


def test_ids_are_unique_and_every_reference_has_its_target() -> None:
    page = Reader(render_page(make_page()))
    assert len(page.all("img")) == 3
    assert not page.all("svg")  # its ids would be the page's
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for a in page.all("a")}
    used |= {a[name] for _, a in page.elements for name in ("aria-labelledby",) if name in a}
    assert len(used) > 4
    assert used <= set(ids)


def picture(figure: Figure) -> tuple[dict[str, str], str]:
    """Return the attributes of a figure's image in a page, and the SVG in it."""
    html = render_page(Page("p", Headline(Mark.NEUTRAL, "l", "t"), [Section("s", [Picture(figure, "d", "c")])]))
    (image,) = Reader(html).all("img")
    return image, base64.b64decode(image["src"].removeprefix(SVG)).decode()


def test_figures_are_images_with_alternative_text_and_keep_their_text() -> None:
    image, svg = picture(lines("a label"))
    assert image["alt"] == "d"
    assert ">a label</text>" in svg
    assert "stroke: #1f77b4" in svg
    assert 'width="360pt" height="244.8pt"' in svg
    assert "fill: none" in svg[: svg.index("a label")]  # the page's background shows through


def test_a_figure_loads_nothing() -> None:
    """An SVG in an img element runs no script and follows no link; neither does it name anything to load."""
    figure = heat_map()
    figure.axes[0].scatter([1], [1]).set_urls(["https://example.org"])
    _, svg = picture(figure)
    loaded = re.findall(r"<(?:image|use|script|style)[^>]*href=\"([^\"]{,22})", svg) + re.findall(r"url\((.)", svg)
    assert len(loaded) > 5
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in loaded)


def test_a_page_is_built_to_be_heard_and_used_without_a_mouse() -> None:
    html = render_page(make_page())
    page = Reader(html)
    assert page.all("html") == [{"lang": "en"}]
    assert html.index('<a class="skip" href="#content">') < html.index("<header>")
    assert page.all("main")[0]["id"] == "content"
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert len(page.all("th")) == 2
    for region in [a for _, a in page.elements if a.get("role") == "region"]:
        assert region["tabindex"] == "0"
        assert region.get("aria-label") or region.get("aria-labelledby")
    assert all(a.get("alt") for a in page.all("img"))
    assert len(page.all("caption")) == 1


def test_good_and_bad_news_differ_without_colour() -> None:
    texts = [Reader(render_page(Page("p", Headline(mark, "label", "text")))).text for mark in Mark]
    assert len(set(texts)) == len(Mark)


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    rows = [["1", "1.5\n1 to 2", "−3", "q"], ["2", "", "x", "k"], ["3", "-", "4", "-"]]
    table = Grid("t", ["", "n", "mixed", "words"], rows)
    assert table.numeric == [False, True, False, False]


def test_a_row_of_the_wrong_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not have 2 cells"):
        Grid("t", ["a", "b"], [["1"]])


def test_a_page_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    write_page(make_page(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    first = (tmp_path / "report.html").read_bytes()
    with pytest.raises(InputError, match="could not be written"):
        write_whole(tmp_path / "missing" / "report.html", "text")
    (tmp_path / f".report.html.partial-{socket.gethostname()}-{os.getpid()}").mkdir()  # in the way
    with pytest.raises(InputError, match="could not be written"):
        write_whole(tmp_path / "report.html", "text")
    assert (tmp_path / "report.html").read_bytes() == first


def test_saved_figures_are_the_same_for_the_same_data() -> None:
    files = figure_files(lines())
    assert files == figure_files(lines())
    assert files.keys() == {"svg", "png"}
    assert min(map(len, files.values())) > 1000
