"""What every codec shares: sizes, the pixel convention and which joints count.

A codec turns joints into maps that a network can learn (``encode``) and maps
into joints (``decode``). Codecs are frozen dataclasses: their fields are their
options, and two codecs with equal options are equal.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from calbook import geometry
from calbook.geometry import Convention, Size
from calbook.options import check_choices
from calbook.poses import Pose, PoseMaps, Targets


def default_sigma(heatmap_size: Size) -> float:
    """Standard deviation of the target Gaussian, in heatmap pixels.

    One rule for every size, h / 32. It is the published choice at stride 4:
    0.5, 1, 2 and 3 for inputs of 64x48, 128x96, 256x192 and 384x288 (at 64x48
    the published CAL configurations use 0.3 with W32 and 0.5 with W48).

    >>> [default_sigma(size) for size in [(16, 12), (32, 24), (64, 48), (96, 72)]]
    [0.5, 1.0, 2.0, 3.0]
    """
    return heatmap_size[0] / 32


def _floating(points: Tensor) -> Tensor:
    """Points as they are, or integer ones in the default dtype: a stride is no whole number."""
    return points if points.is_floating_point() else points.to(torch.get_default_dtype())


def _precise(maps: Tensor) -> Tensor:
    """Maps in float32 at least: above 256, bfloat16 has no odd numbers left to give as coordinates."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


@dataclass(frozen=True)
class Codec(ABC):
    """Joints to maps and back, for batches, on the device of the tensors given.

    What holds for every codec:

    * A joint *counts* if its visibility is positive, both coordinates are finite
      and its target reaches the map. A joint that does not count has weight 0
      and all-zero targets.
    * Non-finite map values are never the peak. A map without any value above
      ``floor`` is *empty*: it decodes to the first pixel, (0, 0), with its
      largest value as the score, or 0 if it holds no finite value. Of several
      equal peaks the first counts, row by row, so a constant map decodes to
      (0, 0) too.

    Attributes:
        input_size: Height and width of the network's input.
        heatmap_size: Height and width of the maps.
        convention: Pixel convention of both grids, see ``calbook.geometry``.
        floor: Value that a map must exceed somewhere to be decoded. Published:
            0. Use ``-inf`` for maps of logits.
    """

    input_size: Size
    heatmap_size: Size
    convention: Convention = "unbiased"
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_choices(self)
        geometry.stride(self.input_size, self.heatmap_size, self.convention)  # raises on sizes that cannot be
        for option in ("sigma", "mask_sigma", "radius"):  # those that the codec has
            value = getattr(self, option, None)
            if value is not None and not value > 0:
                raise ValueError(f"{option} must be above 0, got {value}")

    @abstractmethod
    def encode(self, joints: Tensor, visible: Tensor) -> Targets:
        """Targets of joints.

        Args:
            joints: ``(B, K, 2)`` as (x, y) in input pixels.
            visible: ``(B, K)``, positive where labelled (COCO's 1 and 2).

        Raises:
            ValueError: The shapes are not these.
        """

    @abstractmethod
    def decode(self, maps: PoseMaps) -> Pose:
        """Joints in input pixels from maps ``(B, K, h, w)``, in float32 or, of such maps, float64.

        Raises:
            ValueError: The maps have other sizes, or lack the offsets that this codec reads.
        """

    @property
    def _sigma(self) -> float:
        """Standard deviation of the Gaussian in heatmap pixels: the option, or where none is given the default."""
        sigma: float | None = getattr(self, "sigma", None)
        return default_sigma(self.heatmap_size) if sigma is None else sigma

    def to_heatmap(self, joints: Tensor) -> Tensor:
        """Map points ``(..., 2)`` as (x, y) from input pixels to heatmap pixels; integers become floats."""
        joints = _floating(joints)
        return joints / joints.new_tensor(geometry.stride(self.input_size, self.heatmap_size, self.convention))

    def to_input(self, points: Tensor) -> Tensor:
        """Map points ``(..., 2)`` as (x, y) from heatmap pixels to input pixels; integers become floats."""
        points = _floating(points)
        return points * points.new_tensor(geometry.stride(self.input_size, self.heatmap_size, self.convention))

    def _points(self, joints: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Joints in heatmap pixels, with 0 in place of what is not finite, and which are usable."""
        if joints.ndim != 3 or joints.shape[-1] != 2 or visible.shape != joints.shape[:2]:
            raise ValueError(
                "encode needs joints (B, K, 2) and visible (B, K), "
                f"got {tuple(joints.shape)} and {tuple(visible.shape)}"
            )
        finite = joints.isfinite().all(-1)
        points = self.to_heatmap(torch.where(finite[..., None], joints, 0.0))
        return points, finite & (visible > 0)

    def _maps(self, maps: PoseMaps, *, offsets: bool = False) -> PoseMaps:
        """The maps, once their shapes are what this codec decodes, in float32 at least."""
        shape = maps.heatmaps.shape
        if len(shape) != 4 or tuple(shape[2:]) != tuple(self.heatmap_size):
            raise ValueError(
                f"decode needs heatmaps (B, K, {self.heatmap_size[0]}, {self.heatmap_size[1]}), got {tuple(shape)}"
            )
        if offsets:
            expected = (*shape[:2], 2, *shape[2:])
            if maps.offsets is None or tuple(maps.offsets.shape) != expected:
                found = None if maps.offsets is None else tuple(maps.offsets.shape)
                raise ValueError(f"{type(self).__name__} decodes offsets {expected}, got {found}")
        return PoseMaps(_precise(maps.heatmaps), None if maps.offsets is None else _precise(maps.offsets))
