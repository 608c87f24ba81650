"""The camera: where it stands, how it frames the main person, what outlines it sees.

A pinhole camera looks at the main person; the picture is then a window of its
image plane, chosen as ``geometry.box_to_crop`` chooses a crop. Under perspective
every point is exact; the outline of a shape is that of the ellipsoid seen from
its own direction, scaled by its own depth.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.bodies import turn
from calbook.data.synthetic.config import SceneConfig
from calbook.data.synthetic.shapes import Shapes
from calbook.geometry import PADDING, Size

_NEAR = 0.4  # metres; nothing nearer to the camera is drawn


@dataclass(frozen=True)
class Camera:
    """N cameras.

    Attributes:
        position: ``(N, 3)`` world metres.
        axes: ``(N, 3, 3)`` rows right, down, forward as world directions.
        scale: ``(N,)`` pixels per unit of the image plane at distance 1.
        shift: ``(N, 2)`` pixel (x, y) of the optical axis.
    """

    position: Tensor
    axes: Tensor
    scale: Tensor
    shift: Tensor

    def view(self, points: Tensor) -> Tensor:
        """World points ``(N, S, 3)`` as (right, down, forward) metres from the camera."""
        return (points - self.position[:, None]) @ self.axes.mT

    def pixels(self, points: Tensor) -> Tensor:
        """World points ``(N, S, 3)`` as ``(N, S, 3)``: x and y in pixels, depth in metres."""
        seen = self.view(points)
        depth = seen[..., 2:].clamp(min=_NEAR)
        return torch.cat([seen[..., :2] / depth * self.scale[:, None, None] + self.shift[:, None], seen[..., 2:]], -1)


class Outlines(NamedTuple):
    """What shapes look like in the picture, ``(N, S)`` each, pixels unless stated.

    Attributes:
        x, y: Image of end a.
        along_x, along_y: Unit vector from a to b.
        length: Distance from a to b.
        wide_a, wide_b: Half widths at the ends.
        squash: Half width over the length of the rounded ends.
        taper: Slope term of the nearest point of a round cone, 0 for other shapes.
        depth_a, depth_b: Distance of the ends, metres.
        bulge_a, bulge_b: How far the surface comes towards the camera, metres.
    """

    x: Tensor
    y: Tensor
    along_x: Tensor
    along_y: Tensor
    length: Tensor
    wide_a: Tensor
    wide_b: Tensor
    squash: Tensor
    taper: Tensor
    depth_a: Tensor
    depth_b: Tensor
    bulge_a: Tensor
    bulge_b: Tensor


def draw_camera(draws: Draws, config: SceneConfig, target_height: Tensor) -> Camera:
    """Cameras looking at a point ``target_height (N,)`` metres above the world's origin."""
    pitch = torch.deg2rad(draws.uniform(low=config.pitch[0], high=config.pitch[1]))
    near, far = config.distance
    distance = near * (far / near) ** draws.uniform()  # uniform in the logarithm: perspective goes with 1 / distance
    # A camera below knee height is rare: it may not sink into the ground.
    pitch = torch.maximum(pitch, torch.asin(((0.35 - target_height) / distance).clamp(-0.9, 0.9)))
    zero, one = torch.zeros_like(pitch), torch.ones_like(pitch)
    upward = torch.stack([zero, torch.sin(pitch), torch.cos(pitch)], -1)
    position = upward * distance[:, None] + torch.stack([zero, target_height, zero], -1)
    right = torch.stack([one, zero, zero], -1)
    down = torch.stack([zero, -torch.cos(pitch), torch.sin(pitch)], -1)
    axes = torch.stack([right, down, -upward], -2)
    axes = turn(2, torch.deg2rad(draws.bell(spread=config.roll / 3))) @ axes
    return Camera(position, axes, one, torch.zeros_like(position[:, :2]))


