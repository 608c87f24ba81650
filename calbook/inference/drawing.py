"""Poses drawn into pictures, in the book's colours: left blue, right orange, middle grey."""

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from calbook.skeletons import Skeleton, side_of, side_of_limb

# Okabe and Ito's, as in the book's figures; the package below the book does not load its plotting.
SIDE_COLORS = {"left": "#0072B2", "right": "#D55E00", "middle": "#6B7280"}
EDGE = "white"  # around joints and limbs, so that they show on any ground


def draw_poses(
    picture: Tensor, coords: Tensor, scores: Tensor, skeleton: Skeleton, threshold: float = 0.2
) -> Image.Image:
    """A picture with people drawn into it.

    Args:
        picture: ``(3, H, W)``, uint8.
        coords: ``(N, K, 2)`` as (x, y) in its pixels.
        scores: ``(N, K)``; joints that do not exceed ``threshold`` are not drawn, nor their limbs.
        skeleton: Names and limbs of the K joints.
        threshold: See there.

    Returns:
        A new picture of the same size.
    """
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    pen = ImageDraw.Draw(image)
    for points, sure in zip(coords, scores > threshold, strict=True):
        _draw_person(pen, points, sure, skeleton)
    return image


def _draw_person(pen: ImageDraw.ImageDraw, points: Tensor, sure: Tensor, skeleton: Skeleton) -> None:
    """One person; lines as thick as suits the person's size."""
    shown = points[sure]
    if not len(shown):
        return
    span = float((shown.amax(0) - shown.amin(0)).amax())
    width = min(max(round(span / 60), 1), 12)
    places = [(float(x), float(y)) for x, y in torch.nan_to_num(points)]
    limbs = [(a, b) for a, b in skeleton.limbs if sure[a] and sure[b]]
    for edge in (True, False):  # all edges first, so that no limb is cut by another's edge
        for a, b in limbs:
            colour = EDGE if edge else SIDE_COLORS[side_of_limb(skeleton, a, b)]
            pen.line([places[a], places[b]], fill=colour, width=width + 2 * edge)
    for joint in sure.nonzero().flatten().tolist():
        x, y = places[joint]
        reach = width + 1
        colour = SIDE_COLORS[side_of(skeleton.joints[joint])]
        pen.ellipse([x - reach, y - reach, x + reach, y + reach], fill=colour, outline=EDGE)
