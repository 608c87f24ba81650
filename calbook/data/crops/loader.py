"""Batches for training: the same on any number of processes, and from any point of an epoch on."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from calbook.data.crops.augmentation import PUBLISHED, Augmentation, augment, augmentation_draws
from calbook.data.crops.canvases import Canvases, CanvasOptions, Source
from calbook.data.crops.prefetch import prefetched
from calbook.data.draws import picture_seed
from calbook.data.synthetic.config import CROPS, SceneConfig
from calbook.data.synthetic.rendering import CHUNK_PIXELS, render
from calbook.data.synthetic.stream import Crops
from calbook.geometry import Convention, Size
from calbook.skeletons import COCO, Skeleton


class Loader(Protocol):
    """What training asks of a loader: ``CropLoader`` or ``SyntheticLoader``."""

    @property
    def skeleton(self) -> Skeleton:
        """Joints and limbs of the people."""

    @property
    def batches_per_epoch(self) -> int:
        """Number of global batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        """This process's share of each batch of an epoch, from batch ``start`` on."""


def check_batch(length: int, batch_size: int, world_size: int = 1, drop_last: bool = True) -> None:
    """Whether an epoch of ``length`` people can be divided into global batches.

    Raises:
        ValueError: A batch cannot be shared equally by ``world_size`` processes, or not be filled.
    """
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"a global batch of {batch_size} cannot be shared equally by {world_size} processes")
    if length < (batch_size if drop_last else world_size):
        raise ValueError(f"{length} people do not fill a batch of {batch_size}: choose a smaller batch_size")


class _Sharing:
    """How an epoch is divided into global batches, and these among processes."""

    def __init__(self, length: int, batch_size: int, rank: int, world_size: int, drop_last: bool) -> None:
        check_batch(length, batch_size, world_size, drop_last)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to {world_size - 1}, got {rank}")
        self.length, self.batch_size, self.rank, self.world_size = length, batch_size, rank, world_size
        rest = length % batch_size // world_size  # a last batch must be of equal parts, too
        self.batches = length // batch_size + (rest > 0 and not drop_last)

    def share(self, batch: int) -> range:
        """Positions in the epoch that are this process's part of a global batch."""
        first = batch * self.batch_size
        count = min(self.batch_size, self.length - first) // self.world_size
        return range(first + self.rank * count, first + (self.rank + 1) * count)


class CropLoader:
    """Augmented crops of annotated people, in a new order every epoch.

    The order is a function of (seed, epoch), the augmentation of a person one of
    (seed, epoch, person): neither depends on ``rank``, ``world_size`` or ``prefetch``, nor
    on the batch that an epoch is entered at.

    Args:
        source: ``CropCache`` or ``DecodedCanvases``.
        input_size: Height and width of the network's input.
        batch_size: People in a global batch, of which each process gets an equal,
            consecutive part.
        augmentation: How crops vary; ``NONE`` for not at all.
        seed: Seed of order and augmentation.
        device: Where crops are sampled and returned.
        rank: Number of this process.
        world_size: How many processes share each batch.
        drop_last: Leave out the people that do not fill a batch; otherwise they make a
            smaller one (of a multiple of ``world_size``).
        prefetch: Batches made ahead, in a thread; 0 for none.
        convention: Pixel convention of the crops.

    Raises:
        ValueError: The batch cannot be shared equally or filled, or the augmentation
            shows more than the source's canvases hold.
    """

    def __init__(
        self,
        source: Source,
        input_size: Size,
        batch_size: int,
        *,
        augmentation: Augmentation = PUBLISHED,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
        prefetch: int = 2,
        convention: Convention = "unbiased",
    ) -> None:
        _check_reach(augmentation, source.options)
        self._sharing = _Sharing(len(source), batch_size, rank, world_size, drop_last)
        self.source, self.input_size, self.batch_size = source, input_size, batch_size
        self.augmentation, self.seed, self.convention = augmentation, seed, convention
        self.device, self.prefetch = torch.device(device), prefetch

    @property
    def skeleton(self) -> Skeleton:
        """Joints and limbs of the people."""
        return self.source.skeleton

    @property
    def batches_per_epoch(self) -> int:
        """Number of global batches in an epoch."""
        return self._sharing.batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        """This process's share of each batch of an epoch, from batch ``start`` on.

        Raises:
            DataError: From the iterator: a picture is missing or damaged.
        """
        return _on_device(self._batches(epoch, start), self.prefetch, self.device)

    def order(self, epoch: int) -> Tensor:
        """The people of an epoch, ``(N,)`` int64, in the order they are shown."""
        generator = torch.Generator().manual_seed(picture_seed(picture_seed(self.seed, epoch), -1))
        return torch.randperm(len(self.source), generator=generator)

    def _batches(self, epoch: int, start: int) -> Iterator[Crops]:
        order = self.order(epoch)
        for batch in range(start, self.batches_per_epoch):
            share = self._sharing.share(batch)
            people = order[share.start : share.stop]
            canvases = _moved(self.source.canvases(people), self.device)
            draws = augmentation_draws(self.seed, epoch, people.tolist(), self.device)
            yield augment(
                canvases, self.input_size, self.skeleton, self.augmentation, draws, convention=self.convention
            )


