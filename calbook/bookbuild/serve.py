"""Show the book while it is being written: serve the pages, build again when a source changes."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from calbook.bookbuild.book import Book, BookError
from calbook.bookbuild.render import LEFT_OUT

SOURCES = (
    "_config.yml", "_toc.yml", "book/**/*", "calbook/**/*.py", "calbook/**/*.csv", "benchmarks/results/*.json",
    "experiments/results/**/*.json", "experiments/networks/**/*", "requirements.lock",
)  # fmt: skip
Times = dict[str, int]


def serve(book: Book, *, port: int = 8000, pause: float = 1.0) -> None:
    """Build, serve the pages on this machine, and build again after each change, until interrupted.

    Args:
        book: The book.
        port: Where the pages are served.
        pause: Seconds between two looks at the sources.

    Raises:
        BookError: The port is taken.
    """
    before = modified(book)
    build(book)
    book.html.mkdir(parents=True, exist_ok=True)
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(book.html)))
    except OSError as error:
        raise BookError(f"port {port} cannot be used ({error.strerror}); give another one: --port 8001") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"the book is on http://localhost:{server.server_port}; Ctrl+C ends this", flush=True)
    try:
        watch(book, build, pause=pause, before=before)
    except KeyboardInterrupt:
        print()
    finally:
        server.shutdown()
        server.server_close()


def watch(
    book: Book,
    act: Callable[[Book], None],
    *,
    pause: float = 1.0,
    rounds: int | None = None,
    before: Times | None = None,
) -> None:
    """Call ``act`` each time that sources changed and then kept still for one pause.

    Args:
        book: The book whose sources are watched.
        act: What to do; it may take long, and is called again for what changed meanwhile.
        pause: Seconds between two looks.
        rounds: How many looks to take; without end where None.
        before: The sources that were acted on last; by default those of now.
    """
    done = last = modified(book) if before is None else before
    while rounds is None or rounds > 0:
        time.sleep(pause)
        now = modified(book)
        if now != done and now == last:  # saving several files is one change
            print(f"changed: {', '.join(changed(done, now))}", flush=True)
            done = now
            act(book)
        last = now
        rounds = None if rounds is None else rounds - 1


def modified(book: Book) -> Times:
    """When each source was last modified: path relative to the root -> nanoseconds."""
    found: Times = {}
    for pattern in SOURCES:
        for path in book.root.glob(pattern):
            try:
                if path.is_file() and not set(path.parts) & set(LEFT_OUT):
                    found[path.relative_to(book.root).as_posix()] = path.stat().st_mtime_ns
            except OSError:  # deleted between two lines
                continue
    return found


def changed(before: Times, after: Times, most: int = 4) -> list[str]:
    """Names of the sources that came, went or changed.

    >>> changed({"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "d": 1})
    ['b', 'c', 'd']
    """
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return names if len(names) <= most else [*names[:most], f"and {len(names) - most} more"]


def build(book: Book) -> None:
    """Make the book in a process of its own, which sees the newest code; a failure leaves the old pages."""
    command = [sys.executable, "-m", "calbook.bookbuild", "all", "--root", str(book.root)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=False)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each, and lets no browser keep an old page."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Add that pages change."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()
