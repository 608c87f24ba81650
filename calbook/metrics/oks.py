"""Object keypoint similarity, and the score by which poses are ranked."""

import numpy as np
import torch
from torch import Tensor

SCORE_THRESHOLD = 0.2  # joints scored lower do not count in a pose's score (SimpleBaseline, HRNet, CAL)

EPS = float(np.spacing(1))  # added to the area by pycocotools


def oks(pred: Tensor, truth: Tensor, visible: Tensor, areas: Tensor, sigmas: Tensor) -> Tensor:
    """Object keypoint similarity (equation 16 of the CAL paper), person by person.

    The mean over labelled joints of  exp(-d^2 / (2 s^2 kappa^2)),  where d is the
    distance to the joint, s^2 the person's area and kappa = 2 sigma. The same
    arithmetic as in pycocotools, with its epsilon; in double precision the same
    digits.

    Args:
        pred: ``(N, K, 2)`` as (x, y) in picture pixels.
        truth: ``(N, K, 2)`` as (x, y) in picture pixels.
        visible: ``(N, K)``, positive where labelled.
        areas: ``(N,)`` in square pixels.
        sigmas: ``(K,)``, such as ``Skeleton.sigma_tensor``.

    Returns:
        ``(N,)`` in [0, 1]; NaN for a person without any labelled joint, whose
        similarity is not defined.

    >>> truth = torch.zeros(1, 2, 2)
    >>> pred = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> oks(pred, truth, torch.tensor([[2, 1]]), torch.tensor([100.0]), torch.tensor([0.1, 0.25]))
    tensor([0.8033])
    """
    labelled = visible > 0
    similarities = joint_similarities(pred, truth, areas, sigmas)  # (N, K)
    return torch.where(labelled, similarities, 0.0).sum(-1) / labelled.sum(-1)


def joint_similarities(pred: Tensor, truth: Tensor, areas: Tensor, sigmas: Tensor) -> Tensor:
    """What each joint adds to OKS:  exp(-d^2 / (2 s^2 kappa^2)),  kappa = 2 sigma.

    Args:
        pred: ``(..., K, 2)`` as (x, y) in picture pixels.
        truth: ``(..., K, 2)``.
        areas: ``(...)`` in square pixels.
        sigmas: ``(K,)``.

    Returns:
        ``(..., K)`` in [0, 1], of joints that are not labelled, too.
    """
    squared = (pred - truth).square().sum(-1)  # (..., K)
    kappa = 2 * sigmas
    return torch.exp(-(squared / kappa.square() / (areas[..., None] + EPS) / 2))


def pairwise_oks(
    coords: Tensor, areas: Tensor, sigmas: Tensor, scores: Tensor | None = None, joint_threshold: float = 0.0
) -> Tensor:
    """Similarity of every predicted pose to every other, with the mean of both areas for s^2.

    Args:
        coords: ``(N, K, 2)`` as (x, y) in picture pixels.
        areas: ``(N,)`` in square pixels. The published suppression takes the padded
            crop's, ``CropBox.extent.prod(-1)``.
        sigmas: ``(K,)``.
        scores: ``(N, K)``, of the joints. If given, a pair is compared by those joints
            that exceed ``joint_threshold`` in both poses; 0 if there are none.
        joint_threshold: See ``scores``.

    Returns:
        ``(N, N)`` in [0, 1], symmetric.
    """
    shared = (areas[:, None] + areas) / 2  # (N, N)
    similarities = joint_similarities(coords[:, None], coords, shared, sigmas)  # (N, N, K)
    if scores is None:
        return similarities.mean(-1)
    sure = scores > joint_threshold
    both = sure[:, None] & sure  # (N, N, K)
    return torch.where(both, similarities, 0.0).sum(-1) / both.sum(-1).clamp(min=1)


def pose_scores(box_scores: Tensor, scores: Tensor, threshold: float = SCORE_THRESHOLD) -> Tensor:
    """Score of each pose for ranking: its box's times the mean of its confident joints'.

    Args:
        box_scores: ``(N,)``, the detector's, or ones for annotated boxes.
        scores: ``(N, K)``, of the joints.
        threshold: Joints that do not exceed it are left out of the mean.

    Returns:
        ``(N,)``; 0 for a pose without a confident joint.

    >>> pose_scores(torch.tensor([0.5]), torch.tensor([[0.8, 0.6, 0.1]]))
    tensor([0.3500])
    """
    confident = scores > threshold
    return box_scores * torch.where(confident, scores, 0.0).sum(-1) / confident.sum(-1).clamp(min=1)
