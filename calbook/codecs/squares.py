"""Targets are drawn on a small square about each joint and pasted into empty maps.

Nearly all of a target is zero: at 64x48 a disk of radius 4 covers 49 of 3072 pixels.
Computing only about the joint leaves one pass over the maps, the one that clears them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.codecs.grids import nearest_pixel
from calbook.geometry import Size


@dataclass(frozen=True)
class Squares:
    """One square of P pixels per map, all of one size.

    Attributes:
        corner: First pixel of each as (x, y), ``(B, K, 2)``.
        grid: Pixels of a square as (x, y) from its corner, ``(2, P)``.
        index: Where the pixels of each lie in its flattened map, ``(B, K, P)``.
        map_size: Height and width of the maps.
    """

    corner: Tensor
    grid: Tensor
    index: Tensor
    map_size: Size

    def offsets(self, points: Tensor) -> Tensor:
        """Displacement (x, y) from every pixel to its map's point ``(B, K, 2)``, as ``(B, K, 2, P)`` (equation 7)."""
        return (points - self.corner)[..., None] - self.grid

    def paste(self, values: Tensor) -> Tensor:
        """Maps ``(B, K, ..., h, w)``, zero but for the values ``(B, K, ..., P)`` on the squares."""
        index = self.index if values.ndim == 3 else self.index[:, :, None].expand_as(values)
        maps = values.new_zeros(*values.shape[:-1], math.prod(self.map_size))
        return maps.scatter_(-1, index, values).reshape(*values.shape[:-1], *self.map_size)


def squares(points: Tensor, radius: float, size: Size) -> Squares:
    """The squares that hold every pixel of the map within ``radius`` of the points.

    Each lies about its point's pixel, or beside it where it would leave the map.

    Args:
        points: ``(B, K, 2)``, finite, as (x, y) in heatmap pixels; may be off the map.
        radius: In heatmap pixels.
        size: Height and width of the maps.
    """
    reach = int(min(radius, max(size)) + 0.5)
    height, width = min(2 * reach + 1, size[0]), min(2 * reach + 1, size[1])
    last = points.new_tensor([size[1] - width, size[0] - height])
    corner = torch.minimum((nearest_pixel(points.detach()) - reach).clamp(min=0), last)
    pixel = torch.arange(height * width, device=points.device)
    row = pixel.div(width, rounding_mode="floor")
    column = pixel - row * width
    first = (corner.long() * corner.new_tensor([1, size[1]], dtype=torch.long)).sum(-1, keepdim=True)  # (B, K, 1)
    return Squares(corner, torch.stack([column, row]).to(points.dtype), first + (row * size[1] + column), size)
