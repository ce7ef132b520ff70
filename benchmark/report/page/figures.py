"""Figures for a page: matplotlib's SVG, rebuilt so that many of them can stand in one document.

Ids are unique in a document, and matplotlib's are not across figures, so those that are referred to
get the figure's stem in front and the others go. What a figure marks with ``HOVER`` becomes an
element with a title, which browsers and screen readers tell.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from benchmark.report.plots.style import HOVER, report_style
from benchmark.report.reading.text import clean

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_KEPT = {"svg", "g", "path", "use", "defs", "clipPath", "rect", "text", "tspan", "image"}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONTS = re.compile(r"font-family: [^;]*(; )?")
_DIGITS = re.compile(r"(\d+\.\d{2})\d+")


def svg_of(figure: Figure, stem: str, caption: str) -> Markup:
    """``figure`` as an SVG element for a page; ``stem`` is unique among the page's figures."""
    from markupsafe import Markup

    written = io.StringIO()
    with report_style():
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(written.getvalue())
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    _keep_known(root)
    _shorten_ids(root, stem)
    width = float(root.attrib["width"].removesuffix("pt"))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", clean(caption))
    root.set("style", f"--natural: {width:.0f}pt")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _keep_known(element: ElementTree.Element) -> None:
    """Drop metadata, styles and whatever else a drawing has no need of."""
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(f"{{{_SVG}}}") not in _KEPT:
            element.remove(child)
        else:
            _keep_known(child)


def _shorten_ids(root: ElementTree.Element, stem: str) -> None:
    used: dict[str, str] = {}
    for element in root.iter():
        for value in element.attrib.values():
            for name in (*_REFERENCE.findall(value), *([value[1:]] if value[:1] == "#" else ())):
                used.setdefault(name, f"{stem}-{len(used)}")
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if name.startswith(HOVER):
            said = clean(name.removeprefix(HOVER))
            element.set("class", "hover")
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = said
            element.insert(0, title)
        elif name in used:
            element.set("id", used[name])
        for key, value in element.attrib.items():
            if key == _HREF and value[1:] in used:
                element.set(key, f"#{used[value[1:]]}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(lambda m: f"url(#{used[m[1]]})", value))
            elif key == "style":  # the page has fonts of its own
                element.set(key, _FONTS.sub("", value))
            elif key == "d":
                element.set(key, _DIGITS.sub(r"\1", value))
