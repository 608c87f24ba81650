"""DARK: read a joint between pixels by a Taylor step on the logarithm of its map.

Zhang et al. 2020 (*Distribution-Aware Coordinate Representation*). The
logarithm of a Gaussian is a parabola, so one Newton step from the peak lands on
the joint: m = p - H^-1 g. Predicted maps are smoothed first. UDP's second-order
decoding differs in its blur, its clipping and its differences, and is here as a
variant.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from calbook.codecs.base import Codec
from calbook.codecs.blur import blur, gaussian_kernel
from calbook.codecs.grids import peaks, windows
from calbook.codecs.heatmap import Border, draw_gaussians
from calbook.poses import Pose, PoseMaps, Targets

Variant = Literal["dark", "udp"]
Step = Literal["published", "safe"]

TINY = 1e-10  # DARK: smallest value whose logarithm is taken
CLIP = (1e-3, 50.0)  # UDP: the same, and the largest


@dataclass(frozen=True)
class DarkCodec(Codec):
    """Gaussian target; the peak refined by one Newton step on the log of the smoothed map.

    ``encode`` is differentiable in the joints, ``decode`` in the heatmaps near the
    peak. Where the step is undefined (peak too near the border, singular Hessian,
    non-finite values) the result is the peak's pixel. Without blur an exact map gives
    back every joint two pixels inside it. The blur turns the sampled Gaussian into a sum
    of shifted ones, whose logarithm is no parabola: with the published taps, where they
    do not reach the border, up to 0.66, 0.052, 0.0014 and 0.0007 input pixels remain at
    64x48, 128x96, 256x192 and 384x288.

    Attributes:
        sigma: Standard deviation of the Gaussian in heatmap pixels; None for
            ``default_sigma``.
        blur: Taps of the blur before decoding, 1 is none. None is published: 3 up
            to sigma = 1 and 11 beyond; 7 for UDP's variant.
        variant: ``"dark"``: zeros beyond the border, restored maximum, values at least
            1e-10, second differences over two pixels. ``"udp"``: mirrored border,
            restored range, values within [0.001, 50], second differences over
            one pixel, refined up to the border of the map.
        border: Of the ``"dark"`` variant, which peaks are refined: ``"published"``, those
            two pixels inside the map along both axes (half of a 16x12 map);
            ``"full"``, all: the parabola is laid through the nearest inner pixel.
        step: ``"published"`` takes every step whose Hessian is not singular;
            ``"safe"`` only those to a maximum within one pixel of the peak.

    >>> codec = DarkCodec((128, 96), (32, 24), blur=1)
    >>> targets = codec.encode(torch.tensor([[[47.3, 60.9]]]), torch.tensor([[2]]))
    >>> codec.decode(PoseMaps(targets.heatmaps)).coords.round(decimals=3)
    tensor([[[47.3000, 60.9000]]])
    """

    sigma: float | None = None
    blur: int | None = None
    variant: Variant = "dark"
    border: Border = "published"
    step: Step = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        gaussian_kernel(self._taps)  # raises on an even number
        if self.variant == "dark" and self.border == "full" and min(self.heatmap_size) < 5:
            raise ValueError(f"border='full' needs maps of at least 5x5 pixels, got {self.heatmap_size}")

    @property
    def _taps(self) -> int:
        if self.blur is not None:
            return self.blur
        if self.variant == "udp":
            return 7
        return 3 if self._sigma <= 1 else 11

    def encode(self, joints: Tensor, visible: Tensor) -> Targets:
        """Gaussian targets ``(B, K, h, w)`` centred on joints ``(B, K, 2)``; see ``Codec.encode``."""
        return draw_gaussians(self, joints, visible, self._sigma, center="joint", support="plane")

    def decode(self, maps: PoseMaps) -> Pose:
        """Refined peaks of the heatmaps in input pixels; see ``Codec.decode`` and ``Codec``."""
        heatmaps = self._maps(maps).heatmaps
        column, row, scores, found = peaks(heatmaps, self.floor)
        peak = torch.stack([column, row], dim=-1)
        base, refined = self._stencil(peak)
        window = self._log_window if self.variant == "dark" else self._udp_log_window
        logs = window(heatmaps, base[..., 0], base[..., 1], scores)
        slopes = differences(logs)  # (B, K, 5)
        step = newton_step(slopes)
        points = base + step
        usable = refined & found & step.isfinite().all(-1)
        if self.step == "safe":
            usable = usable & is_concave(slopes) & ((points - peak).abs() <= 1).all(-1)
        return Pose(self.to_input(torch.where(usable[..., None], points, peak.to(points.dtype))), scores)

    def _stencil(self, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Where the parabola is laid, ``(B, K, 2)``, and whether the peak is to be refined, ``(B, K)``."""
        if self.variant == "udp":
            return peak, torch.ones_like(peak[..., 0], dtype=torch.bool)
        last = peak.new_tensor([self.heatmap_size[1] - 3, self.heatmap_size[0] - 3])
        if self.border == "full":
            return torch.minimum(peak.clamp(min=2), last), torch.ones_like(peak[..., 0], dtype=torch.bool)
        return peak, ((peak >= 2) & (peak <= last)).all(-1)  # 1 < p < size - 2

    def _log_window(self, heatmaps: Tensor, column: Tensor, row: Tensor, scores: Tensor) -> Tensor:
        """Log of the smoothed map on 5 x 5 pixels, ``(B, K, 5, 5)``.

        Only the pixels that the step reads are smoothed. The published code also
        scales each smoothed map to its old maximum: in logarithms that adds a
        constant, which no difference sees, unless a value is cut at ``TINY``.
        """
        side = self._taps + 4
        patch = windows(heatmaps, column, row, side // 2)  # (k + 4, B*K, k + 4)
        band = _band(self._taps, heatmaps.dtype, heatmaps.device)  # (5, k + 4)
        lines = (band @ patch.flatten(1)).reshape(-1, side)  # (5, B*K * (k + 4)) -> (5 * B*K, k + 4)
        smooth = (lines @ band.T).reshape(5, -1, 5).transpose(0, 1).reshape(*column.shape, 5, 5)
        if heatmaps.is_cuda or (smooth.numel() and not smooth.amin() >= TINY):  # a NaN compares false
            cut = (smooth < TINY).flatten(2).any(-1)  # (B, K)
            smooth = smooth * self._restore(heatmaps, scores, cut)[..., None, None]
            smooth = smooth.clamp(min=TINY) + 0 * smooth  # what is not finite stays so
        return smooth.log()

    def _restore(self, heatmaps: Tensor, scores: Tensor, cut: Tensor) -> Tensor:
        """Old maximum over smoothed maximum of the maps that need it, 1 for the others, ``(B, K)``."""
        if heatmaps.is_cuda:  # on a GPU smoothing all is cheaper than asking which
            top = blur(heatmaps.nan_to_num(0.0, 0.0, 0.0), self._taps, "zeros").amax((-1, -2))
            return torch.where(cut & (top > 0), scores / top, 1.0)
        scale = torch.ones_like(scores)
        top = blur(heatmaps[cut].nan_to_num(0.0, 0.0, 0.0), self._taps, "zeros").amax((-1, -2))
        scale[cut] = torch.where(top > 0, scores[cut] / top, 1.0)
        return scale

    def _udp_log_window(self, heatmaps: Tensor, column: Tensor, row: Tensor, scores: Tensor) -> Tensor:
        """Log of the smoothed, stretched and clipped map on 3 x 3 pixels, border repeated, ``(B, K, 3, 3)``."""
        smooth = blur(heatmaps.nan_to_num(0.0, 0.0, 0.0), self._taps, "reflect")
        low, high = smooth.amin((-1, -2), keepdim=True), smooth.amax((-1, -2), keepdim=True)
        stretch = scores[..., None, None] / (high - low)
        logs = ((smooth - low) * stretch).nan_to_num(0.0).clamp(*CLIP).log()
        padded = F.pad(logs.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")  # (B*K, 1, h + 2, w + 2)
        near = windows(padded, column + 1, row + 1, reach=1)  # (3, B*K, 3)
        return near.transpose(0, 1).reshape(*column.shape, 3, 3)


@cache
def _band(taps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Row i smooths about pixel i + (taps - 1) / 2: the kernel as a matrix, ``(5, taps + 4)``."""
    with torch.inference_mode(False):  # the matrix outlives this call, and may meet gradients in the next
        kernel = torch.tensor(gaussian_kernel(taps), dtype=dtype, device=device)
        return torch.stack([F.pad(kernel, (i, 4 - i)) for i in range(5)])


@cache
def _stencil_matrix(reach: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The stencils side by side, ``((2 reach + 1)^2, 5)``."""
    with torch.inference_mode(False):
        return torch.tensor(_stencils(reach), dtype=dtype, device=device).flatten(1).T.contiguous()


def _stencils(reach: int) -> list[list[list[float]]]:
    """Weights of the differences x, y, xx, xy, yy on ``2 reach + 1`` squared pixels, rows are y.

    First differences span one pixel to each side. Second ones span ``reach``; the
    mixed one takes the four corners at one pixel (DARK), or for reach 1 the two on
    the diagonal (UDP).
    """
    side, c, r = 2 * reach + 1, reach, reach

    def stencil(*taps: tuple[int, int, float]) -> list[list[float]]:
        grid = [[0.0] * side for _ in range(side)]
        for x, y, weight in taps:
            grid[c + y][c + x] = weight
        return grid

    f = 1 / r**2
    if reach == 2:
        xy = stencil((1, 1, 0.25), (-1, -1, 0.25), (1, -1, -0.25), (-1, 1, -0.25))
    else:
        sides = [(x, y, -0.5) for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        xy = stencil((1, 1, 0.5), (-1, -1, 0.5), (0, 0, 1.0), *sides)
    return [
        stencil((1, 0, 0.5), (-1, 0, -0.5)),
        stencil((0, 1, 0.5), (0, -1, -0.5)),
        stencil((r, 0, f), (0, 0, -2 * f), (-r, 0, f)),
        xy,
        stencil((0, r, f), (0, 0, -2 * f), (0, -r, f)),
    ]


def differences(logs: Tensor) -> Tensor:
    """Differences (x, y, xx, xy, yy) at the middle of log-maps, ``(..., 5)``: gradient and Hessian.

    Args:
        logs: ``(..., 5, 5)`` for DARK's differences, ``(..., 3, 3)`` for UDP's; rows are y.
    """
    return logs.flatten(-2) @ _stencil_matrix(logs.shape[-1] // 2, logs.dtype, logs.device)


def newton_step(slopes: Tensor) -> Tensor:
    """-H^-1 g of differences ``(..., 5)``, as (x, y); not finite where H is singular."""
    x, y, xx, xy, yy = slopes.unbind(-1)
    determinant = xx * yy - xy * xy
    return torch.stack([xy * y - yy * x, xy * x - xx * y], dim=-1) / determinant[..., None]


def is_concave(slopes: Tensor) -> Tensor:
    """Whether the parabola of differences ``(..., 5)`` has a maximum."""
    _, _, xx, xy, yy = slopes.unbind(-1)
    return (xx < 0) & (xx * yy - xy * xy > 0)
