"""The same figures joint by joint and size by size: where a score comes from."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from calbook.data.annotations import Entry
from calbook.metrics.coco import evaluated, quiet
from calbook.metrics.oks import joint_similarities
from calbook.options import check_choice
from calbook.skeletons import SIDE_WORD, Skeleton

Measure = Literal["area", "height"]
Ranges = Mapping[str, tuple[float, float]]

_HUGE = 1e5  # COCO's "without end"
AREAS: Ranges = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, _HUGE**2)}  # COCO's, square pixels
HEIGHTS: Ranges = {
    "to 32 px": (0, 32),
    "32 to 64 px": (32, 64),
    "64 to 128 px": (64, 128),
    "128 to 256 px": (128, 256),
    "from 256 px": (256, _HUGE),
}

_HEAD = {"nose", "eye", "ear", "head", "head_top"}


def joint_groups(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Joints of the same name on either side, in the skeleton's order; all of the face and the head's top are the head.

    >>> from calbook.skeletons import COCO
    >>> groups = joint_groups(COCO)
    >>> list(groups), groups["head"], groups["wrist"]
    (['head', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'], (0, 1, 2, 3, 4), (9, 10))
    """
    groups: dict[str, tuple[int, ...]] = {}
    for index, joint in enumerate(skeleton.joints):
        name = SIDE_WORD.sub("", joint).strip("_. -").lower()
        group = "head" if name in _HEAD else name
        groups[group] = (*groups.get(group, ()), index)
    return groups


@dataclass(frozen=True, eq=False)
class JointBreakdown:
    """Figures of each joint over all persons in which it is labelled, ``(K,)``; NaN where there is none.

    Attributes:
        labelled: In how many persons.
        error: Mean distance to the label, in picture pixels.
        relative_error: Mean distance as a share of the person's scale s, the root of
            the area.
        similarity: Mean of what the joint adds to OKS, in [0, 1].
    """

    labelled: Tensor
    error: Tensor
    relative_error: Tensor
    similarity: Tensor


def joint_breakdown(pred: Tensor, truth: Tensor, visible: Tensor, areas: Tensor, sigmas: Tensor) -> JointBreakdown:
    """Error and similarity joint by joint.

    A joint may have a small error and a low similarity: OKS asks more of an eye than
    of a hip.

    Args:
        pred: ``(N, K, 2)`` as (x, y) in picture pixels.
        truth: ``(N, K, 2)``.
        visible: ``(N, K)``, positive where labelled.
        areas: ``(N,)`` in square pixels.
        sigmas: ``(K,)``.
    """
    labelled = visible > 0
    distances = (pred - truth).norm(dim=-1)  # (N, K)

    def mean(values: Tensor) -> Tensor:
        return torch.where(labelled, values, 0.0).sum(0) / labelled.sum(0)

    return JointBreakdown(
        labelled=labelled.sum(0),
        error=mean(distances),
        relative_error=mean(distances / areas.sqrt()[:, None]),
        similarity=mean(joint_similarities(pred, truth, areas, sigmas)),
    )


@dataclass(frozen=True)
class SizeFigures:
    """COCO's figures over the persons of one range of sizes; -1 where there are none.

    Attributes:
        persons: How many are scored.
        AP: Mean over ten OKS thresholds.
        AP50: At 0.5.
        AP75: At 0.75.
        AR: Recall, mean over ten OKS thresholds.
    """

    persons: int
    AP: float
    AP50: float
    AP75: float
    AR: float


def size_breakdown(
    annotations: Path | str | Entry,
    results: Sequence[Entry],
    by: Measure = "area",
    ranges: Ranges | None = None,
    sigmas: Sequence[float] | None = None,
) -> dict[str, SizeFigures]:
    """COCO's AP and AR by the size of the persons.

    As for COCO's own APM and APL, persons of other sizes are ignored, and so are poses
    that match nobody and are of another size. The size of such a pose is the
    extent of its joints, which is smaller than a person's box: ranges leak a little
    into one another.

    Args:
        annotations: As of ``coco_ap``.
        results: As of ``coco_ap``.
        by: ``"area"``, the annotated area, or ``"height"``, the annotated box's.
        ranges: Name to smallest and largest size, both inside, in square pixels or
            pixels; by default ``AREAS`` or ``HEIGHTS``.
        sigmas: As of ``coco_ap``.

    Raises:
        DataError: As of ``coco_ap``.
    """
    check_choice("by", by, Measure)
    ranges = (AREAS if by == "area" else HEIGHTS) if ranges is None else ranges
    evaluation = evaluated(annotations, results, sigmas)
    if by == "height":  # similarities are computed already: from here on the area only tells the size
        for group in (evaluation._gts, evaluation._dts):
            for entry in (entry for entries in group.values() for entry in entries):
                entry["area"] = entry["bbox"][3]
    _evaluate_again(evaluation, ranges)
    return {name: _size_figures(evaluation, index) for index, name in enumerate(ranges)}


def _evaluate_again(evaluation: Any, ranges: Ranges) -> None:
    """Match poses to persons once more, for other ranges of sizes."""
    params = evaluation.params
    params.areaRng = [list(limits) for limits in ranges.values()]
    params.areaRngLbl = list(ranges)
    evaluation.evalImgs = [
        evaluation.evaluateImg(image, params.catIds[0], limits, params.maxDets[-1])
        for limits in params.areaRng
        for image in params.imgIds
    ]
    evaluation._paramsEval = copy.deepcopy(params)
    with quiet():
        evaluation.accumulate()


def _size_figures(evaluation: Any, index: int) -> SizeFigures:
    precision = evaluation.eval["precision"][:, :, 0, index, 0]  # (T, R)
    recall = evaluation.eval["recall"][:, 0, index, 0]  # (T,)
    images = len(evaluation.params.imgIds)
    found = [entry for entry in evaluation.evalImgs[index * images : (index + 1) * images] if entry is not None]
    persons = sum(int(np.count_nonzero(entry["gtIgnore"] == 0)) for entry in found)
    ap, ap50, ap75 = (float(part.mean()) for part in (precision, precision[0], precision[5]))  # 0.50, 0.55, ..., 0.95
    return SizeFigures(persons, ap, ap50, ap75, float(recall.mean()))
