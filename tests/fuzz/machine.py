"""Faults of the machine: a kill, a full disk, two writers, a place that cannot be written to.

Each function causes one and gives what came of it; it raises ``AssertionError`` where
something was left half-written or more was said than a line.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from calbook import cli, results

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


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    status: int
    out: str
    err: str


def _begun(*words: str, out: int, err: int, before: Callable[[], object] = lambda: None) -> int:
    """``calbook`` in a process of its own; forked, since a new one would take seconds to load PyTorch."""

    def work() -> None:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # open to the end, for whatever still speaks then
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # likewise
        torch.set_num_threads(1)  # threads do not survive the fork
        signal.alarm(120)
        status: object = 1
        try:
            before()
            status = cli.main(words)
        except SystemExit as error:
            status = error.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)

    return _forked(work)


def _calbook(*words: str, before: Callable[[], object] = lambda: None) -> Ended:
    """A command from its begin to its end, with what it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = _begun(*words, out=out.fileno(), err=err.fileno(), before=before)
        _, status = os.waitpid(process, 0)
        texts = [(file.seek(0), file.read())[1] for file in (out, err)]
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def _synthesis(out: Path, count: int = 3) -> list[str]:
    return ["data", "synthesize", "--out", str(out), "--count", str(count), "--size", "64x48"]


def synthesis_on_a_full_disk(folder: Path) -> str:
    """``calbook data synthesize`` where no picture fits."""
    return _refused(_calbook(*_synthesis(folder / "set"), before=_limit_files), folder)


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
    with Path(os.devnull).open("w") as nowhere:
        process = _begun(*_synthesis(folder / "set", count=4000), out=nowhere.fileno(), err=nowhere.fileno())
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(folder.rglob("*.[jp][pn]g")):
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it ended before it was killed"
    assert not list(folder.rglob("person_keypoints_*.json")), "annotations of a set that is not whole"
    again = _calbook(*_synthesis(folder / "set"), "--overwrite")
    assert again.status == 0, again.err
    checked = _calbook("data", "check", str(folder / "set"))
    assert checked.status == 0, checked.out
    return "no annotations are left behind; the same command with --overwrite makes a sound set"


def _refused(run: Ended, folder: Path, left: frozenset[str] = frozenset()) -> str:
    assert run.status == 2, f"status {run.status}: {run.err}"
    lines = run.err.strip().splitlines()
    assert len(lines) == 1, run.err
    assert {path.name for path in folder.iterdir()} == set(left), "something was left"
    return f"status 2; {lines[0].replace(str(folder), 'folder')}"


QUICK = (killed_while_writing, two_writers, full_disk)
SLOW = (
    synthesis_on_a_full_disk,
    synthesis_into_a_file,
    synthesis_where_nothing_can_be_written,
    synthesis_killed,
)
