"""One's own pictures: files, folders and frames of videos, as a stream of jobs."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calbook.data.defects import DataError, Defect
from calbook.data.pictures import SUFFIXES, open_for_prediction
from calbook.geometry import Size
from calbook.inference.boxes import PictureBoxes
from calbook.inference.detector import PersonDetector
from calbook.inference.stream import Job

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
MORE_SUFFIXES = (".tif", ".tiff", ".gif")  # read when named, or in a folder: beside those of data sets


@dataclass
class Origin:
    """Where a picture comes from; the key of its job.

    Attributes:
        name: How results call it: the file's name, with the number of the frame for videos.
        path: The file.
        size: Height and width in the file. Known once the picture is open; the pixels
            that were predicted on are fewer where it was too large to hold.
        box_scores: ``(N,)``, of the boxes that were found in it; None counts as ones.
    """

    name: str
    path: Path
    size: Size | None = None
    box_scores: Tensor | None = None


Look = Callable[["Origin", Tensor], Tensor]  # from a picture's origin and pixels to boxes (N, 4)


def find_pictures(paths: Iterable[Path]) -> list[Path]:
    """The pictures and videos that paths name, those of a folder sorted by name.

    Raises:
        DataError: A path does not exist, or there is no picture.
    """
    found: list[Path] = []
    known = (*SUFFIXES, *MORE_SUFFIXES, *VIDEO_SUFFIXES)
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.iterdir() if file.suffix.lower() in known)
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(Defect(str(path), "", "", "there is no such file or folder", "name pictures or folders"))
    if not found:
        names = ", ".join(map(str, paths)) or "PICTURE"
        raise DataError(Defect(names, "", "", "no picture", f"name files, or a folder of {', '.join(known)}"))
    return found


def picture_jobs(
    paths: Iterable[Path],
    look: Look,
    every: int = 1,
    on_error: Callable[[Path, DataError], None] | None = None,
) -> Iterator[Job]:
    """A job for each picture, and for each frame of a video.

    Args:
        paths: Of ``find_pictures``.
        look: Finds the boxes, given the origin and the pixels.
        every: Take every so many frames of a video.
        on_error: Called for a video that cannot be read, or not to its end. By default the
            error is raised.

    Raises:
        DataError: A video cannot be read.
    """
    for path in paths:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            try:
                yield from _frames(path, look, every)
            except DataError as error:
                if on_error is None:
                    raise
                on_error(path, error)
        else:
            origin = Origin(path.name, path)
            yield Job(origin, partial(_open, origin), partial(look, origin))


def _open(origin: Origin) -> Tensor:
    opened = open_for_prediction(origin.path)
    origin.size = opened.size
    return opened.pixels


def _frames(path: Path, look: Look, every: int) -> Iterator[Job]:
    """Frames are decoded one after another, as the network asks for them."""
    for number, pixels in enumerate(video_frames(path)):
        if number % every:
            continue
        origin = Origin(f"{path.stem}_frame{number:06d}.jpg", path, (pixels.shape[1], pixels.shape[2]))
        yield Job(origin, partial(_given, pixels), partial(look, origin))


def _given(pixels: Tensor) -> Tensor:
    return pixels


def video_frames(path: Path) -> Iterator[Tensor]:
    """The frames of a video, ``(3, H, W)`` uint8, turned upright, by PyAV.

    Raises:
        DataError: PyAV is not installed, or the file is not a video that it can read.
    """
    try:
        av: Any = importlib.import_module("av")
    except ImportError:
        remedy = "install it: pip install 'calbook[video]'"
        raise DataError(
            Defect(str(path), "", "", "videos are read with PyAV, which is not installed", remedy)
        ) from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(Defect(str(path), "", "", "no pictures in this video", "name another"))
            for frame in container.decode(video=0):
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=round(getattr(frame, "rotation", 0) / 90) % 4)
                yield torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    except (av.FFmpegError, OSError) as error:
        problem = f"the video cannot be decoded ({getattr(error, 'strerror', None) or type(error).__name__})"
        raise DataError(Defect(str(path), "", "", problem, "copy or download it again")) from None


def from_file(boxes: PictureBoxes, warn: Callable[[Defect], None]) -> Look:
    """Looks boxes up by the picture's name; they count the pixels of the file."""

    def look(origin: Origin, pixels: Tensor) -> Tensor:
        size = origin.size or (pixels.shape[1], pixels.shape[2])
        found, origin.box_scores, outside = boxes.of(origin.name, size)
        for defect in outside:
            warn(defect)
        reduction = torch.tensor([pixels.shape[2] / size[1], pixels.shape[1] / size[0]])
        return found * reduction.repeat(2)

    return look


def from_detector(detector: PersonDetector) -> Look:
    """Finds the boxes with a detector."""

    def look(origin: Origin, pixels: Tensor) -> Tensor:
        boxes, origin.box_scores = detector(pixels)
        return boxes

    return look


def whole_picture(_: Origin, pixels: Tensor) -> Tensor:
    """One box, the picture itself."""
    return torch.tensor([[0.0, 0.0, pixels.shape[2], pixels.shape[1]]])
