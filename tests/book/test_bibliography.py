"""Entries of the bibliography are labelled as the text cites them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ENTRIES = """
@misc{one, author = {Holm, Sture}, year = {1979}}
@misc{two, author = {Gelman, Andrew and Carlin, John}, year = {2014}}
@misc{many, author = {Sun, Ke and Xiao, Bin and Liu, Dong}, year = {2019}}
@misc{again, author = {Sun, Ke and Geng, Zigang and Meng, Depu}, year = {2019}}
@misc{nobody, title = {Nobody's}}
"""


@pytest.fixture(autouse=True)
def extensions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    yield
    sys.modules.pop("author_year", None)


def test_labels_name_authors_and_year() -> None:
    from author_year import AuthorYearLabels
    from pybtex.database import parse_string

    entries = list(parse_string(ENTRIES, "bibtex").entries.values())
    labels = list(AuthorYearLabels().format_labels(entries))
    assert labels == [
        "Holm, 1979", "Gelman and Carlin, 2014", "Sun et al., 2019a", "Sun et al., 2019b", "nobody, no date",
    ]  # fmt: skip


def test_page_shows_them(tmp_path: Path) -> None:
    from sphinx.cmd.build import build_main

    (tmp_path / "all.bib").write_text(ENTRIES)
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['sphinxcontrib.bibtex', 'author_year']\nhtml_theme = 'basic'\n"
        "bibtex_bibfiles = ['all.bib']\nbibtex_reference_style = 'author_year'\nbibtex_default_style = 'author_year'\n"
    )
    (tmp_path / "index.rst").write_text("Tiny\n====\n\n:cite:p:`one`\n\n.. bibliography::\n")
    assert build_main(["-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "html")]) == 0
    page = (tmp_path / "html" / "index.html").read_text()
    assert page.count("Holm, 1979") == 2  # where it is cited, and in the list
