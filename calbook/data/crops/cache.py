"""The crop cache: every person's canvas, cut out once, read as often as training likes.

```text
<folder>/64x48-1f2e3d.../canvases.bin       the canvases' pixels, one after the other, uint8 (3, h, w) each
                        /index.safetensors  where each begins, its size and place in its picture; format and key
```

The *key* in the folder's name is a hash of all that decides the content: the
annotations, the picture files' names, sizes and modification times, the input size, the
options and the version of the format. So there is nothing to invalidate: if any of these
changes, another cache is built beside the old one, which may be deleted at any
time. ``canvases.bin`` is memory-mapped: what is read often stays in memory, once
for all processes of a machine.
"""

import hashlib
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from calbook import results
from calbook.data.coco import CocoPeople
from calbook.data.crops.building import INDEX, PIXELS, Plan, build_files, exclusively
from calbook.data.crops.canvases import Canvases, CanvasOptions, Layout, gather
from calbook.data.crops.selection import person_crops
from calbook.data.defects import DataError, Defect
from calbook.geometry import Size
from calbook.skeletons import Skeleton

FORMAT = 2  # to be raised with every change of what a cache holds, the way pictures are resampled included


class CropCache:
    """The canvases of people, memory-mapped. Made by ``build`` or ``open``.

    >>> people = coco.read_split("coco", "train2017")  # doctest: +SKIP
    >>> cache = CropCache.build(select(people), "cache", (128, 96))  # doctest: +SKIP
    >>> loader = CropLoader(cache, (128, 96), batch_size=128)  # doctest: +SKIP
    """

    def __init__(self, people: CocoPeople, path: Path, input_size: Size, options: CanvasOptions, key: str) -> None:
        self.path, self.input_size, self.options = path, input_size, options
        self._people, self._crops = people, person_crops(people, input_size)
        self._layout, starts = _read_index(path, key)
        self._sizes, self._starts = self._layout.sizes.tolist(), starts.tolist()
        self._pixels = np.memmap(path / PIXELS, np.uint8, "r")

    @classmethod
    def build(
        cls,
        people: CocoPeople,
        folder: Path | str,
        input_size: Size,
        options: CanvasOptions | None = None,
        *,
        progress: bool = True,
        workers: int | None = None,
    ) -> "CropCache":
        """Open the cache of these people, after building it if there is none.

        The cache appears in one step, when it is complete. What an interrupted or
        killed build has done is checked and kept by the next one. Of several
        processes that build the same cache one does, the others wait for it.

        Args:
            people: Whose canvases; read with their pictures' folder.
            folder: For all caches; made where needed.
            input_size: Height and width of the network's input.
            options: What the canvases must be good for.
            progress: Show a progress bar, if standard error is a terminal.
            workers: Threads that decode pictures, by default one per core. Decoders
                work outside Python, so that threads do not wait for each other.

        Raises:
            DataError: A picture is missing, damaged, not of the annotated size or
                changed in the meantime; the disk is full or the folder cannot be
                written to. Nothing unusable is left behind.
        """
        options = options or CanvasOptions()
        key = content_key(people, input_size, options)
        path = _place(folder, input_size, key)
        if not _is_sound(path, key):
            with exclusively(path):
                if not _is_sound(path, key):  # by now somebody else may have built it
                    plan = Plan.of(people, input_size, options)

                    def check() -> None:
                        _check_unchanged(people, content_key(people, input_size, options), key)

                    build_files(
                        plan, path, {"format": str(FORMAT), "key": key}, check, progress, workers or results.cores()
                    )
        return cls(people, path, input_size, options, key)

    @classmethod
    def open(
        cls, folder: Path | str, people: CocoPeople, input_size: Size, options: CanvasOptions | None = None
    ) -> "CropCache":
        """Open the cache of these people.

        Raises:
            DataError: There is none in the folder, or it is damaged.
        """
        options = options or CanvasOptions()
        key = content_key(people, input_size, options)
        path = _place(folder, input_size, key)
        if not path.is_dir():
            others = sorted(other.name for other in Path(folder).glob("*x*-*") if (other / INDEX).exists())
            problem = "no crop cache of these people, pictures and options"
            problem += f" at {input_size[0]}x{input_size[1]}, only {', '.join(others[:3])}" if others else ""
            raise DataError(Defect(str(folder), "", "", problem, "build it with CropCache.build"))
        return cls(people, path, input_size, options, key)

    @property
    def skeleton(self) -> Skeleton:
        """Joints and limbs of the people."""
        return self._people.skeleton

    def __len__(self) -> int:
        return len(self._people)

    def canvases(self, indices: Tensor) -> Canvases:
        """The canvases of some people, ``(B,)`` int64."""
        pictures = torch.zeros(len(indices), 3, *self._layout.field, dtype=torch.uint8)
        for field, index in zip(pictures.numpy(), indices.tolist(), strict=True):
            (height, width), start = self._sizes[index], self._starts[index]
            pixels = self._pixels[start : start + 3 * height * width]
            field[:, :height, :width] = pixels.reshape(3, height, width)
        return gather(self._people, self._crops, self._layout, indices, pictures)


