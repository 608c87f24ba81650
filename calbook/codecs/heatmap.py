"""The heatmap codec: a Gaussian per joint, read back at its peak.

Target (equation 2 of the CAL paper; Tompson et al. 2014) and decoding (equation
4) of SimpleBaseline and HRNet, with the quarter-pixel shift of Newell et al.
2016. By option the target is centred on the joint itself, or on the pixel that
the joint falls in as those papers' code does.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from calbook.codecs.base import Codec
from calbook.codecs.grids import Center, gaussians, nearest_pixel, peaks, pixel_offsets, read, window_hits
from calbook.poses import Pose, PoseMaps, Targets

Support = Literal["plane", "window"]
Border = Literal["published", "full"]

SHIFT = 0.25  # heatmap pixels towards the higher neighbour


def draw_gaussians(
    codec: Codec, joints: Tensor, visible: Tensor, sigma: float, center: Center, support: Support
) -> Targets:
    """Gaussian targets, the part that the heatmap, DARK and integral codecs share.

    Joints count whose square of 3 sigma about their pixel meets the map (the
    published rule).
    """
    points, counts = codec._points(joints, visible)
    pixels = nearest_pixel(points.detach())
    reach = int(3 * sigma + 0.5)
    counts &= window_hits(pixels, reach, codec.heatmap_size)
    px, py = pixel_offsets(pixels, codec.heatmap_size)
    dx, dy = (px, py) if center == "pixel" else pixel_offsets(points, codec.heatmap_size)
    across, down = gaussians(dx, dy, sigma)  # (B, K, 1, w) and (B, K, h, 1)
    if support == "window":
        across, down = across * (px.abs() <= reach), down * (py.abs() <= reach)
    weights = counts.to(points.dtype)
    return Targets(heatmaps=down * (across * weights[..., None, None]), weights=weights)


@dataclass(frozen=True)
class HeatmapCodec(Codec):
    """One Gaussian per joint; the peak's pixel, moved a quarter pixel, is the joint.

    ``encode`` is differentiable in the joints when centred on them. ``decode`` is
    piecewise constant: it has no useful gradient. An exact map gives back the
    nearest pixel, at most half a heatmap pixel away along each axis (for joints
    on the map), before the shift.

    Attributes:
        sigma: Standard deviation of the Gaussian in heatmap pixels; None for
            ``default_sigma``.
        center: Centre of the Gaussian: ``"joint"`` (UDP, DARK, CAL) or the nearest
            ``"pixel"`` (SimpleBaseline, HRNet). None means joint under the
            unbiased convention and pixel under the biased one, as published.
        support: Where the Gaussian is drawn: the ``"window"`` of 3 sigma about the
            joint's pixel (SimpleBaseline, HRNet, UDP) or the whole ``"plane"``
            (DARK, CAL's code).
        shift: Move the peak by a quarter pixel towards its higher neighbour.
        border: Which peaks are moved: ``"published"``, those at least two pixels
            from the first and one from the last pixel of both axes; ``"full"``,
            along each axis, those with two neighbours.

    >>> codec = HeatmapCodec((128, 96), (32, 24), shift=False)
    >>> targets = codec.encode(torch.tensor([[[47.0, 60.0]]]), torch.tensor([[2]]))
    >>> targets.heatmaps.shape
    torch.Size([1, 1, 32, 24])
    >>> codec.to_heatmap(codec.decode(PoseMaps(targets.heatmaps)).coords).round().tolist()
    [[[11.0, 15.0]]]
    """

    sigma: float | None = None
    center: Center | None = None
    support: Support = "window"
    shift: bool = True
    border: Border = "published"

    def encode(self, joints: Tensor, visible: Tensor) -> Targets:
        """Gaussian targets ``(B, K, h, w)`` of joints ``(B, K, 2)``; see ``Codec.encode``."""
        center = self.center or ("joint" if self.convention == "unbiased" else "pixel")
        return draw_gaussians(self, joints, visible, self._sigma, center, self.support)

    def decode(self, maps: PoseMaps) -> Pose:
        """Peaks of the heatmaps in input pixels; see ``Codec.decode`` and ``Codec``."""
        heatmaps = self._maps(maps).heatmaps
        column, row, scores, found = peaks(heatmaps, self.floor)
        points = torch.stack([column, row], dim=-1).to(heatmaps.dtype)
        if self.shift:
            points = points + SHIFT * self._uphill(heatmaps, column, row) * found[..., None]
        return Pose(self.to_input(points), scores)

    def _uphill(self, heatmaps: Tensor, column: Tensor, row: Tensor) -> Tensor:
        """Sign (x, y) of the central difference at the peaks, 0 where the border rule forbids a shift."""
        height, width = self.heatmap_size
        maps = heatmaps[:, :, None]  # (B, K, 1, h, w)
        right, left = read(maps, column + 1, row), read(maps, column - 1, row)
        below, above = read(maps, column, row + 1), read(maps, column, row - 1)
        sign = torch.sign(torch.cat([right - left, below - above], dim=-1))  # (B, K, 2)
        first = 2 if self.border == "published" else 1
        inside = torch.stack([(column >= first) & (column <= width - 2), (row >= first) & (row <= height - 2)], dim=-1)
        if self.border == "published":
            inside = inside.all(-1, keepdim=True)
        return torch.where(inside, sign, 0.0).nan_to_num(0.0)
