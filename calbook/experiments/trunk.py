"""The neutral trunk: what ImageNet is to the papers, for networks too small to have one.

All methods begin from the same trunk, which has learnt something about people that is
neither heatmaps nor offsets: which limb of the person, if any, a pixel belongs to,
by cross-entropy over limbs and background. A limb is a stripe as long as two joints
are apart; it has no peak at a joint and says nothing of where in the stripe a pixel
lies. The branches behind the trunk are not trained here.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calbook.data.crops import Crops
from calbook.experiments.catalogue import get
from calbook.experiments.experiment import Experiment
from calbook.experiments.preliminary import first_batches, made_once
from calbook.experiments.presets import PRESETS
from calbook.experiments.sets import build_loader
from calbook.geometry import Size, stride
from calbook.method import STRIDE
from calbook.results import REPOSITORY, write_atomically
from calbook.training import normalize
from calbook.training.folder import save_tensors

WIDTH = 0.75  # half the width of a limb, in map pixels
BACKGROUND = 0.1  # weight of pixels that belong to no limb, which are nine in ten
SEED = 97  # of the trunk; no run has it
RATE = 2e-3  # of Adam; a tenth of it in the last third

KEPT = REPOSITORY / "experiments" / "networks"  # trunks that the committed rows began from

# Whose crops and network the trunk of a backbone learns with, whichever row asks first.
_TEMPLATES = {
    "tiny": "hrnet-w32-128x96",
    "w32": "hrnet-w32-128x96",
    "w48": "hrnet-w48-128x96",
    "r18": "simple-baseline-r50-256x192",
    "r50": "simple-baseline-r50-256x192",
    "r101": "simple-baseline-r101-256x192",
    "r152": "simple-baseline-r152-256x192",
}


def limb_labels(
    joints: Tensor, visible: Tensor, limbs: Sequence[tuple[int, int]], input_size: Size, map_size: Size
) -> Tensor:
    """For each pixel of a map the limb that is nearest and near, counted from 1, or 0.

    Args:
        joints: ``(B, K, 2)`` as (x, y) in input pixels.
        visible: ``(B, K)``; a limb needs both its ends.
        limbs: Pairs of joints.
        input_size: Height and width of the input.
        map_size: Height and width of the map.

    Returns:
        ``(B, h, w)`` int64.

    >>> joints = torch.tensor([[[0.0, 0.0], [8.4, 0.0]]])
    >>> limb_labels(joints, torch.ones(1, 2), [(0, 1)], (64, 48), (16, 12))[0, :2, :4].tolist()
    [[1, 1, 1, 0], [0, 0, 0, 0]]
    """
    points = joints / joints.new_tensor(stride(input_size, map_size, "unbiased"))
    first, second = points[:, [a for a, _ in limbs]], points[:, [b for _, b in limbs]]  # (B, L, 2)
    whole = (visible[:, [a for a, _ in limbs]] > 0) & (visible[:, [b for _, b in limbs]] > 0)
    y, x = torch.meshgrid(torch.arange(map_size[0]), torch.arange(map_size[1]), indexing="ij")
    pixels = torch.stack([x, y], -1).to(points)[None, None]  # (1, 1, h, w, 2)
    along = (second - first)[:, :, None, None]  # (B, L, 1, 1, 2)
    way = pixels - first[:, :, None, None]
    share = ((way * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)).clamp(0, 1)
    distance = (way - share[..., None] * along).norm(dim=-1)  # (B, L, h, w)
    distance = torch.where(whole[:, :, None, None], distance, torch.inf)
    nearest, limb = distance.min(dim=1)
    return torch.where(nearest <= WIDTH, limb + 1, 0)


class _Labeller(nn.Module):
    """A trunk, and one linear layer on all its maps at the finest size."""

    def __init__(self, trunk: nn.Module, classes: int) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.LazyConv2d(classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.trunk(images)
        finest = maps[0].shape[-2:]
        logits: Tensor = self.head(torch.cat([F.interpolate(part, finest) for part in maps], dim=1))
        return logits


def trunk_weights(experiment: Experiment, root: Path, runs: Path, progress: bool = False) -> Path:
    """The file of the neutral trunk for an experiment's network: in the folder of the runs, else kept, else trained.

    All rows of a table begin from the same one, on whatever machine they are run: training the
    trunk anew gives the same but for rounding.

    Args:
        experiment: At a preset that begins from the neutral trunk.
        root: The data folder.
        runs: Folder of the runs; the trunk is kept in it.
        progress: Whether to show a bar.
    """
    file = runs / experiment.preset / f"trunk-{experiment.backbone}.safetensors"
    kept = kept_trunk(experiment)

    def make() -> None:
        if kept.exists():
            write_atomically(file, kept.read_bytes())
        else:
            _train(experiment, root, file, progress)

    return made_once(file, make)


def kept_trunk(experiment: Experiment) -> Path:
    """Where the trunk of an experiment's network would be kept; rows of few presets are committed."""
    return KEPT / f"trunk-{experiment.backbone}-{experiment.preset}.safetensors"


def _train(experiment: Experiment, root: Path, file: Path, progress: bool) -> None:
    """Crops of the experiment's size and, every other time, of half of it: the trunk serves all sizes."""
    template = get(_TEMPLATES[experiment.backbone]).at(experiment.preset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = template.method.input_size
    loader = build_loader(template, root, SEED, device=str(device), progress=progress)
    torch.manual_seed(SEED)
    network = template.method.build_model(loader.skeleton.num_joints)
    labeller = _Labeller(network.get_submodule("trunk"), len(loader.skeleton.limbs) + 1)
    steps = PRESETS[experiment.preset].trunk_steps
    divisor = 32 if experiment.backbone.startswith("r") else 16
    halves = not any(side % (2 * divisor) for side in size)  # where half the size fits the network, too
    weights = torch.tensor([BACKGROUND] + [1.0] * len(loader.skeleton.limbs), device=device)
    labeller.to(device)(torch.zeros(2, 3, *size, device=device))  # gives the lazy layer its shape
    optimizer = torch.optim.Adam(labeller.parameters(), lr=RATE)
    bar = first_batches(loader, steps, "neutral trunk", progress)
    for step, crops in enumerate(bar):
        optimizer.param_groups[0]["lr"] = RATE if step < 2 * steps // 3 else RATE / 10
        images, labels = _task(crops, size, loader.skeleton.limbs, half=step % 2 == 1 and halves)
        with torch.autocast(device.type, torch.bfloat16, enabled=experiment.preset != "smoke"):
            logits = labeller(normalize(images))
        loss = F.cross_entropy(logits.float(), labels, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    tensors = {f"trunk.{name}": value for name, value in labeller.trunk.state_dict().items()}
    save_tensors(file, tensors, {"steps": steps, "loss": loss.item()})


def _task(crops: Crops, size: Size, limbs: Sequence[tuple[int, int]], *, half: bool) -> tuple[Tensor, Tensor]:
    """Pictures and labels, at the crops' size or at half of it."""
    images, joints = crops.images, crops.joints
    if half:
        smaller = (size[0] // 2, size[1] // 2)
        images = F.interpolate(images, smaller, mode="bilinear", antialias=True, align_corners=False)
        joints, size = (joints + 0.5) / 2 - 0.5, smaller
    map_size = (size[0] // STRIDE, size[1] // STRIDE)
    return images, limb_labels(joints, crops.visible, limbs, size, map_size)