def _check_reach(augmentation: Augmentation, options: CanvasOptions) -> None:
    """Raise a ValueError if an augmentation shows more than canvases hold."""
    growth = 1 + augmentation.scale
    if growth > options.reach + 1e-6:
        raise ValueError(
            f"crops grow by up to {growth}, beyond the canvases' reach of {options.reach}: "
            f"make the source with CanvasOptions(reach={growth})"
        )
    if augmentation.half_body > 0 and not options.half_body:
        raise ValueError("the canvases do not cover half bodies: make the source with CanvasOptions(half_body=True)")


class SyntheticLoader:
    """Crops of synthetic people, with the interface of ``CropLoader``.

    Nobody is shown twice: epoch e has the people number e * length to
    (e + 1) * length - 1 of the series, in this order. They vary in posture, size and
    framing, so that nothing is augmented.

    Args:
        length: People in an epoch.
        input_size: Height and width of the network's input.
        batch_size: People in a global batch, as in ``CropLoader``.
        seed: Seed of the series.
        device: Where to render and to return the crops.
        rank: Number of this process.
        world_size: How many processes share each batch.
        drop_last: As in ``CropLoader``.
        prefetch: Batches made ahead, in a thread; 0 for none.
        config: Distribution of the scenes.

    Raises:
        ValueError: The batch cannot be shared equally or filled.
    """

    skeleton = COCO

    def __init__(
        self,
        length: int,
        input_size: Size,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
        prefetch: int = 2,
        config: SceneConfig = CROPS,
    ) -> None:
        self._sharing = _Sharing(length, batch_size, rank, world_size, drop_last)
        self.length, self.input_size, self.batch_size = length, input_size, batch_size
        self.seed, self.config = seed, config
        self.device, self.prefetch = torch.device(device), prefetch

    @property
    def batches_per_epoch(self) -> int:
        """Number of global batches in an epoch."""
        return self._sharing.batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        """This process's share of each batch of an epoch, from batch ``start`` on."""
        return _on_device(self._batches(epoch, start), self.prefetch, self.device)

    def _batches(self, epoch: int, start: int) -> Iterator[Crops]:
        for batch in range(start, self.batches_per_epoch):
            share = self._sharing.share(batch)
            yield self._render(epoch * self.length + share.start, len(share))

    def _render(self, first: int, count: int) -> Crops:
        """Render in pieces that ``render`` does not divide among threads: those belong to the training."""
        most = max(1, CHUNK_PIXELS // (self.input_size[0] * self.input_size[1])) if self.device.type == "cpu" else count
        pieces = [
            render(self.seed, min(most, first + count - start), self.input_size, self.device, start, self.config)
            for start in range(first, first + count, most)
        ]
        return Crops(
            torch.cat([piece.pictures for piece in pieces]),
            torch.cat([piece.joints[:, 0] for piece in pieces]),
            torch.cat([piece.visible[:, 0] for piece in pieces]),
        )


def _moved(canvases: Canvases, device: torch.device) -> Canvases:
    """The canvases on a device; copying to a GPU does not wait for it."""
    if device.type != "cuda":
        return Canvases(*(value.to(device) for value in canvases))
    return Canvases(*(value.pin_memory().to(device, non_blocking=True) for value in canvases))


def _on_device(batches: Iterator[Crops], depth: int, device: torch.device) -> Iterator[Crops]:
    """Batches made ahead; on a GPU beside the training, on a stream of their own."""
    if device.type != "cuda" or depth == 0:
        return prefetched(batches, depth)
    return _from_stream(batches, depth, device)


def _from_stream(batches: Iterator[Crops], depth: int, device: torch.device) -> Iterator[Crops]:
    aside = torch.cuda.Stream(device)

    def made() -> Iterator[tuple[Crops, torch.cuda.Event]]:
        with torch.cuda.stream(aside):  # streams are chosen per thread: this runs in the prefetching one
            for crops in batches:
                yield crops, aside.record_event()

    for crops, ready in prefetched(made(), depth):
        current = torch.cuda.current_stream(device)
        current.wait_event(ready)
        for tensor in crops:
            tensor.record_stream(current)  # so that its memory is not reused before the training has read it
        yield crops
