"""Cutting canvases out of picture files, decoded no larger than they are needed."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from calbook.data.coco import CocoPeople, check_size
from calbook.data.crops.canvases import Canvases, CanvasOptions, Layout, gather, lay_out
from calbook.data.crops.selection import person_crops
from calbook.data.pictures import guarded, to_rgb
from calbook.geometry import Size
from calbook.skeletons import Skeleton

Pixels = NDArray[np.uint8]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_SHRINKS = (8, 4, 2)  # what a JPEG decoder can divide a picture's sides by, with less work for more


class DecodedCanvases:
    """Canvases cut out of the picture files whenever they are asked for.

    Args:
        people: Whose canvases; read with their pictures' folder.
        input_size: Height and width of the network's input.
        options: What the canvases must be good for.
        workers: Threads that decode pictures; decoders work outside Python.
    """

    def __init__(
        self, people: CocoPeople, input_size: Size, options: CanvasOptions | None = None, workers: int = 1
    ) -> None:
        self.options, self.input_size = options or CanvasOptions(), input_size
        self._people, self._workers = people, workers
        self._crops, self._layout = person_crops(people, input_size), lay_out(people, input_size, self.options)

    @property
    def skeleton(self) -> Skeleton:
        """Joints and limbs of the people."""
        return self._people.skeleton

    def __len__(self) -> int:
        return len(self._people)

    def canvases(self, indices: Tensor) -> Canvases:
        """The canvases of some people, ``(B,)`` int64.

        Raises:
            DataError: A picture is missing, damaged or not of the annotated size.
        """
        pictures = torch.zeros(len(indices), 3, *self._layout.field, dtype=torch.uint8)

        def place(row: int) -> None:
            index = int(indices[row])
            shrink = shrink_of(self._layout, index)
            pixels = cut(decode(self._people, index, shrink), shrink, self._layout, index)
            pictures[row, :, : pixels.shape[1], : pixels.shape[2]] = torch.from_numpy(pixels)

        in_threads(place, range(len(indices)), self._workers)
        return gather(self._people, self._crops, self._layout, indices, pictures)


def shrink_of(layout: Layout, index: int) -> int:
    """By how much a person's picture may be shrunk when decoded: 1, 2, 4 or 8, never below the canvas's resolution."""
    step = float(layout.steps[index])
    return next((factor for factor in _SHRINKS if factor <= step), 1)


def decode(people: CocoPeople, index: int, shrink: int) -> Image.Image:
    """Open a person's picture at a fraction of its size.

    JPEG stores blocks of 8 x 8 frequencies; leaving out the high ones gives a smaller
    picture that is free of aliasing, in less time. Pixel (i, j) of it covers the block of
    ``shrink`` x ``shrink`` pixels of the picture that starts at (shrink i, shrink j). Other
    formats are averaged over these blocks.

    Raises:
        DataError: The picture is missing, damaged or not of the annotated size.
    """
    path = people.picture_path(index)

    def read(path: Path) -> tuple[Image.Image, Size]:
        with Image.open(path) as picture:
            width, height = picture.size
            if shrink > 1:
                picture.draft(picture.mode, (max(1, width // shrink), max(1, height // shrink)))
            picture.load()
            whole = picture.size == (width, height) and shrink > 1
            rgb = picture if picture.mode == "RGB" else to_rgb(picture)
            return rgb.reduce(shrink) if whole else rgb, (height, width)

    picture, size = guarded(read, path)
    height, width = people.picture_sizes[index].tolist()
    check_size(path, size, (height, width))
    return picture


def cut(picture: Image.Image, shrink: int, layout: Layout, index: int) -> Pixels:
    """Cut a person's canvas out of the picture decoded at a fraction of its size.

    What is left to shrink, by a factor below 2 if the decoder did its part, is
    filtered so that nothing aliases.

    Returns:
        uint8 ``(3, h, w)``.
    """
    (x, y), (height, width) = layout.origins[index].tolist(), layout.sizes[index].tolist()
    ratio = float(layout.steps[index]) / shrink  # decoded pixels per canvas pixel
    left, top = x // shrink, y // shrink  # of a patch of whole pixels; beyond the picture it is black
    inset = x / shrink - left, y / shrink - top
    right, bottom = inset[0] + width * ratio, inset[1] + height * ratio
    patch = picture.crop((left, top, left + math.ceil(right), top + math.ceil(bottom)))
    if ratio != 1 or inset != (0, 0):
        patch = patch.resize((width, height), Image.Resampling.HAMMING, (*inset, right, bottom))
    return np.ascontiguousarray(np.asarray(patch).transpose(2, 0, 1))  # (3, h, w)


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> list[_Result]:
    """Apply ``work`` to all items, in order, by some threads; the first error is raised."""
    if workers <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))
