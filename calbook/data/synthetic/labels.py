"""What an annotator would write down: visibility, boxes, areas."""

import torch
from torch import Tensor

from calbook.data.synthetic.bodies import Build
from calbook.data.synthetic.camera import Camera, Outlines
from calbook.data.synthetic.raster import surface
from calbook.geometry import Size

# How far in front of a joint its own flesh and clothes may lie, metres for a stature of 1.75 m.
_FLESH = (
    (0.020, 0.018, 0.018, 0.040, 0.040)
    + (0.105,) * 2
    + (0.075,) * 2
    + (0.065,) * 2
    + (0.165,) * 2
    + (0.105,) * 2
    + (0.085,) * 2
)


def place_joints(joints: Tensor, camera: Camera, size: Size) -> tuple[Tensor, Tensor]:
    """Joints ``(N, P, K, 3)`` in pixels and depth, and whether they are inside the picture ``(N, P, K)``.

    Pixel centres are at integers, so the picture reaches from -1/2 to size - 1/2.
    """
    pixels = camera.pixels(joints.flatten(1, 2)).unflatten(1, joints.shape[1:3])
    x, y, depth = pixels.unbind(-1)
    height, width = size
    return pixels, (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5) & (depth > 0)


def flesh_before_joints(build: Build) -> Tensor:
    """How far before each joint its own flesh and clothes reach ``(N, P, K)``, metres."""
    return build.height.new_tensor(_FLESH) * (build.height * (0.6 + 0.4 * build.girth) / 1.75)[..., None]


def visibility(pixels: Tensor, inside: Tensor, outlines: Outlines, solid: Tensor, flesh: Tensor) -> Tensor:
    """COCO visibility ``(N, P, K)``: 1 where a surface lies before the joint's own flesh.

    Args:
        pixels: Joints ``(N, P, K, 3)`` as x, y, depth.
        inside: Whether they are inside the picture ``(N, P, K)``.
        outlines: Everything that may hide them, ``(N, S)``.
        solid: Which of the outlines exist, ``(N, S)``.
        flesh: How far before each joint its own flesh reaches ``(N, P, K)``, metres.
    """
    spots = pixels.flatten(1, 2)[:, :, None].to(outlines.x.dtype)  # (N, P*K, 1, 3)
    blocks = Outlines(*(value[:, None] for value in outlines))
    found = surface(blocks, spots[..., 0] - blocks.x, spots[..., 1] - blocks.y)  # each (N, P*K, S)
    limit = (pixels[..., 2] - flesh).flatten(1, 2)[..., None]
    hidden = ((found.coverage > 0.5) & (found.depth < limit) & solid[:, None]).any(-1)
    return torch.where(inside, 2 - hidden.unflatten(1, inside.shape[1:]).long(), 0)


def boxes_and_areas(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight boxes ``(N, P, 4)`` as x, y, width, height and pixel counts ``(N, P)`` of masks ``(N, P, H, W)``.

    As in COCO a mask of one pixel at (3, 5) has the box (3, 5, 1, 1).
    """
    sides = []
    for dim in (2, 3):
        line = masks.any(dim)  # columns, then rows
        size = line.shape[-1]
        place = torch.arange(size, device=masks.device)
        first = torch.where(line, place, size).amin(-1)
        last = torch.where(line, place, -1).amax(-1)
        sides.append((first, (last - first + 1).clamp(min=0)))
    (x, width), (y, height) = sides
    areas = masks.flatten(2).sum(-1).float()
    boxes = torch.stack([x, y, width, height], -1).float()
    return boxes * (areas > 0)[..., None], areas