def _extent(shapes: Shapes, camera: Camera, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half sizes ``(N, S)`` of unit ellipsoids along a camera direction, its e and depth counterparts.

    ``direction (N, S, 2)`` is a unit vector h of the image plane. An ellipsoid with
    half axes p, q, r reaches sqrt((p.h)^2 + (q.h)^2 + (r.h)^2) along h.
    """
    side = shapes.side @ camera.axes.mT
    axis = shapes.axis @ camera.axes.mT
    third = torch.linalg.cross(axis, side) * shapes.ratio[..., None]
    half_axes = torch.stack([side, third, axis * shapes.cap[..., None]], -2)  # (N, S, 3 half axes, 3 coordinates)
    hx, hy = direction[..., None, 0], direction[..., None, 1]
    along = half_axes[..., 0] * hx + half_axes[..., 1] * hy
    across = half_axes[..., 1] * hx - half_axes[..., 0] * hy
    sizes = [part.square().sum(-1).sqrt().clamp(min=0.02) for part in (along, across, half_axes[..., 2])]
    return sizes[0], sizes[1], sizes[2]


def _direction(shapes: Shapes, camera: Camera, line: Tensor, width: Tensor) -> Tensor:
    """Image directions ``(N, S, 2)`` of the shapes: of the line, or of the axis or side where that is a point."""
    axis = (shapes.axis @ camera.axes.mT)[..., :2]
    side = (shapes.side @ camera.axes.mT)[..., :2]
    across = torch.stack([-side[..., 1], side[..., 0]], -1)
    short = line.square().sum(-1) < (0.05 * width).square()
    still = torch.where((axis.square().sum(-1) > 0.1)[..., None], axis, across)
    chosen = torch.where(short[..., None], still, line)
    size = chosen.square().sum(-1, keepdim=True).sqrt()
    upright = torch.tensor([0.0, 1.0], dtype=chosen.dtype, device=chosen.device).expand_as(chosen)
    return torch.where(size > 1e-9, chosen / size.clamp(min=1e-9), upright)


def project(shapes: Shapes, camera: Camera) -> tuple[Outlines, Tensor]:
    """Outlines of shapes ``(N, S)`` and which of them are there and in front of the camera."""
    a, b = camera.pixels(shapes.a), camera.pixels(shapes.b)
    scale_a, scale_b = (camera.scale[:, None] / end[..., 2].clamp(min=_NEAR) for end in (a, b))
    line = b[..., :2] - a[..., :2]
    radius_a, radius_b = shapes.radii.unbind(-1)
    direction = _direction(shapes, camera, line, radius_a * scale_a)
    high, wide, deep = _extent(shapes, camera, direction)
    length = (line * direction).sum(-1).clamp(min=1e-4)
    wide_a, wide_b = radius_a * scale_a * wide, radius_b * scale_b * wide
    squash = wide / high
    slope = ((wide_a - wide_b) / length).clamp(-0.9, 0.9)
    taper = torch.where((squash - 1).abs() < 0.02, slope / (1 - slope.square()).sqrt(), 0.0)
    outlines = Outlines(
        a[..., 0], a[..., 1], direction[..., 0], direction[..., 1], length, wide_a, wide_b, squash, taper,
        a[..., 2], b[..., 2], radius_a * deep, radius_b * deep,
    )  # fmt: skip
    seen = shapes.active & (torch.minimum(a[..., 2], b[..., 2]) > _NEAR)
    return outlines, seen


def frame(camera: Camera, main: Shapes, config: SceneConfig, draws: Draws, size: Size) -> Camera:
    """Aim the window at the main person, whose shapes are ``main (N, S)``.

    Args:
        camera: Cameras with scale 1 and no shift.
        main: Shapes of the main person.
        config: Framing: ``fill``, ``shift`` and ``cut``.
        draws: Random numbers.
        size: Height and width of the picture.
    """
    first, last = _bounds(camera, main)
    kept = torch.where(draws.chance(config.cut), draws.uniform(low=0.48, high=0.85), 1.0)
    last = torch.stack([last[:, 0], first[:, 1] + (last[:, 1] - first[:, 1]) * kept], -1)
    height, width = size
    extent = last - first
    # The box grows to the shape of the picture and by PADDING, as a crop would.
    tall = torch.maximum(extent[:, 1], extent[:, 0] * (height / width)) * PADDING
    scale = height / tall * draws.uniform(low=config.fill[0], high=config.fill[1])
    middle = extent.new_tensor([(width - 1) / 2, (height - 1) / 2])
    jitter = draws.uniform(2, low=-config.shift, high=config.shift) * extent.new_tensor([width, height])
    shift = middle + jitter - scale[:, None] * (first + last) / 2
    return Camera(camera.position, camera.axes, scale, shift)


def _bounds(camera: Camera, shapes: Shapes) -> tuple[Tensor, Tensor]:
    """Smallest and largest image (x, y), ``(N, 2)`` each, that active shapes reach."""
    ends = torch.stack([camera.pixels(shapes.a), camera.pixels(shapes.b)], -2)  # (N, S, 2 ends, 3)
    across = torch.zeros_like(ends[..., 0, :2])
    across[..., 0] = 1
    reach_x, reach_y, _ = _extent(shapes, camera, across)
    reach = torch.stack([reach_x, reach_y], -1)[..., None, :] * shapes.radii[..., None] / ends[..., 2:].clamp(min=_NEAR)
    active = shapes.active[..., None, None]
    first = (ends[..., :2] - reach * camera.scale[:, None, None, None]).masked_fill(~active, torch.inf)
    last = (ends[..., :2] + reach * camera.scale[:, None, None, None]).masked_fill(~active, -torch.inf)
    return first.amin((1, 2)), last.amax((1, 2))
