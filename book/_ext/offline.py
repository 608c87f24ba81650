"""Make the theme's pages work without a network, from a folder, with an empty console.

* Thebe's set-up (written twice into every page, and pointing at a server) is
  dropped: the book starts no remote kernel.
* Fonts are not preloaded: a browser refuses that for pages opened from a folder,
  and loads them all the same when they are used.
* Scripts of the theme that report their own progress in the console keep silent.
* Tables that are wider than the page scroll inside their own box.
* Roles, labels and landmarks that screen readers stumble over are corrected.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

UNWANTED = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*'
    r'|<script type="text/x-thebe-config">.*?</script>\s*'
    r"|<script>kernelName = [^<]*</script>\s*"
    r'|<link rel="stylesheet"[^>]*sphinx-thebe\.css[^>]*>\s*',
    flags=re.DOTALL,
)
# What is said to screen readers: a list without list items, a retired role, a label that hides the text.
MISLEADING = re.compile(
    r' role="list"(?= class="citation-list")| role="doc-biblioentry"'
    r'|(?<=search-button__button)("[^>]*?) aria-label="[^"]*"'
)
SIDEBAR = re.compile(r'<div class="bd-sidebar-primary bd-sidebar[^>]*')
# A corner of a table heads nothing; an answer that is one formula has no text to be read aloud.
EMPTY_HEADER = re.compile(r'<th\b(?: scope="\w+")?([^>]*)>\s*(?:<p>\s*</p>)?\s*</th>')
ANSWER = re.compile(r'(<details class="cb-option[^>]*><summary>)')
TALKATIVE = (
    "_static/togglebutton.js",
    "_static/scripts/pydata-sphinx-theme.js",
    "_static/scripts/sphinx-book-theme.js",
    "search.html",
)
TABLE = re.compile(r"(<table\b.*?</table>)", flags=re.DOTALL)
SCROLLER = '<div class="cb-scroll">'


def _clean_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop Thebe's scripts from the head, and inline scripts that come twice."""
    kept, seen = [], set()
    for script in context.get("script_files", []):
        name = str(getattr(script, "filename", script) or "")
        body = str(getattr(script, "attributes", {}).get("body") or "")
        if "thebe" not in (name + body).lower() and (name or body not in seen):
            kept.append(script)
            seen.add(body)
    context["script_files"] = kept
    if "body" in context:
        body = TABLE.sub(rf"{SCROLLER}\1</div>", context["body"])
        body = EMPTY_HEADER.sub(r"<td\1></td>", body)
        context["body"] = ANSWER.sub(r'\1<span class="cb-aloud">Answer: </span>', body)


def _clean_files(app: Sphinx, failure: Exception | None) -> None:
    """Finish the written files; doing it again changes nothing."""
    if failure or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for page in Path(app.outdir).rglob("*.html"):
        _rewrite(page, _corrected)
    for name in TALKATIVE:
        _rewrite(Path(app.outdir) / name, lambda text: text.replace("console.log(", "(()=>{})("))
    # Maps for debugging the theme, a megabyte; and Thebe's own files, which no page asks for any more.
    for path in [*static.rglob("*.map"), *static.glob("sphinx-thebe.*")]:
        path.unlink()
    for path in [*static.rglob("*.js"), *static.rglob("*.css")]:
        _rewrite(path, lambda text: re.sub(r"\s*(//|/\*)# sourceMappingURL=\S+(\s*\*/)?\s*$", "\n", text))


def _corrected(text: str) -> str:
    """A page without what does not work offline, and with a landmark around its sidebar."""
    text = MISLEADING.sub(r"\1", UNWANTED.sub("", text))
    landmark = ' role="navigation" aria-label="Book"'
    return SIDEBAR.sub(lambda found: found[0] if landmark in found[0] else found[0] + landmark, text)


def _rewrite(path: Path, change: Any) -> None:
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        new = change(text)
        if new != text:
            path.write_text(new, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, after the extensions whose output is judged."""
    app.connect("html-page-context", _clean_scripts, priority=900)
    app.connect("build-finished", _clean_files, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
