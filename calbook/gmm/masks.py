"""From coarse predictions to displacements, and from a mixture to masks."""

import math
from typing import Literal

import torch
from torch import Tensor

from calbook.codecs.grids import Center, nearest_pixel, peaks, window_index
from calbook.geometry import Size
from calbook.gmm.mixture import Mixture, coefficients, features, log_density
from calbook.options import check_choice

Direction = Literal["prediction", "joint"]


def default_components(heatmap_size: Size) -> int:
    """Number of components that the paper uses: 1 at 64x48 and 128x96, 2 above.

    >>> [default_components(size) for size in [(16, 12), (32, 24), (64, 48), (96, 72)]]
    [1, 1, 2, 2]
    """
    return 1 if heatmap_size[0] <= 32 else 2


@torch.no_grad()
def displacements(
    heatmaps: Tensor,
    joints: Tensor,
    visible: Tensor,
    *,
    reference: Center = "joint",
    direction: Direction = "prediction",
    floor: float = 0.0,
    keep_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """Displacements between coarse predictions and joints of a mini-batch (equation 11).

    Args:
        heatmaps: Predicted maps ``(B, K, h, w)``.
        joints: ``(B, K, 2)`` as (x, y) in heatmap pixels (``codec.to_heatmap``).
        visible: ``(B, K)``, positive where the joint counts: visibilities, or the
            weights of ``Targets``.
        reference: Where a displacement is measured from: the ``"joint"`` itself (the
            paper) or its ``"pixel"``, the peak of the target (the published code).
        direction: ``"prediction"``, d = argmax G - k: a mask drawn around k then covers the
            pixels that predictions fall on, as equation 13 needs and the published
            code has it. ``"joint"`` is the negative, to which the paper's prose reads
            ("from coarse predictions to ground truth").
        floor: A map with no value above this is empty, it shows no joint.
        keep_empty: Whether empty maps count, as predictions of pixel (0, 0). In the
            published code they do, and they are far outliers.

    Returns:
        Displacements ``(B*K, 2)`` in heatmap pixels, and their weights ``(B*K,)``, 0 or 1.

    Raises:
        ValueError: The reference or the direction is unknown.
    """
    check_choice("reference", reference, Center)
    check_choice("direction", direction, Direction)
    column, row, _, found = peaks(heatmaps, floor)
    target = joints
    if reference == "pixel":
        last = joints.new_tensor([heatmaps.shape[-1] - 1, heatmaps.shape[-2] - 1])
        target = torch.minimum(nearest_pixel(joints).clamp(min=0), last)
    difference = torch.stack([column, row], dim=-1) - target
    counts = (visible > 0) & joints.isfinite().all(-1)
    if not keep_empty:
        counts = counts & found
    sign = 1 if direction == "prediction" else -1
    return (sign * difference).flatten(0, 1), counts.flatten().to(difference.dtype)  # (B, K, 2) -> (B*K, 2)


def grid_mask(mixture: Mixture, size: int = 7) -> Tensor:
    """The mixture on the integers about 0, with maximum one: M_0 of equation 12, ``(size, size)``."""
    logs = log_density(mixture, _square(size, mixture.means))
    return torch.exp(logs - logs.amax())


@torch.no_grad()
def mixed_gaussian_masks(
    mixture: Mixture,
    joints: Tensor,
    heatmap_size: Size,
    *,
    visible: Tensor | None = None,
    size: int = 7,
    center: Center = "joint",
    radius: float | None = None,
    epsilon: float = 0.0,
) -> Tensor:
    """Draw the mixture around every joint (equation 13), each mask with maximum one.

    The density is drawn on the square of ``size`` pixels about the joint's pixel and
    divided by its largest value there, on the map. It is evaluated at p - k for
    every pixel p; the published code evaluates it once, on the integers, and
    pastes it at the joint's pixel.

    Args:
        mixture: Of displacements in heatmap pixels, towards predictions.
        joints: ``(B, K, 2)`` as (x, y) in heatmap pixels.
        heatmap_size: Height and width of the masks.
        visible: ``(B, K)``, positive where a mask is to be drawn; None for everywhere.
        size: Side of the square, odd. Published: 7 at every size.
        center: Where the mixture's origin lies: on the ``"joint"`` (the paper) or on its
            ``"pixel"`` (the published code).
        radius: Also leave out pixels farther than this from the origin, where the
            offset target is zero. Published: None, all of the square counts.
        epsilon: Added to the largest density before the division. Published: 1e-5,
            which keeps the maximum just below one.

    Returns:
        ``(B, K, h, w)`` in [0, 1]. All zero for joints that are not visible, not finite,
        or of whose square no pixel lies on the map.

    Raises:
        ValueError: The side of the square is even, or the center is unknown.
    """
    check_choice("center", center, Center)
    finite = joints.isfinite().all(-1)
    drawn = finite if visible is None else finite & (visible > 0)
    far = 2.0 * max(heatmap_size) + size  # beyond it a square is off the map, and an index could overflow
    joints = torch.where(finite[..., None], joints, 0.0).clamp(-far, far)
    pixels = nearest_pixel(joints)
    column, row = pixels.long().unbind(-1)
    index, counts = window_index(column, row, size // 2, heatmap_size)  # (B, K, size, size)
    counts &= drawn[..., None, None]
    origin = joints - pixels if center == "joint" else torch.zeros_like(joints)  # from the joint's pixel
    if radius is not None:
        distance = (_square(size, joints) - origin[..., None, None, :]).square().sum(-1)
        counts &= distance <= radius**2
    values = _drawn(mixture, origin, size, counts, epsilon).to(joints.dtype)  # (B, K, size, size)
    masks = joints.new_zeros(*joints.shape[:2], heatmap_size[0] * heatmap_size[1])
    masks.scatter_add_(-1, index.flatten(2), values.flatten(2))  # pixels off the map add 0 to one on it
    return masks.reshape(*joints.shape[:2], *heatmap_size)  # (B, K, h*w) -> (B, K, h, w)


def _square(size: int, like: Tensor) -> Tensor:
    """The integer points (x, y) of a square about 0, ``(size, size, 2)``."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the square of a mask has an odd side, got {size}")
    steps = torch.arange(-(size // 2), size // 2 + 1, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)


def _drawn(mixture: Mixture, origin: Tensor, size: int, counts: Tensor, epsilon: float) -> Tensor:
    """Densities over the largest that counts, ``(B, K, size, size)``; 0 where none counts.

    The mixture with its means moved to ``origin`` (B, K, 2) is evaluated on the same
    integers for all joints: one matrix product. Its largest term is divided out as a
    logarithm, so that a density that underflows everywhere still has its maximum of one.
    """
    origin = origin.to(mixture.means.dtype)
    means = mixture.means[:, None, None] + origin  # (M, B, K, 2)
    theta = coefficients(mixture.weights[:, None, None], means, mixture.covariances[:, None, None])
    logs = theta @ features(_square(size, means)).flatten(0, 1).T  # (M, B, K, size * size)
    logs = torch.where(counts.flatten(2), logs, -torch.inf)
    top = logs.amax((0, -1))[..., None].clamp(min=torch.finfo(logs.dtype).min)  # (B, K, 1)
    values = torch.exp(logs - top).sum(0)
    largest = values.amax(-1, keepdim=True)  # from 1 to M, or 0 where none counts
    values = values / torch.where(largest > 0, largest, 1.0)
    if epsilon > 0:
        values = values * torch.sigmoid(top + largest.log() - math.log(epsilon))  # max / (max + epsilon)
    return values.reshape(counts.shape)
