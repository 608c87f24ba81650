"""Boxes, crops and the affine maps between picture, input and heatmap pixels.

A top-down estimator sees one person at a time: a box is grown to the shape of
the network's input, cut out, and the joints found on it are mapped back. Every
one of these maps depends on what "pixel (0, 0)" means. Two conventions exist:

``"unbiased"`` (Huang et al., *The Devil is in the Details*, 2020; used by CAL):
    lengths are measured between pixel *centres*, so a row of W pixels has length
    W - 1. Input and heatmap share their corner pixel centres; mirroring a
    picture and mirroring its heatmap are the same thing.

``"biased"`` (SimpleBaseline, HRNet):
    a row of W pixels has length W, yet pixel centres sit on integers. The map
    from input to heatmap divides by W / w, and mirroring the heatmap misses the
    mirrored joint by 1 - w / W (three quarters of a pixel at stride 4).

The package uses ``"unbiased"``; ``"biased"`` is here to be studied (chapter 3)
and to match published weights. Points are (x, y), sizes (height, width).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Convention = Literal["unbiased", "biased"]
Size = tuple[int, int]  # (height, width)

_CACHED = 2**19  # numbers of float32 that a core's cache holds beside all else
PADDING = 1.25  # how much a box grows before it is cut out (SimpleBaseline, HRNet, UDP, CAL)


class CropBox(NamedTuple):
    """The rectangle of a picture that fills the network's input.

    Attributes:
        center: ``(..., 2)`` as (x, y) in picture pixels.
        extent: ``(..., 2)`` as (width, height) in picture pixels.
    """

    center: Tensor
    extent: Tensor


def clean_boxes(boxes: Tensor, picture_size: Size | Tensor) -> tuple[Tensor, Tensor]:
    """Clip annotated boxes to the picture as the published readers do.

    Args:
        boxes: ``(N, 4)`` as x, y, width, height in picture pixels.
        picture_size: Height and width of the picture, or ``(N, 2)`` of each box's own.

    Returns:
        The clipped boxes ``(N, 4)`` and which of them are usable ``(N,)``: positive
        as annotated, in the picture, and more than a point. As in the published
        code a clipped box ends on a pixel centre, so an unclipped box of width w
        comes out w - 1 wide.

    >>> boxes, usable = clean_boxes(torch.tensor([[-5.0, 10.0, 30.0, 80.0], [70.0, 0.0, 9.0, 9.0]]), (50, 60))
    >>> boxes[0].tolist(), usable.tolist()
    ([0.0, 10.0, 29.0, 39.0], [True, False])
    """
    sizes = torch.as_tensor(picture_size, dtype=boxes.dtype, device=boxes.device)  # (2,) or (N, 2)
    first = boxes[:, :2].clamp(min=0)
    last = first + (boxes[:, 2:] - 1).clamp(min=0)
    last = torch.minimum(last, sizes.flip(-1) - 1)
    usable = (boxes[:, 2:] > 0).all(1) & (last >= first).all(1) & (last > first).any(1)
    return torch.cat([first, last - first], dim=1), usable


def box_to_crop(boxes: Tensor, input_size: Size, padding: float = PADDING) -> CropBox:
    """Grow boxes to the input's shape, about their centre.

    The shorter side (relative to the input) grows until the shapes agree, then
    both sides grow by ``padding``.

    Args:
        boxes: ``(..., 4)`` as x, y, width, height in picture pixels.
        input_size: Height and width of the network's input.
        padding: Factor applied to both sides after the shapes agree.

    >>> box_to_crop(torch.tensor([0.0, 0.0, 30.0, 80.0]), (128, 96), padding=1.0)
    CropBox(center=tensor([15., 40.]), extent=tensor([60., 80.]))
    """
    aspect = input_size[1] / input_size[0]  # width / height
    width, height = boxes[..., 2], boxes[..., 3]
    grown = torch.stack([torch.maximum(width, height * aspect), torch.maximum(height, width / aspect)], dim=-1)
    return CropBox(center=boxes[..., :2] + boxes[..., 2:] / 2, extent=grown * padding)


def _span(size: Size, convention: Convention) -> tuple[float, float]:
    """Length (x, y) that a grid of ``size`` covers under a convention."""
    if convention not in ("unbiased", "biased"):
        raise ValueError(f"unknown pixel convention {convention!r}: choose 'unbiased' or 'biased'")
    shrink = 1 if convention == "unbiased" else 0
    if min(size) <= shrink:
        raise ValueError(f"size {size} is too small for the {convention!r} convention")
    return size[1] - shrink, size[0] - shrink


def stride(input_size: Size, heatmap_size: Size, convention: Convention = "unbiased") -> tuple[float, float]:
    """Input pixels per heatmap pixel, as (x, y).

    >>> [round(s, 4) for s in stride((128, 96), (32, 24))]
    [4.1304, 4.0968]
    >>> stride((128, 96), (32, 24), "biased")
    (4.0, 4.0)
    """
    (wide, high), (w, h) = _span(input_size, convention), _span(heatmap_size, convention)
    return wide / w, high / h


def crop_matrix(
    crop: CropBox,
    input_size: Size,
    rotation: Tensor | float = 0.0,
    convention: Convention = "unbiased",
) -> Tensor:
    """The affine maps from picture pixels to input pixels.

    With d = point - center, R the rotation by theta and S the input's span (see
    the module's text), the map is  (R d / extent + 1/2) * S: the crop's centre
    goes to the middle of the span. With ``heatmap_size`` for ``input_size`` the
    maps lead to heatmap pixels. The published biased code scales both axes by the
    width's factor, the same for crops of ``box_to_crop``, which have the input's
    shape.

    Args:
        crop: Centres and extents ``(..., 2)``.
        input_size: Height and width of the input.
        rotation: Degrees, clockwise on the screen (y points down), scalar or ``(...)``.
        convention: Pixel convention of the input grid.

    Returns:
        ``(..., 2, 3)`` matrices A with input = A @ (x, y, 1).
    """
    angle = torch.deg2rad(torch.as_tensor(rotation, dtype=crop.center.dtype, device=crop.center.device))
    angle = angle.expand(crop.center.shape[:-1])
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (..., 2, 2)
    span = crop.center.new_tensor(_span(input_size, convention))
    linear = turn * (span / crop.extent)[..., None]
    shift = span / 2 - (linear @ crop.center[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], dim=-1)


def transform(points: Tensor, matrix: Tensor) -> Tensor:
    """Map points (x, y), ``(..., N, 2)``, by affine matrices ``(..., 2, 3)``.

    >>> transform(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 0.0, 5.0], [0.0, 2.0, 0.0]]))
    tensor([[7., 4.]])
    """
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]


def invert(matrix: Tensor) -> Tensor:
    """Inverses ``(..., 2, 3)`` of affine matrices ``(..., 2, 3)``."""
    linear = torch.linalg.inv(matrix[..., :2])
    return torch.cat([linear, -(linear @ matrix[..., 2:])], dim=-1)


def sample_crops(picture: Tensor, matrices: Tensor, input_size: Size) -> Tensor:
    """Cut crops out of a picture, or one crop out of each, by bilinear sampling, zero outside.

    Each input pixel takes the value at its own place in the picture, without
    smoothing first, as the published readers do. A person much larger than the
    input is therefore aliased: shrink the picture first where that matters.

    Args:
        picture: ``(C, H, W)``, or one for each crop ``(B, C, H, W)``; float32 or float64
            (half precision cannot count pixels), or uint8, which is sampled in float32.
        matrices: ``(B, 2, 3)`` from picture to input pixels, of ``crop_matrix``.
        input_size: Height and width of the crops.

    Returns:
        Crops ``(B, C, *input_size)``, with the values of the picture.
    """
    if min(picture.shape[-2:]) == 1:
        picture = F.pad(picture, (0, 1, 0, 1))  # along an axis of one pixel grid_sample cannot tell places apart
    # grid_sample counts from -1 at the first pixel centre to 1 at the last (align_corners).
    last = matrices.new_tensor([picture.shape[-1] - 1, picture.shape[-2] - 1])
    inverse = invert(matrices) * (2 / last)[:, None]
    x = torch.arange(input_size[1], dtype=matrices.dtype, device=matrices.device)[:, None]
    y = torch.arange(input_size[0], dtype=matrices.dtype, device=matrices.device)[:, None]
    # The place of input pixel (x, y) is a sum of what x and what y contribute.
    across = inverse[:, None, :, 0] * x  # (B, W, 2)
    down = inverse[:, None, :, 1] * y + (inverse[:, None, :, 2] - 1)  # (B, H, 2)
    return torch.cat([_sample(*part) for part in _parts(picture, across, down)])


def _parts(picture: Tensor, across: Tensor, down: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What is sampled at once: everything, but of uint8 pictures on a CPU what its cache holds as float32."""
    pictures = picture.expand(len(across), *picture.shape[-3:])
    most = max(len(across), 1)
    if picture.dtype == torch.uint8 and picture.device.type == "cpu":
        most = max(1, _CACHED // max(pictures.shape[1:].numel(), 1))
    return list(zip(pictures.split(most), across.split(most), down.split(most), strict=True))


def _sample(pictures: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Values ``(B, C, H, W)`` at places that are sums of ``(B, W, 2)`` and ``(B, H, 2)``, from -1 to 1."""
    pictures = pictures.float() if pictures.dtype == torch.uint8 else pictures
    places = (across[:, None] + down[:, :, None]).to(pictures.dtype)  # (B, H, W, 2)
    return F.grid_sample(pictures, places, mode="bilinear", padding_mode="zeros", align_corners=True)


def flip_joints(joints: Tensor, width: int, mirror: Sequence[int]) -> Tensor:
    """Joints ``(..., K, 2)`` of the horizontally mirrored picture of ``width`` pixels.

    Args:
        joints: (x, y) in pixels of the picture.
        width: Width of the picture.
        mirror: Index of each joint's partner, ``Skeleton.mirror``.
    """
    flipped = torch.stack([width - 1 - joints[..., 0], joints[..., 1]], dim=-1)
    return flipped[..., list(mirror), :]


def flip_heatmaps(heatmaps: Tensor, mirror: Sequence[int]) -> Tensor:
    """Heatmaps ``(..., K, h, w)`` of the mirrored picture."""
    return heatmaps.flip(-1)[..., list(mirror), :, :]


def flip_offsets(offsets: Tensor, mirror: Sequence[int]) -> Tensor:
    """Offset fields ``(..., K, 2, h, w)`` of the mirrored picture: x changes sign."""
    flipped = offsets.flip(-1)[..., list(mirror), :, :, :]
    return flipped * flipped.new_tensor([-1.0, 1.0])[:, None, None]
