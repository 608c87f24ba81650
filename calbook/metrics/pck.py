"""Percentage of correct keypoints: PCK, and MPII's PCKh.

A joint is correct if its error is at most a share of a length of its person. PCK
leaves the length open: LSP takes the torso, MPII 0.6 of the head box's diagonal
(PCKh, from the code published with the data set and repeated in HRNet's).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbook.metrics.breakdown import joint_groups
from calbook.skeletons import MPII, Skeleton

LSP_THRESHOLD = 0.2  # of the torso
PCKH_THRESHOLD = 0.5  # of the head length
PCKH_FINE_THRESHOLD = 0.1
PCKH_FINE_THRESHOLD_PUBLISHED = 0.11  # what HRNet's code computes under the name of 0.1: one index too far in its list

HEAD_SHARE = 0.6  # of the head box's diagonal
PCKH_GROUPS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # the columns of MPII's tables
_NOT_AVERAGED = ("pelvis", "thorax")


@dataclass(frozen=True, eq=False)
class PCK:
    """Which joints are correct.

    Attributes:
        correct: ``(N, K)``, true where the joint counts and is near enough.
        counted: ``(N, K)``, true where the joint is labelled and its person has a
            length.
    """

    correct: Tensor
    counted: Tensor

    @property
    def joints(self) -> Tensor:
        """``(K,)``, the share of correct joints in [0, 1]; NaN where none counts."""
        return self.correct.sum(0) / self.counted.sum(0)

    @property
    def mean(self) -> float:
        """The share of all counted joints that are correct: the joints' mean, weighted by their counts."""
        return (self.correct.sum() / self.counted.sum()).item()

    def groups(self, skeleton: Skeleton) -> dict[str, float]:
        """The plain mean over the joints of each group, left and right; see ``joint_groups``."""
        joints = self.joints
        return {name: joints[list(indices)].nanmean().item() for name, indices in joint_groups(skeleton).items()}


def pck(pred: Tensor, truth: Tensor, visible: Tensor, lengths: Tensor, threshold: float = LSP_THRESHOLD) -> PCK:
    """Percentage of correct keypoints: error at most ``threshold`` times the person's length.

    Args:
        pred: ``(N, K, 2)`` as (x, y) in picture pixels.
        truth: ``(N, K, 2)``.
        visible: ``(N, K)``, positive where labelled.
        lengths: ``(N,)`` in pixels, such as ``torso_lengths``. A person whose length is
            NaN or 0 is left out.
        threshold: Share of the length.

    >>> truth, pred = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [0.0, 6.0]]])
    >>> pck(pred, truth, torch.ones(1, 2), torch.tensor([25.0])).joints
    tensor([1., 0.])
    """
    errors = (pred - truth).square().sum(-1).sqrt() / lengths[:, None]  # (N, K), in lengths
    counted = (visible > 0) & (lengths > 0)[:, None]
    return PCK(counted & (errors <= threshold), counted)


def torso_lengths(joints: Tensor, visible: Tensor, skeleton: Skeleton) -> Tensor:
    """Each person's torso in pixels, ``(N,)``: left shoulder to right hip, the LSP convention.

    NaN where one of the two is not labelled.

    Raises:
        ValueError: The skeleton has no such joints.
    """
    missing = {"left_shoulder", "right_hip"} - set(skeleton.joints)
    if missing:
        raise ValueError(f"skeleton {skeleton.name!r} has no {' and no '.join(sorted(missing))}: no torso to measure")
    ends = [skeleton.joints.index(name) for name in ("left_shoulder", "right_hip")]
    lengths = (joints[:, ends[0]] - joints[:, ends[1]]).norm(dim=-1)
    return torch.where((visible[:, ends] > 0).all(1), lengths, torch.nan)


def head_lengths(head_boxes: Tensor) -> Tensor:
    """MPII's head length in pixels, ``(N,)``: 0.6 of the diagonal of the head box.

    Args:
        head_boxes: ``(N, 4)`` as x, y, width, height.
    """
    diagonals: Tensor = head_boxes[:, 2:].norm(dim=-1)
    return HEAD_SHARE * diagonals


def pckh(
    pred: Tensor, truth: Tensor, visible: Tensor, lengths: Tensor, threshold: float = PCKH_THRESHOLD
) -> dict[str, float]:
    """MPII's figures, as its published tables have them.

    Args:
        pred: ``(N, 16, 2)`` as (x, y) in picture pixels, in the order of ``skeletons.MPII``.
        truth: ``(N, 16, 2)``.
        visible: ``(N, 16)``, positive where labelled.
        lengths: ``(N,)``, see ``head_lengths``.
        threshold: Share of the length, for all but the last two figures.

    Returns:
        PCKh in [0, 1] of ``PCKH_GROUPS``, each the plain mean of left and right; ``mean``,
        over all joints but pelvis and thorax, weighted by how often each is labelled;
        ``mean@0.1``, the same at a threshold of 0.1; ``mean@0.1 published``, what HRNet's
        code and its descendants print under that name: at 0.11.

    Raises:
        ValueError: The poses do not have MPII's 16 joints.
    """
    if pred.shape[1] != MPII.num_joints:
        raise ValueError(f"PCKh is defined for MPII's {MPII.num_joints} joints, not for {pred.shape[1]}: use pck")
    averaged = [index for index, name in enumerate(MPII.joints) if name not in _NOT_AVERAGED]

    def mean(share: float) -> float:
        return pck(pred[:, averaged], truth[:, averaged], visible[:, averaged], lengths, share).mean

    groups = pck(pred, truth, visible, lengths, threshold).groups(MPII)
    return {
        **{name: groups[name] for name in PCKH_GROUPS},
        "mean": mean(threshold),
        "mean@0.1": mean(PCKH_FINE_THRESHOLD),
        "mean@0.1 published": mean(PCKH_FINE_THRESHOLD_PUBLISHED),
    }
