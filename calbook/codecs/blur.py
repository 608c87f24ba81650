"""Gaussian smoothing of maps as the published decoders do it.

DARK and UDP smooth predicted maps before they read them, with OpenCV's
``GaussianBlur(map, (k, k), 0)``: the width of the kernel follows from its size,
and up to nine taps it is a fixed table.
"""

from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from calbook.options import check_choice

Edge = Literal["zeros", "reflect"]

# Half of each fixed kernel, outermost tap first, in 1/256 (OpenCV's getGaussianKernel).
_FIXED = {1: (256,), 3: (64, 128), 5: (16, 64, 96), 7: (8, 28, 56, 72), 9: (4, 13, 30, 51, 60)}


@cache
def gaussian_kernel(size: int) -> tuple[float, ...]:
    """The one-dimensional kernel of ``size`` taps, summing to one.

    Beyond nine taps sigma = 0.3 ((size - 1) / 2 - 1) + 0.8 pixels.

    Raises:
        ValueError: The size is not odd and positive.

    >>> gaussian_kernel(3)
    (0.25, 0.5, 0.25)
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a blur kernel has an odd number of taps, got {size}")
    if size in _FIXED:
        half = [tap / 256 for tap in _FIXED[size]]
        return (*half, *half[-2::-1])
    reach = (size - 1) // 2
    sigma = 0.3 * (reach - 1) + 0.8
    taps = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * sigma**2))
    return tuple((taps / taps.sum()).tolist())


def _mirror(index: Tensor, length: int) -> Tensor:
    """Indices reflected at the centres of the first and last pixel, any number of times."""
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def _blur_last(maps: Tensor, kernel: tuple[float, ...], edge: Edge) -> Tensor:
    """Smooth along the last dimension: the sum of shifted maps, one per tap."""
    reach = (len(kernel) - 1) // 2
    length = maps.shape[-1]
    if edge == "zeros":
        padded = F.pad(maps, (reach, reach))
    else:
        padded = maps[..., _mirror(torch.arange(-reach, length + reach, device=maps.device), length)]
    smooth = kernel[0] * padded[..., :length]
    for shift, tap in enumerate(kernel[1:], start=1):
        smooth = torch.add(smooth, padded[..., shift : shift + length], alpha=tap)
    return smooth


def blur(maps: Tensor, size: int, edge: Edge) -> Tensor:
    """Smooth the last two dimensions of ``(..., h, w)`` with a Gaussian of ``size`` taps.

    Args:
        maps: Maps to smooth.
        size: Number of taps, odd; 1 leaves the maps as they are.
        edge: What lies beyond the border: ``"zeros"`` (DARK) or the map itself,
            ``"reflect"``-ed at the centres of its border pixels (OpenCV's default; UDP).

    Raises:
        ValueError: The size is not odd and positive, or the edge is unknown.
    """
    check_choice("edge", edge, Edge)
    kernel = gaussian_kernel(size)
    if size == 1:
        return maps
    across = _blur_last(maps, kernel, edge)
    return _blur_last(across.transpose(-1, -2), kernel, edge).transpose(-1, -2)
