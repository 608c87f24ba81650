"""The command line of the book's pipeline."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calbook.bookbuild.book import REPOSITORY, Book, BookError, Chapter
from calbook.bookbuild.editions import make_editions
from calbook.bookbuild.execute import execute_all
from calbook.bookbuild.freshness import stale
from calbook.bookbuild.parameters import parse_assignments, validated
from calbook.bookbuild.render import refuse_stale, render
from calbook.bookbuild.serve import serve
from calbook.bookbuild.template import new_chapter
from calbook.results import cores

EXAMPLES = """examples:
  python -m calbook.bookbuild all                                      everything that changed, then the pages
  python -m calbook.bookbuild run 02_quantization_error                one chapter
  python -m calbook.bookbuild run 2 -p seed=3                          the same chapter with another parameter
  python -m calbook.bookbuild serve                                    show the pages, build again on every change
  python -m calbook.bookbuild new 20_your_subject "Your subject"       a chapter to begin with, all parts in place
  python -m calbook.bookbuild editions                                 all of it, then zips and the PDF
  python -m calbook.bookbuild all --strict --clean                     as in continuous integration
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all went well, 1 with one line per problem otherwise."""
    options = _parser().parse_intermixed_args(arguments)  # options before, between and behind the chapters
    try:
        return _command(options)
    except BookError as error:
        for line in str(error).splitlines():
            print(f"bookbuild: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bookbuild: interrupted", file=sys.stderr)
        return 130


def _command(options: argparse.Namespace) -> int:
    begin = time.monotonic()
    book = Book(options.root.resolve())
    if options.command == "new":
        name, *title = options.chapters or [""]
        print(new_chapter(book, name, " ".join(title)))
        return 0
    if options.command == "serve":
        if options.chapters or options.parameters:
            raise BookError("serve shows the whole book, with its default parameters: leave chapters and -p out")
        serve(book, port=options.port)
        return 0
    chosen = book.choose(options.chapters)
    given = parse_assignments(options.parameters)
    parameters = {chapter.name: validated(chapter, given) for chapter in chosen}
    if options.command == "check":
        refuse_stale(book, parameters)
        print(f"all {len(book.chapters)} chapters are fresh")
        return 0
    if options.command in ("run", "all", "editions"):
        _run(book, chosen if options.command == "run" else book.chapters, parameters, options)
    if options.command in ("html", "all", "editions"):
        new = render(book, parameters, strict=options.strict, clean=options.clean)
        print(f"{'the book is in' if new else 'nothing changed:'} {book.html / 'index.html'}")
    if options.command == "editions":
        files = make_editions(book)
        for file in files:
            print(f"{file.stat().st_size / 1e6:6.1f} MB  {file}")
        if not files:
            print(f"nothing changed: {book.build / 'editions'}")
    print(f"done in {time.monotonic() - begin:.0f} s")
    return 0


def _run(
    book: Book, chapters: Sequence[Chapter], parameters: dict[str, dict[str, Any]], options: argparse.Namespace
) -> None:
    """Execute the chapters that need it; raise with a line for each that failed."""
    parameters = {chapter.name: parameters.get(chapter.name, {}) for chapter in chapters}
    needed = [c for c in chapters if options.force or stale(book, c, parameters[c.name])]
    if len(needed) < len(chapters):
        print(f"{len(chapters) - len(needed)} of {len(chapters)} chapters are fresh")
    if not needed:
        return
    outcomes = execute_all(book, needed, parameters, options.jobs, verbose=options.verbose)
    failures = [outcome.error for outcome in outcomes if outcome.error]
    if failures:
        raise BookError("\n".join(failures))


def _parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(
        prog="python -m calbook.bookbuild",
        description="Execute the chapters of the book with papermill and render them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ci = os.environ.get("CI") == "true"
    parser.add_argument(
        "command", choices=("run", "check", "html", "all", "editions", "serve", "new"), help="what to do"
    )
    parser.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help="chapters to run, or that -p is meant for (default: all)"
    )
    parser.add_argument(
        "-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the chapters"
    )
    parser.add_argument("-f", "--force", action="store_true", help="run chapters that are fresh, too")
    parser.add_argument(
        "-j", "--jobs", type=_positive, default=cores(), help="chapters at a time (default: %(default)s)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the traceback of a failing cell")
    parser.add_argument("--strict", action="store_true", default=ci, help="warnings are errors (default where CI=true)")
    parser.add_argument("--clean", action="store_true", default=ci, help="render from nothing (default where CI=true)")
    parser.add_argument("--port", type=_positive, default=8000, help="where `serve` shows the book (default: 8000)")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="folder with _toc.yml (default: this repository)")
    return parser


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
