"""Editions of the rendered book to carry away: pages in a zip, notebooks in two, one PDF.

They are made in ``_build/editions`` from what is rendered, so that none of them
can show anything else than the pages do.
"""

import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from calbook.bookbuild.book import Book, BookError
from calbook.bookbuild.notebooks import RECORD, read_notebook, to_bytes
from calbook.bookbuild.render import RUN_TIME, filled_chapter, jupyter_book, run_time, stage
from calbook.results import write_atomically

NAME = "poses-from-few-pixels"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
OLDEST = (1980, 1, 1, 0, 0, 0)  # the first date a zip can hold: equal books make equal files
README = """The chapters of "Poses from Few Pixels", {what}.

They need the package calbook, of the same version, which comes with the book's repository. In its folder:

    make lab

opens all of them in JupyterLab, in the environment that they were made with; or, in an environment of your own,

    pip install ".[book]"
    jupyter lab

and open these files from there. Text and figures: CC BY 4.0. Code: MIT.
"""
# What waits for a click is opened: answers and solutions. Code that the pages fold away stays folded.
OPEN = """async () => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  document.querySelectorAll("details:not(.hide), .solution details").forEach((e) => { e.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach((e) => e.classList.remove("toggle-hidden"));
  document.documentElement.dataset.theme = document.documentElement.dataset.mode = "light";
  await document.fonts.ready;
  await Promise.all([...document.images].map((e) => e.decode().catch(() => {})));
  return document.querySelectorAll("[data-mjx-error], mjx-merror").length;
}"""
SCALE = 0.75  # a line of 100 characters of code fits
PAGE_NUMBER = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'


def make_editions(book: Book) -> list[Path]:
    """Make all editions of a rendered book.

    Returns:
        The files, or an empty list where nothing changed since they were made.

    Raises:
        BookError: The book is not rendered, or there is no browser to print with.
    """
    rendered, stamp = book.build / "rendered", book.build / "editions" / "made-from"
    if not rendered.is_file():
        raise BookError("the book is not rendered; run: python -m calbook.bookbuild all")
    kinds = ("-html.zip", "-notebooks.zip", "-notebooks-executed.zip", ".pdf")
    files = [book.build / "editions" / f"{NAME}{kind}" for kind in kinds]
    digest = rendered.read_bytes()
    if stamp.is_file() and stamp.read_bytes() == digest and all(file.is_file() for file in files):
        return []
    stamp.unlink(missing_ok=True)
    write_atomically(files[0], zip_of(pages(book)))
    write_atomically(files[1], zip_of(notebooks(book, executed=False)))
    write_atomically(files[2], zip_of(notebooks(book, executed=True)))
    write_atomically(files[3], pdf(book))
    write_atomically(stamp, digest)
    return files


def pages(book: Book) -> dict[str, bytes]:
    """The rendered pages: path in the edition -> content. They work from a folder, without a network."""
    found = (path for path in book.html.rglob("*") if path.is_file())
    return {path.relative_to(book.html).as_posix(): path.read_bytes() for path in found}


def notebooks(book: Book, *, executed: bool) -> dict[str, bytes]:
    """The chapters as notebooks, with outputs or as they are stored; both say how long they ran."""
    what = "executed, with all outputs" if executed else "without outputs"
    made = {"README.txt": README.format(what=what).encode()}
    for chapter in book.chapters:
        name = chapter.source.name
        if executed:
            made[name] = filled_chapter(chapter.executed)
        else:
            words = run_time(read_notebook(chapter.executed).metadata[RECORD])
            notebook = read_notebook(chapter.source)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = cell.source.replace(RUN_TIME, words)
            made[name] = to_bytes(notebook)
    return made


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip with one folder; equal content makes an equal file."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{NAME}/{name}", OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def pdf(book: Book) -> bytes:
    """The whole book as one page, printed by a browser without a window.

    Raises:
        BookError: There is no browser, or something that the page asks for is missing.
    """
    browser = find_browser(os.environ.get("CALBOOK_CHROMIUM", ""), *BROWSERS)
    work = book.build / "single"
    jupyter_book(book, stage(book), work, builder="singlehtml")
    folder, first = work / "_build" / "singlehtml", f"{book.pages[0]}.html"
    # Sphinx writes the page into the folder of its first source, with addresses as if it lay at the top.
    text = (folder / first).read_text(encoding="utf-8").replace(f'href="{first}#', 'href="#')
    write_atomically(folder / "whole.html", text.encode())
    return _printed(folder / "whole.html", browser)


def find_browser(*names: str) -> str:
    """The first of these browsers that is installed.

    Raises:
        BookError: None of them is.
    """
    for name in names:
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BookError("the PDF needs Chromium: install it (Debian: apt install chromium) or set CALBOOK_CHROMIUM")


def _printed(page: Path, browser: str) -> bytes:
    """A page as PDF, with bookmarks and tags for screen readers."""
    from playwright.sync_api import Error, sync_playwright

    failed: list[str] = []
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
            tab = chromium.new_page()
            tab.set_default_timeout(10 * 60_000)  # hundreds of formulas
            tab.on("requestfailed", lambda request: failed.append(Path(request.url).name))
            tab.goto(page.resolve().as_uri())
            unset: int = tab.evaluate(OPEN)
            refuse_gaps(failed, unset)
            margin: Any = {"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
            content: bytes = tab.pdf(
                format="A4", margin=margin, scale=SCALE, print_background=True, outline=True, tagged=True,
                display_header_footer=True, header_template="<span></span>", footer_template=PAGE_NUMBER,
            )  # fmt: skip
            chromium.close()
    except Error as error:
        raise BookError(f"the browser could not print the book: {str(error).splitlines()[0]}") from error
    return content


def refuse_gaps(failed: Iterable[str], unset: int) -> None:
    """Raise where the page lacks a file or a formula."""
    missing = sorted(set(failed))
    if missing:
        raise BookError(f"the single page asks for files that are not there: {', '.join(missing[:5])}")
    if unset:
        raise BookError(f"{unset} formulas of the single page cannot be set")
