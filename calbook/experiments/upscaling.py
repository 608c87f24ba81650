"""Small crops made large before the network sees them: bicubically, or by a network that restores structure (Table 2).

The super-resolver is trained on the training people of the same data folder, once, and
kept in the folder of the runs.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from calbook.codecs import Codec
from calbook.data.defects import DataError, Defect
from calbook.experiments.experiment import Experiment
from calbook.experiments.preliminary import first_batches, made_once
from calbook.experiments.presets import PRESETS
from calbook.experiments.sets import build_loader, data_folder
from calbook.geometry import CropBox, Size
from calbook.inference import Cutter
from calbook.models.super_resolution import (
    SuperResolver,
    build_super_resolver,
    enlarge,
    shrink,
    super_resolution_loss,
)
from calbook.training.folder import save_tensors

SEED = 98
RATE = 1e-3
PATCHES = 16  # crops in a mini-batch
NETWORKS = {"smoke": "spsr-tiny", "laptop": "spsr-tiny", "gpu": "spsr-small", "paper": "spsr"}


@dataclass(frozen=True)
class UpscalingCutter(Cutter):
    """Cuts crops, shrinks them to what is left of a person, and makes them large again.

    Attributes:
        resolver: The network; None for bicubic interpolation.
    """

    resolver: SuperResolver | None = None

    @classmethod
    def of(cls, how: str, codec: Codec, crop_size: Size, weights: Path | None) -> "UpscalingCutter":
        """The cutter of an evaluation.

        Args:
            how: ``bicubic`` or ``spsr``.
            codec: Of the network that looks at the crops.
            crop_size: What is left of a person: a quarter of the codec's input size.
            weights: Of the super-resolver.

        Raises:
            ValueError: ``crop_size`` is not a quarter of the input size.
            DataError: There are no weights.
        """
        if (4 * crop_size[0], 4 * crop_size[1]) != tuple(codec.input_size):
            raise ValueError(f"upscaling is fourfold: {crop_size} does not give {codec.input_size}")
        return cls(codec.input_size, codec.convention, resolver=None if how == "bicubic" else load_resolver(weights))

    def __call__(self, picture: Tensor, crops: CropBox) -> Tensor:
        """Crops ``(N, 3, H, W)``; see ``Cutter``."""
        small = shrink(super().__call__(picture, crops))
        if self.resolver is None or not len(small):
            return enlarge(small)
        device = next(self.resolver.parameters()).device
        with torch.no_grad():
            large: Tensor = self.resolver(small.to(device)).pictures
        return large.clamp(0, 1).to(small.device)


def load_resolver(file: Path | None) -> SuperResolver:
    """A trained super-resolver.

    Raises:
        DataError: There is none.
    """
    if file is None or not file.exists():
        raise DataError(Defect(str(file), "", "", "no super-resolver", "run calbook reproduce 2, which trains it"))
    network = build_super_resolver(file.stem)
    network.load_state_dict(load_file(file))
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def resolver_weights(experiment: Experiment, root: Path, runs: Path, progress: bool = False) -> Path:
    """The file of the super-resolver for a preset, trained if it is not there yet.

    Args:
        experiment: At the preset.
        root: The data folder.
        runs: Folder of the runs; the super-resolver is kept in it.
        progress: Whether to show a bar.
    """
    file = runs / experiment.preset / f"{NETWORKS[experiment.preset]}.safetensors"
    return made_once(file, lambda: _train(experiment, root, file, progress))


def _train(experiment: Experiment, root: Path, file: Path, progress: bool) -> None:
    """Learn to undo ``shrink`` on the experiment's own training crops."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loader = build_loader(experiment, root, SEED, device=device, progress=progress)
    torch.manual_seed(SEED)
    network = build_super_resolver(file.stem).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    steps = PRESETS[experiment.preset].resolver_steps
    bar = first_batches(loader, steps, "super-resolution", progress)
    for crops in bar:
        images = crops.images[:PATCHES]
        loss = super_resolution_loss(network(shrink(images)), images).total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        bar.set_postfix_str(f"loss {loss.item():.4f}", refresh=False)
    save_tensors(
        file, network.state_dict(), {"steps": steps, "loss": loss.item(), "data": data_folder(experiment, root).name}
    )
