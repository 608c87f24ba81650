"""What the grid of a heatmap costs: closed forms, and the same by measurement.

A joint that is as likely in one place of its pixel as in another is decoded to a
fixed point of that pixel. Its error is then uniform over a rectangle, the *cell*:
the whole pixel for the argmax, a quarter of it (half as wide, half as high) once
the quarter shift has picked the right quadrant. Everything here follows from that
one sentence; chapter 2 derives it step by step.

Errors are prediction minus truth as (x, y). They are in whatever unit the cell is
given in: (1, 1) for heatmap pixels, ``geometry.stride`` for input pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calbook import geometry
from calbook.codecs.base import Codec
from calbook.geometry import Convention, CropBox, Size
from calbook.poses import PoseMaps

SHIFTED = 0.5  # width of a cell after the quarter shift, as a share of the pixel


@dataclass(frozen=True)
class GridError:
    """Size of a decoding error, averaged over joints.

    Attributes:
        mean_x: Mean of |x error|.
        mean_y: Mean of |y error|.
        rms_x: Root of the mean squared x error.
        rms_y: Root of the mean squared y error.
        mean: Mean of the distance in the plane.
        rms: Root of the mean squared distance.
    """

    mean_x: float
    mean_y: float
    rms_x: float
    rms_y: float
    mean: float
    rms: float


def cell_error(cell: tuple[float, float] = (1.0, 1.0)) -> GridError:
    """Error of a joint that is uniform over a cell and decoded to its centre.

    With sides a and b and diagonal d the mean distance from the centre is
    d / 6 + a^2 asinh(b / a) / (12 b) + b^2 asinh(a / b) / (12 a), which for the
    unit square is (sqrt(2) + asinh(1)) / 6.

    Args:
        cell: Width and height of the cell.

    >>> error = cell_error()
    >>> [round(value, 4) for value in (error.mean_x, error.rms_x, error.mean, error.rms)]
    [0.25, 0.2887, 0.3826, 0.4082]
    """
    a, b = cell
    if a <= 0 or b <= 0:
        raise ValueError(f"a cell has positive sides, got {cell}")
    mean = math.hypot(a, b) / 6 + a * a * math.asinh(b / a) / (12 * b) + b * b * math.asinh(a / b) / (12 * a)
    return GridError(a / 4, b / 4, a / math.sqrt(12), b / math.sqrt(12), mean, math.hypot(a, b) / math.sqrt(12))


def mix(first: GridError, second: GridError, share: float) -> GridError:
    """Error where a share of the joints has the first error and the others the second."""

    def average(one: float, two: float) -> float:
        return share * one + (1 - share) * two

    def root(one: float, two: float) -> float:
        return math.sqrt(average(one * one, two * two))

    return GridError(
        average(first.mean_x, second.mean_x),
        average(first.mean_y, second.mean_y),
        root(first.rms_x, second.rms_x),
        root(first.rms_y, second.rms_y),
        average(first.mean, second.mean),
        root(first.rms, second.rms),
    )


def quarter_shift_error(share: float = 1.0, cell: tuple[float, float] = (1.0, 1.0)) -> GridError:
    """Error of the quarter shift where it always knows the right quadrant.

    Args:
        share: Share of the joints that the border rule lets move, ``shift_share``.
        cell: Width and height of a heatmap pixel.

    >>> round(quarter_shift_error().mean / cell_error().mean, 4)
    0.5
    """
    return mix(cell_error((SHIFTED * cell[0], SHIFTED * cell[1])), cell_error(cell), share)


def shift_share(heatmap_size: Size) -> float:
    """Share of a heatmap's pixels that the published border rule lets move.

    Columns 2 ... w - 2 and rows 2 ... h - 2: (w - 3)(h - 3) of the w h pixels.

    >>> [round(shift_share(size), 2) for size in [(16, 12), (32, 24), (64, 48), (96, 72)]]
    [0.61, 0.79, 0.89, 0.93]
    """
    height, width = heatmap_size
    return max(width - 3, 0) * max(height - 3, 0) / (width * height)


def expected_similarity(cell: Tensor, tolerance: Tensor) -> Tensor:
    """Expected exp(-e^2 / (2 t^2)) of an error e that is uniform over a cell.

    Along an axis of width a it is sqrt(2 pi) t / a * erf(a / (2 sqrt(2) t)); the
    Gaussian factorises, so the plane has the product of both axes. With
    t = s kappa this is a joint's expected term of the OKS (equation 16).

    Args:
        cell: ``(..., 2)``, width and height.
        tolerance: ``(...)``, t in the same unit.
    """
    half = cell / (2 * math.sqrt(2) * tolerance[..., None])
    axis = math.sqrt(math.pi) / 2 * torch.erf(half) / half.clamp(min=torch.finfo(half.dtype).tiny)
    return torch.where(half > 0, axis, 1.0).prod(-1)


def expected_oks(cell: Tensor, visible: Tensor, areas: Tensor, sigmas: Tensor) -> Tensor:
    """Expected OKS (equation 16) of people decoded on a grid by argmax.

    Args:
        cell: ``(N, 2)``, width and height of a heatmap pixel in picture pixels,
            ``pixel_in_picture``; half of it after the quarter shift.
        visible: ``(N, K)``, positive where labelled.
        areas: ``(N,)``, s^2 in square picture pixels.
        sigmas: ``(K,)``; kappa is twice sigma.

    Returns:
        ``(N,)``; NaN for people without a labelled joint.
    """
    tolerance = 2 * sigmas * areas.sqrt()[:, None]  # (N, K)
    similarity = expected_similarity(cell[:, None].expand(*tolerance.shape, 2), tolerance)
    labelled = visible > 0
    return torch.where(labelled, similarity, 0.0).sum(1) / labelled.sum(1)


def pixel_in_picture(crop: CropBox, heatmap_size: Size, convention: Convention = "unbiased") -> Tensor:
    """Width and height of one heatmap pixel in picture pixels, ``(..., 2)``.

    >>> crop = CropBox(torch.tensor([50.0, 50.0]), torch.tensor([115.0, 155.0]))
    >>> pixel_in_picture(crop, (32, 24))
    tensor([5., 5.])
    """
    matrix = geometry.crop_matrix(crop, heatmap_size, convention=convention)  # picture to heatmap pixels
    return 1 / torch.stack([matrix[..., 0, 0], matrix[..., 1, 1]], dim=-1)


def decode_errors(codec: Codec, joints: Tensor, visible: Tensor, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Encode people and decode them at once: what a perfect network would get wrong.

    Args:
        codec: Any codec.
        joints: ``(N, K, 2)`` as (x, y) in input pixels.
        visible: ``(N, K)``, positive where labelled.
        batch: People at a time; the maps of all of them at once need not fit in memory.

    Returns:
        Errors ``(N, K, 2)`` in heatmap pixels, and ``(N, K)`` which of the joints are
        labelled and lie on the map (inside the outer border of its pixels). A joint
        off the map has no pixel of its own: its error depends on how far off it is.

    Raises:
        ValueError: Nobody has a labelled joint.
    """
    if not (visible > 0).any():
        raise ValueError("no labelled people to encode: give at least one joint with visible > 0")
    parts = []
    for start in range(0, len(joints), batch):
        people = slice(start, start + batch)
        targets = codec.encode(joints[people], visible[people])
        decoded = codec.decode(PoseMaps(targets.heatmaps, targets.offsets)).coords
        parts.append(codec.to_heatmap(decoded) - codec.to_heatmap(joints[people]))
    points = codec.to_heatmap(joints)
    last = points.new_tensor([codec.heatmap_size[1] - 0.5, codec.heatmap_size[0] - 0.5])
    return torch.cat(parts), (visible > 0) & (points >= -0.5).all(-1) & (points < last).all(-1)


def measure(errors: Tensor) -> GridError:
    """Summarise errors ``(M, 2)``.

    >>> measure(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).mean
    2.5
    """
    if len(errors) == 0:
        raise ValueError("no errors to summarise: are there labelled joints on the map?")
    values = errors.double()
    size, square, distance = values.abs().mean(0), values.square().mean(0), values.norm(dim=1)
    return GridError(
        size[0].item(),
        size[1].item(),
        square[0].sqrt().item(),
        square[1].sqrt().item(),
        distance.mean().item(),
        square.sum().sqrt().item(),
    )
