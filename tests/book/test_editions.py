"""What can be carried away, and the pages that follow their sources."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from tiny_book import GOOD, change, write_book

from calbook.bookbuild import Book, BookError
from calbook.bookbuild.editions import NAME, find_browser, make_editions, notebooks, refuse_gaps, zip_of
from calbook.bookbuild.notebooks import RECORD
from calbook.bookbuild.render import with_buttons
from calbook.bookbuild.serve import modified, serve, watch

EXERCISE = "```{exercise} Count\n:label: count\nHow many?\n```\n\n```{solution} count\n:class: dropdown\nThree.\n```"


def write_executed(root: Path) -> Book:
    """The tiny book with a chapter that looks as if it had run."""
    book = write_book(root, {"01_good": GOOD})
    (chapter,) = book.chapters
    copy = json.loads(chapter.source.read_text())
    for cell in copy["cells"]:
        if cell["cell_type"] == "code":
            shown = [{"output_type": "stream", "name": "stdout", "text": "an outcome"}]
            cell |= {"execution_count": 1, "outputs": shown}
    record = {"seconds": 3.2, "cores": 2, "date": "2026-11-21", "parameters": {}, "machine": "m", "inputs": {}}
    copy["metadata"][RECORD] = record
    chapter.executed.parent.mkdir(parents=True)
    chapter.executed.write_text(json.dumps(copy))
    return book


def test_notebooks_come_with_and_without_outputs(tmp_path: Path) -> None:
    book = write_executed(tmp_path)
    executed, bare = (notebooks(book, executed=which) for which in (True, False))
    assert set(executed) == set(bare) == {"01_good.ipynb", "README.txt"}
    for made, outputs in ((executed, True), (bare, False)):
        content = json.loads(made["01_good.ipynb"])
        assert "Runs in 3 s on 2 cores" in "".join(content["cells"][0]["source"])
        assert RECORD not in content["metadata"]
        assert [bool(c["outputs"]) for c in content["cells"] if c["cell_type"] == "code"] == [outputs] * 3
    assert b"without outputs" in bare["README.txt"]


def test_equal_content_makes_an_equal_zip() -> None:
    first, second = zip_of({"b.txt": b"2", "a/c.txt": b"1"}), zip_of({"a/c.txt": b"1", "b.txt": b"2"})
    assert first == second
    with zipfile.ZipFile(BytesIO(first)) as archive:
        assert archive.namelist() == [f"{NAME}/a/c.txt", f"{NAME}/b.txt"]
        assert archive.read(f"{NAME}/b.txt") == b"2"


def test_editions_need_pages_and_a_browser(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="the book is not rendered"):
        make_editions(write_executed(tmp_path))
    with pytest.raises(BookError, match="the PDF needs Chromium: install it"):
        find_browser("", "no-such-browser")


def test_one_setting_switches_the_buttons_on() -> None:
    settings = "title: T\nrepository: {url: %s}\nlaunch_buttons: {thebe: false}\nhtml: {use_edit_page_button: false}\n"
    assert with_buttons((settings % "''").encode()) == (settings % "''").encode()
    on = yaml.safe_load(with_buttons((settings % "https://example.org/a/b").encode()))
    assert on["launch_buttons"]["thebe"] is False
    assert {"binderhub_url", "colab_url"} < set(on["launch_buttons"])
    assert on["html"]["use_repository_button"]
    assert on["title"] == "T"
    with pytest.raises(BookError, match=r"_config\.yml cannot be read"):
        with_buttons(b"title: [")


def make(book: Book) -> str:
    """All editions, made by the command in a process of its own, since a process has one browser driver."""
    command = [sys.executable, "-m", "calbook.bookbuild", "editions", "--root", str(book.root)]
    done = subprocess.run(command, cwd=Book().root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_page_that_lacks_something_is_not_printed() -> None:
    with pytest.raises(BookError, match=r"files that are not there: a\.svg, b\.svg"):
        refuse_gaps(["b.svg", "a.svg", "a.svg"], 0)
    with pytest.raises(BookError, match="2 formulas"):
        refuse_gaps([], 2)
    refuse_gaps([], 0)


@pytest.mark.slow
@pytest.mark.browser
def test_the_editions_of_a_tiny_book(tmp_path: Path, chromium: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)  # there every build is from clean
    book = write_book(tmp_path / "a book", {"01_good": [*GOOD, ("markdown", EXERCISE + "\n\n$$x = y^2$$", [])]})
    settings = {
        "repository": {"url": "https://github.com/a/b"},
        "sphinx": {
            "extra_extensions": ["sphinx_exercise"],
            "local_extensions": {"offline": "book/_ext", "single_page": "book/_ext"},
            "config": {"html_static_path": ["book/_static"], "mathjax_path": "no_formulas.js"},
        },
    }
    change(book, "_config.yml", "repository: {url: ''}", yaml.safe_dump(settings))
    shutil.copytree(Book().root / "book" / "_ext", book.root / "book" / "_ext")
    (book.root / "book" / "_static").mkdir()
    (book.root / "book" / "_static" / "no_formulas.js").write_text("")
    assert " MB  " in make(book)
    folder = book.build / "editions"
    names = ("-html.zip", "-notebooks.zip", "-notebooks-executed.zip", ".pdf")
    assert {path.name for path in folder.iterdir()} == {*(NAME + kind for kind in names), "made-from"}
    printed = (folder / f"{NAME}.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") >= 1
    with zipfile.ZipFile(folder / f"{NAME}-html.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    tab = chromium.new_page()
    tab.goto((tmp_path / "elsewhere" / NAME / "index.html").as_uri())
    tab.wait_for_url("**/book/index.html")
    tab.goto((tmp_path / "elsewhere" / NAME / "book" / "01_good.html").as_uri())
    assert "Runs in" in tab.inner_text("main")
    buttons = tab.evaluate("() => [...document.querySelectorAll('a')].map((e) => e.href).join(' ')")
    assert "https://colab.research.google.com/github/a/b/blob/" in buttons
    assert "https://mybinder.org/" in buttons
    tab.close()
    assert f"nothing changed: {folder}" in make(book)


def test_a_change_is_built_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    book = write_book(tmp_path, {"01_good": GOOD})
    built: list[dict[str, int]] = []
    watch(book, lambda b: built.append(modified(b)), pause=0.01, rounds=3)
    assert built == []
    source = book.root / "calbook" / "beta.py"
    others = book.root / "calbook" / "__pycache__" / "beta.py"
    others.parent.mkdir()

    def save() -> None:
        for moment in range(3):
            time.sleep(0.1)
            others.write_text("not a source")
            os.utime(source, ns=(moment, moment))

    watch(book, lambda b: built.append(modified(b)), pause=0.01, rounds=2, before={})  # of before a first build
    assert len(built) == 1
    built.clear()
    thread = threading.Thread(target=save)
    thread.start()
    watch(book, lambda b: built.append(modified(b)), pause=0.15, rounds=6)
    thread.join()
    assert built
    assert built[-1]["calbook/beta.py"] == 2
    assert all("__pycache__" not in name for name in built[-1])


def test_pages_are_served_and_follow_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = write_book(tmp_path, {"01_good": GOOD})
    monkeypatch.setattr("calbook.bookbuild.serve.build", stand_in)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[bytes] = []

    def read(book: Book, act: Callable[[Book], None], *, pause: float, before: dict[str, int]) -> None:
        address = f"http://127.0.0.1:{port}/index.html"
        for text in ("# Tiny", "# Changed"):
            (book.root / "book" / "index.md").write_text(text)
            act(book)
            with urlopen(address) as answer:
                assert answer.headers["Cache-Control"] == "no-cache"
                seen.append(answer.read())
        raise KeyboardInterrupt

    monkeypatch.setattr("calbook.bookbuild.serve.watch", read)
    serve(book, port=port)
    assert seen == [b"# Tiny", b"# Changed"]


def test_a_taken_port_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calbook.bookbuild.serve.build", stand_in)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BookError, match=f"port {port} cannot be used .*; give another one"):
            serve(write_book(tmp_path, {"01_good": GOOD}), port=port)


def stand_in(book: Book) -> None:
    """A builder that copies one page."""
    book.html.mkdir(parents=True, exist_ok=True)
    (book.html / "index.html").write_bytes((book.root / "book" / "index.md").read_bytes())
