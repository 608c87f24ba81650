"""Pictures in, poses out, in memory that does not grow with their number.

Worker threads decode pictures and cut crops ahead of the network, a bounded number of
pictures at a time; the network takes the crops in batches that reach across
pictures. Each picture is decoded once. Decoding, cutting and the network all release
Python's lock, so threads overlap as processes would, without copying pixels between them.
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from calbook import geometry
from calbook.codecs.base import Codec
from calbook.data.defects import DataError
from calbook.geometry import CropBox
from calbook.inference.cutting import Cutter
from calbook.inference.flip import predict_crops
from calbook.models.folding import FastInference, fast_inference
from calbook.poses import Pose

AHEAD = 2  # pictures that each worker may be ahead of the network
HELD_BYTES = 2**28  # pixels of finished pictures that wait for the network before it runs a short batch


@dataclass(frozen=True, eq=False)
class Job:
    """One picture and where to look in it.

    Attributes:
        key: Whatever tells the caller which picture this is.
        open: Gives the pixels ``(3, H, W)``, uint8; called once, in a worker thread.
        boxes: ``(N, 4)`` as x, y, width, height in pixels of the picture, or what finds
            them in it, such as a detector.
    """

    key: Any
    open: Callable[[], Tensor]
    boxes: Tensor | Callable[[Tensor], Tensor]


class PicturePoses(NamedTuple):
    """The poses of one picture.

    Attributes:
        key: The job's.
        picture: ``(3, H, W)``, or None unless pictures were asked for.
        boxes: ``(N, 4)`` where was looked.
        crops: What the network saw of the picture.
        coords: ``(N, K, 2)`` as (x, y) in pixels of the picture.
        scores: ``(N, K)``.

    Where there was no box, N and K are 0.
    """

    key: Any
    picture: Tensor | None
    boxes: Tensor
    crops: CropBox
    coords: Tensor
    scores: Tensor


def stream(
    model: nn.Module,
    codec: Codec,
    jobs: Iterable[Job],
    *,
    mirror: Sequence[int] | None = None,
    shift: bool = False,
    batch_size: int = 64,
    workers: int = 2,
    cutter: Cutter | None = None,
    device: torch.device | str | None = None,
    fast: bool = True,
    keep_pictures: bool = False,
    on_error: Callable[[Job, DataError], None] | None = None,
) -> Iterator[PicturePoses]:
    """Poses picture by picture, in the order of the jobs.

    Args:
        model: From normalised images to ``PoseMaps``; not changed.
        codec: Decodes the maps. Its input size and convention are those of the crops.
        jobs: Taken one by one, a few ahead of the poses given back; may be endless.
        mirror: ``Skeleton.mirror`` for the flip test.
        shift: See ``predict_crops``.
        batch_size: Crops that the network sees at once. Halved as often as needed when
            a GPU's memory does not hold them.
        workers: Threads that read pictures; 0 reads them in this one.
        cutter: Cuts the crops; by default smoothed ones.
        device: Where the network runs; by default where it is.
        fast: Run ``fast_inference(model)``.
        keep_pictures: Give the pictures back with the poses.
        on_error: Called for a picture that cannot be read, which is then left out. By
            default the error is raised.

    Raises:
        DataError: A picture cannot be read.
    """
    device = home_of(model) if device is None else torch.device(device)
    network = _on_device(model, device)
    if fast and not isinstance(network, FastInference):
        network = fast_inference(network)
    cutter = cutter or Cutter(codec.input_size, codec.convention)

    def predict(images: Tensor) -> Pose:
        return _fitting(lambda part: predict_crops(network, codec, part, mirror=mirror, shift=shift), images.to(device))

    def load(job: Job) -> _Loaded:
        return _load(job, cutter, batch_size)

    queue = _Queue(predict, codec, cutter, batch_size, keep_pictures)
    for loaded in _ahead(load, jobs, workers, on_error):
        yield from queue.add(loaded)
    yield from queue.finish()


def home_of(model: nn.Module) -> torch.device:
    """Where a network is; a folded one may hold buffers only, another nothing at all."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _on_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The network, or where it is elsewhere a copy of it."""
    return model if home_of(model) == device else copy.deepcopy(model).to(device)


class _Loaded(NamedTuple):
    """A decoded picture and the first crops of it, at most a batch of them."""

    key: Any
    picture: Tensor
    boxes: Tensor
    crops: CropBox
    images: Tensor


@torch.no_grad()
def _load(job: Job, cutter: Cutter, limit: int) -> _Loaded:
    picture = job.open()
    boxes = (job.boxes(picture) if callable(job.boxes) else job.boxes).double()
    crops = geometry.box_to_crop(boxes, cutter.input_size)
    return _Loaded(job.key, picture, boxes, crops, cutter(picture, CropBox(crops.center[:limit], crops.extent[:limit])))


