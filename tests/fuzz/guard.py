"""What an attempt to read may not do: take long, write outside its folder, start or load code."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Names of Python's audit events, see https://docs.python.org/3/library/audit_events.html
_CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_CODE = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pty.spawn"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

_seen: list[str] | None = None  # what the present attempt has done; None between attempts
_allowed: tuple[str, ...] = ()
_installed = False


class TimeIsUp(BaseException):
    """An attempt took too long. No ``Exception``: readers must not swallow it."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event in _CODE:
        _seen.append(f"ran code: {event}{arguments!r:.120}")
    elif event in _CHANGES or (event == "open" and _writes(arguments)):
        path = os.path.realpath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes | Path) else ""
        if path and not path.startswith(_allowed) and "__pycache__" not in path:
            _seen.append(f"changed {path}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _ring(*_: object) -> None:
    raise TimeIsUp


@contextmanager
def watched(folder: Path, seconds: float) -> Iterator[list[str]]:
    """Run a block under a time limit; gives what it did that is not allowed.

    Raises:
        TimeIsUp: The block takes longer.
    """
    global _seen, _allowed, _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    _seen, _allowed = [], (os.path.realpath(folder) + os.sep, os.devnull)
    previous = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield _seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        _seen = None
