"""Killed at any moment and resumed, a run ends with the weights of one that was left alone, to the bit."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from micro_training import processes, run
from safetensors.torch import load_file

from calbook.runs import RunFolder
from calbook.training import folder as folders
from calbook.training import keeper
from calbook.training.record import read_metrics

TIMES = ("seconds", "crops_per_second")  # what may differ between two runs


def _child(path: Path, fatal: int | None) -> None:
    """A run, in a process of its own; with ``fatal`` it kills itself at that file operation."""
    keeper.draw_curves = lambda *_: None  # takes longer than the run
    keeper.results.commit = lambda: None  # so does asking git
    count = 0

    def deadly(operation: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return call

    if fatal is not None:
        folders.save_file, folders.os.fsync = deadly(folders.save_file), deadly(os.fsync)
        folders.Path.replace = deadly(Path.replace)
    run(path)


def start(path: Path, fatal: int | None = None) -> object:
    process = processes.Process(target=_child, args=(path, fatal))
    process.start()
    return process


def finish(path: Path) -> None:
    process = start(path)
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run left alone, and how long it takes."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(path)
    path = path.with_name("again")
    begin = time.monotonic()
    finish(path)
    return path, time.monotonic() - begin


def assert_same(path: Path, other: Path) -> None:
    for name in ("state/checkpoint", "weights/last", "weights/best"):
        ours, theirs = (load_file(folder / f"{name}.safetensors") for folder in (path, other))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not ours[key].equal(theirs[key])] == []
    lines = [
        [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(RunFolder(p))]
        for p in (path, other)
    ]
    assert lines[0] == lines[1]
    assert {file.name for file in path.rglob(".*")} == {".lock"}  # nothing half-written is left


def kill_at_random(undisturbed: tuple[Path, float], folder: Path, trials: int, seed: int) -> int:
    """Kill a run at a random moment, finish it, compare; gives how many were killed before their end."""
    alone, seconds = undisturbed
    chance, killed = random.Random(seed), 0
    for trial in range(trials):
        path = folder / str(trial)
        process = start(path)
        time.sleep(chance.uniform(0, seconds))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        finish(path)
        assert_same(path, alone)
    return killed


def test_killed_at_random_moments(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    assert kill_at_random(undisturbed, tmp_path, trials=3, seed=0) > 0


@pytest.mark.slow
def test_killed_at_twenty_random_moments(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    assert kill_at_random(undisturbed, tmp_path, trials=20, seed=1) > 10


@pytest.mark.parametrize("fatal", [1, 4, 12, 13, 14, 15, 16, 17, 85])
def test_killed_while_writing(undisturbed: tuple[Path, float], tmp_path: Path, fatal: int) -> None:
    """Before each operation of a checkpoint: its tensors, the disk, its name; and those of the weights after it."""
    process = start(tmp_path / "run", fatal)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    finish(tmp_path / "run")
    assert_same(tmp_path / "run", undisturbed[0])


@pytest.mark.slow
def test_killed_again_and_again_while_writing(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    """The same run, killed at its 25th file operation each time until it gets through."""
    for _ in range(30):
        process = start(tmp_path / "run", fatal=25)
        process.join(60)
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert_same(tmp_path / "run", undisturbed[0])
