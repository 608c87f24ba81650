"""What is behind: a floor, a wall, a row of houses or trees, and the sky.

Every pixel's ray meets the ground or a wall that faces the camera; both carry a
pattern of cells (tiles, bricks, planks, windows) in metres and irregular noise.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.camera import Camera
from calbook.data.synthetic.wardrobe import hue
from calbook.geometry import Size

PLATE = 512  # side of the fixed plate of random numbers
_OCTAVES = ((3, 4), (6, 8), (12, 16), (24, 32))
# Width and height of wall cells in metres: none, bricks, panels, windows, shelves, slabs.
# The third figure is the width of the gaps between cells, as a share of the smaller side.
_WALL_CELLS = (
    (90, 90, 0),
    (0.24, 0.09, 0.12),
    (0.9, 2.6, 0.03),
    (1.5, 2.0, 0.27),
    (0.28, 0.38, 0.14),
    (1.2, 0.6, 0.04),
)
# Of floor cells: none, planks, tiles, slabs.
_FLOOR_CELLS = ((90, 90, 0), (0.14, 6, 0.06), (0.4, 0.4, 0.03), (1.0, 1.5, 0.02))


def random_plate(device: torch.device) -> Tensor:
    """A fixed plate ``(PLATE, PLATE)`` of numbers uniform in [-1, 1), the same everywhere."""
    generator = torch.Generator().manual_seed(20170207)
    return (torch.rand(PLATE, PLATE, generator=generator) * 2 - 1).to(device)


def cloth_plate(plate: Tensor) -> Tensor:
    """Smooth noise ``(PLATE, PLATE)`` in [-1, 1] that repeats without a seam: features of 4, 8 and 16 texels."""
    total = torch.zeros_like(plate)
    for step, weight in ((4, 0.45), (8, 0.55), (16, 0.65)):
        grid = plate[: PLATE // step, : PLATE // step]
        grid = torch.cat([grid, grid[:1]], 0)
        grid = torch.cat([grid, grid[:, :1]], 1)
        side = PLATE + 1
        total += (
            weight * F.interpolate(grid[None, None], (side, side), mode="bilinear", align_corners=True)[0, 0, :-1, :-1]
        )
    return total.clamp(-1, 1)


@dataclass(frozen=True)
class Setting:
    """How the place looks; per picture.

    Attributes:
        outdoors: ``(N,)``.
        wall_distance: From the world's origin to the wall, metres.
        wall_height: Metres.
        cells: ``(N, 2, 3)`` width, height (metres) and gap of cells on wall and floor.
        colours: ``(N, 6, 3)`` wall, wall second, floor, floor second, sky above, sky below.
        contrast: ``(N, 2, 3)`` on wall and floor: cell to cell, of the gaps, of the noise.
        offset: ``(N, 2)`` where in the plate of random numbers to read.
        octaves: Noise ``(N, 1, h, w)`` of several grids.
        tint: Slow changes of light ``(N, 1, 3, 4)``.
    """

    outdoors: Tensor
    wall_distance: Tensor
    wall_height: Tensor
    cells: Tensor
    colours: Tensor
    contrast: Tensor
    offset: Tensor
    octaves: tuple[Tensor, ...]
    tint: Tensor


def draw_setting(draws: Draws, outdoors: Tensor) -> Setting:
    """Draw the place of each picture."""
    device = outdoors.device
    wall = torch.where(
        outdoors, draws.choice((2.0, 0.9, 0.2, 2.6, 0.1, 0.6)), draws.choice((1.8, 1.0, 1.3, 0.7, 1.6, 0.8))
    )
    floor = torch.where(outdoors, draws.choice((3.5, 0.2, 0.3, 1.5)), draws.choice((1.2, 2.0, 1.6, 0.5)))
    cells = torch.stack([
        torch.tensor(_WALL_CELLS, dtype=torch.float64, device=device)[wall],
        torch.tensor(_FLOOR_CELLS, dtype=torch.float64, device=device)[floor],
    ], 1)  # fmt: skip
    scale = torch.cat([draws.uniform(2, 1, low=0.8, high=1.4).expand(-1, -1, 2), torch.ones_like(cells[..., :1])], -1)
    cells = cells * scale
    foliage = outdoors & ((wall == 0) | (wall == 4)) & draws.chance(0.85)
    grass = outdoors & (floor == 0) & draws.chance(0.6)
    distance = torch.where(outdoors, 3.5 * (30 / 3.5) ** draws.uniform(), draws.uniform(low=0.7, high=4.0))
    height = torch.where(outdoors, distance * draws.uniform(low=0.08, high=0.6) + 1.2, 60.0)
    height = torch.where(outdoors & draws.chance(0.25), 60.0, height)
    soft = 0.06 + 0.25 * draws.uniform(2) ** 2
    noise = torch.where(torch.stack([foliage, grass], -1), 0.85, soft)
    contrast = torch.stack([draws.uniform(2, low=0.05, high=0.45), draws.uniform(2, low=0.15, high=0.5), noise], -1)
    return Setting(
        outdoors, distance, height, cells, _setting_colours(draws, foliage, grass), contrast,
        (draws.uniform(2) * PLATE).long(),
        tuple(draws.uniform(1, h, w, low=-1, high=1) for h, w in _OCTAVES),
        draws.uniform(1, 3, 4, low=-1, high=1),
    )  # fmt: skip


def _setting_colours(draws: Draws, foliage: Tensor, grass: Tensor) -> Tensor:
    """Colours ``(N, 6, 3)`` of a `Setting`."""

    def colour(hues: tuple[float, float], strengths: tuple[float, float], values: tuple[float, float]) -> Tensor:
        return hue(*(draws.uniform(low=low, high=high) for low, high in (hues, strengths, values)))

    green = colour((0.18, 0.36), (0.3, 0.75), (0.25, 0.6))
    wall = torch.where(foliage[:, None], green, colour((0, 1), (0.0, 0.4), (0.3, 1.0)))
    wall2 = torch.where(foliage[:, None], green * 0.3, wall * 0.45 + 0.55 * colour((0, 1), (0.0, 0.5), (0.1, 0.9)))
    lawn = colour((0.17, 0.32), (0.3, 0.7), (0.3, 0.65))
    floor = torch.where(grass[:, None], lawn, colour((0.02, 0.14), (0.02, 0.5), (0.35, 0.95)))
    floor2 = torch.where(grass[:, None], lawn * 0.55, floor * draws.uniform(1, low=0.5, high=0.95))
    above = colour((0.54, 0.62), (0.05, 0.65), (0.65, 1.0))
    below = above * 0.35 + 0.65 * colour((0.0, 1.0), (0.0, 0.12), (0.85, 1.0))
    return torch.stack([wall, wall2, floor, floor2, above, below], 1)


def _rays(camera: Camera, size: Size) -> tuple[Tensor, Tensor, Tensor]:
    """World direction of every pixel's ray: x, y, z, each ``(N, H, W)``."""
    height, width = size
    down = torch.arange(height, device=camera.scale.device, dtype=torch.float32)[None, :, None]
    right = torch.arange(width, device=camera.scale.device, dtype=torch.float32)[None, None]
    per_right = camera.axes[:, 0] / camera.scale[:, None]
    per_down = camera.axes[:, 1] / camera.scale[:, None]
    fixed = camera.axes[:, 2] - per_right * camera.shift[:, :1] - per_down * camera.shift[:, 1:]
    per_right, per_down, fixed = (part.float()[..., None, None] for part in (per_right, per_down, fixed))
    x, y, z = (per_right[:, k] * right + (per_down[:, k] * down + fixed[:, k]) for k in range(3))
    return x, y, z


