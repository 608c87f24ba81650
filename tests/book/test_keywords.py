"""The words by which the search ranks pages first stay with all pages, also when only some are written again."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "book").mkdir(parents=True)
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['keywords']\nhtml_theme = 'basic'\n"
        "search_first = {'one': ['needle'], 'two': ['thread']}\n"
    )
    (folder / "index.rst").write_text("Tiny\n====\n\n.. toctree::\n\n   book/one\n   book/two\n")
    for page in ("one", "two"):
        (folder / "book" / f"{page}.rst").write_text(f"Page {page}\n========\n\nText.\n")
    return folder


def words(source: Path) -> dict[str, object]:
    """Build, and the words of the search's index with their places."""
    from sphinx.cmd.build import build_main

    html = source.parent / "html"
    assert build_main(["-q", "-W", "-b", "html", str(source), str(html)]) == 0
    index = re.search(r"Search\.setIndex\((.*)\)", (html / "searchindex.js").read_text())
    assert index is not None
    found: dict[str, object] = json.loads(index[1])["indexentries"]
    return found


def test_words_stay_when_another_page_is_written_again(source: Path) -> None:
    first = words(source)
    assert set(first) == {"needle", "thread"}
    for text in ("Other text.", "Text once more."):
        (source / "book" / "two.rst").write_text(f"Page two\n========\n\n{text}\n")
        assert words(source) == first


def test_words_follow_the_setting(source: Path) -> None:
    words(source)
    settings = (source / "conf.py").read_text()
    (source / "conf.py").write_text(settings.replace("'thread'", "'cloth'"))
    assert set(words(source)) == {"needle", "cloth"}
