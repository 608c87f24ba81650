"""The offset codec: a disk that says "near the joint", a field that says where.

Equations 6 to 9 of the CAL paper: Papandreou et al. 2017 (G-RMI) proposed the
pair, Huang et al. 2020 (UDP) decode it at the peak. The offset field restores
what the pixel grid took away, so an exact pair of maps gives back the joint.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from calbook.codecs.base import Codec
from calbook.codecs.blur import blur, gaussian_kernel
from calbook.codecs.grids import disk_hits, peaks, pixel_offsets, read
from calbook.codecs.squares import Squares, squares
from calbook.poses import Pose, PoseMaps, Targets

Decoding = Literal["peak", "hough"]
Outside = Literal["drop", "keep"]


@dataclass(frozen=True)
class OffsetCodec(Codec):
    """Binary disk and offset field (UDP); optionally read by Hough voting (G-RMI).

    Targets: ``heatmaps`` is the disk B (equation 6), ``offsets`` the displacement
    k - p inside it (equation 7), ``masks`` the disk again. Offsets are in
    heatmap pixels; the divisor of the published trainings (UDP: the radius) is
    applied by the loader and the loss.

    ``encode`` is differentiable in the joints through the offsets, ``decode`` in the
    offsets at the peak (``"hough"``: in all offsets and scores). A non-finite
    offset counts as zero. Exact maps give back every joint whose disk holds a
    pixel of the map.

    Attributes:
        radius: Radius of the disk in heatmap pixels. Published: 4 at every size
            (UDP's first version, CAL); UDP's author later 3.5 at h = 64 and in
            proportion to h.
        decoding: ``"peak"`` reads the offset at the peak (equation 9); ``"hough"``
            lets every pixel vote.
        blur: Taps of the blurs before decoding, for heatmaps and for offsets; 1 is
            none. UDP publishes (15, 7) at every size, which spoils small maps.
        logits: Whether heatmaps are logits, to be passed through a sigmoid.
        outside: Weight of a visible joint whose disk misses the map: ``"drop"``
            makes it 0; ``"keep"`` leaves it 1 (UDP's code), so that an empty map
            is learnt.

    >>> codec = OffsetCodec((128, 96), (32, 24))
    >>> targets = codec.encode(torch.tensor([[[47.3, 60.9]]]), torch.tensor([[2]]))
    >>> codec.decode(PoseMaps(targets.heatmaps, targets.offsets)).coords
    tensor([[[47.3000, 60.9000]]])
    """

    radius: float = 4.0
    decoding: Decoding = "peak"
    blur: tuple[int, int] = (1, 1)
    logits: bool = False
    outside: Outside = "drop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.blur, tuple) and len(self.blur) == 2):
            raise ValueError(f"blur must be two odd numbers, for heatmaps and for offsets, got {self.blur!r}")
        for taps in self.blur:
            gaussian_kernel(taps)  # raises on an even number

    def encode(self, joints: Tensor, visible: Tensor) -> Targets:
        """Disks and offsets of joints ``(B, K, 2)``; see ``Codec.encode``."""
        points, usable = self._points(joints, visible)
        drawn = usable & disk_hits(points, self.radius, self.heatmap_size)
        square = squares(points, self.radius, self.heatmap_size)
        disk, offsets, _ = self._near(points, drawn, square)
        disk, offsets = square.paste(disk), square.paste(offsets)
        weights = (usable if self.outside == "keep" else drawn).to(points.dtype)
        return Targets(heatmaps=disk, weights=weights, offsets=offsets, masks=disk)

    def _near(self, points: Tensor, drawn: Tensor, square: Squares) -> tuple[Tensor, Tensor, Tensor]:
        """Disk ``(B, K, P)``, offset field ``(B, K, 2, P)`` and squared distance ``(B, K, P)`` about each joint.

        Disk and field are zero for joints that are not drawn.
        """
        field = square.offsets(points)
        distance = field[:, :, 0].square() + field[:, :, 1].square()
        limit = torch.where(drawn, self.radius**2, -1.0).to(points.dtype)[..., None]
        # ge_ in place turns the difference into 0 and 1: a comparison and a conversion would be two slow passes.
        disk = (limit - distance.detach()).ge_(0)
        return disk, field * disk[:, :, None], distance

    def decode(self, maps: PoseMaps) -> Pose:
        """Joints in input pixels from heatmaps and offsets; see ``Codec.decode`` and ``Codec``."""
        heatmaps, offsets = self._maps(maps, offsets=True)
        assert offsets is not None  # _maps has seen to it
        if self.logits:
            heatmaps = heatmaps.sigmoid()
        heatmaps, offsets = blur(heatmaps, self.blur[0], "reflect"), blur(offsets, self.blur[1], "reflect")
        points, scores = (self._at_peaks if self.decoding == "peak" else self._by_votes)(heatmaps, offsets)
        return Pose(self.to_input(points), scores)

    def _at_peaks(self, heatmaps: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Peak plus the offset there (equation 9), in heatmap pixels."""
        column, row, scores, found = peaks(heatmaps, self.floor)
        offset = read(offsets, column, row).nan_to_num(0.0, 0.0, 0.0)  # (B, K, 2)
        points = torch.stack([column, row], dim=-1) + offset * found[..., None]
        return points, scores

    def _by_votes(self, heatmaps: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """The place that most pixels point to (G-RMI, equation 2).

        f(x) = 1 / (pi R^2) sum_j h(x_j) G(x_j + o_j - x), with G the bilinear
        kernel. The joint is the centroid of the votes in the 3 x 3 pixels about
        the peak of f, the score their sum: unlike the peak alone, neither depends
        on where the joint lies between pixels.
        """
        votes = vote(heatmaps, offsets) / (math.pi * self.radius**2)
        column, row, strongest, found = peaks(votes, self.floor)
        near_x, near_y = pixel_offsets(torch.stack([column, row], dim=-1).to(votes.dtype), self.heatmap_size)
        near = votes * ((near_x.abs() <= 1) & (near_y.abs() <= 1))
        mass = near.sum((-1, -2))
        found = found & (mass > 0)  # a floor below 0 finds peaks where nobody voted
        shift = torch.stack([(near * near_x).sum((-1, -2)), (near * near_y).sum((-1, -2))], dim=-1)
        points = torch.stack([column, row], dim=-1) - shift / torch.where(found, mass, 1.0)[..., None]
        return torch.where(found[..., None], points, 0.0), torch.where(found, mass, strongest)


def vote(heatmaps: Tensor, offsets: Tensor) -> Tensor:
    """Cast each pixel's score at the place that its offset points to.

    Args:
        heatmaps: Scores ``(B, K, h, w)``; negative and non-finite ones cast no vote.
        offsets: ``(B, K, 2, h, w)`` as (x, y) in pixels.

    Returns:
        Votes ``(B, K, h, w)``, split bilinearly between four pixels; those that
        point off the map are lost.
    """
    batch, joints, height, width = heatmaps.shape
    dx, dy = pixel_offsets(offsets.new_zeros(batch, joints, 2), (height, width))  # minus the pixel's own place
    x, y = offsets[:, :, 0] - dx, offsets[:, :, 1] - dy
    score = torch.where(x.isfinite() & y.isfinite(), heatmaps.nan_to_num(0.0, 0.0, 0.0).clamp(min=0), 0.0)
    x, y = x.nan_to_num(0.0).clamp(-2, width + 1), y.nan_to_num(0.0).clamp(-2, height + 1)  # far is as good as off
    left, top = x.detach().floor(), y.detach().floor()
    votes = heatmaps.new_zeros(batch, joints, height * width)
    for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = left + step_x, top + step_y
        share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * score
        on = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = torch.where(on, row.long() * width + column.long(), 0)
        votes = votes.scatter_add(-1, index.flatten(2), torch.where(on, share, 0.0).flatten(2))
    return votes.reshape(heatmaps.shape)
