"""From outlines to pixels: coverage by signed distance, order by depth.

Work is proportional to the area that shapes cover: the picture is cut into small
tiles, each shape is evaluated only in the tiles that its outline reaches, and
each pixel keeps its nearest few surfaces. All arithmetic is addition,
multiplication, division and square root, which round the same way whatever the
batch, so that pictures do not depend on it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from calbook.data.synthetic.camera import Outlines
from calbook.geometry import Size

TILE = 4  # pixels
LAYERS = 3  # surfaces that a pixel may blend
_FAINT = 1 / 32  # coverage below which a surface leaves no trace
_EMPTY = torch.iinfo(torch.int64).max


class Surface(NamedTuple):
    """A shape's surface at some points; same shape each.

    Attributes:
        coverage: Share of the pixel inside the outline, [0, 1].
        depth: Distance from the camera, metres.
        across, along: Position on the rounded surface, -1 to 1 from rim to rim.
        facing: How much the surface faces the camera, [0, 1].
        part: Position on the way from a to b, [0, 1].
    """

    coverage: Tensor
    depth: Tensor
    across: Tensor
    along: Tensor
    facing: Tensor
    part: Tensor


def surface(outline: Outlines, right: Tensor, down: Tensor) -> Surface:
    """Evaluate outlines at points ``right, down`` pixels from their end a (broadcasting).

    With u across and v along the line, the point of the line that is nearest in
    the sense of a round cone is  t = (v - |u| taper) / length, clamped to [0, 1];
    the signed distance is  |(u, squash (v - t length))| - width(t).
    """
    u = down * outline.along_x - right * outline.along_y
    v = right * outline.along_x + down * outline.along_y
    part = ((v - u.abs() * outline.taper) / outline.length).clamp(0, 1)
    width = outline.wide_a + part * (outline.wide_b - outline.wide_a)
    end = (v - part * outline.length) * outline.squash
    radial = u * u + end * end
    distance = radial.sqrt()
    # Where the ends are squashed the distance grows faster than pixels do.
    slope = (u * u + (end * outline.squash).square()).sqrt() / distance.clamp(min=1e-6)
    coverage = (0.5 + (width - distance) / slope.clamp(min=1)).clamp(0, 1)
    # A shape thinner than a pixel covers no more than its own width.
    coverage = coverage * (2 * width).clamp(max=1)
    facing = (1 - radial / (width * width).clamp(min=1e-6)).clamp(min=0).sqrt()
    bulge = outline.bulge_a + part * (outline.bulge_b - outline.bulge_a)
    depth = outline.depth_a + part * (outline.depth_b - outline.depth_a) - bulge * facing
    rim = torch.maximum(width, distance).clamp(min=1e-6)
    return Surface(coverage, depth, u / rim, end / rim, facing, part)


class Fragments(NamedTuple):
    """Pieces of shapes in tiles: T points of each of n (shape, tile) pairs.

    Attributes:
        surface: Surfaces, each ``(T, n)``.
        shape: ``(n,)`` index of the shape, flat over N and S.
        pixel: ``(F,)`` index of the pixel, flat over N, H, W, of each visible point.
        point: ``(F,)`` index of the point, flat over T and n.
    """

    surface: Surface
    shape: Tensor
    pixel: Tensor
    point: Tensor


def _reach(outline: Outlines) -> Tensor:
    """Half size of the square about each end that holds the outline, pixels."""
    return torch.maximum(outline.wide_a, outline.wide_b) / outline.squash.clamp(max=1) + 1


def rasterize(outlines: Outlines, seen: Tensor, size: Size) -> Fragments:
    """Evaluate outlines ``(N, S)`` of which ``seen (N, S)`` are to be drawn."""
    height, width = size
    shape = seen.flatten().nonzero()[:, 0]
    picture = torch.div(shape, seen.shape[1], rounding_mode="floor")
    outline = Outlines(*(value.flatten()[shape] for value in outlines))
    reach = _reach(outline)
    spans = []
    for start, step, limit in ((outline.x, outline.along_x, width), (outline.y, outline.along_y, height)):
        end = start + step * outline.length
        first = torch.minimum(start, end) - reach
        last = torch.maximum(start, end) + reach
        tiles = -(-limit // TILE)
        low = (first / TILE).floor().clamp(0, tiles).long()
        high = ((last / TILE).floor() + 1).clamp(0, tiles).long()
        spans += [low, (high - low).clamp(min=0)]
    left, across, top, down = spans
    counts = across * down
    owner = torch.repeat_interleave(torch.arange(len(shape), device=shape.device), counts)
    number = torch.arange(len(owner), device=shape.device) - (counts.cumsum(0) - counts)[owner]
    row = torch.div(number, across[owner], rounding_mode="floor")
    tile_x = (left[owner] + number - row * across[owner]) * TILE
    tile_y = (top[owner] + row) * TILE
    # Drop the tiles of the bounding rectangle that the outline does not touch.
    local = Outlines(*(value[owner] for value in outline))
    middle = (TILE - 1) / 2
    near = _touches(local, tile_x + middle - local.x, tile_y + middle - local.y)
    kept = near.nonzero()[:, 0]
    local = Outlines(*(value[kept] for value in local))
    owner, tile_x, tile_y = owner[kept], tile_x[kept], tile_y[kept]
    return _evaluate(local, shape[owner], picture[owner], tile_x, tile_y, size)


def _touches(outline: Outlines, right: Tensor, down: Tensor) -> Tensor:
    """Whether a tile with its middle at this place may hold a covered pixel."""
    u = down * outline.along_x - right * outline.along_y
    v = right * outline.along_x + down * outline.along_y
    part = (v / outline.length).clamp(0, 1)
    end = v - part * outline.length
    width = torch.maximum(outline.wide_a + part * (outline.wide_b - outline.wide_a), outline.wide_b * 0)
    slack = TILE * 0.7072 + 1 + outline.taper.abs().clamp(max=1) * (outline.wide_a - outline.wide_b).abs()
    return (u.abs() <= width + slack) & (end.abs() <= width / outline.squash + slack)


def _evaluate(
    outline: Outlines, shape: Tensor, picture: Tensor, tile_x: Tensor, tile_y: Tensor, size: Size
) -> Fragments:
    height, width = size
    step = torch.arange(TILE, device=shape.device)
    x = tile_x + step[None, :, None]  # (1, TILE, n)
    y = tile_y + step[:, None, None]  # (TILE, 1, n)
    found = surface(outline, x - outline.x, y - outline.y)  # each (TILE, TILE, n)
    found = Surface(*(value.reshape(TILE * TILE, -1) for value in found))
    inside = ((x < width) & (y < height)).reshape(TILE * TILE, -1)
    point = ((found.coverage > _FAINT) & inside).flatten().nonzero()[:, 0]
    pixel = ((picture * height + y) * width + x).reshape(-1)[point]
    return Fragments(found, shape, pixel, point)


def nearest(fragments: Fragments, pixels: int) -> list[tuple[Tensor, Tensor]]:
    """The nearest surfaces of every pixel, front to back.

    Returns:
        For each of ``LAYERS`` layers the pixels ``(V,)`` that have a surface there
        and the points ``(V,)``, flat over T and n, that show it.
    """
    # Depth is positive, so the bits of the float order like integers.
    depth = fragments.surface.depth.flatten()[fragments.point].clamp(min=1e-3)
    key = (depth.view(torch.int32).long() << 32) | fragments.point
    pixel, layers = fragments.pixel, []
    for layer in range(LAYERS):
        best = torch.full((pixels,), _EMPTY, device=key.device)
        best.scatter_reduce_(0, pixel, key, "amin")
        hit = (best != _EMPTY).nonzero()[:, 0]
        layers.append((hit, best[hit] & 0xFFFFFFFF))
        if layer + 1 < LAYERS:
            rest = (key != best[pixel]).nonzero()[:, 0]
            key, pixel = key[rest], pixel[rest]
    return layers
