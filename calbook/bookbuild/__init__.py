"""The book's pipeline: run the chapters, check that they are fresh, render the pages.

papermill is the one executor. Chapters hold no outputs; their executed copies
go to ``_build/executed/`` with a record of what they were made from, and are
rendered only while that record is true. So a page never shows figures of older
code, of other parameters, or of a chapter that failed half-way.

    python -m calbook.bookbuild run [CHAPTER...] [-p name=value]   execute what changed
    python -m calbook.bookbuild check                              say which chapters are stale
    python -m calbook.bookbuild html                               render the executed chapters
    python -m calbook.bookbuild all                                run, then html
    python -m calbook.bookbuild editions                           all, then zips of pages and notebooks, and a PDF
    python -m calbook.bookbuild new NAME TITLE                     a chapter to begin with
    python -m calbook.bookbuild serve                              show the pages, build again when a source changes
"""

from calbook.bookbuild.book import Book, BookError, Chapter

__all__ = ["Book", "BookError", "Chapter"]
