"""The flip test: the network looks twice, the second time in a mirror.

The maps of the mirrored crop are mirrored back, left joints swapped with right
ones, x offsets negated, and the two predictions averaged *before* the peak is
sought. Under the unbiased convention mirroring a crop and mirroring its map are the
same thing, so nothing else is needed. Under the biased one the two miss each other
by three quarters of a heatmap pixel; the published remedy (SimpleBaseline, HRNet)
moves the mirrored map by one pixel, which leaves a quarter: ``shift``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from calbook import geometry
from calbook.codecs.base import Codec
from calbook.data.pictures import normalize
from calbook.models.modes import evaluating
from calbook.poses import Pose, PoseMaps


def predict_crops(
    model: nn.Module, codec: Codec, images: Tensor, *, mirror: Sequence[int] | None = None, shift: bool = False
) -> Pose:
    """The joints that a network sees in a batch of crops.

    Args:
        model: From normalised images to ``PoseMaps``, on the device of the images. It is
            run in evaluation mode; its parts are left in the modes in which they were.
        codec: Decodes the maps.
        images: ``(B, 3, H, W)`` in [0, 1].
        mirror: ``Skeleton.mirror`` for the flip test, None for a single look.
        shift: Move the mirrored maps right by one pixel, the published remedy for the
            biased convention. Under the unbiased one it is wrong.

    Returns:
        Coordinates ``(B, K, 2)`` in input pixels and scores ``(B, K)``.

    >>> from calbook.codecs import build_codec
    >>> from calbook.models import build_model
    >>> from calbook.skeletons import COCO
    >>> codec = build_codec("heatmap", (64, 48), (16, 12))
    >>> predict_crops(build_model("hrnet-tiny"), codec, torch.rand(2, 3, 64, 48), mirror=COCO.mirror).coords.shape
    torch.Size([2, 17, 2])
    """
    return codec.decode(predict_maps(model, images, mirror=mirror, shift=shift))


@torch.no_grad()
def predict_maps(
    model: nn.Module, images: Tensor, *, mirror: Sequence[int] | None = None, shift: bool = False
) -> PoseMaps:
    """The maps that ``predict_crops`` decodes, averaged over the two looks."""
    with evaluating(model):
        maps: PoseMaps = model(normalize(images))
        if mirror is None:
            return maps
        return average_maps(maps, mirrored_maps(model(normalize(images.flip(-1))), mirror, shift=shift))


def mirrored_maps(maps: PoseMaps, mirror: Sequence[int], *, shift: bool = False) -> PoseMaps:
    """Maps of a mirrored crop as maps of the crop itself.

    Args:
        maps: Predicted on the mirrored crop.
        mirror: ``Skeleton.mirror``.
        shift: Move them right by one pixel; the first column stays, as published.
    """
    heatmaps = geometry.flip_heatmaps(maps.heatmaps, mirror)
    offsets = None if maps.offsets is None else geometry.flip_offsets(maps.offsets, mirror)
    if shift:
        heatmaps = _one_pixel_right(heatmaps)
        offsets = None if offsets is None else _one_pixel_right(offsets)
    return PoseMaps(heatmaps, offsets)


def average_maps(first: PoseMaps, second: PoseMaps) -> PoseMaps:
    """The mean of two predictions, as the network gives them: of logits it is the mean of the logits."""
    if first.offsets is None or second.offsets is None:
        return PoseMaps((first.heatmaps + second.heatmaps) / 2)
    return PoseMaps((first.heatmaps + second.heatmaps) / 2, (first.offsets + second.offsets) / 2)


def _one_pixel_right(maps: Tensor) -> Tensor:
    return torch.cat([maps[..., :1], maps[..., :-1]], dim=-1)
