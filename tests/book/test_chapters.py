"""Every chapter keeps the promises of the book, before it is ever run."""

import ast
import itertools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from calbook.bookbuild import Book, BookError
from calbook.bookbuild.notebooks import to_bytes
from calbook.bookbuild.parameters import TYPES
from calbook.bookbuild.template import beginning, new_chapter

BOOK = Book()
NOTEBOOKS = sorted((BOOK.root / "book").rglob("*.ipynb"))
NOTEBOOKS = [path for path in NOTEBOOKS if ".ipynb_checkpoints" not in path.parts]
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.name)]
# What a new chapter begins with keeps the same promises.
FOLDER = tempfile.TemporaryDirectory()
BEGINNING = Path(FOLDER.name) / "20_your_subject.ipynb"
BEGINNING.write_bytes(to_bytes(beginning("20_your_subject", "Your subject")))
SETUP = """import matplotlib.pyplot as plt
import numpy as np
import torch
from calbook import plotting
plotting.use_book_style()"""
DRAWS = {"subplots", "subplot_mosaic", "figure", "plot", "imshow", "hist", "scatter"}


def cells(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The cells of a notebook, their source as one text."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    joined = [cell | {"source": "".join(cell["source"]), "number": i} for i, cell in enumerate(found, start=1)]
    return [cell for cell in joined if kind in (None, cell["cell_type"])]


def tags(cell: dict[str, Any]) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def prose(path: Path) -> str:
    return "\n\n".join(cell["source"] for cell in cells(path, "markdown"))


def without_code(text: str) -> str:
    """Markdown without its fenced blocks of code."""
    return re.sub(r"^(`{3,})(?!\{).*?^\1`*$", "", text, flags=re.MULTILINE | re.DOTALL)


def draws_a_figure(source: str) -> bool:
    """Whether a cell itself, not a function it defines, calls pyplot to make a figure."""
    tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "plt" and node.attr in DRAWS:
            return True
        waiting.extend(ast.iter_child_nodes(node))
    return False


def exercises(text: str) -> list[str]:
    """The labels of the exercises in a chapter's prose."""
    return re.findall(r"\{exercise\}.*\n:label: (\S+)", text)


def count_questions(source: str) -> int:
    """How many questions the quizzes of a cell ask; that each is explained, ``quiz`` itself sees to."""
    if "quiz(" not in source:
        return 0
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    quizzes = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "quiz"]
    return sum(len(items.elts) for items in quizzes if isinstance(items, ast.List))


