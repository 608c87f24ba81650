"""COCO result files: poses scored, thinned out and written as COCO's server takes them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from calbook.data.annotations import load
from calbook.data.defects import DataError, Defect
from calbook.inference.people import Predictions
from calbook.metrics import OKS_THRESHOLD, SCORE_THRESHOLD, coco_results, pose_scores, suppress
from calbook.options import check_choice
from calbook.results import write_atomically
from calbook.skeletons import Skeleton

Suppression = Literal["hard", "soft", "none"]


def to_results(
    predictions: Predictions,
    skeleton: Skeleton,
    *,
    suppression: Suppression = "hard",
    threshold: float = OKS_THRESHOLD,
    joint_threshold: float = SCORE_THRESHOLD,
    category_id: int = 1,
) -> list[dict[str, Any]]:
    """Poses in COCO's result format by the published rules.

    A pose's score is its box's times the mean of its joints' above ``joint_threshold``.
    Then, picture by picture, poses too much like a better one are suppressed; likeness
    is OKS, measured against the area of the padded crops.

    Args:
        predictions: Of ``predict_people``.
        skeleton: For the tolerances of OKS.
        suppression: ``"hard"``, ``"soft"`` or ``"none"``.
        threshold: Likeness from which poses are one person.
        joint_threshold: Joints that do not score more do not count in a pose's score.
        category_id: Of the persons, 1 in COCO.
    """
    check_choice("suppression", suppression, Suppression)
    scores = pose_scores(predictions.box_scores, predictions.scores, joint_threshold)
    images, coords, joint_scores = predictions.image_ids, predictions.coords, predictions.scores
    if suppression != "none":
        sigmas, areas = skeleton.sigma_tensor(coords), predictions.areas
        kept = suppress(images, coords, joint_scores, scores, areas, sigmas, threshold, suppression)
        images, coords, joint_scores, scores = images[kept], coords[kept], joint_scores[kept], scores[kept]
    return coco_results(images, coords, joint_scores, scores, category_id)


def results_name(split: str, name: str) -> str:
    """The file name that COCO's server asks for.

    >>> results_name("test-dev2017", "cal w32")
    'person_keypoints_test-dev2017_cal-w32_results.json'
    """
    return f"person_keypoints_{split}_{re.sub(r'[^A-Za-z0-9-]+', '-', name).strip('-') or 'poses'}_results.json"


def write_results(path: Path | str, results: Sequence[dict[str, Any]]) -> None:
    """Write a COCO result file in one step."""
    write_atomically(Path(path), json.dumps(list(results), allow_nan=False).encode())


def read_results(path: Path | str) -> list[dict[str, Any]]:
    """Read a COCO result file; ``coco_ap`` checks its entries.

    Raises:
        DataError: It is not a list.
        OSError: The file cannot be opened.
    """
    results = load(path)
    if not isinstance(results, list):
        remedy = "give a list of poses as COCO's evaluation reads them, or a run folder"
        raise DataError(Defect(str(path), "", "", "the top level is not a list", remedy))
    return results
