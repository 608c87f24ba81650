"""Losses on heatmaps and offset fields, each with its equation.

Sums and means. The papers write losses as sums over the pixels of a map, averaged
over the N samples and J joints (equation 3): ``normalization="paper"``. Published
code takes means over pixels, with a factor 1/2 on heatmaps, and over the two
components of offsets: ``"published"``. Both terms then shrink by the same 2 h w,

    1/2 mean_p (G - G^)^2 = 1/(2 h w) sum_p (G - G^)^2,
    mean_{c,p} |O - O^|   = 1/(2 h w) sum_{c,p} |O - O^|,

so that the two differ by a constant factor only, and the balance of the terms is
the same. All joints count in N J, whatever their weight, as in both.

Weights and masks multiply predictions and targets, as in equations 14 and 15 and
in the code: inside squares, absolute values and the smooth L1 function.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from calbook.options import check_choice, check_choices
from calbook.poses import PoseMaps, Targets

Normalization = Literal["paper", "published"]
HeatmapKind = Literal["l2", "bce"]
OffsetKind = Literal["l1", "smooth_l1", "l2"]


class Loss(NamedTuple):
    """A loss and what it is made of; all scalars.

    Attributes:
        total: What to minimise, ``heatmap + offset_weight * offset``.
        heatmap: The term on heatmaps.
        offset: The term on offsets, 0 where there is none.
    """

    total: Tensor
    heatmap: Tensor
    offset: Tensor


def heatmap_l2(
    predicted: Tensor, target: Tensor, weights: Tensor | None = None, normalization: Normalization = "paper"
) -> Tensor:
    """Squared error of heatmaps, 1/(NJ) sum_{n,i} ||w (C - C^)||_2^2 (equation 3).

    Args:
        predicted: ``(B, K, h, w)``.
        target: ``(B, K, h, w)``.
        weights: Of the joints, ``(B, K)``; None for 1.
        normalization: ``"published"`` divides by 2 h w (SimpleBaseline, HRNet, CAL).

    >>> heatmap_l2(torch.ones(1, 1, 4, 3), torch.zeros(1, 1, 4, 3)), heatmap_l2(
    ...     torch.ones(1, 1, 4, 3), torch.zeros(1, 1, 4, 3), normalization="published"
    ... )
    (tensor(12.), tensor(0.5000))
    """
    _same(predicted, target)
    return _average((_of_joints(weights, predicted) * (predicted - target)).square(), normalization)


def heatmap_bce(
    logits: Tensor, target: Tensor, weights: Tensor | None = None, normalization: Normalization = "paper"
) -> Tensor:
    """Cross-entropy of every pixel, -1/(NJ) sum_{n,i,p} w (B ln s(B^) + (1 - B) ln(1 - s(B^))) (equation 8).

    Args:
        logits: ``(B, K, h, w)``, before the sigmoid s.
        target: ``(B, K, h, w)`` in [0, 1].
        weights: Of the joints, ``(B, K)``; None for 1.
        normalization: ``"published"`` divides by 2 h w, as for the other terms.
    """
    _same(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _average(_of_joints(weights, logits) * entropy, normalization)


def offset_error(
    predicted: Tensor,
    target: Tensor,
    masks: Tensor,
    weights: Tensor | None = None,
    *,
    kind: OffsetKind = "l1",
    scale: float = 1.0,
    normalization: Normalization = "paper",
) -> Tensor:
    """Masked error of offset fields, 1/(NJ) sum_{n,i} f(w M (O - O^) / scale) (equations 8, 14, 15).

    Args:
        predicted: ``(B, K, 2, h, w)`` in heatmap pixels.
        target: ``(B, K, 2, h, w)`` in heatmap pixels.
        masks: ``(B, K, h, w)``: binary (equation 14), Gaussian, or mixed Gaussian
            (equation 15). They are constants: no gradient flows into them.
        weights: Of the joints, ``(B, K)``; None for 1.
        kind: f is the absolute value ``"l1"``, the square ``"l2"``, or ``"smooth_l1"``: d^2 / 2
            up to 1, then |d| - 1/2.
        scale: Divisor of offsets. Published: 1.5 with W32 and 1 with W48 (CAL), the
            radius (UDP), none in the paper.
        normalization: ``"published"`` divides by 2 h w.

    Raises:
        ValueError: The shapes do not fit together, or ``kind`` or ``normalization`` is unknown.
    """
    check_choice("kind", kind, OffsetKind)
    _same(predicted, target)
    if masks.shape != predicted.shape[:2] + predicted.shape[3:]:
        raise ValueError(f"masks {tuple(masks.shape)} do not belong to offsets {tuple(predicted.shape)}")
    factor = (_of_joints(weights, masks) * masks / scale).detach()[:, :, None]  # (B, K, 1, h, w)
    difference = factor * (predicted - target)  # (B, K, 2, h, w)
    if kind == "l1":
        error = difference.abs()
    elif kind == "l2":
        error = difference.square()
    else:
        error = F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
    return _average(error, normalization)


def _same(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ in shape")


def _of_joints(weights: Tensor | None, maps: Tensor) -> Tensor:
    """Weights of joints beside their maps, ``(B, K, 1, 1)``."""
    if weights is None:
        return maps.new_ones(1, 1, 1, 1)
    if weights.shape != maps.shape[:2]:
        raise ValueError(f"weights {tuple(weights.shape)} do not belong to maps {tuple(maps.shape)}")
    return weights[:, :, None, None]


def _average(errors: Tensor, normalization: Normalization) -> Tensor:
    """Sum over pixels and components, mean over samples and joints, of ``(B, K, ..., h, w)``."""
    check_choice("normalization", normalization, Normalization)
    pixels = errors.shape[-1] * errors.shape[-2]
    total = errors.sum() / max(errors.shape[0] * errors.shape[1], 1)
    return total if normalization == "paper" else total / (2 * pixels)


@dataclass(frozen=True)
class JointsLoss:
    """The loss of methods with heatmaps only: SimpleBaseline, HRNet, DARK.

    Attributes:
        heatmap: ``"l2"`` (published) or ``"bce"`` on logits.
        normalization: ``"published"`` makes ``"l2"`` JointsMSELoss: 1/2 mean squared error.
    """

    heatmap: HeatmapKind = "l2"
    normalization: Normalization = "paper"

    def __post_init__(self) -> None:
        check_choices(self)

    def __call__(self, maps: PoseMaps, targets: Targets) -> Loss:
        """Loss of maps predicted for a batch."""
        term = _heatmap_term(self.heatmap, maps, targets, self.normalization)
        return Loss(total=term, heatmap=term, offset=term.new_zeros(()))


@dataclass(frozen=True)
class OffsetLoss:
    """The loss of methods with heatmaps and offsets.

    L = heatmap term + lambda * offset term. With masks from the codec this is stage
    one of CAL (equation 14), with mixed-Gaussian masks stage two (equation 15).

    Attributes:
        heatmap: ``"l2"`` (CAL, UDP) or ``"bce"`` on logits (equation 8; G-RMI).
        offset: ``"l1"`` (CAL), ``"smooth_l1"`` (equation 8; G-RMI) or ``"l2"`` (UDP).
        offset_weight: lambda. Published for CAL: 0.7 with W32 at 64x48 and 128x96, else
            1; the paper names no value.
        offset_scale: Divisor of offsets, see ``offset_error``.
        normalization: See the module's text.
    """

    heatmap: HeatmapKind = "l2"
    offset: OffsetKind = "l1"
    offset_weight: float = 1.0
    offset_scale: float = 1.0
    normalization: Normalization = "paper"

    def __post_init__(self) -> None:
        check_choices(self)

    def __call__(self, maps: PoseMaps, targets: Targets, masks: Tensor | None = None) -> Loss:
        """Loss of maps predicted for a batch.

        Args:
            maps: With offsets.
            targets: With offsets and masks.
            masks: ``(B, K, h, w)``, instead of those of the targets: stage two.

        Raises:
            ValueError: Maps or targets lack offsets, or there is no mask.
        """
        masks = targets.masks if masks is None else masks
        if maps.offsets is None or targets.offsets is None or masks is None:
            raise ValueError(
                "this loss needs predicted offsets, target offsets and masks: use an offset codec and network"
            )
        coarse = _heatmap_term(self.heatmap, maps, targets, self.normalization)
        fine = offset_error(
            maps.offsets,
            targets.offsets,
            masks,
            targets.weights,
            kind=self.offset,
            scale=self.offset_scale,
            normalization=self.normalization,
        )
        return Loss(total=coarse + self.offset_weight * fine, heatmap=coarse, offset=fine)


def _heatmap_term(kind: HeatmapKind, maps: PoseMaps, targets: Targets, normalization: Normalization) -> Tensor:
    term = {"l2": heatmap_l2, "bce": heatmap_bce}[kind]
    return term(maps.heatmaps, targets.heatmaps, targets.weights, normalization)


# What each method minimises. UDP masks offsets by the disk and not by the joints' weights: the
# same, since a joint without weight has an empty disk.
LOSSES: dict[str, JointsLoss | OffsetLoss] = {
    "heatmap": JointsLoss(),
    "cal": OffsetLoss(),
    "udp": OffsetLoss(offset="l2", offset_scale=4.0, normalization="published"),
    "g-rmi": OffsetLoss(heatmap="bce", offset="smooth_l1", offset_weight=0.25),
}


def build_loss(name: str, **options: Any) -> JointsLoss | OffsetLoss:
    """The loss of a method, with options changed.

    Args:
        name: ``"heatmap"`` (SimpleBaseline, HRNet, DARK), ``"cal"``, ``"udp"`` or
            ``"g-rmi"`` (4 : 1 between cross-entropy and smooth L1).
        **options: Fields of ``JointsLoss`` or ``OffsetLoss``.

    Raises:
        ValueError: The name, an option or its choice is unknown.

    >>> build_loss("cal", offset_weight=0.7)
    OffsetLoss(heatmap='l2', offset='l1', offset_weight=0.7, offset_scale=1.0, normalization='paper')
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose one of {', '.join(LOSSES)}")
    known = [field.name for field in fields(LOSSES[name])]
    for option in options:
        if option not in known:
            raise ValueError(f"loss {name!r} has no option {option!r}: it has {', '.join(known)}")
    return replace(LOSSES[name], **options)
