"""Labels of the bibliography as the text cites: "Wang et al., 2022" instead of a number."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


def label(entry: Entry) -> str:
    """Authors, of three or more the first alone, and the year."""
    people = [" ".join(str(name) for name in person.last_names) for person in entry.persons.get("author", [])]
    authors = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
    return f"{authors or entry.key}, {entry.fields.get('year', 'no date')}"


class AuthorYearLabels(BaseLabelStyle):
    """One label per entry; those that would be equal end in a, b, c."""

    def format_labels(self, sorted_entries: Sequence[Entry]) -> Iterator[str]:
        """Labels in the order of the entries."""
        labels = [label(entry) for entry in sorted_entries]
        often, seen = Counter(labels), Counter[str]()
        for text in labels:
            yield text + ("abcdefghijklmnopqrstuvwxyz"[seen[text]] if often[text] > 1 else "")
            seen[text] += 1


class AuthorYearStyle(PlainStyle):
    """The plain style with these labels."""

    default_label_style = AuthorYearLabels


def setup(app: Sphinx) -> dict[str, Any]:
    """Make ``bibtex_default_style: author_year`` known."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"parallel_read_safe": True}
