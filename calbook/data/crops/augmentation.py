"""The published augmentation, drawn per person and applied in one affine sampling per batch.

Half body, then scale, then rotation, then mirroring (the published data readers of
HRNet, UDP, DARK and CAL agree). What each person gets is a function of (seed, epoch, person)
alone: it does not depend on the batch, on how many processes share the work, nor
on where an interrupted epoch went on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calbook import geometry
from calbook.data.crops.canvases import Canvases
from calbook.data.crops.halves import half_bodies
from calbook.data.draws import Draws, picture_seed
from calbook.data.synthetic.stream import Crops
from calbook.geometry import Convention, CropBox, Size
from calbook.skeletons import Skeleton

COLUMNS = 6  # random numbers that an augmentation uses


@dataclass(frozen=True)
class Augmentation:
    """How crops vary. The defaults are those of HRNet, UDP, DARK and CAL on COCO.

    Attributes:
        rotation: Standard deviation of the angle in degrees, clipped at twice as much.
            Published: 45.
        rotation_probability: How often a crop is turned at all. Published: 0.6.
        scale: Standard deviation of the crop's growth about 1, clipped at as much.
            Published: 0.35, that is between 0.65 and 1.35.
        flip: How often left and right are exchanged. Published: 0.5.
        half_body: How often a person is cut to one half of the body, if more than
            ``half_body_joints`` are labelled. Published: 0.3.
        half_body_joints: Published: 8.
        upper_body: How often that is the upper half, if it has three labelled joints;
            the lower half needs as many. Published: 0.69, since the code compares a
            normal number with 0.5, where 0.5 was probably meant.

    Raises:
        ValueError: A number is out of range.
    """

    rotation: float = 45.0
    rotation_probability: float = 0.6
    scale: float = 0.35
    flip: float = 0.5
    half_body: float = 0.3
    half_body_joints: int = 8
    upper_body: float = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))  # P(N(0, 1) < 0.5) = 0.6915

    def __post_init__(self) -> None:
        for name in ("rotation_probability", "flip", "half_body", "upper_body"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale must be from 0 to below 1, got {self.scale}")
        if not 0 <= self.rotation < math.inf:
            raise ValueError(f"rotation must be a number of degrees from 0, got {self.rotation}")


PUBLISHED = Augmentation()
NONE = Augmentation(rotation=0.0, rotation_probability=0.0, scale=0.0, flip=0.0, half_body=0.0)
RESNET = Augmentation(rotation=40.0, scale=0.3, half_body=0.0)  # SimpleBaseline on COCO
MPII = Augmentation(rotation=30.0, scale=0.25, half_body=0.0)  # SimpleBaseline, HRNet, MRHeatNet on MPII


def augmentation_draws(seed: int, epoch: int, people: Sequence[int], device: torch.device | str = "cpu") -> Draws:
    """The random numbers of some people in one epoch.

    Args:
        seed: Seed of the training.
        epoch: Number of the epoch.
        people: Indices of the people in their source.
        device: Where the canvases are.
    """
    return Draws(picture_seed(seed, epoch), people, COLUMNS, device)


def augment(
    canvases: Canvases,
    input_size: Size,
    skeleton: Skeleton,
    augmentation: Augmentation = PUBLISHED,
    draws: Draws | None = None,
    *,
    convention: Convention = "unbiased",
) -> Crops:
    """Cut augmented crops out of canvases, on the device they are on.

    Joints that leave the crop keep their visibility, as published: the codecs give no
    weight to what their maps cannot show.

    Args:
        canvases: Of B people.
        input_size: Height and width of the crops.
        skeleton: For the mirror pairs and the halves of the body.
        augmentation: How crops vary.
        draws: ``augmentation_draws`` of these people; needed unless nothing varies.
        convention: Pixel convention of the crops.

    Returns:
        Images float32 ``(B, 3, *input_size)`` in [0, 1], joints ``(B, K, 2)`` as (x, y)
        in input pixels, (0, 0) where not labelled, and visibilities ``(B, K)``.

    Raises:
        ValueError: Something varies and there are no draws.
    """
    if draws is None and augmentation != NONE:
        raise ValueError("an augmentation that varies needs draws: see augmentation_draws")
    crop, rotation, mirrored = CropBox(canvases.centers, canvases.extents), canvases.centers.new_zeros(()), None
    if draws is not None:
        crop = _half_body(crop, canvases, input_size, skeleton, augmentation, draws)
        crop = CropBox(crop.center, crop.extent * _growth(augmentation, draws).to(crop.extent)[:, None])
        rotation = _angle(augmentation, draws).to(crop.center)
        mirrored = draws.chance(augmentation.flip)
    matrices = _matrices(crop, input_size, rotation, mirrored, convention)
    joints, visible = geometry.transform(canvases.joints, matrices), canvases.visible
    if mirrored is not None:
        partner = torch.tensor(skeleton.mirror, device=joints.device)
        joints = torch.where(mirrored[:, None, None], joints[:, partner], joints)
        visible = torch.where(mirrored[:, None], visible[:, partner], visible)
    images = geometry.sample_crops(canvases.pictures, matrices, input_size).div_(255)
    return Crops(images, torch.where((visible > 0)[..., None], joints, 0.0), visible)


def _half_body(
    crop: CropBox,
    canvases: Canvases,
    input_size: Size,
    skeleton: Skeleton,
    augmentation: Augmentation,
    draws: Draws,
) -> CropBox:
    """The crop, or for some of the people that of one half of the body."""
    chosen, upper = draws.chance(augmentation.half_body), draws.chance(augmentation.upper_body)
    halves, usable = half_bodies(canvases.joints, canvases.visible, skeleton, input_size)
    chosen &= ((canvases.visible > 0).sum(1) > augmentation.half_body_joints) & usable.any(1)
    upper = (upper & usable[:, 0]) | ~usable[:, 1]
    center = torch.where(upper[:, None], halves.center[:, 0], halves.center[:, 1])
    extent = torch.where(upper[:, None], halves.extent[:, 0], halves.extent[:, 1])
    return CropBox(torch.where(chosen[:, None], center, crop.center), torch.where(chosen[:, None], extent, crop.extent))


def _growth(augmentation: Augmentation, draws: Draws) -> Tensor:
    """How much each crop grows, ``(B,)``: a larger crop shows a smaller person."""
    return 1 + (augmentation.scale * draws.normal()).clamp(-augmentation.scale, augmentation.scale)


def _angle(augmentation: Augmentation, draws: Draws) -> Tensor:
    """How far each crop is turned, ``(B,)`` in degrees."""
    angle = (augmentation.rotation * draws.normal()).clamp(-2 * augmentation.rotation, 2 * augmentation.rotation)
    return torch.where(draws.chance(augmentation.rotation_probability), angle, 0.0)


def _matrices(
    crop: CropBox, input_size: Size, rotation: Tensor, mirrored: Tensor | None, convention: Convention
) -> Tensor:
    """The affine maps ``(B, 2, 3)`` from canvas to input pixels.

    The published code mirrors the picture and then cuts the turned crop out of it. So
    here: about the crop's centre, x changes sign before anything else.
    """
    about_center = CropBox(torch.zeros_like(crop.center), crop.extent)
    matrices = geometry.crop_matrix(about_center, input_size, rotation, convention)
    linear, shift = matrices[..., :2], matrices[..., 2:]
    if mirrored is not None:
        sign = torch.where(mirrored, -1.0, 1.0).to(linear)
        linear = linear * torch.stack([sign, torch.ones_like(sign)], -1)[:, None]  # columns (x, y) of (B, 2, 2)
    return torch.cat([linear, shift - linear @ crop.center[..., None]], -1)
