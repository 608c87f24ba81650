"""Half bodies: the joints above the hips or from the hips down, and the crop around them.

A published augmentation (MSPN, taken up by HRNet, UDP, DARK and CAL): sometimes only
one half of the body is shown, so that the network learns people who are cut off.
"""

import re
from typing import NamedTuple

import torch
from torch import Tensor

from calbook.geometry import CropBox, Size
from calbook.skeletons import Skeleton

PADDING = 1.5  # how much the joints' box grows; published, larger than a person's 1.25
MIN_JOINTS = 3  # a half of fewer labelled joints is not shown alone ("more than 2")

# What makes a joint one of the lower body. COCO's 11 to 16 and MPII's 0 to 6 (pelvis included), as published.
_LOWER = re.compile(r"(?i)hip|pelvis|thigh|leg|knee|shin|ankle|foot|heel|toe")


class Halves(NamedTuple):
    """The two halves of each person, upper first.

    Attributes:
        crops: Centres and extents ``(N, 2, 2)``; of any finite value where not usable.
        usable: ``(N, 2)``, halves of at least three labelled joints; none where the
            joints' names do not tell two halves.
    """

    crops: CropBox
    usable: Tensor


def lower_body(skeleton: Skeleton) -> tuple[bool, ...]:
    """Which joints belong to the lower body, by their names; all others to the upper.

    >>> from calbook.skeletons import COCO, MPII
    >>> lower_body(COCO).index(True), sum(lower_body(COCO)), sum(lower_body(MPII))
    (11, 6, 7)
    """
    return tuple(_LOWER.search(name) is not None for name in skeleton.joints)


def half_bodies(joints: Tensor, visible: Tensor, skeleton: Skeleton, input_size: Size) -> Halves:
    """The crops around the labelled joints of either half.

    As published, the centre is the joints' mean, not the middle of their box, and
    the box grows to the input's shape, then by ``PADDING``.

    Args:
        joints: ``(N, K, 2)`` as (x, y), in pixels of any grid.
        visible: ``(N, K)``, positive where labelled.
        skeleton: Tells upper from lower by names.
        input_size: Height and width of the network's input.
    """
    lower = torch.tensor(lower_body(skeleton), device=joints.device)
    member = (visible > 0)[:, None] & torch.stack([~lower, lower])  # (N, 2, K)
    count = member.sum(-1)
    points = joints[:, None]  # (N, 1, K, 2)
    shown = member[..., None]
    center = torch.where(shown, points, 0.0).sum(2) / count.clamp(min=1)[..., None]  # (N, 2, 2)
    first = torch.where(shown, points, torch.inf).amin(2)
    last = torch.where(shown, points, -torch.inf).amax(2)
    # Joints that coincide span nothing: a crop of a pixel at least can be magnified.
    width, height = (last - first).clamp(min=1.0).unbind(-1)
    aspect = input_size[1] / input_size[0]
    extent = torch.stack([torch.maximum(width, height * aspect), torch.maximum(height, width / aspect)], -1)
    divided = lower.any() & ~lower.all()
    return Halves(CropBox(center, extent * PADDING), (count >= MIN_JOINTS) & divided)