def _noise(setting: Setting, size: Size) -> tuple[Tensor, Tensor]:
    """Rough noise ``(N, H, W)`` in about [-1, 1], and slow light ``(N, 1, H, W)``."""
    total = torch.zeros_like(setting.octaves[0]).float()
    for octave, weight in zip(setting.octaves, (0.25, 0.3, 0.35, 0.4), strict=True):
        finer = F.interpolate(total, octave.shape[2:], mode="bilinear", align_corners=True)
        total = finer + weight * octave.float()
    fields = torch.cat(
        [total, F.interpolate(setting.tint.float(), total.shape[2:], mode="bilinear", align_corners=True)], 1
    )
    fields = F.interpolate(fields, size, mode="bilinear", align_corners=True)
    return fields[:, 0], fields[:, 1:]


def paint_backdrop(setting: Setting, camera: Camera, plate: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Pictures ``(N, 3, H, W)`` of the empty place, and where the ground is ``(N, H, W)``."""
    ray_x, ray_y, ray_z = _rays(camera, size)
    px, py, pz = (camera.position[:, k].float()[:, None, None] for k in range(3))
    to_ground = py / (-ray_y).clamp(min=1e-4)
    to_wall = (pz + setting.wall_distance.float()[:, None, None]) / (-ray_z).clamp(min=1e-4)
    ground = (ray_y < 0) & (to_ground < to_wall)
    reach = torch.minimum(to_ground, to_wall).clamp(max=200)
    x = px + reach * ray_x
    y = torch.where(ground, pz + reach * ray_z, py + reach * ray_y)
    noise, light = _noise(setting, size)
    pixel = reach / camera.scale.float()[:, None, None]  # metres per pixel
    cell, gap, skyline = _cells(setting, ground, x, y, pixel, plate)

    def chosen(wall_and_floor: Tensor) -> Tensor:
        values = wall_and_floor.float()[..., None, None]
        return torch.where(ground, values[:, 1], values[:, 0])

    second = (0.5 * cell * chosen(setting.contrast[..., 0]) * 2 + noise * chosen(setting.contrast[..., 2])).clamp(
        -0.5, 0.5
    ) + 0.5
    second = torch.maximum(second, gap * chosen(setting.contrast[..., 1]) * 2)
    colours = setting.colours.float()[..., None, None]
    first_colour = torch.where(ground[:, None], colours[:, 2], colours[:, 0])
    other_colour = torch.where(ground[:, None], colours[:, 3], colours[:, 1])
    picture = first_colour + second[:, None] * (other_colour - first_colour)
    # Corners get less light: the foot of the wall and the floor before it.
    corner = torch.where(ground, y + setting.wall_distance.float()[:, None, None], y)
    picture = picture * (0.78 + 0.22 * (corner * 2.5).clamp(0, 1))[:, None]
    top = setting.wall_height.float()[:, None, None] * (1 + 0.35 * skyline)
    edge = (
        (y + 0.25 * noise * setting.contrast[:, 0, 2].float()[:, None, None] * top - top) / (2 * pixel) + 0.5
    ).clamp(0, 1)
    sky_share = torch.where(ground, torch.zeros_like(edge), edge)[:, None]
    height = (ray_y * 1.6 + 0.1).clamp(0, 1)[:, None]
    sky = colours[:, 5] + height * (colours[:, 4] - colours[:, 5]) + 0.07 * noise[:, None].clamp(min=0)
    picture = picture + sky_share * (sky - picture)
    return picture * (1 + 0.07 * light), ground


def _cells(
    setting: Setting, ground: Tensor, x: Tensor, y: Tensor, pixel: Tensor, plate: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Random value of the cell, share of the gap between cells, random height of the block; ``(N, H, W)``."""
    cells = setting.cells.float()[..., None, None]
    wide = torch.where(ground, cells[:, 1, 0], cells[:, 0, 0])
    high = torch.where(ground, cells[:, 1, 1], cells[:, 0, 1])
    cell_x, cell_y = (x + 50) / wide, (y + 50) / high
    column, row = cell_x.floor(), cell_y.floor()
    offset = setting.offset[:, :, None, None]
    flat = plate.flatten()
    index = (column.long() * 37 + row.long() * 1031 + offset[:, 0]) & (PLATE * PLATE - 1)
    cell = flat[index]
    block = (x / (setting.wall_distance.float()[:, None, None] * 0.35) + 64).floor().long()
    skyline = flat[(block * 517 + offset[:, 1]) & (PLATE * PLATE - 1)]
    # Distance to the nearest gap in pixels; cells of less than a few pixels blur into their mean.
    away_x = (0.5 - (cell_x - column - 0.5).abs()) * wide / pixel
    away_y = (0.5 - (cell_y - row - 0.5).abs()) * high / pixel
    resolved = ((torch.minimum(wide, high) / pixel - 2) / 4).clamp(0, 1)
    share = torch.where(ground, cells[:, 1, 2], cells[:, 0, 2])
    gap = (0.7 + share * torch.minimum(wide, high) / pixel - torch.minimum(away_x, away_y)).clamp(0, 1) * resolved
    return cell * resolved, gap, skyline
