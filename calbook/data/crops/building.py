"""Writing a crop cache: in parallel, in one step, whatever happens in between.

Pixels are written to ``<cache>.partial/``, a chunk of pictures at a time. A chunk that is
done is noted in a journal together with its checksum; a build that finds a journal
keeps the chunks whose checksums still hold. Complete, the folder is renamed: a
process that is killed leaves either no cache or a whole one.
"""

import errno
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from calbook.data.coco import CocoPeople
from calbook.data.crops.canvases import CanvasOptions, Layout, lay_out
from calbook.data.crops.decoding import cut, decode, shrink_of
from calbook.data.defects import DataError, Defect
from calbook.geometry import Size

PIXELS, INDEX, JOURNAL = "canvases.bin", "index.safetensors", "journal"
CHUNK_BYTES = 8 * 2**20  # written at once by a thread, and lost when it is interrupted

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Plan:
    """What is written where.

    Attributes:
        people: Whose canvases.
        layout: Where the canvases lie in their pictures.
        chunks: Indices of people, in the order of the file: by picture, so that each is
            decoded once.
        starts: ``(N,)`` int64, where each canvas begins in the file.
        size: Bytes in all.
    """

    people: CocoPeople
    layout: Layout
    chunks: list[list[int]]
    starts: Tensor
    size: int

    @classmethod
    def of(cls, people: CocoPeople, input_size: Size, options: CanvasOptions) -> "Plan":
        """Plan the cache of some people.

        Raises:
            ValueError: There are no people.
        """
        if not len(people):
            raise ValueError("there are no people to build a crop cache of")
        layout = lay_out(people, input_size, options)
        order = sorted(range(len(people)), key=lambda i: (people.file_names[i], shrink_of(layout, i)))
        sizes = 3 * layout.sizes.prod(1)
        starts = torch.empty_like(sizes)
        starts[order] = sizes[order].cumsum(0) - sizes[order]
        chunks: list[list[int]] = [[]]
        for _, group in groupby(order, key=lambda i: people.file_names[i]):
            if sum(int(sizes[i]) for i in chunks[-1]) >= CHUNK_BYTES:
                chunks.append([])
            chunks[-1].extend(group)
        return cls(people, layout, chunks, starts, int(sizes.sum()))

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Where a chunk begins in the file, and its length in bytes."""
        first = int(self.starts[self.chunks[chunk][0]])
        last = int(self.starts[self.chunks[chunk + 1][0]]) if chunk + 1 < len(self.chunks) else self.size
        return first, last - first


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Let one process at a time build a cache. A process that dies lets go.

    Raises:
        DataError: The folder cannot be written to.
    """
    import fcntl  # where it does not exist (Windows), caches can still be read

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("a")
    except OSError as error:
        raise _unwritable(path, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process to build {path}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_files(
    plan: Plan,
    path: Path,
    metadata: dict[str, str],
    check: Callable[[], None],
    progress: bool,
    workers: int,
) -> None:
    """Write a cache, or go on where another process was interrupted.

    Args:
        plan: What to write.
        path: The cache's folder; replaced if there is a damaged one.
        metadata: For the index.
        check: Called before the cache appears; raises if it should not.
        progress: Show a progress bar, if standard error is a terminal.
        workers: Threads.

    Raises:
        DataError: A picture cannot be used, the disk is full or the folder cannot be
            written to.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.mkdir(exist_ok=True)
        with (partial / PIXELS).open("ab") as file:
            _reserve(file.fileno(), plan.size)
        with (partial / PIXELS).open("r+b") as file, (partial / JOURNAL).open("ab", buffering=0) as journal:
            done = _sound_chunks(plan, file.fileno(), (partial / JOURNAL).read_text(errors="replace"))
            _write_chunks(plan, file.fileno(), journal.fileno(), done, progress, workers)
            os.fsync(file.fileno())
        try:
            check()
        except DataError:  # whatever was written is of no use
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _write_index(plan, partial / INDEX, metadata)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
        (path / JOURNAL).unlink()
    except OSError as error:
        if error.errno in _FULL:  # what was reserved is needed elsewhere
            shutil.rmtree(partial, ignore_errors=True)
        raise _unwritable(path, error, plan.size) from None


def _unwritable(path: Path, error: OSError, size: int = 0) -> DataError:
    """What the file system refused, in one line."""
    problem, remedy = f"cannot be written ({error.strerror})", "choose a folder that can be written to"
    if error.errno in _FULL:
        problem = f"no room for the crop cache of {size / 1e9:.3g} GB ({error.strerror})"
        remedy = "make room or choose another folder"
    return DataError(Defect(str(path), "", "", problem, remedy))


def _reserve(file: int, size: int) -> None:
    """Give the file its size now, so that a disk that is too small is noticed at once."""
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # not on this operating system
        pass
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not on this file system
            raise
    os.ftruncate(file, size)


def _sound_chunks(plan: Plan, file: int, journal: str) -> set[int]:
    """The chunks that are noted as done and whose checksums hold."""
    noted: dict[int, int] = {}
    for line in journal.splitlines():
        words = line.split()
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[0]) < len(plan.chunks):
            noted[int(words[0])] = int(words[1])
    return {chunk for chunk, checksum in noted.items() if zlib.crc32(_bytes(file, *plan.bounds(chunk))) == checksum}


def _bytes(file: int, first: int, length: int) -> bytes:
    return os.pread(file, length, first)


def _write_chunks(plan: Plan, file: int, journal: int, done: set[int], progress: bool, workers: int) -> None:
    """Write the chunks that are not done yet, in threads, and note each in the journal."""
    people = len(plan.people)
    old = sum(len(plan.chunks[chunk]) for chunk in done)
    bar = tqdm(total=people, initial=old, desc="crop cache", unit="person", disable=None if progress else True)
    with bar, ThreadPoolExecutor(workers) as pool:
        chunks = {pool.submit(_write_chunk, plan, i, file): i for i in range(len(plan.chunks)) if i not in done}
        try:
            for future in as_completed(chunks):
                os.write(journal, f"{chunks[future]} {future.result()}\n".encode())
                bar.update(len(plan.chunks[chunks[future]]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_chunk(plan: Plan, chunk: int, file: int) -> int:
    """Cut out the canvases of a chunk and write them. Returns their checksum."""
    pieces: list[bytes] = []
    for _, group in groupby(plan.chunks[chunk], key=lambda i: (plan.people.file_names[i], shrink_of(plan.layout, i))):
        members = list(group)
        shrink = shrink_of(plan.layout, members[0])
        picture = decode(plan.people, members[0], shrink)
        pieces += [cut(picture, shrink, plan.layout, index).tobytes() for index in members]
    pixels = memoryview(b"".join(pieces))
    first, length = plan.bounds(chunk)
    written = 0
    while written < length:
        written += os.pwrite(file, pixels[written:], first + written)
    return zlib.crc32(pixels)


def _write_index(plan: Plan, path: Path, metadata: dict[str, str]) -> None:
    tensors = {name: value.contiguous() for name, value in plan.layout._asdict().items()}
    content = safetensors.torch.save({**tensors, "starts": plan.starts}, metadata)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