def content_key(people: CocoPeople, input_size: Size, options: CanvasOptions) -> str:
    """The hash of all that decides what a cache holds, 64 hexadecimal digits.

    Raises:
        DataError: A picture is missing.
    """
    digest = hashlib.sha256(repr((FORMAT, tuple(input_size), astuple(options), people.skeleton.joints)).encode())
    for values in (people.boxes, people.joints, people.visible, people.picture_sizes):
        digest.update(values.contiguous().numpy().tobytes())
    seen: set[str] = set()
    for index, name in enumerate(people.file_names):
        facts: tuple[object, ...] = (name,)
        if name not in seen:
            path = people.picture_path(index)
            try:
                stat = path.stat()
            except OSError:
                remedy = "copy or download it again"
                raise DataError(Defect(str(path), "", "", "the picture is missing", remedy)) from None
            facts = (name, stat.st_size, stat.st_mtime_ns)
            seen.add(name)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def _check_unchanged(people: CocoPeople, key: str, begun: str) -> None:
    if key != begun:
        remedy = "build again when they stay as they are"
        raise DataError(Defect(str(people.pictures), "", "", "pictures changed while the cache was built", remedy))


def _place(folder: Path | str, input_size: Size, key: str) -> Path:
    return Path(folder) / f"{input_size[0]}x{input_size[1]}-{key[:16]}"


def _is_sound(path: Path, key: str) -> bool:
    try:
        _read_index(path, key)
    except DataError:
        return False
    return True


def _read_index(path: Path, key: str) -> tuple[Layout, Tensor]:
    """Where the canvases lie in their pictures, and ``(N,)`` where their pixels begin in the file.

    Raises:
        DataError: The index or the pixels are missing, cut short, or not of this key.
    """
    try:
        with safe_open(path / INDEX, "pt") as index:
            metadata = index.metadata() or {}
            names = ("origins", "sizes", "steps", "starts")
            origins, sizes, steps, starts = (index.get_tensor(name) for name in names)
        written = (path / PIXELS).stat().st_size
    except (OSError, SafetensorError) as error:
        remedy = "delete the folder, then build the cache again"
        raise DataError(Defect(str(path), "", "", f"a damaged crop cache ({error})", remedy)) from None
    expected = int(3 * sizes.prod(1).sum())
    problem = ""
    if metadata.get("format") != str(FORMAT):
        problem = f"a crop cache of format {metadata.get('format')}, not {FORMAT}: from another version of this package"
    elif metadata.get("key") != key:
        problem = "a crop cache of other people or pictures than its name says"
    elif written != expected:
        problem = f"a damaged crop cache: {PIXELS} has {written} bytes instead of {expected}"
    if problem:
        raise DataError(Defect(str(path), "", "", problem, "delete the folder, then build the cache again"))
    return Layout(origins, sizes, steps), starts