def every(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_there_are_chapters() -> None:
    assert (BOOK.root / "book" / "index.ipynb") in NOTEBOOKS
    assert CHAPTERS


def test_the_table_of_contents_is_complete() -> None:
    listed = {f"{page}.ipynb" for page in BOOK.pages if (BOOK.root / f"{page}.ipynb").is_file()}
    assert listed == {path.relative_to(BOOK.root).as_posix() for path in NOTEBOOKS}
    appendix = {path.with_suffix("") for path in (BOOK.root / "book" / "appendix").glob("[a-z]*.*")}
    pages = {path.relative_to(BOOK.root).as_posix() for path in appendix}
    assert pages == {page for page in BOOK.pages if page.startswith("book/appendix/")}


def test_the_start_page_lists_every_chapter() -> None:
    text = prose(BOOK.root / "book" / "index.ipynb")
    rows = re.findall(r"^\* - (\d+)\n  - \[.+\]\((.+)\)\n  - .+$", text, re.MULTILINE)
    assert rows == [(str(int(path.name[:2])), path.name) for path in CHAPTERS]


@every([*NOTEBOOKS, BEGINNING])
def test_no_outputs_are_stored(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert notebook["nbformat_minor"] >= 5
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not {"widgets", "papermill", "calbook"} & set(notebook["metadata"])
    for cell in cells(path, "code"):
        assert cell["outputs"] == [], f"cell {cell['number']} holds outputs"
        assert cell["execution_count"] is None
    ids = [cell["id"] for cell in cells(path)]
    assert len(ids) == len(set(ids))


@every([*NOTEBOOKS, BEGINNING])
def test_one_parameters_cell_typed_and_commented(path: Path) -> None:
    (cell,) = [cell for cell in cells(path, "code") if "parameters" in tags(cell)]
    for line in cell["source"].splitlines():
        found = re.fullmatch(r"([a-z]\w*): (int|float|str|bool) = (.+?)  # \S.+", line)
        assert found, f"write it as 'name: type = value  # comment': {line}"
        assert type(ast.literal_eval(found[3])) is TYPES[found[2]], line


@every([*NOTEBOOKS, BEGINNING])
def test_the_setup_cell_is_the_same_everywhere(path: Path) -> None:
    setups = [cell for cell in cells(path, "code") if cell["source"].strip() == SETUP]
    assert len(setups) == 1


@every([*NOTEBOOKS, BEGINNING])
def test_figures_have_alt_text_caption_and_name(path: Path) -> None:
    for cell in cells(path, "code"):
        if not draws_a_figure(cell["source"]) or "remove-output" in tags(cell):
            continue
        meta = cell["metadata"].get("mystnb", {})
        alt = meta.get("image", {}).get("alt", "")
        assert len(alt) > 20, f"cell {cell['number']} draws a figure without mystnb.image.alt"
        assert meta.get("figure", {}).get("caption"), f"cell {cell['number']} draws a figure without a caption"
        assert meta["figure"].get("name", "").startswith("fig-"), f"cell {cell['number']}: name the figure fig-..."


@every([*NOTEBOOKS, BEGINNING])
def test_headings_are_in_order(path: Path) -> None:
    levels = [len(mark) for mark in re.findall(r"^(#+) ", without_code(prose(path)), re.MULTILINE)]
    assert cells(path)[0]["source"].startswith("# ")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels


@every([*NOTEBOOKS, BEGINNING])
def test_the_measured_run_time_is_shown(path: Path) -> None:
    assert prose(path).count("{{ run_time }}") == 1


@every([*NOTEBOOKS, BEGINNING])
def test_citations_exist(path: Path) -> None:
    known = set(re.findall(r"^@\w+\{([^,]+),", (BOOK.root / "book" / "references.bib").read_text(), re.MULTILINE))
    cited = {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(path)) for key in keys.split(",")}
    assert cited <= known, f"not in book/references.bib: {sorted(cited - known)}"


@every([*CHAPTERS, BEGINNING])
def test_a_chapter_has_every_part(path: Path) -> None:
    text = prose(path)
    for part in ("**You will learn", "**Before you start"):
        assert part in text, f"no {part}"
    assert re.search(r"\b\d+\s+minutes\b", text), "no reading time in minutes"
    headings = [title.lower() for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    parts = ["what can go wrong", "summary", "exercises", "quiz", "references"]
    places = [next((i for i, title in enumerate(headings) if title.startswith(part)), None) for part in parts]
    assert None not in places, f"headings {headings} lack one of {parts}"
    assert places == sorted(places), f"the closing parts come in the order {parts}"


@every([*CHAPTERS, BEGINNING])
def test_exercises_have_executed_solutions(path: Path) -> None:
    text = prose(path)
    labels = exercises(text)
    assert len(labels) >= 3
    statements = re.findall(r"\{exercise\}.*\n:label: (\S+)\n(.*?)```", text, re.DOTALL)
    assert [label for label, said in statements if "*Self-check:" not in said] == [], "name a value to check against"
    assert sorted(labels) == sorted(re.findall(r"\{solution(?:-start)?\} (\S+)", text))
    assert text.count("{solution-start}") == text.count("{solution-end}")
    source = "\n".join(f"<{cell['cell_type']}>{cell['source']}" for cell in cells(path))
    solutions = re.findall(r"\{solution-start\} (\S+)(.*?)\{solution-end\}", source, re.DOTALL)
    assert sorted(name for name, _ in solutions) == sorted(labels), "gate each solution, with its code inside"
    for name, body in solutions:
        code = "".join(re.findall(r"<code>(.*?)(?=<markdown>|\Z)", body, re.DOTALL))
        assert "assert" in code or "print" in code, f"the solution of {name} checks or prints nothing"


@every([*CHAPTERS, BEGINNING])
def test_a_chapter_ends_with_a_quiz(path: Path) -> None:
    quizzes = [cell for cell in cells(path, "code") if re.search(r"\bquiz\(", cell["source"])]
    assert quizzes
    assert {"hide-input", "remove-input"} & set(tags(quizzes[-1])), "hide the quiz's input: it holds the answers"


@every(CHAPTERS)
def test_a_quiz_has_three_questions(path: Path) -> None:
    assert sum(count_questions(cell["source"]) for cell in cells(path, "code")) >= 3


def test_the_book_has_sixty_exercises() -> None:
    assert sum(len(exercises(prose(path))) for path in CHAPTERS) >= 60


def test_a_new_chapter_runs_as_it_is() -> None:
    plt.switch_backend("agg")
    names: dict[str, Any] = {}
    for cell in cells(BEGINNING, "code"):
        exec(cell["source"], names)
    assert names["value"] == 4
    plt.close("all")


def test_a_new_chapter_takes_no_place(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    assert "add it to _toc.yml" in new_chapter(Book(tmp_path), "20_your_subject", "Your subject")
    assert (tmp_path / "book" / "20_your_subject.ipynb").read_bytes() == BEGINNING.read_bytes()
    for name, title, problem in [
        ("20_another", "Another", "the number 20 is taken by 20_your_subject.ipynb"),
        ("another", "Another", "is not a chapter's name"),
        ("../21_another", "Another", "is not a chapter's name"),
        ("21_another", " ", "21_another needs a title"),
    ]:
        with pytest.raises(BookError, match=problem):
            new_chapter(Book(tmp_path), name, title)
    assert len(list((tmp_path / "book").iterdir())) == 1
