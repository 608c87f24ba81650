"""A book of a few cells over a package of three modules, to try the pipeline on."""

import json
from pathlib import Path
from typing import Any

from calbook.bookbuild import Book

PARAMETERS = """count: int = 3  # how many
fast: bool = True  # the quick way
rate: float = 0.5  # per second
name: str = "Ann"  # who"""
GOOD = [
    ("markdown", "# Good\n\nRuns in {{ run_time }}.", []),
    ("code", PARAMETERS, ["parameters"]),
    ("code", "import os\nfrom calbook import alpha\nalpha.TWICE", []),
    ("code", "print(count, type(fast).__name__, fast, rate, name, os.environ['CALBOOK_RENDER'])", []),
]
BAD = [
    ("markdown", "# Bad", []),
    ("code", "x = 1", []),
    ("code", "def f():\n    raise ValueError('no\\nluck')\nf()", []),
]


def notebook(cells: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    made = []
    for number, (kind, source, tags) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"c{number}", "metadata": {"tags": tags} if tags else {}, "source": source}
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def write_book(root: Path, chapters: dict[str, list[tuple[str, str, list[str]]]]) -> Book:
    """A book of a few cells over a package of three modules."""
    lines = ["format: jb-book", "root: book/index", "chapters:", *(f"  - file: book/{name}" for name in chapters)]
    files = {
        "_toc.yml": "\n".join(lines),
        "_config.yml": "title: Tiny\nauthor: A\nlogo: ''\nonly_build_toc_files: true\n"
        "execute: {execute_notebooks: 'off'}\nrepository: {url: ''}\n",
        "requirements.lock": "a==1\n",
        "book/index.md": "# Tiny\n\n{{ run_times }}\n",
        "calbook/__init__.py": "",
        "calbook/alpha.py": "from calbook.beta import ONCE\nTWICE = 2 * ONCE\nRESULTS = 'speed.json'\n"
        "from pathlib import Path\nNETWORK = Path() / 'tiny'\n",
        "calbook/beta.py": "ONCE = 1\n",
        "calbook/gamma.py": "OTHER = 3\n",
        "experiments/networks/tiny/config.json": "{}",
        "experiments/results/speed.json": "{}",
        "experiments/results/unused.json": "{}",
        **{f"book/{name}.ipynb": json.dumps(notebook(cells)) for name, cells in chapters.items()},
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return Book(root)


def change(book: Book, name: str, old: str, new: str) -> None:
    path = book.root / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
