"""The pipeline on a tiny book: what runs, what is refused, and that failures leave nothing behind."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_book import BAD, GOOD, change, notebook, write_book

from calbook.bookbuild import Book, BookError, execute, render
from calbook.bookbuild.__main__ import main
from calbook.bookbuild.book import Chapter
from calbook.bookbuild.freshness import imported_modules, stale
from calbook.bookbuild.notebooks import RECORD, read_notebook
from calbook.bookbuild.parameters import declared, validated

EXECUTED = "_build/executed/book/01_good.ipynb"


@pytest.fixture(scope="module")
def complaints() -> io.StringIO:
    """What the first run of the book complains of."""
    return io.StringIO()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, complaints: io.StringIO) -> Book:
    """A book in a folder with a space, one chapter of which was run and one failed."""
    book = write_book(tmp_path_factory.mktemp("a book"), {"01_good": GOOD, "02_bad": BAD})
    (book.build / "executed" / "book").mkdir(parents=True)
    (book.build / "executed" / "book" / "02_bad.ipynb").write_text(json.dumps(notebook(BAD)))  # of an earlier run
    with contextlib.redirect_stderr(complaints):
        assert main(["run", "--root", str(book.root), "-j", "2"]) == 1
    return book


@pytest.fixture
def good(executed: Book, tmp_path: Path) -> Book:
    """A copy of the executed book to play with, without the failing chapter."""
    shutil.copytree(executed.root, tmp_path / "a copy")
    book = Book(tmp_path / "a copy")
    change(book, "_toc.yml", "  - file: book/02_bad", "")
    return book


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[[Book, str], str]:
    """Runs a command that must fail, and returns the one line it complains with."""

    def run(book: Book, command: str) -> str:
        capsys.readouterr()
        assert main([*command.split(), "--root", str(book.root)]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return run


def test_an_executed_copy_is_clean(executed: Book) -> None:
    copy = read_notebook(executed.build / "executed" / "book" / "01_good.ipynb")
    assert copy.cells[2].outputs[0]["data"]["text/plain"] == "2"
    assert copy.cells[3].outputs[0].text == "3 bool True 0.5 Ann 1\n"
    assert "papermill" not in copy.metadata
    assert all(not {"papermill", "execution"} & set(cell.metadata) for cell in copy.cells)
    record = copy.metadata[RECORD]
    assert record["seconds"] > 0
    assert set(record["inputs"]) == {
        "book/01_good.ipynb", "calbook/__init__.py", "calbook/alpha.py", "calbook/beta.py",
        "experiments/networks/tiny/config.json", "experiments/results/speed.json", "requirements.lock",
        "the Python version",
    }  # fmt: skip


def test_a_failing_chapter_leaves_nothing_and_the_others_finish(
    executed: Book, complaints: io.StringIO, complaint: Callable[[Book, str], str]
) -> None:
    assert [path.name for path in executed.build.rglob("*") if path.is_file()] == ["01_good.ipynb"]
    assert complaints.getvalue() == "bookbuild: 02_bad, cell 3: ValueError: no luck\n"
    assert complaint(executed, "check").startswith("bookbuild: 02_bad was not executed yet")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run 1 -p coun=4", "01_good has no parameter 'coun' (did you mean count?); it has count: int, fast: bool,"),
        ("run 1 -p count=four", "01_good: parameter 'count' is of type int (such as 3), not 'four'"),
        ("run 1 -p count=4.5", "01_good: parameter 'count' is of type int (such as 3), not '4.5'"),
        ("run 1 -p fast=maybe", "01_good: parameter 'fast' is of type bool (such as true or false), not 'maybe'"),
        ("run 1 -p rate=quick", "01_good: parameter 'rate' is of type float (such as 0.5), not 'quick'"),
        ("run 1 -p count", "-p count: write it as name=value"),
        ("run 01_goot", "no chapter '01_goot' (did you mean 01_good?); chapters: 01_good"),
        ("serve 1", "serve shows the whole book, with its default parameters"),
        ("serve -p count=4", "serve shows the whole book, with its default parameters"),
        ("new 20_your_subject", "20_your_subject needs a title"),
        ("new", "'' is not a chapter's name"),
        ("check 1 -p count=4", "01_good ran with the default parameters, and count=4 are asked for"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    good: Book, complaint: Callable[[Book, str], str], command: str, message: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in good.root.rglob("*")}
    assert complaint(good, command).startswith(f"bookbuild: {message}")
    assert {path: path.stat().st_mtime_ns for path in good.root.rglob("*")} == before


def test_the_title_of_a_new_chapter_needs_no_quotes(good: Book) -> None:
    assert main(["new", "20_your_subject", "Your", "new", "subject", "--root", str(good.root)]) == 0
    assert read_notebook(good.root / "book" / "20_your_subject.ipynb").cells[0].source.startswith("# Your new subject")


def test_parameters_take_their_declared_type(good: Book) -> None:
    chapter = good.chapters[0]
    assert declared(chapter) == {"count": "int", "fast": "bool", "rate": "float", "name": "str"}
    given = {"count": "4", "fast": "False", "rate": "2", "name": "3"}
    assert validated(chapter, given) == {"count": 4, "fast": False, "rate": 2.0, "name": "3"}
    assert validated(chapter, {"rate": 2}) == {"rate": 2.0}
    with pytest.raises(BookError, match="'count' is of type int"):
        validated(chapter, {"count": True})


@pytest.mark.parametrize(
    "typed",
    [
        "run -v -p fast=false 1",
        "run 1 -v -p fast=false",
        "-p fast=false run -v 1",
        "-v run 1 -p fast=false",
        "run 1 -vp fast=false",
    ],
)
def test_options_come_in_any_order(good: Book, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    seen: list[tuple[list[str], dict[str, dict[str, Any]], bool]] = []

    def execute(
        _: Book, chapters: Sequence[Chapter], given: dict[str, dict[str, Any]], *rest: object, verbose: bool
    ) -> list[Any]:
        seen.append(([chapter.name for chapter in chapters], given, verbose))
        return []

    monkeypatch.setattr("calbook.bookbuild.__main__.execute_all", execute)
    assert main([*typed.split(), "--root", str(good.root)]) == 0
    name = good.chapters[0].name
    assert seen == [([name], {name: {"fast": False}}, True)]


def test_given_parameters_run_hidden_and_are_remembered(good: Book, complaint: Callable[[Book, str], str]) -> None:
    assert main(["run", "1", "-p", "fast=false", "--root", str(good.root)]) == 0
    chapter = good.chapters[0]
    copy = read_notebook(chapter.executed)
    injected = [cell for cell in copy.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert len(injected) == 1
    assert "remove-cell" in injected[0].metadata["tags"]
    assert copy.cells[-1].outputs[0].text == "3 bool False 0.5 Ann 1\n"
    assert stale(good, chapter, {"fast": False}) is None
    assert "ran with fast=False" in complaint(good, "check")


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("book/01_good.ipynb", "count: int = 3", "count: int = 4", "is stale: book/01_good.ipynb changed since it ran"),
        ("calbook/beta.py", "ONCE = 1", "ONCE = 2", "is stale: calbook/beta.py changed since it ran"),
        ("experiments/results/speed.json", "{}", "[]", "is stale: experiments/results/speed.json changed since it ran"),
        ("requirements.lock", "a==1", "a==2", "is stale: requirements.lock changed since it ran"),
        (EXECUTED, "alpha.TWICE", "alpha.THRICE", "was edited by hand"),
        (EXECUTED, '"execution_count": 2', '"execution_count": null', "has an unexecuted cell (cell 3)"),
        (EXECUTED, "{", "", "01_good has a damaged executed copy"),
        ("experiments/networks/tiny/config.json", "{}", "[]", "config.json changed since it ran"),
        ("calbook/gamma.py", "OTHER = 3", "OTHER = 4", None),
        ("experiments/results/unused.json", "{}", "[]", None),
    ],
)  # fmt: skip
def test_a_stale_copy_is_never_rendered(
    good: Book, complaint: Callable[[Book, str], str], name: str, old: str, new: str, reason: str | None
) -> None:
    assert main(["check", "--root", str(good.root)]) == 0
    change(good, name, old, new)
    if reason is None:
        assert main(["check", "--root", str(good.root)]) == 0
    else:
        assert reason in complaint(good, "html")
        assert not good.html.exists()


@pytest.mark.parametrize("given", [{}, {"name": "experiments/results/speed.json"}])
def test_results_that_change_while_a_chapter_runs(
    good: Book, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    """They may be shown as they were, unless a parameter names them: then the chapter wrote them itself."""
    (chapter,) = good.chapters
    run = read_notebook(chapter.executed)

    def papermill(*_: object) -> Any:
        change(good, "experiments/results/speed.json", "{}", "[]")
        return run

    monkeypatch.setattr(execute, "_papermill", papermill)
    assert execute.execute(good, chapter, given).error is None
    changed = "is stale: experiments/results/speed.json changed since it ran"
    assert stale(good, chapter, given) == (None if given else changed)


def test_staged_chapters_say_how_long_they_took(good: Book) -> None:
    staged = render.stage(good)
    text = (staged / "book" / "01_good.ipynb").read_text()
    assert "{{ run_time }}" not in text
    assert " on " in read_notebook(staged / "book" / "01_good.ipynb").cells[0].source
    assert "01_good" in (staged / "book" / "index.md").read_text()
    table = (staged / "book" / "index.md").read_text()
    assert "| Chapter | Run time |\n" in table, "one machine and one day: both stand above the table"
    assert read_notebook(good.chapters[0].executed).metadata[render.RECORD]["machine"] in table
    assert not (staged / "book" / "02_bad.ipynb").exists()  # no longer in the table of contents
    times = {path: path.stat().st_mtime_ns for path in staged.rglob("*")}
    render.stage(good)
    assert {path: path.stat().st_mtime_ns for path in staged.rglob("*")} == times


def test_a_caption_belongs_to_the_figure_alone(good: Book) -> None:
    executed = good.chapters[0].executed
    content = json.loads(executed.read_text())
    shown = [
        {"output_type": "display_data", "metadata": {}, "data": {kind: "x"}} for kind in ("image/svg+xml", "text/html")
    ]
    content["cells"][3] |= {"metadata": {"mystnb": {"figure": {"name": "fig-a"}}}, "outputs": shown}
    executed.write_text(json.dumps(content))
    cells = read_notebook(render.stage(good) / "book" / "01_good.ipynb").cells
    assert [list(cell.outputs[0].data) for cell in cells[3:]] == [["image/svg+xml"], ["text/html"]]
    assert cells[4].source.strip(), "the renderer leaves out cells without source, and what they show"
    assert cells[4].metadata.tags == ["remove-input"]
    assert "mystnb" not in cells[4].metadata


@pytest.mark.slow
def test_pages_are_rendered_once_and_kept_when_rendering_fails(
    good: Book,
    complaint: Callable[[Book, str], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)  # there every build is from clean
    assert main(["all", "--root", str(good.root)]) == 0
    page = (good.html / "book" / "01_good.html").read_text()
    assert "Runs in" in page
    capsys.readouterr()
    assert main(["all", "--root", str(good.root)]) == 0
    assert "nothing changed" in capsys.readouterr().out
    style = good.root / "book" / "_static" / "own.css"
    style.parent.mkdir()
    style.write_text("p { color: black }")
    assert main(["html", "--root", str(good.root)]) == 0  # no page changed, but its looks did
    assert (good.html / "_static" / "own.css").read_text() == style.read_text()
    change(good, "book/index.md", "# Tiny", "# Tiny\n\n[nowhere](missing.md)")
    assert "rendering failed with 1 warnings or errors" in complaint(good, "html --strict")
    assert (good.html / "book" / "01_good.html").read_text() == page
    assert "nowhere" not in (good.html / "book" / "index.html").read_text()
    assert main(["html", "--root", str(good.root)]) == 0  # a warning, and no error
    assert "rendering failed with 1 warnings or errors" in complaint(good, "html --strict")  # though no page changed


def test_imports_are_found_without_importing(tmp_path: Path) -> None:
    files = {
        "calbook/__init__.py": "",
        "calbook/deep/__init__.py": "from .one import f",
        "calbook/deep/one.py": "from ..two import g\nimport torch",
        "calbook/two.py": "def g():\n    import calbook.three",
        "calbook/three.py": "LAZY = {'x': 'calbook.four'}",
        "calbook/four.py": "",
        "calbook/five.py": "raise SystemExit('imported!')",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = "%matplotlib inline\nfrom calbook.deep import f\nimport calbookish"
    assert {path.relative_to(tmp_path).as_posix() for path in imported_modules(tmp_path, code)} == set(files) - {
        "calbook/five.py"
    }


def die(*_: Any, **__: Any) -> None:
    os._exit(9)


def test_a_killed_process_is_one_line(
    good: Book, complaint: Callable[[Book, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "execute", die)
    assert complaint(good, "run 1 -f").startswith("bookbuild: 01_good: not finished, since a process was killed")


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_jobs_are_a_number_from_one_on(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", f"--jobs={jobs}"])
    assert f"argument -j/--jobs: '{jobs}' is not a number from 1 on" in capsys.readouterr().err


def test_a_parameter_without_a_known_type_cannot_be_given(good: Book, complaint: Callable[[Book, str], str]) -> None:
    change(good, "book/01_good.ipynb", "count: int = 3", "count = 2**5")
    expected = "bookbuild: 01_good: parameter 'count' is an expression without a type, which cannot be given"
    assert complaint(good, "run 1 -p count=4").startswith(expected)
    assert validated(good.chapters[0], {"rate": "2"}) == {"rate": 2.0}


def test_a_missing_chapter_is_named(good: Book, complaint: Callable[[Book, str], str]) -> None:
    (good.root / "book" / "01_good.ipynb").unlink()
    assert "_toc.yml lists book/01_good" in complaint(good, "check")
