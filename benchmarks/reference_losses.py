"""What the losses are timed against: the published ones, one joint at a time.

The published implementations split predictions and targets by joint and add up a mean
for each, in PyTorch. These loops do the same; the tests hold them to the same value and
gradient as the package with ``normalization="published"``. They split once, as published:
the gradient of one slice after another would be as large as the whole for every joint.
"""

from torch import Tensor


def heatmap(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """SimpleBaseline, HRNet and DARK: half the mean squared error of each joint's map.

    Args:
        predicted: ``(B, K, h, w)``.
        target: ``(B, K, h, w)``.
        weights: Of the joints, ``(B, K)``.
    """
    total = predicted.new_zeros(())
    parts = (predicted.flatten(2).split(1, 1), target.flatten(2).split(1, 1), weights[..., None].split(1, 1))
    for ours, theirs, weight in zip(*parts, strict=True):  # (B, 1, h w), the same, (B, 1, 1)
        total = total + 0.5 * (weight * ours - weight * theirs).square().mean()
    return total / predicted.shape[1]


def offsets(predicted: Tensor, target: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """CAL: the mean absolute error of each joint's masked field.

    Args:
        predicted: ``(B, K, 2, h, w)``.
        target: ``(B, K, 2, h, w)``.
        masks: ``(B, K, h, w)``.
        weights: Of the joints, ``(B, K)``.
    """
    total = predicted.new_zeros(())
    fields = (predicted.split(1, 1), target.split(1, 1))  # (B, 1, 2, h, w)
    factors = (masks[:, :, None].split(1, 1), weights[..., None, None, None].split(1, 1))
    for ours, theirs, mask, weight in zip(*fields, *factors, strict=True):
        total = total + (weight * mask * ours - weight * mask * theirs).abs().mean()
    return total / predicted.shape[1]
