"""Let the whole book be one page, from which the PDF is printed.

An extension that names its nodes for the single-page builder expressly makes
Sphinx forget those that are named for HTML in general: they are added back.
"""

from typing import Any

from sphinx.application import Sphinx


def _handle_all_nodes(app: Sphinx) -> None:
    """Fall back to the handlers of HTML pages for every node that has none of its own."""
    handlers = app.registry.translation_handlers
    if "singlehtml" in handlers:
        handlers["singlehtml"] = {**handlers.get("html", {}), **handlers["singlehtml"]}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", _handle_all_nodes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
