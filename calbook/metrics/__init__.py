"""How good poses are, as the published tables measure it.

Object keypoint similarity and COCO's AP and AR (from pycocotools, which defines
them); the score that ranks poses and the suppression of duplicates; PCK and PCKh;
the same figures joint by joint and size by size; and how far to trust them.

Lengths are in picture pixels, points are (x, y). A ``visible`` array is COCO's
code: positive where a joint is labelled, and only labelled joints count.
"""

from calbook.metrics.bootstrap import Interval, bootstrap, bootstrap_ap, bootstrap_ap_difference
from calbook.metrics.breakdown import (
    AREAS,
    HEIGHTS,
    JointBreakdown,
    SizeFigures,
    joint_breakdown,
    joint_groups,
    size_breakdown,
)
from calbook.metrics.coco import FIGURES, coco_ap, coco_results
from calbook.metrics.oks import SCORE_THRESHOLD, joint_similarities, oks, pairwise_oks, pose_scores
from calbook.metrics.pck import PCK, PCKH_GROUPS, head_lengths, pck, pckh, torso_lengths
from calbook.metrics.suppression import OKS_THRESHOLD, oks_nms, soft_oks_nms, suppress

__all__ = [
    "AREAS",
    "FIGURES",
    "HEIGHTS",
    "OKS_THRESHOLD",
    "PCK",
    "PCKH_GROUPS",
    "SCORE_THRESHOLD",
    "Interval",
    "JointBreakdown",
    "SizeFigures",
    "bootstrap",
    "bootstrap_ap",
    "bootstrap_ap_difference",
    "coco_ap",
    "coco_results",
    "head_lengths",
    "joint_breakdown",
    "joint_groups",
    "joint_similarities",
    "oks",
    "oks_nms",
    "pairwise_oks",
    "pck",
    "pckh",
    "pose_scores",
    "size_breakdown",
    "soft_oks_nms",
    "suppress",
    "torso_lengths",
]
