"""Run chapters through papermill, several at a time, and keep only whole results."""

import logging
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from typing import Any

from calbook.bookbuild.book import Book, BookError, Chapter
from calbook.bookbuild.freshness import inputs
from calbook.bookbuild.notebooks import INJECTED, RECORD, broken_cell, read_notebook, to_bytes
from calbook.results import cores, write_atomically

# One thread per chapter: chapters in parallel beat threads that wait for each other.
ENVIRONMENT = {"CALBOOK_RENDER": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Outcome:
    """What became of one chapter: its time, and the error where it failed."""

    name: str
    seconds: float
    error: str | None = None


def execute(book: Book, chapter: Chapter, parameters: Mapping[str, Any], *, verbose: bool = False) -> Outcome:
    """Run one chapter and store its executed copy; after a failure there is none.

    Args:
        book: The book of the chapter.
        chapter: The chapter.
        parameters: Checked by :func:`calbook.bookbuild.parameters.validated`.
        verbose: Add the traceback to the error.
    """
    begin = time.perf_counter()
    chapter.executed.unlink(missing_ok=True)
    try:
        before = inputs(book, chapter)
        notebook = _papermill(book, chapter, parameters)
        seconds = time.perf_counter() - begin
        # A chapter may itself write the results file it shows, which a parameter names: that one counts as it is
        # afterwards. Others that changed meanwhile may be shown as they were, and make the copy stale.
        own = {str(value).removeprefix(f"{book.root}/") for value in parameters.values()}
        written = {name: digest for name, digest in inputs(book, chapter).items() if name in own}
        _tidy(notebook)
        notebook.metadata[RECORD] = _record({**before, **written}, parameters, seconds)
        problem = broken_cell(notebook)
        if problem:
            raise BookError(problem)
        write_atomically(chapter.executed, to_bytes(notebook))
    except Exception as error:
        return Outcome(chapter.name, time.perf_counter() - begin, _one_line(chapter, error, parameters, verbose))
    return Outcome(chapter.name, seconds)


def execute_all(
    book: Book, chapters: Sequence[Chapter], parameters: Mapping[str, Mapping[str, Any]], jobs: int, *, verbose: bool
) -> list[Outcome]:
    """Run chapters in ``jobs`` processes, longest first, reporting each as it ends.

    Raises:
        BookError: The system killed a process; one line names the chapters that have no outcome.
    """
    before = {chapter.name: last_seconds(chapter) for chapter in chapters}
    queue = sorted(chapters, key=lambda c: -before[c.name])
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(min(jobs, len(queue)), get_context("spawn"), _prepare) as pool:
        begun = time.monotonic()
        try:
            waiting: set[Future[Outcome]] = {
                pool.submit(execute, book, c, parameters[c.name], verbose=verbose) for c in queue
            }
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    outcomes.append(future.result())
                    elapsed = time.monotonic() - begun
                    _report(outcomes[-1], len(outcomes), len(queue), time_left(before, outcomes, elapsed))
                elapsed, left = time.monotonic() - begun, {c.name for c in queue} - {o.name for o in outcomes}
                _status(left, time_left(before, outcomes, elapsed), elapsed)
        except BrokenProcessPool:
            lost = ", ".join(c.name for c in queue if c.name not in {o.name for o in outcomes})
            failed = [o.error for o in outcomes if o.error]
            line = f"{lost}: not finished, since a process was killed; where memory is short, try -j 1"
            raise BookError("\n".join([*failed, line])) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcomes


def last_seconds(chapter: Chapter) -> float:
    """How long the chapter took the last time, 0 where unknown."""
    try:
        return float(read_notebook(chapter.executed).metadata[RECORD]["seconds"])
    except (BookError, KeyError):
        return 0.0


def time_left(before: Mapping[str, float], outcomes: Sequence[Outcome], elapsed: float) -> float | None:
    """Seconds until all chapters are done, at the pace of those that are; None where nothing is known yet.

    A chapter that never ran is taken to last as long as the average of the others.

    Args:
        before: Every chapter's seconds in an earlier run, 0 where there was none.
        outcomes: Of the chapters that are done.
        elapsed: Seconds since the first began.

    >>> time_left({"a": 10, "b": 10, "c": 20}, [Outcome("a", 12), Outcome("b", 9)], elapsed=15)
    15.0
    >>> time_left({"a": 0, "b": 0, "c": 0}, [Outcome("a", 8)], elapsed=8)
    16.0
    """
    took = {outcome.name: outcome.seconds for outcome in outcomes}
    known = {name: seconds or took.get(name, 0.0) for name, seconds in before.items()}
    typical = [seconds for seconds in known.values() if seconds]
    if not took or not typical:
        return None
    lasts = {name: seconds or sum(typical) / len(typical) for name, seconds in known.items()}
    done = sum(lasts[name] for name in took)
    return elapsed * (sum(lasts.values()) - done) / done


def _prepare() -> None:
    """Set up a worker process."""
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # a warning of the kernel's debugger
    logging.getLogger("papermill").setLevel(logging.ERROR)


def _papermill(book: Book, chapter: Chapter, parameters: Mapping[str, Any]) -> Any:
    import papermill

    os.environ.update(ENVIRONMENT)
    return papermill.execute_notebook(
        str(chapter.source),
        None,  # nothing is written before the chapter is whole
        parameters=dict(parameters),
        kernel_name="python3",
        cwd=str(book.root),
        progress_bar=False,
        log_output=False,
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # its shutdown is no error
    )


def _tidy(notebook: Any) -> None:
    """Drop timing (it would differ in every run) and hide the cell that papermill injects."""
    for part in (notebook, *notebook.cells):
        for key in ("papermill", "execution"):
            part.metadata.pop(key, None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if INJECTED in tags and "remove-cell" not in tags:
            tags.append("remove-cell")
        elif not tags:
            cell.metadata.pop("tags", None)  # papermill adds empty lists


def _record(made_from: Mapping[str, str], parameters: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "inputs": dict(made_from),
        "parameters": dict(parameters),
        "seconds": round(seconds, 1),
        "cores": cores(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "date": date.today().isoformat(),
    }


def _one_line(chapter: Chapter, error: Exception, parameters: Mapping[str, Any], verbose: bool) -> str:
    """An error as ``chapter, cell number: what``."""
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        what = error.evalue.strip() or _failing_line(error.traceback)
        line = f"{chapter.name}, cell {_cell_number(chapter, error.cell_index, parameters)}: {error.ename}: {what}"
        return " ".join(line.split()) + ("\n" + "\n".join(error.traceback) if verbose else "")
    if isinstance(error, SyntaxError):  # seen while looking for imports, before anything ran
        return f"{chapter.name}: a code cell is not Python: {error.msg}: {(error.text or '').strip()}"
    what = str(error) if isinstance(error, BookError) else f"{type(error).__name__}: {error}"
    return " ".join(f"{chapter.name}: {what}".split())


def _cell_number(chapter: Chapter, index: int, parameters: Mapping[str, Any]) -> int:
    """Number, from 1, of the cell that failed, in the chapter as its author knows it."""
    tags = [cell.metadata.get("tags", []) for cell in read_notebook(chapter.source).cells]
    declaring = next((i for i, tag in enumerate(tags) if "parameters" in tag), -1)
    return index + 1 - bool(parameters and index > declaring)  # papermill's own cell does not count


def _failing_line(traceback: Sequence[str]) -> str:
    """The line of code that an error without a message happened at."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    found = re.search(r"^-+> *\d+ (.*)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else ""


def _report(outcome: Outcome, number: int, total: int, left: float | None) -> None:
    _status(set(), None, 0)
    state = "FAILED after " if outcome.error else ""
    more = f", {_about(left)}" if left else ""
    print(f"[{number}/{total}] {outcome.name:<32} {state}{outcome.seconds:5.1f} s{more}", flush=True)


def _status(running: set[str], left: float | None, elapsed: float) -> None:
    """One line that is overwritten, on a terminal only."""
    if not sys.stdout.isatty():
        return
    more = f", {_about(left)}" if left else ""
    text = f"  {elapsed:.0f} s{more}: {len(running)} to go ({', '.join(sorted(running))})" if running else ""
    print(f"\r\033[K{text[:110]}", end="", flush=True)


def _about(left: float) -> str:
    """Time left in words.

    >>> _about(42.1), _about(400)
    ('about 42 s left', 'about 7 min left')
    """
    return f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left"
