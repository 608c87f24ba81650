"""Render executed chapters into pages.

Sources and executed copies are gathered in ``_build/source``, Jupyter Book makes
pages of them in ``_build/render``, and only a whole book is copied to
``_build/html``. Every copy touches only files whose content changed, so that
Sphinx, and the browser of a reader, see no change where there is none.
"""

import copy
import filecmp
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from calbook.bookbuild.book import Book, BookError
from calbook.bookbuild.freshness import shown, stale
from calbook.bookbuild.notebooks import RECORD, Notebook, read_notebook, to_bytes
from calbook.results import write_atomically

RUN_TIME = "{{ run_time }}"  # in a chapter: how long it took
RUN_TIMES = "{{ run_times }}"  # in a page: a table of all chapters
NO_BREAK = "\u2011"  # a hyphen at which no line ends, for dates in narrow columns
HOSTS = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}
LEFT_OUT = (".ipynb_checkpoints", "__pycache__")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def render(book: Book, parameters: Mapping[str, Mapping[str, Any]], *, strict: bool, clean: bool) -> bool:
    """Make the pages in ``_build/html``.

    Args:
        book: The book, all chapters executed.
        parameters: Parameters that chapters (by name) are expected to have run with.
        strict: Treat warnings as errors, and check every reference.
        clean: Start from nothing: an incremental build does not repeat earlier warnings. So does the first
            strict one after others.

    Returns:
        Whether there was anything to do.

    Raises:
        BookError: A chapter is stale, or the rendering failed. The old pages stay.
    """
    refuse_stale(book, parameters)
    work, stamp = book.build / "render", book.build / "rendered"
    staged = stage(book)
    digest = _digest_of(staged) + (" strict" if strict else "")
    new_rules = strict and stamp.is_file() and not stamp.read_text().rstrip().endswith(" strict")
    if clean or new_rules or not stamp.is_file():  # after a failure, too
        shutil.rmtree(work, ignore_errors=True)
    elif stamp.read_text().startswith(digest) and (book.html / "index.html").is_file():
        return False
    stamp.unlink(missing_ok=True)
    jupyter_book(book, staged, work, strict=strict)
    static = staged / "book" / "_static"
    if static.is_dir():  # where no page changed, Sphinx leaves the old styles in place
        shutil.copytree(static, work / "_build" / "html" / "_static", dirs_exist_ok=True)
    mirror(work / "_build" / "html", book.html)
    write_atomically(stamp, f"{digest}\n".encode())
    return True


