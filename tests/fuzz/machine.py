"""Faults of the machine: a kill, a full disk, two writers, a place that cannot be written to.

Each function causes one and gives what came of it; it raises ``AssertionError`` where
something was left half-written or more was said than a line.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calbook import results

_FIGURES = {"values": list(range(20_000))}  # 200 kB: a kill can fall into the middle of writing it


def _write(path: Path, experiment: str) -> None:
    content = json.dumps({"experiment": experiment, "figures": _FIGURES})
    results.write_atomically(path, content.encode())


def _is_whole(path: Path) -> bool:
    return json.loads(path.read_text())["figures"] == _FIGURES


def _forked(work: Callable[[], object]) -> int:
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(1)
    return process


def killed_while_writing(folder: Path, kills: int = 20) -> str:
    """Kill a process that writes a file over and over, at random moments."""
    path = folder / "a.json"
    _write(path, "first")
    rng = random.Random(0)
    for turn in range(kills):

        def endless(turn: int = turn) -> None:
            while True:
                _write(path, f"turn {turn}")

        process = _forked(endless)
        time.sleep(rng.uniform(0.005, 0.05))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        assert _is_whole(path), f"half a file after kill {turn}"
    return f"whole after each of {kills} kills"


def two_writers(folder: Path, seconds: float = 0.5) -> str:
    """Two processes write the same file while a third reads it."""
    path = folder / "a.json"
    _write(path, "first")
    end = time.monotonic() + seconds

    def endless() -> None:
        while True:
            _write(path, str(os.getpid()))

    writers = [_forked(endless) for _ in range(2)]
    reads = 0
    try:
        while time.monotonic() < end:
            assert _is_whole(path), "a reader saw half a file"
            reads += 1
    finally:
        for process in writers:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    return "a reader always saw a whole file"


def full_disk(folder: Path) -> str:
    """Write where no file may grow beyond a few bytes; what was there stays."""
    path = folder / "a.json"
    _write(path, "first")
    before = path.read_bytes()

    def write() -> None:
        _limit_files()
        try:
            _write(path, "second")
        except OSError:
            os._exit(7)

    _, status = os.waitpid(_forked(write), 0)
    assert os.waitstatus_to_exitcode(status) == 7, "no OSError"
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path], "something half-written was left"
    return "OSError; the old file stays, nothing else is left"


def _limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def _calbook(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "calbook.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def _synthesis(out: Path, count: int = 3) -> list[str]:
    return ["data", "synthesize", "--out", str(out), "--count", str(count), "--size", "64x48"]


def synthesis_on_a_full_disk(folder: Path) -> str:
    """``calbook data synthesize`` where no picture fits."""
    return _refused(_calbook(*_synthesis(folder / "set"), preexec_fn=_limit_files), folder)


def synthesis_into_a_file(folder: Path) -> str:
    """``calbook data synthesize`` into something that is no folder."""
    (folder / "set").write_text("here")
    line = _refused(_calbook(*_synthesis(folder / "set")), folder, left=frozenset({"set"}))
    assert (folder / "set").read_text() == "here"
    return line


def synthesis_where_nothing_can_be_written(folder: Path) -> str:
    """``calbook data synthesize`` into the kernel's own folder, which not even root can write to."""
    return _refused(_calbook(*_synthesis(Path("/proc/sys/set"))), folder)


def synthesis_killed(folder: Path) -> str:
    """Kill ``calbook data synthesize`` in the middle; the same command then goes through."""
    command = [sys.executable, "-m", "calbook.cli", *_synthesis(folder / "set", count=4000)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(folder.rglob("*.[jp][pn]g")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not list(folder.rglob("person_keypoints_*.json")), "annotations of a set that is not whole"
    again = _calbook(*_synthesis(folder / "set"), "--overwrite")
    assert again.returncode == 0, again.stderr
    checked = _calbook("data", "check", str(folder / "set"))
    assert checked.returncode == 0, checked.stdout
    return "no annotations are left behind; the same command with --overwrite makes a sound set"


def _refused(run: subprocess.CompletedProcess[str], folder: Path, left: frozenset[str] = frozenset()) -> str:
    assert run.returncode == 2, f"status {run.returncode}: {run.stderr}"
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert {path.name for path in folder.iterdir()} == set(left), "something was left"
    return f"status 2; {lines[0].replace(str(folder), 'folder')}"


QUICK = (killed_while_writing, two_writers, full_disk)
SLOW = (
    synthesis_on_a_full_disk,
    synthesis_into_a_file,
    synthesis_where_nothing_can_be_written,
    synthesis_killed,
)
