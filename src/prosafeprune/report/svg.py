"""Figures inside pages: what matplotlib draws, as SVG that shares a page with other figures and a strict policy."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.figure import Figure

from prosafeprune.plotting import repeatable

REFERENCE = re.compile(r"url\(#([^)]+)\)")
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
"""More digits than a hundredth of a point cannot be seen."""
FONT = re.compile(r"(?P<before>[^\d]*)(?P<size>[\d.]+px)")


def inline_svg(figure: Figure, prefix: str, description: str) -> Markup:
    """Return a figure as an ``<svg>`` element for an HTML page; equal figures give equal text.

    Its ids begin with ``prefix``, so that several figures can stand in one page. Text stays text. There is no style
    sheet and no style attribute in it, and nothing it refers to lies outside it. The figure's layout is settled here
    and stays so.

    Raises:
        ValueError: the figure holds a link.
    """
    root = ElementTree.fromstring(_draw(figure))
    _leave_out(root, ("metadata", "style"))
    ids = {name: f"{prefix}-{number}" for number, name in enumerate(_references(root), 1)}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element.attrib, ids)
        # Line breaks between elements say nothing; those within text would be read out.
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
    root.attrib |= {"role": "img", "aria-label": description, "stroke-linejoin": "round", "stroke-linecap": "butt"}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # its text was escaped right here


def _draw(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with repeatable():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # each further drawing would move things by a millionth
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _leave_out(element: ElementTree.Element, names: tuple[str, ...]) -> None:
    for child in list(element):
        if _local(child.tag) in names:
            element.remove(child)
        else:
            _leave_out(child, names)


def _references(root: ElementTree.Element) -> list[str]:
    """Return the ids that something in the figure refers to, in order; the others are of no use to a page."""
    found: dict[str, None] = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            if _local(name) == "href" and value.startswith("#"):
                found[value[1:]] = None
            found.update(dict.fromkeys(REFERENCE.findall(value)))
    return list(found)


def _attributes(given: dict[str, str], ids: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for full_name, value in given.items():
        name = _local(full_name)
        if name == "style":
            kept |= _presentation(value)
        elif name == "id":
            kept |= {"id": ids[value]} if value in ids else {}
        elif name == "href":
            kept["href"] = _own_reference(value, ids)
        elif name in ("d", "x", "y"):
            kept[name] = LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value).strip()
        elif name != "version":
            kept[name] = value
    return {name: REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value) for name, value in kept.items()}


def _own_reference(value: str, ids: dict[str, str]) -> str:
    if value.startswith("#"):
        return f"#{ids[value[1:]]}"
    if value.startswith("data:image/png;base64,"):
        return value
    raise ValueError(f"a figure that refers to {value[:60]} has no place in a page that stands alone")


def _presentation(style: str) -> dict[str, str]:
    """Return a style as attributes, which a policy against inline styles lets through; the page sets the typeface."""
    kept: dict[str, str] = {}
    for part in style.split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name == "font" and (found := FONT.match(value)):
            kept["font-size"] = found["size"]
            if "italic" in found["before"]:
                kept["font-style"] = "italic"
            if "bold" in found["before"]:
                kept["font-weight"] = "bold"
        elif name and name not in ("font", "font-family"):
            kept[name] = value
    return kept


def _local(name: str) -> str:
    return name.rpartition("}")[2]
