"""COCO's AP and AR by pycocotools, which defines them."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import coco as pycoco
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from calbook.data.annotations import Entry, find_defects, is_finite, is_integer, load, person_category
from calbook.data.defects import DataError, Defect, shown
from calbook.skeletons import COCO, from_category

FIGURES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")  # pycocotools' order


def coco_results(
    image_ids: Tensor, coords: Tensor, scores: Tensor, box_scores: Tensor, category_id: int = 1
) -> list[Entry]:
    """Poses in COCO's result format, one entry per person.

    Args:
        image_ids: ``(N,)``.
        coords: ``(N, K, 2)`` as (x, y) in picture pixels.
        scores: ``(N, K)``, written as the third number of each joint; COCO's
            evaluation does not read it.
        box_scores: ``(N,)``, by which poses are ranked; see ``pose_scores``.
        category_id: Id of the person category in the annotations.
    """
    keypoints = torch.cat([coords, scores[..., None].to(coords)], dim=-1).flatten(1)  # (N, 3 * K)
    columns = zip(image_ids.tolist(), keypoints.tolist(), box_scores.tolist(), strict=True)
    return [
        {"image_id": image, "category_id": category_id, "keypoints": values, "score": score}
        for image, values, score in columns
    ]


def coco_ap(
    annotations: Path | str | Entry, results: Sequence[Entry], sigmas: Sequence[float] | None = None
) -> dict[str, float]:
    """COCO's keypoint AP and AR by pycocotools, without a word on the screen.

    Args:
        annotations: An annotation file or document (``CocoPeople.pycocotools_dict``).
        results: Poses, as of ``coco_results``. May be empty.
        sigmas: OKS tolerance of each joint; by default the skeleton's.

    Returns:
        The ten figures AP, AP50, AP75, APM, APL, AR, AR50, AR75, ARM, ARL, in
        [0, 1]; -1 where no person has the size asked for.

    Raises:
        DataError: The annotations are malformed or lack the areas that OKS needs,
            or a result does not fit them.
    """
    evaluation = evaluated(annotations, results, sigmas)
    with quiet():
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(FIGURES, evaluation.stats, strict=True)}


def evaluated(
    annotations: Path | str | Entry, results: Sequence[Entry], sigmas: Sequence[float] | None = None
) -> COCOeval:
    """The evaluation after its costly half: similarities computed, poses matched to persons; as of ``coco_ap``."""
    file = "annotations" if isinstance(annotations, dict) else str(annotations)
    document = annotations if isinstance(annotations, dict) else load(annotations)
    category, persons = _scorable(document, file)
    tolerances = from_category(category["keypoints"]).sigmas if sigmas is None else tuple(sigmas)
    if len(tolerances) != len(category["keypoints"]):
        raise ValueError(f"{len(tolerances)} sigmas for {len(category['keypoints'])} joints; give one for each joint")
    images = document["images"]
    poses = _fitting(results, {image["id"] for image in images}, category)
    with quiet():
        truth = _index(images, category, [dict(person) for person in persons])
        found = truth.loadRes(poses) if poses else _index(images, category, [])
        evaluation = COCOeval(truth, found, "keypoints")
        if tolerances != COCO.sigmas:  # else keep pycocotools' own, which differ in the seventeenth digit
            evaluation.params.kpt_oks_sigmas = np.array(tolerances)
        evaluation.evaluate()
    return evaluation


def quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """A block without the progress that pycocotools prints."""
    return contextlib.redirect_stdout(io.StringIO())


def _index(images: list[Entry], category: Entry, annotations: list[Entry]) -> Any:
    index = pycoco.COCO()
    index.dataset = {"images": images, "categories": [category], "annotations": annotations}
    index.createIndex()
    return index


def _scorable(document: Entry, file: str) -> tuple[Entry, list[Entry]]:
    """The person category and its annotations, once they have all that evaluation reads."""
    for defect in find_defects(document, file):
        if defect.severity == "fatal" or (defect.severity == "error" and defect.field == "id"):
            raise DataError(defect)
    category = person_category(document)
    persons = [entry for entry in document["annotations"] if entry["category_id"] == category["id"]]
    for person in persons:
        if "area" not in person:
            remedy = "AP is measured against the person's area: use annotations with areas, or score by PCK"
            raise DataError(Defect(file, f"annotation {person['id']}", "area", "missing", remedy))
    return category, persons


def _fitting(results: Sequence[Entry], images: set[int], category: Entry) -> list[Entry]:
    """Fresh copies of the results with nothing but what evaluation reads."""
    length = 3 * len(category["keypoints"])
    remedy = "score results with the annotations that they are of"
    poses = []
    for index, result in enumerate(results):
        if not isinstance(result, dict):
            raise DataError(Defect("results", f"entry {index}", "", "not an object", remedy))
        values = result.get("keypoints")
        sound = {
            "image_id": is_integer(result.get("image_id")) and result["image_id"] in images,
            "category_id": is_integer(result.get("category_id")) and result["category_id"] == category["id"],
            "keypoints": isinstance(values, list) and len(values) == length and all(map(is_finite, values)),
            "score": is_finite(result.get("score")),
        }
        for field in (field for field in sound if not sound[field]):
            wanted = {
                "image_id": "not an image of the annotations",
                "category_id": f"not the persons' {category['id']}",
                "keypoints": f"not {length} finite numbers",
                "score": "not a finite number",
            }
            problem = f"{shown(result.get(field))}, {wanted[field]}"
            raise DataError(Defect("results", f"entry {index}", field, problem, remedy))
        poses.append({field: result[field] for field in sound})
    return poses
