"""The built pages, and how the browser tests open them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbook.bookbuild import Book

HTML = Path(os.environ.get("CALBOOK_HTML", Book().html))
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAGES = sorted(
    page.relative_to(HTML).as_posix()
    for page in HTML.rglob("*.html")
    # The first page at the root only sends the browser on to book/index.html.
    if not {"_static", "_sources"} & set(page.relative_to(HTML).parts) and page != HTML / "index.html"
)

SET_MODE = "mode => { document.documentElement.dataset.theme = mode; document.documentElement.dataset.mode = mode; }"


@dataclass
class Opened:
    """A page in the browser, with everything it said and asked for while loading."""

    name: str
    tab: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def open_page(context: Any, name: str) -> Opened:
    """Open a page from its folder and wait until its formulas are set."""
    opened = Opened(name, context.new_page())
    opened.tab.on("console", lambda message: opened.console.append(f"{message.type}: {message.text}"))
    opened.tab.on("pageerror", lambda error: opened.console.append(f"uncaught: {error}"))
    opened.tab.on("request", lambda request: opened.requests.append(request.url))
    opened.tab.goto((HTML / name).as_uri())
    opened.tab.wait_for_load_state("load")
    opened.tab.evaluate("async () => { if (window.MathJax?.startup) await MathJax.startup.promise; }")
    return opened
