"""A run of training small enough to be killed twenty times: a network of 4,000 weights on 32x24 noise."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from calbook import skeletons
from calbook.codecs.base import Codec
from calbook.data.synthetic.stream import Crops
from calbook.method import Method
from calbook.poses import PoseMaps
from calbook.runs import RunFolder
from calbook.training import TrainingConfig, build_fabric, fit
from calbook.training.loop import Summary

SIZE, HEATMAP = (32, 24), (8, 6)
SKELETON = skeletons.Skeleton("three", ("nose", "left_hand", "right_hand"), ((0, 1),), (0.1, 0.1, 0.1))
CONFIG = TrainingConfig(
    epochs=2, mask_epochs=2, milestones=(1,), batch_size=8, average=0.9, continue_mixture=True, components=2,
    log_every=3, checkpoint_every=2,
)  # fmt: skip

# Processes that a test may kill. Where there is a GPU, a process that has used autograd must not be forked.
processes = multiprocessing.get_context("forkserver" if torch.cuda.is_available() else "fork")


class MicroNetwork(nn.Module):
    """Two convolutions, batch normalisation and dropout; heatmaps and offsets at a quarter of the size."""

    def __init__(self, num_joints: int, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.first = nn.Conv2d(3, 16, 5, stride=4, padding=2)
        self.drop = nn.Dropout(0.1 if norm else 0.0)
        self.last = nn.Conv2d(16, 3 * num_joints, 3, padding=1)

    def forward(self, images: Tensor) -> PoseMaps:
        maps = self.last(self.drop(self.norm(self.first(images)).relu()))
        joints = maps.shape[1] // 3
        return PoseMaps(maps[:, :joints], maps[:, joints:].unflatten(1, (joints, 2)))


@dataclass(frozen=True)
class MicroMethod(Method):
    def build_model(self, num_joints: int) -> nn.Module:
        return MicroNetwork(num_joints, **self.model_options)


METHOD = MicroMethod("micro", "cal", "cal", SIZE)


class MicroLoader:
    """Noise with joints, a function of (epoch, batch)."""

    skeleton = SKELETON

    def __init__(self, batches: int = 5, batch_size: int = 8, rank: int = 0, world_size: int = 1) -> None:
        self.batches_per_epoch, self._size = batches, batch_size
        self._mine = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        for batch in range(start, self.batches_per_epoch):
            yield Crops(*(part[self._mine] for part in self._batch(epoch, batch)))

    def _batch(self, epoch: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1000 * epoch + batch)
        images = torch.rand(self._size, 3, *SIZE, generator=generator)
        joints = torch.rand(self._size, 3, 2, generator=generator) * torch.tensor([23.0, 31.0])
        return images, joints, torch.full((self._size, 3), 2)


class LargeLoader(MicroLoader):
    """Two batches an epoch, for the package's own networks at 64x48."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Crops]:
        for images, joints, visible in list(super().epoch(epoch, start))[:2]:
            yield Crops(nn.functional.interpolate(images, (64, 48)), joints * 2, visible)


def score(network: nn.Module, codec: Codec) -> dict[str, float]:
    """A figure that depends on every weight."""
    return {"PCK": float(sum(weight.abs().sum() for weight in network.parameters()))}


def run(folder: Path, config: TrainingConfig = CONFIG, *, resume: bool = True, **options: object) -> Summary:
    """A run on this process alone."""
    fabric = build_fabric(accelerator="cpu", precision=config.precision)
    return run_on(fabric, folder, config, resume=resume, **options)


def run_on(
    fabric: Fabric, folder: Path, config: TrainingConfig = CONFIG, *, resume: bool = True, **options: object
) -> Summary:
    torch.set_num_threads(1)
    settings = {"method": METHOD, "loader": MicroLoader(), "validate": score, **options}
    return fit(config=config, run=RunFolder(folder), fabric=fabric, resume=resume, **settings)
