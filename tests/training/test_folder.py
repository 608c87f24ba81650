"""A run folder under attack: a full disk, no permission, a second writer, another configuration, damage."""

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro_training import CONFIG, processes, run
from safetensors import SafetensorError
from safetensors.torch import load_file

from calbook.data.defects import DataError
from calbook.runs import RunFolder
from calbook.training import folder as folders
from calbook.training.folder import checkpoint, load_tensors, locked, prepare, save_tensors, write_json


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_folder_with_a_run_is_refused_without_resume(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = snapshot(tmp_path / "run")
    with pytest.raises(DataError, match=r"there is a run in this folder; add --resume to continue it"):
        run(tmp_path / "run", resume=False)
    after = snapshot(tmp_path / "run")
    assert {name for name in after if before[name] != after[name]} <= {".lock"}
    assert before.keys() == after.keys()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"not empty and not a run folder \(it holds thesis.tex\)"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"batch_size": 16}, "training.batch_size"),
        ({"milestones": (1, 2)}, "training.milestones"),
        ({"seed": 1}, "training.seed"),
    ],
)
def test_resuming_with_another_configuration_names_the_field(
    tmp_path: Path, change: dict[str, object], field: str
) -> None:
    prepare(RunFolder(tmp_path / "run"), {"training": _plain(CONFIG)}, resume=False)
    with pytest.raises(
        DataError, match=rf"config.json: {field}: the run was begun with .*, this command says .*"
    ) as caught:
        prepare(RunFolder(tmp_path / "run"), {"training": _plain(replace(CONFIG, **change))}, resume=True)
    assert "\n" not in str(caught.value)


def _plain(config: object) -> dict[str, object]:
    return dict(vars(config))


def test_what_decides_no_weight_may_change(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    prepare(folder, {"training": _plain(CONFIG)}, resume=False)
    prepare(folder, {"training": _plain(replace(CONFIG, log_every=7, checkpoint_every=None))}, resume=True)
    assert '"log_every": 7' in folder.config.read_text()


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    weights = load_file(checkpoint(RunFolder(tmp_path / "run")))
    second = run(tmp_path / "run")
    assert second == first
    again = load_file(checkpoint(RunFolder(tmp_path / "run")))
    assert all(again[name].equal(value) for name, value in weights.items())


# Two writers.


def _hold(path: Path, ready: object, done: object) -> None:
    with locked(RunFolder(path)):
        ready.set()
        done.wait(30)


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    ready, done = processes.Event(), processes.Event()
    holder = processes.Process(target=_hold, args=(tmp_path / "run", ready, done))
    holder.start()
    assert ready.wait(30)
    try:
        with pytest.raises(DataError, match=rf"process {holder.pid} on .* is training in this folder; wait"):
            run(tmp_path / "run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    finally:
        done.set()
        holder.join(30)
    run(tmp_path / "run")  # the lock went with its holder


# A disk that is full, a folder that is read-only.


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the fifth file: the error names it, and the run continues once there is room."""
    write, count = folders.save_file, 0

    def full(tensors: object, path: Path, **options: object) -> None:
        nonlocal count
        count += 1
        if count >= 5:
            Path(path).write_bytes(b"half of it")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        write(tensors, path, **options)

    monkeypatch.setattr(folders, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        run(tmp_path / "run")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(checkpoint(RunFolder(tmp_path / "run")))
    assert not list((tmp_path / "run").rglob("*.partial"))
    monkeypatch.undo()
    assert load_tensors(checkpoint(RunFolder(tmp_path / "run")))[1]["step"] == 4
    run(tmp_path / "run")
    run(tmp_path / "alone")
    ours, theirs = (load_file(checkpoint(RunFolder(tmp_path / name))) for name in ("run", "alone"))
    assert all(ours[name].equal(value) for name, value in theirs.items())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 200 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs rights that this user has not")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_real_disk_that_fills_up(small_disk: Path) -> None:
    folder = RunFolder(small_disk / "run")
    write_json(folder.config, {"a": 1})
    save_tensors(checkpoint(folder), {"weight": torch.zeros(20_000)}, {"step": 1})
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors(checkpoint(folder), {"weight": torch.ones(40_000)}, {"step": 2})
    assert caught.value.filename == str(checkpoint(folder))
    assert load_tensors(checkpoint(folder))[1] == {"step": 1}
    with pytest.raises(OSError, match="No space left"):
        write_json(folder.config, "x" * 200_000)
    assert folder.config.read_text() == '{\n "a": 1\n}\n'
    assert not list(small_disk.rglob("*.partial"))


def test_a_training_on_a_real_disk_that_fills_up(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(140_000))
    with pytest.raises(OSError, match="No space left") as caught:
        run(small_disk / "run")
    assert str(small_disk) in str(caught.value.filename)
    (small_disk / "filler").unlink()


@pytest.fixture
def read_only_disk(small_disk: Path) -> Path:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


def test_a_read_only_folder(read_only_disk: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system") as caught:
        run(read_only_disk / "run")
    assert caught.value.filename == str(read_only_disk / "run")


# Damage.


@pytest.mark.parametrize("content", [b"", b"junk", b"\x10\0\0\0\0\0\0\0{}"])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, content: bytes) -> None:
    run(tmp_path / "run")
    checkpoint(RunFolder(tmp_path / "run")).write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint.safetensors: not a checkpoint of calbook") as caught:
        run(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_damaged_configuration_is_one_line(tmp_path: Path) -> None:
    run(tmp_path / "run")
    RunFolder(tmp_path / "run").config.write_text("{")
    with pytest.raises(DataError, match=r"config.json: not JSON"):
        run(tmp_path / "run")


def test_half_a_line_of_metrics_is_passed_over(tmp_path: Path) -> None:
    from calbook.training.record import read_metrics

    (tmp_path / "metrics.jsonl").write_text('{"kind": "train"}\n{"kind": "tr')
    assert read_metrics(RunFolder(tmp_path)) == [{"kind": "train"}]


def test_tensors_come_back_with_their_numbers(tmp_path: Path) -> None:
    layout = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    save_tensors(tmp_path / "a.safetensors", {"a": layout, "n": torch.tensor(3)}, {"step": 7, "place": [1, 2]})
    tensors, numbers = load_tensors(tmp_path / "a.safetensors")
    assert tensors["a"].equal(layout)
    assert tensors["n"] == 3
    assert numbers == {"step": 7, "place": [1, 2]}
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