def _ahead(
    load: Callable[[Job], _Loaded],
    jobs: Iterable[Job],
    workers: int,
    on_error: Callable[[Job, DataError], None] | None,
) -> Iterator[_Loaded]:
    """Loaded pictures in order, a few being loaded ahead by threads."""

    def settle(job: Job, get: Callable[[], _Loaded]) -> Iterator[_Loaded]:
        try:
            loaded = get()
        except DataError as error:
            if on_error is None:
                raise
            on_error(job, error)
        else:
            yield loaded

    if workers == 0:
        for job in jobs:
            yield from settle(job, partial(load, job))
        return
    pending: deque[tuple[Job, Future[_Loaded]]] = deque()
    with ExitStack() as stack:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        for job in jobs:
            pending.append((job, pool.submit(load, job)))
            if len(pending) > workers * AHEAD:
                first, future = pending.popleft()
                yield from settle(first, future.result)
        while pending:
            first, future = pending.popleft()
            yield from settle(first, future.result)


_NONE = torch.empty(0)


class _Entry:
    """A picture whose crops are on their way through the network."""

    def __init__(self, loaded: _Loaded, keep: bool) -> None:
        # An empty slice of the picture would keep all its pixels alive.
        self.loaded = loaded._replace(picture=loaded.picture if keep else _NONE, images=_NONE)
        self.missing = len(loaded.boxes)
        self.poses: list[Pose] = []


class _Queue:
    """Gathers crops of several pictures into batches and hands finished pictures on, in order."""

    def __init__(
        self, predict: Callable[[Tensor], Pose], codec: Codec, cutter: Cutter, batch_size: int, keep: bool
    ) -> None:
        self.predict, self.codec, self.cutter = predict, codec, cutter
        self.batch_size, self.keep = batch_size, keep
        self.entries: deque[_Entry] = deque()
        self.waiting: list[tuple[_Entry, Tensor]] = []  # crops that the network has not seen

    def add(self, loaded: _Loaded) -> Iterator[PicturePoses]:
        """Take a picture; give back those that are finished by it."""
        entry = _Entry(loaded, self.keep)
        self.entries.append(entry)
        for start in range(0, max(len(loaded.boxes), 1), self.batch_size):
            part = slice(start, start + self.batch_size)
            crops = CropBox(loaded.crops.center[part], loaded.crops.extent[part])
            self.waiting.append((entry, loaded.images if start == 0 else self.cutter(loaded.picture, crops)))
            while sum(len(images) for _, images in self.waiting) >= self.batch_size:
                self._run()
        if sum(entry.loaded.picture.numel() for entry in self.entries) > HELD_BYTES:
            self._run()
        yield from self._finished()

    def finish(self) -> Iterator[PicturePoses]:
        """Run what is left."""
        self._run()
        yield from self._finished()

    def _run(self) -> None:
        """One batch through the network, if any crop waits for it."""
        if not any(len(images) for _, images in self.waiting):
            return
        room, batch, rest = self.batch_size, [], []
        for entry, images in self.waiting:
            batch.append((entry, images[:room]))
            rest.append((entry, images[room:]))
            room -= len(batch[-1][1])
        self.waiting = [(entry, images) for entry, images in rest if len(images)]
        pose = self.predict(torch.cat([images for _, images in batch]))
        coords, scores = pose.coords.cpu(), pose.scores.cpu()
        counts = [len(images) for _, images in batch]
        for (entry, _), part in zip(batch, zip(coords.split(counts), scores.split(counts), strict=True), strict=True):
            entry.poses.append(Pose(*part))
            entry.missing -= len(part[0])

    def _finished(self) -> Iterator[PicturePoses]:
        while self.entries and not self.entries[0].missing:
            entry = self.entries.popleft()
            loaded = entry.loaded
            poses = entry.poses or [Pose(torch.zeros(0, 0, 2), torch.zeros(0, 0))]
            coords = to_picture(torch.cat([pose.coords for pose in poses]), loaded.crops, self.codec)
            scores = torch.cat([pose.scores for pose in poses])
            picture = loaded.picture if self.keep else None
            yield PicturePoses(loaded.key, picture, loaded.boxes, loaded.crops, coords, scores)


def to_picture(coords: Tensor, crops: CropBox, codec: Codec) -> Tensor:
    """Decoded joints ``(N, K, 2)`` from input pixels to pixels of the picture that the crops were cut from."""
    matrices = geometry.crop_matrix(crops, codec.input_size, convention=codec.convention)  # (N, 2, 3)
    return geometry.transform(coords.to(matrices.dtype), geometry.invert(matrices))


def _fitting(predict: Callable[[Tensor], Pose], images: Tensor) -> Pose:
    """Predict in parts as large as the device's memory allows."""
    try:
        return predict(images)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    torch.cuda.empty_cache()
    parts = [_fitting(predict, part) for part in images.chunk(2)]
    return Pose(torch.cat([part.coords for part in parts]), torch.cat([part.scores for part in parts]))
