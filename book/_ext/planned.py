"""Live with chapters that are not written yet: numbers and links.

A chapter has the number of its file, also while some before it are missing, and
``{doc}`05_offsets` `` becomes a link once ``book/05_offsets`` is in the table of
contents, and reads "chapter 5 (planned)" until then. A misspelt name of a chapter
that exists still fails the build.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles


def _plan(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Text in place of a link to a chapter whose number is not taken."""
    found = re.fullmatch(r"(?:/?book/)?((\d\d)_\w+)", node.get("reftarget", "")) if node["reftype"] == "doc" else None
    if found is None or any(page.startswith(f"book/{found[2]}_") for page in env.found_docs):
        return None
    return nodes.inline("", f"chapter {int(found[2])} (planned)")


def _number_by_file(app: Sphinx) -> None:
    """Have sections numbered by the chapter's file name instead of by counting."""
    count = TocTreeCollectorWithStyles.assign_section_numbers  # the last one to number pages
    if getattr(count, "by_file", False):
        return

    def assign(self: TocTreeCollectorWithStyles, env: BuildEnvironment) -> list[str]:
        changed = count(self, env)
        for page, numbers in env.toc_secnumbers.items():
            found = re.fullmatch(r"book/(\d\d)_\w+", page)
            if found is None:
                continue
            chapter = int(found[1])
            env.toc_secnumbers[page] = {
                place: (chapter, *number[1:]) if number else number for place, number in numbers.items()
            }
            for node in [env.titles[page], *env.tocs[page].findall(nodes.reference)]:
                if node.get("secnumber"):
                    node["secnumber"] = [chapter, *node["secnumber"][1:]]
        return changed

    assign.by_file = True
    TocTreeCollectorWithStyles.assign_section_numbers = assign


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("missing-reference", _plan)
    app.connect("builder-inited", _number_by_file)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
