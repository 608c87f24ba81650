"""Suppression of duplicates: two boxes on one person give two poses, and one has to go.

Both published variants (SimpleBaseline's and HRNet's code, by default the hard one
at 0.9): poses are taken from the best to the worst, and those like a better one are
removed (hard) or lose score (soft).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from calbook.metrics.oks import pairwise_oks
from calbook.options import check_choice

Variant = Literal["hard", "soft"]

OKS_THRESHOLD = 0.9  # poses more alike than this are one person (SimpleBaseline, HRNet, UDP, CAL)
LIMIT = 20  # poses that the soft variant keeps in a picture, as many as COCO's evaluation reads


def oks_nms(
    coords: Tensor,
    scores: Tensor,
    person_scores: Tensor,
    areas: Tensor,
    sigmas: Tensor,
    threshold: float = OKS_THRESHOLD,
    joint_threshold: float | None = None,
) -> Tensor:
    """Hard suppression in one picture: drop a pose whose OKS with a kept better one exceeds the threshold.

    The greedy rule, computed as the fixed point of "kept, unless like a kept better
    one". Sweep m settles at least the m best poses, so sweeping until nothing
    changes gives the greedy answer, in practice after two or three sweeps.

    Args:
        coords: ``(N, K, 2)`` as (x, y) in picture pixels.
        scores: ``(N, K)``, of the joints; read only with ``joint_threshold``.
        person_scores: ``(N,)``, by which poses are ranked; of two equal ones the first
            is better.
        areas: ``(N,)`` in square pixels; see ``pairwise_oks``.
        sigmas: ``(K,)``.
        threshold: Largest similarity of two poses that may both stay.
        joint_threshold: Compare two poses only by the joints scored higher in both;
            None, as published, compares by all.

    Returns:
        Indices of the kept poses, best first.

    >>> coords = torch.zeros(3, 17, 2)
    >>> coords[1] += 300.0
    >>> people = torch.tensor([0.5, 0.7, 0.9])
    >>> oks_nms(coords, torch.ones(3, 17), people, torch.full((3,), 1e4), torch.full((17,), 0.05))
    tensor([2, 1])
    """
    order, similar = _ranked(coords, scores, person_scores, areas, sigmas, joint_threshold)
    rivals = (similar > threshold).triu(1)  # [i, j]: j is worse than i and like it
    kept = torch.ones_like(order, dtype=torch.bool)
    while True:
        swept = ~(rivals & kept[:, None]).any(0)
        if torch.equal(swept, kept):
            return order[kept]
        kept = swept


def soft_oks_nms(
    coords: Tensor,
    scores: Tensor,
    person_scores: Tensor,
    areas: Tensor,
    sigmas: Tensor,
    threshold: float = OKS_THRESHOLD,
    joint_threshold: float | None = None,
    limit: int = LIMIT,
) -> Tensor:
    """Soft suppression in one picture: poses like a better one lose score, and the best ``limit`` stay.

    Take the pose of the highest score left, then multiply the others' scores by
    exp(-OKS^2 / threshold), and again. As in HRNet's code the lowered scores only
    decide who stays: results are written with the scores from before.

    Args:
        coords: See ``oks_nms``, also for the next four.
        scores: Of the joints.
        person_scores: Of the poses.
        areas: Of the persons.
        sigmas: Of the skeleton.
        threshold: The larger, the less is lost.
        joint_threshold: See ``oks_nms``.
        limit: Poses that stay at most.

    Returns:
        Indices of the kept poses in the order in which they were taken.
    """
    order, similar = _ranked(coords, scores, person_scores, areas, sigmas, joint_threshold)
    decay = torch.exp(-similar.square() / threshold)  # (N, N)
    left = person_scores[order]
    waiting = torch.ones_like(order, dtype=torch.bool)
    taken: list[Tensor] = []
    for _ in range(min(limit, len(order))):
        best = torch.where(waiting, left, -torch.inf).argmax()
        taken.append(best)
        waiting[best] = False
        left = left * decay[best]
    return order[torch.stack(taken)] if taken else order


def suppress(
    image_ids: Tensor,
    coords: Tensor,
    scores: Tensor,
    person_scores: Tensor,
    areas: Tensor,
    sigmas: Tensor,
    threshold: float = OKS_THRESHOLD,
    variant: Variant = "hard",
    joint_threshold: float | None = None,
) -> Tensor:
    """Suppression in every picture of a result set.

    Args:
        image_ids: ``(N,)``, the picture of each pose, in any order.
        coords: See ``oks_nms``, also for the next five.
        scores: Of the joints.
        person_scores: Of the poses.
        areas: Of the persons.
        sigmas: Of the skeleton.
        threshold: Of the variant.
        variant: ``"hard"`` or ``"soft"``.
        joint_threshold: See ``oks_nms``.

    Returns:
        Indices of the kept poses, ascending: ``coords[suppress(...)]`` is what stays.

    Raises:
        ValueError: There is no such variant.
    """
    check_choice("variant", variant, Variant)
    one_picture: Callable[..., Tensor] = {"hard": oks_nms, "soft": soft_oks_nms}[variant]
    order = image_ids.argsort(stable=True)
    _, counts = image_ids[order].unique_consecutive(return_counts=True)
    kept = []
    for rows in order.split(counts.tolist()):
        arrays = (coords[rows], scores[rows], person_scores[rows], areas[rows])
        kept.append(rows[one_picture(*arrays, sigmas, threshold, joint_threshold)])
    return torch.cat(kept).sort().values if kept else order


def _ranked(
    coords: Tensor, scores: Tensor, person_scores: Tensor, areas: Tensor, sigmas: Tensor, joint_threshold: float | None
) -> tuple[Tensor, Tensor]:
    """The order from best to worst, and the pairwise similarities ``(N, N)`` in that order."""
    order = person_scores.argsort(descending=True, stable=True)
    joint_scores = None if joint_threshold is None else scores[order]
    return order, pairwise_oks(coords[order], areas[order], sigmas, joint_scores, joint_threshold or 0.0)
