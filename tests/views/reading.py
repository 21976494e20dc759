"""How tests read a picture: the <img> that a notebook gets, and the SVG in it, parsed by another program's parser."""

import base64
import re
from html.parser import HTMLParser
from typing import NamedTuple
from xml.etree import ElementTree

from scratchlab import display

SVG = "{http://www.w3.org/2000/svg}"

# Names that the kernel or a learner may really give to things.
HOSTILE = (
    "<script>alert(1)</script>",
    """"'>&<img src=x onerror=alert(1)>""",
    "]]><!-- --><style>*{display:none}</style>",
    "🐳 кит 鯨 e\u0301",  # typed in any language
    "l" * 200,
    "\x00\x1b[31m\x7f\u202etxt.exe",
    "not utf-8: \udcff",
    "",
)


class Image(NamedTuple):
    """An <img> as a browser reads it."""

    alternative: str
    root: ElementTree.Element

    def words(self) -> list[str]:
        """The texts in the drawing, in order."""
        return ["".join(text.itertext()) for text in self.root.iter(f"{SVG}text")]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def image(value: object) -> Image:
    """The picture of a value; asserts that its HTML is one <img> and nothing else, and that its SVG is nothing but a drawing."""
    html = display.bundle(value)["text/html"]
    reader = _Tags()
    reader.feed(html)
    (tag, attributes), *others = reader.found
    assert (tag, others, set(attributes)) == ("img", [], {"src", "alt"})
    kind, _, data = str(attributes["src"]).partition(",")
    assert kind == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(data))
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "polyline"}
    assert not [name for element in root.iter() for name in element.attrib if re.match("on|href|xlink", name)]
    return Image(attributes["alt"] or "", root)
