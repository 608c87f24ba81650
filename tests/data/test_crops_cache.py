"""The crop cache: what it holds, and that nothing breaks it for good."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from crop_people import people_in

from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import CanvasOptions, CropCache, DecodedCanvases, building, cache, select, subset
from calbook.data.defects import DataError

SIZE = (32, 24)
PER_PICTURE, PICTURES = 3, 8
processes = multiprocessing.get_context("fork")


@pytest.fixture
def people(tmp_path: Path) -> CocoPeople:
    boxes = [(5.0 + 3 * i, 8.0 + i, 20.0 + 2 * i, 40.0 + 3 * i) for i in range(PER_PICTURE * PICTURES)]
    found = people_in(tmp_path / "pictures", boxes, (140, 170), per_picture=PER_PICTURE)
    shuffled = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return subset(found, shuffled)  # in no order of pictures, as in COCO's files


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK_BYTES", 1)  # a picture each


def build(people: CocoPeople, folder: Path, **options: Any) -> CropCache:
    return CropCache.build(people, folder / "cache", SIZE, progress=False, **options)


def holds(found: CropCache, people: CocoPeople, options: CanvasOptions | None = None) -> bool:
    """Whether a cache gives what the pictures give."""
    everybody = torch.arange(len(people))
    decoded = DecodedCanvases(people, found.input_size, options)
    return all(torch.equal(a, b) for a, b in zip(found.canvases(everybody), decoded.canvases(everybody), strict=True))


def caches(folder: Path) -> list[str]:
    """What is in the folder, locks aside."""
    return sorted(path.name for path in (folder / "cache").iterdir() if not path.name.endswith(".lock"))


def one_line(error: pytest.ExceptionInfo[DataError], *words: str) -> bool:
    text = str(error.value)
    return "\n" not in text and all(word in text for word in words)


def test_a_cache_holds_what_the_pictures_hold(people: CocoPeople, tmp_path: Path) -> None:
    built = build(people, tmp_path, workers=3)
    assert len(built) == len(people)
    assert built.skeleton == people.skeleton
    assert holds(built, people)
    opened = CropCache.open(tmp_path / "cache", people, SIZE)
    assert holds(opened, people)
    some = torch.tensor([7, 2, 2])
    assert torch.equal(opened.canvases(some).pictures[1], built.canvases(torch.tensor([2])).pictures[0])
    assert len(caches(tmp_path)) == 1


@pytest.mark.parametrize(("folder", "split"), [("lspet", "images"), ("coco_mini", "val2017")])
def test_a_cache_of_real_pictures(shared_data: Path, tmp_path: Path, folder: str, split: str) -> None:
    people = select(coco.read_split(shared_data / folder, split))
    people = subset(people, torch.arange(40, 90))
    assert holds(CropCache.build(people, tmp_path, (64, 48), progress=False), people)


def test_building_again_only_opens(people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(people, tmp_path)
    monkeypatch.setattr(building, "decode", lambda *_: pytest.fail("decoded again"))
    assert len(build(people, tmp_path)) == len(people)


def touch(people: CocoPeople) -> CocoPeople:
    assert people.pictures is not None
    os.utime(people.pictures / people.file_names[0], (1, 1))
    return people


@pytest.mark.parametrize(
    "change",
    [
        lambda people: replace(people, joints=people.joints + 0.25),
        lambda people: replace(people, boxes=people.boxes + 1),
        lambda people: replace(people, visible=people.visible.clamp(max=1)),
        lambda people: subset(people, torch.arange(5)),
        touch,
    ],
    ids=["joints", "boxes", "visibility", "people", "picture"],
)
def test_other_content_is_another_cache(
    people: CocoPeople, tmp_path: Path, change: Callable[[CocoPeople], CocoPeople]
) -> None:
    build(people, tmp_path)
    other = change(people)
    with pytest.raises(DataError, match="no crop cache of these people") as error:
        CropCache.open(tmp_path / "cache", other, SIZE)
    assert one_line(error, "at 32x24", caches(tmp_path)[0], "build it with CropCache.build")
    assert holds(build(other, tmp_path), other)
    assert len(caches(tmp_path)) == 2


def test_other_options_sizes_and_versions_are_other_caches(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(people, tmp_path)
    options = CanvasOptions(density=1.0)
    assert holds(build(people, tmp_path, options=options), people, options)
    CropCache.build(people, tmp_path / "cache", (64, 48), progress=False)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    with pytest.raises(DataError, match="no crop cache of these people"):
        CropCache.open(tmp_path / "cache", people, SIZE)
    build(people, tmp_path)
    assert len(caches(tmp_path)) == 4


def test_a_cache_under_a_wrong_name_is_refused(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(people, tmp_path).path
    other = subset(people, torch.arange(4))
    path.rename(path.with_name(f"32x24-{cache.content_key(other, SIZE, CanvasOptions())[:16]}"))
    with pytest.raises(DataError, match="other people or pictures than its name says") as error:
        CropCache.open(tmp_path / "cache", other, SIZE)
    assert one_line(error, "delete the folder")
    written = cache.FORMAT
    monkeypatch.setattr(cache, "FORMAT", written + 1)
    renamed = f"32x24-{cache.content_key(other, SIZE, CanvasOptions())[:16]}"
    next((tmp_path / "cache").glob("32x24-*")).rename(tmp_path / "cache" / renamed)
    with pytest.raises(DataError, match=f"of format {written}, not {written + 1}: from another version"):
        CropCache.open(tmp_path / "cache", other, SIZE)
    assert holds(build(other, tmp_path), other)  # replaces it


@pytest.mark.parametrize("damage", ["cut pixels", "cut index", "no index", "no pixels"])
def test_a_damaged_cache_is_refused_and_built_again(people: CocoPeople, tmp_path: Path, damage: str) -> None:
    path = build(people, tmp_path).path
    file = path / (building.PIXELS if "pixels" in damage else building.INDEX)
    whole = file.read_bytes()
    file.unlink() if damage.startswith("no") else file.write_bytes(whole[:-9])
    with pytest.raises(DataError, match="a damaged crop cache") as error:
        CropCache.open(tmp_path / "cache", people, SIZE)
    assert one_line(error, "delete the folder, then build the cache again")
    assert holds(build(people, tmp_path), people)
    assert len(caches(tmp_path)) == 1


def in_child(work: Callable[[], object]) -> tuple[int | None, str]:
    """Run in a forked process: its exit status and what it returned or raised."""
    receiver, sender = processes.Pipe(duplex=False)

    def run(answer: Connection) -> None:
        try:
            answer.send(str(work()))
        except BaseException as error:
            answer.send(f"{type(error).__name__}: {error}")

    child = processes.Process(target=run, args=(sender,))
    child.start()
    sender.close()
    try:
        text = receiver.recv()
    except EOFError:
        text = ""
    child.join()
    return child.exitcode, text


@pytest.mark.usefixtures("small_chunks")
def test_a_build_killed_at_any_moment_is_continued(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each step of the building, in turn; whatever is found then is a whole cache or none."""
    steps = {"left": 0}

    def count(real: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: Any) -> object:
            steps["left"] -= 1
            if steps["left"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return counted

    for module, name in ((os, "pwrite"), (os, "write"), (os, "fsync"), (os, "posix_fallocate"), (Path, "rename")):
        monkeypatch.setattr(module, name, count(getattr(module, name)))
    statuses = []
    for moment in (1, 2, 3, 3, 6, 2, 7, 9, 4, 5, 3, 2, 10, 11, 12, 13):
        steps["left"] = moment
        statuses.append(in_child(lambda: build(people, tmp_path, workers=1))[0])
        if statuses[-1] == 0:
            break
        assert all(name.endswith(".partial") for name in caches(tmp_path))
        with pytest.raises(DataError, match="no crop cache"):
            CropCache.open(tmp_path / "cache", people, SIZE)
    assert statuses.count(-signal.SIGKILL) >= 8
    steps["left"] = -1
    assert holds(build(people, tmp_path), people)
    assert len(caches(tmp_path)) == 1


@pytest.mark.usefixtures("small_chunks")
def test_what_was_done_is_kept_if_its_checksum_holds(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = building.decode
    decoded: list[str] = []

    def decode(of: CocoPeople, index: int, shrink: int) -> object:
        if len(decoded) == 5:
            raise KeyboardInterrupt
        decoded.append(of.file_names[index])
        return real(of, index, shrink)

    monkeypatch.setattr(building, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        build(people, tmp_path, workers=1)
    [partial] = (tmp_path / "cache").glob("*.partial")
    journal = (partial / building.JOURNAL).read_text().split("\n")
    done = len(journal) - 1
    assert 2 <= done <= 5
    with (partial / building.PIXELS).open("r+b") as file:  # the disk lost what was written first
        file.write(bytes(99))
    with (partial / building.JOURNAL).open("a") as file:  # and the end of the journal
        file.write("7 1\n999 5\nnonsense\n6 12")
    again: list[str] = []

    def decode_again(of: CocoPeople, index: int, shrink: int) -> object:
        again.append(of.file_names[index])
        return real(of, index, shrink)

    monkeypatch.setattr(building, "decode", decode_again)
    assert holds(build(people, tmp_path, workers=2), people)
    assert PICTURES - done + 1 <= len(set(again)) < PICTURES


@pytest.mark.usefixtures("small_chunks")
def test_of_several_processes_one_builds_and_all_read(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    real = building._write_chunk

    def write_chunk(*arguments: Any) -> int:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.02)
        return real(*arguments)

    monkeypatch.setattr(building, "_write_chunk", write_chunk)
    children = [
        processes.Process(target=lambda: sys.exit(0 if holds(build(people, tmp_path), people) else 1)) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    writers = log.read_text().split()
    assert len(writers) == PICTURES
    assert len(set(writers)) == 1


def fail(code: int, after: int = 0) -> Callable[..., object]:
    """A system call that refuses from some call on."""
    calls = {"made": 0}

    def refuse(*_: object, **__: object) -> int:
        calls["made"] += 1
        if calls["made"] > after:
            raise OSError(code, os.strerror(code))
        return 1  # a byte written

    return refuse


@pytest.mark.parametrize(("call", "after"), [("posix_fallocate", 0), ("pwrite", 0), ("pwrite", 3), ("write", 0)])
def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    with monkeypatch.context() as context:
        context.setattr(os, call, fail(errno.ENOSPC, after))
        with pytest.raises(DataError, match="no room for the crop cache of") as error:
            build(people, tmp_path)
        assert one_line(error, "GB (No space left on device); make room or choose another folder")
    assert caches(tmp_path) == []
    assert holds(build(people, tmp_path), people)


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_where_no_room_can_be_reserved_a_cache_is_built_all_the_same(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None
) -> None:
    if refusal is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", fail(refusal))
    assert holds(build(people, tmp_path), people)


def test_a_limit_of_file_size_is_met_in_one_line(people: CocoPeople, tmp_path: Path) -> None:
    def limited() -> CropCache:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        return build(people, tmp_path)

    status, text = in_child(limited)
    assert status == 0
    assert text.startswith("DataError: ")
    assert "no room for the crop cache" in text
    assert "\n" not in text
    assert caches(tmp_path) == []


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_cannot_be_written_to(
    people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as context:
        context.setattr(Path, call, fail(errno.EROFS))
        with pytest.raises(DataError, match="Read-only file system") as error:
            build(people, tmp_path)
        assert one_line(error, "cannot be written", "choose a folder that can be written to")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="cannot be written"):
        CropCache.build(people, tmp_path / "file", SIZE, progress=False)
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.usefixtures("small_chunks")
def test_a_picture_deleted_midway(people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert people.pictures is not None
    real, victim = building.decode, people.pictures / "006.jpg"
    aside = tmp_path / "aside.jpg"

    def decode(*arguments: Any) -> object:
        if victim.exists():
            victim.rename(aside)
        return real(*arguments)

    with monkeypatch.context() as context:
        context.setattr(building, "decode", decode)
        with pytest.raises(DataError, match="the picture is missing") as error:
            build(people, tmp_path, workers=1)
        assert one_line(error, "006.jpg")
    with pytest.raises(DataError, match=r"006.jpg: the picture is missing"):
        build(people, tmp_path)
    with pytest.raises(DataError, match=r"006.jpg: the picture is missing"):
        CropCache.open(tmp_path / "cache", people, SIZE)
    aside.rename(victim)
    assert holds(build(people, tmp_path), people)


def test_pictures_that_change_midway(people: CocoPeople, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert people.pictures is not None
    real, victim = building.decode, people.pictures / "000.jpg"

    def decode(*arguments: Any) -> object:
        os.utime(victim, (2, 2))
        return real(*arguments)

    with monkeypatch.context() as context:
        context.setattr(building, "decode", decode)
        with pytest.raises(DataError, match="pictures changed while the cache was built"):
            build(people, tmp_path)
    assert caches(tmp_path) == []
    assert holds(build(people, tmp_path), people)


def test_a_cache_outlives_its_deletion_while_it_is_read(people: CocoPeople, tmp_path: Path) -> None:
    found = build(people, tmp_path)
    before = found.canvases(torch.arange(4)).pictures
    shutil.rmtree(tmp_path / "cache")
    assert torch.equal(found.canvases(torch.arange(4)).pictures, before)


def test_nobody_needs_no_cache(people: CocoPeople, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no people"):
        build(subset(people, torch.tensor([], dtype=torch.long)), tmp_path)
