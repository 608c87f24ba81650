"""Drawing on, and reading from, stacks of maps without a loop over joints.

Maps are ``(B, K, h, w)``; points are (x, y) in heatmap pixels. What can be
written as a product of a function of x and a function of y is computed once per
row and once per column, and multiplied out last.
"""

from typing import Literal

import torch
from torch import Tensor

from calbook.geometry import Size

Center = Literal["joint", "pixel"]  # what a map is drawn about: the joint itself, or the pixel that it falls in


def pixel_offsets(points: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Displacement from every pixel to every point, per axis.

    Args:
        points: ``(B, K, 2)``.
        size: Height and width of the maps.

    Returns:
        ``x_k - x`` as ``(B, K, 1, w)`` and ``y_k - y`` as ``(B, K, h, 1)``: together,
        by broadcasting, the offset field of equation 7.
    """
    columns = torch.arange(size[1], dtype=points.dtype, device=points.device)
    rows = torch.arange(size[0], dtype=points.dtype, device=points.device)
    return points[..., None, :1] - columns, points[..., 1:, None] - rows[:, None]


def nearest_pixel(points: Tensor) -> Tensor:
    """The pixel that points fall in, same dtype: p + 1/2 without its fraction.

    The fraction is cut towards zero as in the published code. On the map that is
    rounding with halves upwards; points from -1.5 to -0.5, just off it, fall in
    pixel 0.
    """
    return torch.trunc(points + 0.5)


def gaussians(dx: Tensor, dy: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Column and row factors of exp(-(dx^2 + dy^2) / (2 sigma^2)) (equation 2).

    Each is at least exp(-40), 4e-18: numbers so small that they lose digits are ten
    times slower to compute with, and products of two factors stay clear of them.
    """
    scale = -0.5 / sigma**2
    return torch.exp((scale * dx * dx).clamp(min=-40)), torch.exp((scale * dy * dy).clamp(min=-40))


def disk_hits(points: Tensor, radius: float, size: Size) -> Tensor:
    """Whether any pixel of the map lies within ``radius`` of each point, ``(B, K)``."""
    last = points.new_tensor([size[1] - 1, size[0] - 1])
    nearest = torch.minimum(points.round().clamp(min=0), last)
    return (points - nearest).square().sum(-1) <= radius**2


def window_hits(pixels: Tensor, reach: int, size: Size) -> Tensor:
    """Whether the square of ``reach`` pixels about each pixel meets the map, ``(B, K)``."""
    last = pixels.new_tensor([size[1] - 1, size[0] - 1])
    return ((pixels + reach >= 0) & (pixels - reach <= last)).all(-1)


def peaks(heatmaps: Tensor, floor: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The largest value of every map and where it is.

    Args:
        heatmaps: ``(B, K, h, w)``. Non-finite values are passed over.
        floor: Maps whose largest value does not exceed this are empty.

    Returns:
        Column and row ``(B, K)``, int64, the largest value ``(B, K)``, and whether the map
        is not empty ``(B, K)``. Of equal values the first counts, row by row. Empty maps
        give pixel (0, 0), and value 0 if nothing in them is finite.
    """
    width, flat = heatmaps.shape[-1], heatmaps.flatten(2)
    index = _first_largest(flat)
    scores = flat.gather(-1, index[..., None])[..., 0]  # (B, K); not finite if anything in the map is NaN or inf
    # On a GPU a question to the host costs more than the pass that it may save.
    if heatmaps.is_cuda or not scores.isfinite().all():
        flat = flat.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        index = _first_largest(flat)
        scores = flat.gather(-1, index[..., None])[..., 0]
        finite = scores.isfinite()
        found, scores = (scores > floor) & finite, torch.where(finite, scores, 0.0)
    else:
        found = scores > floor
    index = index * found
    row = index.div(width, rounding_mode="floor")
    return index - row * width, row, scores, found


def _first_largest(flat: Tensor) -> Tensor:
    """Index of the first of the largest values, or of the NaNs, along the last dimension.

    On a CPU NumPy looks at many values at once where PyTorch takes one by one: ten
    times as fast, and most of what decoding costs.
    """
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(flat.detach().numpy().argmax(-1))
    return flat.argmax(-1)


def read(maps: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Values of ``maps`` (B, K, C, h, w) at one pixel per joint (B, K), as ``(B, K, C)``.

    Pixels off the map read the nearest one on it.
    """
    height, width = maps.shape[-2:]
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return maps.flatten(-2).gather(-1, index[..., None, None].expand(*maps.shape[:3], 1)).squeeze(-1)


def window_index(column: Tensor, row: Tensor, reach: int, size: Size) -> tuple[Tensor, Tensor]:
    """Where the square of ``reach`` pixels about each pixel lies in flattened maps.

    Args:
        column: ``(B, K)``, int64; may be off the map.
        row: Likewise.
        reach: Pixels to each side.
        size: Height and width of the maps.

    Returns:
        Indices into h * w, the nearest on the map, and which are really on it, both
        ``(B, K, P, P)`` with P = 2 reach + 1.
    """
    steps = torch.arange(-reach, reach + 1, device=column.device)
    columns, rows = column[..., None] + steps, row[..., None] + steps  # (B, K, P)
    near_columns, near_rows = columns.clamp(0, size[1] - 1), rows.clamp(0, size[0] - 1)
    index = (near_rows * size[1])[..., :, None] + near_columns[..., None, :]
    return index, (columns == near_columns)[..., None, :] & (rows == near_rows)[..., :, None]


def windows(maps: Tensor, column: Tensor, row: Tensor, reach: int) -> Tensor:
    """The square of ``reach`` pixels about one pixel per map, rows first: ``(P, B*K, P)``.

    With the rows in front, and so with all maps side by side, smoothing along the
    rows is one matrix product. What lies off the map reads 0, or NaN where the
    nearest pixel on the map is not finite.
    """
    height, width = maps.shape[-2:]
    steps = torch.arange(-reach, reach + 1, device=maps.device)
    columns = column.reshape(-1, 1) + steps  # (B*K, P)
    rows = row.flatten() + steps[:, None]  # (P, B*K)
    near_columns, near_rows = columns.clamp(0, width - 1), rows.clamp(0, height - 1)
    first = torch.arange(rows.shape[1], device=maps.device) * (height * width)  # of each map
    index = (near_rows * width + first)[..., None] + near_columns  # (P, B*K, P)
    values = maps.flatten().index_select(0, index.flatten()).reshape(index.shape)
    return values * (rows == near_rows)[..., None] * (columns == near_columns)