def refuse_stale(book: Book, parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise, with one line per chapter, where an executed copy is not what the chapter would give today."""
    reasons = {c.name: stale(book, c, parameters.get(c.name)) for c in book.chapters}
    lines = [f"{name} {reason}" for name, reason in reasons.items() if reason]
    if lines:
        raise BookError("\n".join(f"{line}; run: python -m calbook.bookbuild run" for line in lines))


def stage(book: Book) -> Path:
    """Gather sources and executed chapters in ``_build/source``."""
    target = book.build / "source"
    notebooks = {chapter.source: chapter for chapter in book.chapters}
    sources = [book.root / "_config.yml", book.root / "_toc.yml", *sorted((book.root / "book").rglob("*"))]
    kept = set()
    for source in sources:
        if source.is_dir() or set(source.parts) & set(LEFT_OUT):
            continue
        if source in notebooks:
            content = filled_chapter(notebooks[source].executed)
        elif source.suffix == ".ipynb":
            continue  # not in the table of contents
        else:
            content = source.read_bytes()
            if source.name == "_config.yml":
                content = with_buttons(content)
            if RUN_TIMES.encode() in content:
                content = content.replace(RUN_TIMES.encode(), _run_times(book).encode())
        path = target / source.relative_to(book.root)
        kept.add(path)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    _remove_others(target, kept)
    return target


def mirror(source: Path, target: Path) -> None:
    """Make ``target`` equal to ``source``, touching only what differs."""
    kept = set()
    for file in source.rglob("*"):
        path = target / file.relative_to(source)
        if file.is_file():
            kept.add(path)
            if not (path.is_file() and filecmp.cmp(file, path, shallow=False)):
                write_atomically(path, file.read_bytes())
    _remove_others(target, kept)


def run_time(record: Mapping[str, Any]) -> str:
    """The record of a run in words.

    >>> run_time({"seconds": 12.3, "cores": 2, "date": "2026-11-21", "parameters": {}})
    '12 s on 2 cores (2026-11-21)'
    """
    plural = "s" if record["cores"] != 1 else ""
    given = f", with {shown(record['parameters'])}" if record["parameters"] else ""
    return f"{_took(record['seconds'])} on {record['cores']} core{plural} ({record['date']}){given}"


def _took(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def with_buttons(config: bytes) -> bytes:
    """The settings of the pages, with the buttons that need the repository's address where it has one.

    The address is the one setting, ``repository: url``: it switches on "open in Colab", "open in Binder" and the links
    to the source. Without it the settings stay as they are, and no button leads nowhere.

    Raises:
        BookError: The settings are not YAML.
    """
    try:
        settings = yaml.safe_load(config)
    except yaml.YAMLError as error:
        raise BookError(f"_config.yml cannot be read: {str(error).splitlines()[0]}") from error
    if not (settings.get("repository") or {}).get("url"):
        return config
    settings["launch_buttons"] = {**settings.get("launch_buttons", {}), **HOSTS}
    switches = dict.fromkeys(("use_repository_button", "use_issues_button", "use_edit_page_button"), True)
    settings["html"] = {**settings.get("html", {}), **switches}
    text: str = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return text.encode()


def filled_chapter(executed: Path) -> bytes:
    """An executed copy with its run time filled in, and without its record."""
    notebook = read_notebook(executed)
    words = run_time(notebook.metadata.pop(RECORD))
    notebook.cells = [part for cell in notebook.cells for part in _figure_alone(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace(RUN_TIME, words)
    return to_bytes(notebook)


def _figure_alone(cell: Notebook) -> list[Notebook]:
    """Split a cell that shows a captioned figure and a table: the caption, a label, belongs to the figure alone."""
    if "figure" not in cell.metadata.get("mystnb", {}):
        return [cell]
    others = [o for o in cell.outputs if "data" in o and not any(kind.startswith("image/") for kind in o.data)]
    if not others or len(others) == len(cell.outputs):
        return [cell]
    rest = copy.deepcopy(cell)
    rest.update(
        id=f"{cell.id[:59]}-rest",
        source="# what the cell above shows besides",  # hidden; a cell without source would be left out of the page
        outputs=others,
        metadata={"tags": ["remove-input"]},
    )
    cell.outputs = [o for o in cell.outputs if o not in others]
    return [cell, rest]


def _run_times(book: Book) -> str:
    """A table of all chapters: when, where and how long they ran; what is the same for all stands above it."""
    records = {c.source: read_notebook(c.executed).metadata[RECORD] for c in book.chapters}
    columns = {
        "Machine": [str(record["machine"]) for record in records.values()],
        "Cores": [str(record["cores"]) for record in records.values()],
        "Date": [record["date"].replace("-", NO_BREAK) for record in records.values()],
    }
    common = [f"{name.lower()}: {values[0]}" for name, values in columns.items() if len(set(values)) == 1]
    columns = {name: values for name, values in columns.items() if len(set(values)) > 1}
    lines = [f"All chapters: {'; '.join(common)}.", ""] if common else []
    lines += ["| " + " | ".join(["Chapter", "Run time", *columns]) + " |", "| --- " * (2 + len(columns)) + "|"]
    for place, (source, record) in enumerate(records.items()):
        page = source.relative_to(book.root / "book").as_posix().removesuffix(".ipynb")
        given = f", with {shown(record['parameters'])}" if record["parameters"] else ""
        cells = [f"{{doc}}`/book/{page}`", _took(record["seconds"]) + given]
        lines.append("| " + " | ".join([*cells, *(values[place] for values in columns.values())]) + " |")
    return "\n".join(lines)


def jupyter_book(book: Book, staged: Path, work: Path, *, strict: bool = False, builder: str = "html") -> None:
    """Call the ``jupyter-book`` script; its long account goes to ``_build/render.log``.

    Args:
        book: The book.
        staged: What :func:`stage` gathered.
        work: Where the builder keeps its state, and its pages in ``_build/<builder>``.
        strict: Treat warnings as errors, and check every reference.
        builder: ``html``, or ``singlehtml`` for the whole book as one page.
    """
    script = shutil.which("jupyter-book", path=sysconfig.get_path("scripts"))
    if script is None:
        raise BookError("jupyter-book is not installed here; run: make setup")
    command = [sys.executable, script, "build", str(staged), "--path-output", str(work), "--builder", builder]
    command += ["-W", "-n", "--keep-going"] if strict else []
    log = book.build / "render.log"
    begin = time.monotonic()
    print("rendering ..." if builder == "html" else "rendering as one page ...", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        status = subprocess.run(command, cwd=book.root, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    complaints = [
        ESCAPES.sub("", line).replace(f"{staged}/", "")
        for line in log.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)
    ]
    print("\n".join(dict.fromkeys(complaints)) or f"rendered in {time.monotonic() - begin:.0f} s", flush=True)
    if status:
        raise BookError(f"rendering failed with {len(complaints)} warnings or errors; all of it is in {log}")


def _remove_others(folder: Path, kept: set[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _digest_of(folder: Path) -> str:
    """Digest of all files of a folder, names and content."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
