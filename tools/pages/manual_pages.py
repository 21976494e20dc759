"""A Sphinx extension: where a text names a manual page, as in unshare(2), that is a link to it."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

_PAGE = re.compile(r"\b(PR_[A-Z_]+\(2const\)|[a-z_][\w.+-]*\([1-8]\))")
_NOT_IN = (nodes.literal, nodes.literal_block, nodes.reference, nodes.title, nodes.raw, addnodes.desc_signature)
_WHERE = "https://manpages.debian.org/{}"


class ManualPages(SphinxTransform):
    """Make a link of each manual page that a text names."""

    default_priority = 980  # when all text is there

    def apply(self, **_: Any) -> None:
        """Look at every text."""
        for text in list(self.document.findall(nodes.Text)):
            if _PAGE.search(text) and not any(isinstance(above, _NOT_IN) for above in _above(text)):
                text.parent.replace(text, [_node(piece) for piece in _PAGE.split(text) if piece])


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


def _node(piece: str) -> nodes.Node:
    if not _PAGE.fullmatch(piece):
        return nodes.Text(piece)
    return nodes.reference("", piece, refuri=_WHERE.format(piece.replace("(", ".").rstrip(")")), classes=["manpage"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(ManualPages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
