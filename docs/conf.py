"""How Sphinx makes pages of what tools/docs.py has put together. Nothing here is fetched: a build needs no network."""

from typing import Any

from sphinx.application import Sphinx

import scratchlab

project = "Scratchlab"
author = "Scratchlab contributors"
version = release = scratchlab.__version__

extensions = ["myst_nb", "tools.pages.manual_pages"]
exclude_patterns = ["measured"]

# -- pages ------------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
highlight_language = "text"

# The outputs in the notebooks are proven by nbval. To run them again here would need root, and prove nothing more.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no script from elsewhere: what moves has a still beside it
nb_render_error_lexer = "text"  # an error of ours is a message, and no traceback

# Types in signatures are written as in the source; those of other libraries, and our private ones, have no page to lead to.
nitpick_ignore_regex = [("py:class", ".*")]
python_use_unqualified_type_names = True
add_module_names = False

# -- how they look ----------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "Scratchlab"
html_static_path = ["static"]
html_css_files = ["scratchlab.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def open_one_branch(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Show at the side only what is around a page. All of it, on each of 150 pages, took half of the time of a build."""
    whole = context["toctree"]
    context["toctree"] = lambda **options: whole(**{**options, "collapse": True})


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("html-page-context", open_one_branch, priority=100)  # before the theme asks
