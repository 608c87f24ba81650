"""Light on surfaces: colours of the fragments that can be seen, and cast shadows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.data.draws import Draws
from calbook.data.synthetic.backdrop import PLATE
from calbook.data.synthetic.camera import Camera, Outlines
from calbook.data.synthetic.raster import Fragments
from calbook.data.synthetic.shapes import Shapes, unit, upward

_FINE, _COARSE = 330.0, 110.0  # texels of the cloth per metre: folds, prints


@dataclass(frozen=True)
class Light:
    """One distant light and the sky.

    Attributes:
        towards: ``(N, 3)`` world direction to the light.
        ambient: ``(N,)`` share of light from everywhere.
        shadow: ``(N,)`` darkness of cast shadows, [0, 1].
    """

    towards: Tensor
    ambient: Tensor
    shadow: Tensor


def draw_light(draws: Draws) -> Light:
    """Draw the light: from above, more often from the camera's half."""
    azimuth = draws.bell(spread=1.1)
    height = torch.deg2rad(draws.uniform(low=25, high=72))
    level = torch.cos(height)
    towards = torch.stack([level * torch.sin(azimuth), torch.sin(height), level * torch.cos(azimuth)], -1)
    ambient = draws.uniform(low=0.40, high=0.75)
    return Light(towards, ambient, (0.85 - ambient) * draws.uniform(low=0.5, high=1.2))


def shadow_shapes(shapes: Shapes, light: Light) -> Shapes:
    """The larger of the shapes ``(N, S)`` flattened onto the ground along the light."""
    slope = light.towards / light.towards[:, 1:2]

    def land(point: Tensor) -> Tensor:
        return point - slope[:, None] * point[..., 1:2] + 0.003 * upward(point)

    a, b = land(shapes.a), land(shapes.b)
    axis = unit(b - a + 1e-6 * upward(a).roll(1))
    side = unit(torch.linalg.cross(upward(a).expand_as(axis), axis))
    return Shapes(
        a, b, shapes.radii, side, axis, torch.full_like(shapes.ratio, 0.05), shapes.cap.clamp(max=1.2), shapes.shade,
        shapes.roundness, shapes.material, shapes.active & (shapes.radii.amax(-1) > 0.033),
    )  # fmt: skip


def shading_table(shapes: Shapes, outlines: Outlines, camera: Camera, light: Light) -> Tensor:
    """What shading needs to know of each shape, ``(27, N * S)`` float32.

    With n = across * e + along * h - facing * forward, light and sky fall with
    n.l and n.up; a flattened shape turns its normal less towards its rims.
    """
    towards = (camera.axes @ light.towards[..., None])[..., 0][:, None]  # (N, 1, 3) right, down, forward
    zenith = (camera.axes @ upward(light.towards))[:, None]
    hx, hy = outlines.along_x, outlines.along_y
    pixels_per_metre = camera.scale[:, None] / outlines.depth_a.clamp(min=0.4)
    half = torch.maximum(outlines.wide_a, outlines.wide_b) / pixels_per_metre
    bulge = torch.maximum(outlines.bulge_a, outlines.bulge_b)
    flat_across = (bulge / half.clamp(min=1e-6)).clamp(max=1.2) * shapes.roundness
    flat_along = (flat_across * outlines.squash).clamp(max=1.2)
    # The rounded ends of limbs meet other limbs: shaded in full they would look like a doll's joints.
    flat_along = torch.where(outlines.length > outlines.wide_a, 0.35 * flat_along, flat_along)
    rows = [*shapes.material.unbind(-1), *shapes.shade.unbind(-1)]
    for vector in (towards, zenith):
        rows.append((-hy * vector[..., 0] + hx * vector[..., 1]) * flat_across)
        rows.append((hx * vector[..., 0] + hy * vector[..., 1]) * flat_along)
        rows.append((-vector[..., 2]).expand_as(hx))
    rows += [shapes.roundness, outlines.length / pixels_per_metre, half, pixels_per_metre, half / outlines.squash]
    ambient = light.ambient[:, None].expand_as(hx)
    number = torch.arange(hx.shape[1], dtype=hx.dtype, device=hx.device).expand_as(hx)
    return torch.stack([row.flatten() for row in (*rows, ambient, number)]).float()


def _bands(position: Tensor, pitch: Tensor, pixels_per_metre: Tensor) -> Tensor:
    """Anti-aliased bands in [0, 1]; grey where they are finer than pixels."""
    phase = position * pitch
    wave = 2 * (phase - phase.floor() - 0.5).abs() - 0.5
    pixels = pixels_per_metre / pitch.clamp(min=1e-3)
    return (wave * (pixels * 0.8).clamp(max=12)).clamp(-0.5, 0.5) * ((pixels - 1.2) / 2).clamp(0, 1) + 0.5


def shade(fragments: Fragments, point: Tensor, table: Tensor, cloth: Tensor) -> Tensor:
    """Colours ``(3, V)`` of the points ``(V,)`` of fragments."""
    found = fragments.surface
    rows = table.index_select(1, fragments.shape[point % len(fragments.shape)])  # (27, V)
    across, along, facing, part = (getattr(found, n).flatten()[point] for n in ("across", "along", "facing", "part"))
    (
        weight_along,
        weight_around,
        weight_print,
        folds,
        pitch_along,
        pitch_around,
        shade_a,
        shade_b,
        light_u,
        light_v,
        light_z,
        up_u,
        up_v,
        up_z,
        roundness,
        length,
        half,
        density,
        cap,
        ambient,
        number,
    ) = rows[6:]
    metres_along = part * length + along * cap
    metres_around = across * (1 + 0.35 * across * across) * half
    flat = cloth.flatten()

    def noise(texels: float) -> Tensor:
        i = (metres_along * texels).int() + 101 * number.int()
        j = (metres_around * texels).int() + 37 * number.int()
        return flat[((i & (PLATE - 1)) * PLATE + (j & (PLATE - 1)))]

    mix = weight_along * _bands(metres_along, pitch_along, density)
    mix = mix + weight_around * _bands(metres_around, pitch_around, density)
    mix = (mix + weight_print * (noise(_COARSE) * 3).clamp(-0.5, 0.5) + 0.5 * weight_print).clamp(0, 1)
    colour = rows[:3] + mix * (rows[3:6] - rows[:3])
    towards_viewer = 1 - roundness + roundness * facing
    direct = (light_u * across + light_v * along + light_z * towards_viewer).clamp(min=0)
    sky = up_u * across + up_v * along + up_z * towards_viewer
    bright = ambient * (0.84 + 0.24 * sky) + (1 - ambient) * 1.32 * direct
    bright = bright * (shade_a + part * (shade_b - shade_a)) * (1 + folds * noise(_FINE))
    shaded: Tensor = colour * bright
    return shaded
