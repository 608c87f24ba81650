"""Is an executed copy still what the chapter would give today?

The record of an executed copy holds a digest of everything it was made from:
the chapter's cells, the ``calbook`` modules it imports (directly or through
others, found without importing anything), the data and results files these
name, the lock file and the Python version. A chapter that imports three small
modules does not run again because a network changed.
"""

import ast
import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from calbook.bookbuild.book import Book, BookError, Chapter
from calbook.bookbuild.notebooks import INJECTED, RECORD, broken_cell, read_notebook


def inputs(book: Book, chapter: Chapter) -> dict[str, str]:
    """What the chapter is made from: file name relative to the root -> digest of its content."""
    notebook = read_notebook(chapter.source)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    modules = imported_modules(book.root, code)
    texts = [code, *(path.read_text(encoding="utf-8") for path in modules)]
    files = [*modules, *_named_files(book.root, texts), book.root / "requirements.lock"]
    found = {path.relative_to(book.root).as_posix(): _digest(path.read_bytes()) for path in files if path.is_file()}
    cells = json.dumps(_cells(notebook), sort_keys=True).encode()
    source = chapter.source.relative_to(book.root).as_posix()
    return {source: _digest(cells), **found, "the Python version": ".".join(platform.python_version_tuple()[:2])}


def imported_modules(root: Path, code: str, package: str = "calbook") -> list[Path]:
    """Files of the package that a piece of code imports, directly or through others."""
    found: dict[Path, None] = {}
    waiting = [(code, "")]
    while waiting:
        text, module = waiting.pop()
        for name in _imports(text, module):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1 if parts[0] == package else 1):  # a module runs its packages too
                base = root.joinpath(*parts[:depth])
                path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
                if path.is_file() and path not in found:
                    found[path] = None
                    inside = ".".join(parts[:depth]) + (".__init__" if base.is_dir() else "")
                    waiting.append((path.read_text(encoding="utf-8"), inside))
    return sorted(found)


def stale(book: Book, chapter: Chapter, parameters: Mapping[str, Any] | None = None) -> str | None:
    """Why the executed copy of a chapter must not be shown, or None where it may."""
    if not chapter.executed.is_file():
        return "was not executed yet"
    try:
        notebook = read_notebook(chapter.executed)
    except BookError:
        return "has a damaged executed copy"
    record = notebook.metadata.get(RECORD)
    if record is None:
        return "has an executed copy that bookbuild did not make"
    if record["parameters"] != dict(parameters or {}):
        return f"ran with {shown(record['parameters'])}, and {shown(parameters or {})} are asked for"
    now = inputs(book, chapter)
    for name in [*now, *record["inputs"]]:
        if now.get(name) != record["inputs"].get(name):
            return f"is stale: {name} changed since it ran"
    copied = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    if [c.source for c in copied] != [c.source for c in read_notebook(chapter.source).cells]:
        return "has an executed copy that was edited by hand"
    return broken_cell(notebook)


def shown(parameters: Mapping[str, Any]) -> str:
    """Parameters as text.

    >>> shown({"seed": 3}), shown({})
    ('seed=3', 'the default parameters')
    """
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items()) or "the default parameters"


def _cells(notebook: Any) -> list[Any]:
    """What of a notebook decides its outcome and its look."""
    return [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _imports(code: str, module: str) -> Iterable[str]:
    """Dotted names that code mentions in import statements or as a whole string (for registries)."""
    if not module:  # a chapter: lines of IPython (%magic, !shell) are not Python and import nothing of ours
        code = re.sub(r"^([ \t]*)[%!].*$", r"\1pass", code, flags=re.MULTILINE)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"calbook(\.\w+)+", str(node.value)):
            yield str(node.value)


def _named_files(root: Path, texts: Iterable[str]) -> list[Path]:
    """Results, networks and data files whose name (with or without suffix) stands at the end of a string in the code.

    Of a folder of results or of a network that is named so, after a slash, all files count.
    """
    results = [*root.glob("experiments/results/*.json"), *root.glob("benchmarks/results/*.json")]
    candidates = [*results, *root.glob("experiments/networks/*.*"), *root.glob("calbook/**/*.*")]
    code = "\n".join(texts)
    named = [
        path
        for path in candidates
        if path.suffix not in (".py", ".pyc", ".typed")
        and re.search(rf"""["'/]{re.escape(path.stem)}({re.escape(path.suffix)})?["']""", code)
    ]
    folders = {path.parent for part in ("results", "networks") for path in root.glob(f"experiments/{part}/*/*.json")}
    inside = [folder for folder in folders if re.search(rf"""/ ["']{re.escape(folder.name)}["']""", code)]
    return sorted([*named, *(path for folder in inside for path in folder.rglob("*.*"))])
