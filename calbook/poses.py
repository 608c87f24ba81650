"""The three records that travel between networks, codecs and losses.

All are named tuples of tensors, so that they unpack, index and move through
``torch.compile`` and distributed collectives without special care.
"""

from typing import NamedTuple

from torch import Tensor


class PoseMaps(NamedTuple):
    """What a network predicts for a batch of crops.

    Attributes:
        heatmaps: Score of each joint at each pixel, ``(B, K, h, w)``. Raw
            network output: a codec that reads them as logits says so.
        offsets: Displacement from each pixel to the joint in heatmap pixels,
            ``(B, K, 2, h, w)`` with components (x, y), or None for methods
            that predict no offsets.
    """

    heatmaps: Tensor
    offsets: Tensor | None = None


class Targets(NamedTuple):
    """What a network should predict: the encoded joints of a batch.

    Attributes:
        heatmaps: Target of the coarse prediction, ``(B, K, h, w)`` in [0, 1].
        weights: Weight of each joint in the loss, ``(B, K)``; 0 for a joint
            that is unlabelled or cannot be represented on the map.
        offsets: Target displacements in heatmap pixels, ``(B, K, 2, h, w)``
            as (x, y), zero outside the mask, or None.
        masks: Where offsets are to be learnt and how much, ``(B, K, h, w)``
            in [0, 1], or None.
    """

    heatmaps: Tensor
    weights: Tensor
    offsets: Tensor | None = None
    masks: Tensor | None = None


class Pose(NamedTuple):
    """Decoded joints of a batch.

    Attributes:
        coords: ``(B, K, 2)`` as (x, y) in input pixels.
        scores: Confidence of each joint, ``(B, K)``.
    """

    coords: Tensor
    scores: Tensor
