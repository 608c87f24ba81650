"""Say which page explains what: entries of the general index, which the search ranks first.

The setting ``search_first`` names, for a page, the words that a reader may type and for which this page should come
before all others that mention them.
"""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class IndexKeywords(SphinxTransform):
    """Put a page's words into the general index, as its main place."""

    default_priority = 600  # before the domains collect what they index

    def apply(self, **kwargs: Any) -> None:
        """Add one index node to the page's first section."""
        words = self.config.search_first.get(self.env.docname.removeprefix("book/"), [])
        section = next(iter(self.document.findall(nodes.section)), None)
        if words and section is not None:
            place = section["ids"][0]
            section.insert(1, addnodes.index(entries=[("single", word, place, "main", None) for word in words]))


def _check(app: Sphinx, env: Any) -> None:
    """Refuse words for a page that does not exist (a planned chapter may wait), and a word that two pages claim."""
    claims = [word.lower() for words in app.config.search_first.values() for word in words]
    for page in app.config.search_first:
        planned = page[:2].isdecimal() and not any(doc.startswith(f"book/{page[:3]}") for doc in env.found_docs)
        if f"book/{page}" not in env.found_docs and not planned:
            raise ValueError(f"_config.yml: search_first names {page}, which is not a page of the book")
    for word in set(claims):
        if claims.count(word) > 1:
            raise ValueError(f"_config.yml: search_first promises {word!r} to two pages")


def _remember(app: Sphinx, env: Any) -> None:
    """Give the search the words of all pages.

    Sphinx hands them over as it writes a page and forgets them afterwards: where only some pages are written again,
    the others would lose their place in front.
    """
    for page, entries in env.get_domain("index").entries.items():
        words = {(word, place, main) for kind, word, place, main, _ in entries if kind == "single"}
        env._search_index_index_entries[page] = sorted(words)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("search_first", {}, "env", [dict])
    app.add_transform(IndexKeywords)
    app.connect("env-updated", _check)
    app.connect("env-updated", _remember)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
