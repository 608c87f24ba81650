"""Where to look: annotated boxes, or those of a detector's result file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from calbook.data.annotations import is_finite, is_integer, load
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError, Defect, shown

_LAYOUT = "write a list of objects with image_id, category_id, bbox and score (COCO's result format)"
_RULES = {
    "image_id": "not an integer",
    "category_id": "not an integer",
    "bbox": "not four finite numbers x, y, width, height of a box that is not a point",
    "score": "not a finite number",
}


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes to look into, of any number of pictures.

    Attributes:
        image_ids: ``(N,)`` int64.
        boxes: ``(N, 4)`` as x, y, width, height in picture pixels.
        scores: ``(N,)``, the detector's; 1 for annotated boxes.
        source: Where they come from: ``"gt"`` or the name of the detector's file.
        left_out: How many boxes of the file were not of these pictures, lay outside
            theirs, or scored below the threshold.
    """

    image_ids: Tensor
    boxes: Tensor
    scores: Tensor
    source: str
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)


def annotated_boxes(people: CocoPeople) -> Boxes:
    """Each person's own box, clipped to the picture as the published readers do.

    A box that clipping would drop (its person lies on the picture's very edge) is used
    as annotated.
    """
    cleaned, usable = people.clean_boxes()
    boxes = torch.where(usable[:, None], cleaned, people.boxes)
    return Boxes(people.image_ids, boxes, torch.ones(len(people)), "gt")


def read_boxes(path: Path | str, people: CocoPeople, *, min_score: float = 0.0) -> Boxes:
    """Read a detector's boxes for the pictures of an annotation file.

    The file is in COCO's result format: a list of objects with ``image_id``,
    ``category_id``, ``bbox`` and ``score``; ``.json.gz`` is read, too. Boxes of other
    categories are passed over, as published.

    Args:
        path: The detector's result file.
        people: The annotations; boxes of other pictures are left out.
        min_score: Boxes that score less are left out. Published: 0.

    Raises:
        DataError: An entry is malformed, or no box is left; one line.
        OSError: The file cannot be opened.
    """
    document = people.pycocotools_dict()
    category = document["categories"][0]["id"]
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    persons = [entry for entry in read_entries(path) if entry["category_id"] == category]
    inside = [
        entry for entry in persons if entry["image_id"] in sizes and touches(entry["bbox"], sizes[entry["image_id"]])
    ]
    kept = [entry for entry in inside if entry["score"] >= min_score]
    if inside and not kept:
        problem = f"none of its {len(inside)} person boxes in these pictures scores {min_score:g} or more"
        raise DataError(Defect(str(path), "", "score", problem, "choose a lower --min-box-score"))
    if not kept:
        problem = f"none of its {len(persons)} person boxes lies in a picture of the annotations"
        raise DataError(Defect(str(path), "", "", problem, "give the detections of this split"))
    return Boxes(
        image_ids=torch.tensor([entry["image_id"] for entry in kept]),
        boxes=torch.tensor([entry["bbox"] for entry in kept], dtype=torch.float32),
        scores=torch.tensor([entry["score"] for entry in kept], dtype=torch.float32),
        source=Path(path).name,
        left_out=len(persons) - len(kept),
    )


def read_entries(path: Path | str, required: Collection[str] = tuple(_RULES)) -> list[dict[str, Any]]:
    """The entries of a file of boxes, once each has its required fields and those that it has are sound.

    Raises:
        DataError: The first entry and field that is not.
        OSError: The file cannot be opened.
    """
    return check_entries(load(path), Path(path), required)


def check_entries(entries: Any, path: Path, required: Collection[str]) -> list[dict[str, Any]]:
    """See ``read_entries``, of a document that is loaded already."""
    if not isinstance(entries, list):
        raise DataError(Defect(str(path), "", "", "the top level is not a list", _LAYOUT))
    for index, entry in enumerate(entries):
        name = f"entry {index}"
        if not isinstance(entry, dict):
            raise DataError(Defect(str(path), name, "", f"{shown(entry)} is not an object", _LAYOUT))
        for field, rule in _RULES.items():
            if field not in entry and field in required:
                raise DataError(Defect(str(path), name, field, "missing", _LAYOUT))
            if field in entry and not _is_sound(field, entry[field]):
                raise DataError(Defect(str(path), name, field, f"{shown(entry[field])}, {rule}", _LAYOUT))
    return entries


def _is_sound(field: str, value: Any) -> bool:
    if field == "score":
        return is_finite(value)
    if field == "bbox":
        numbers = isinstance(value, list) and len(value) == 4 and all(map(is_finite, value))
        return numbers and min(value[2:]) >= 0 and max(value[2:]) > 0
    return is_integer(value)


def touches(box: list[float] | Tensor, size: tuple[int, int]) -> bool:
    """Whether a box has a part of a picture of ``size`` (height, width) in it.

    >>> touches([-5, 0, 10, 10], (20, 30)), touches([30, 0, 10, 10], (20, 30))
    (True, False)
    """
    x, y, width, height = (float(value) for value in box)
    return x < size[1] and y < size[0] and x + width > 0 and y + height > 0


class PictureBoxes:
    """Boxes of a file, looked up by the name of a picture.

    Either a list in COCO's result format, whose ``image_id`` is the number that is the
    picture's name (``000000000785.jpg``) or is replaced by a ``file_name``; or a COCO
    document with ``images`` and ``annotations``. A ``score`` may be missing: then it is 1.
    Crowds and boxes of other categories are passed over; a person's ``category_id`` is
    missing, or in a list 1, in a document that of its only category or the one named ``person``.

    Raises:
        DataError: The file is malformed; one line.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        document = load(self.path)
        self._by_name: dict[str, list[tuple[int, list[float], float]]] = {}
        persons = _person_ids(document)
        for index, entry in _numbered(document, self.path):
            if entry.get("iscrowd") or entry.get("category_id") not in (None, *persons):
                continue
            name = entry.get("file_name", entry.get("image_id"))
            if not isinstance(name, str | int):
                remedy = "write the picture's file_name, or its number as image_id"
                raise DataError(Defect(str(path), f"entry {index}", "file_name", "missing", remedy))
            self._by_name.setdefault(_key(str(name)), []).append((index, entry["bbox"], entry.get("score", 1.0)))

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._by_name

    def of(self, name: str, size: tuple[int, int]) -> tuple[Tensor, Tensor, list[Defect]]:
        """Boxes ``(N, 4)`` and scores ``(N,)`` of a picture of ``size``, and a line for each box outside it."""
        boxes, scores, outside = [], [], []
        for index, box, score in self._by_name.get(_key(name), []):
            if touches(box, size):
                boxes.append(box)
                scores.append(score)
            else:
                problem = f"{shown(box)} lies outside {name} ({size[1]} wide, {size[0]} high), left out"
                outside.append(Defect(str(self.path), f"entry {index}", "bbox", problem, "correct the box"))
        return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores), outside


def _person_ids(document: Any) -> list[int]:
    """The categories of a list or a COCO document that are persons."""
    categories = document.get("categories") if isinstance(document, dict) else None
    if not isinstance(categories, list):
        return [1]
    sound = [entry for entry in categories if isinstance(entry, dict) and is_integer(entry.get("id"))]
    return [entry["id"] for entry in sound if len(sound) == 1 or entry.get("name") == "person"]


def _numbered(document: Any, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The boxes of a list or a COCO document, each with its place in it; of a document with their pictures' names."""
    if not isinstance(document, dict):
        return list(enumerate(check_entries(document, path, required=("bbox",))))
    images, annotations = document.get("images"), document.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DataError(Defect(str(path), "", "", "has no lists images and annotations", _LAYOUT))
    sound = [image for image in images if isinstance(image, dict) and is_integer(image.get("id"))]
    names = {image["id"]: image.get("file_name") for image in sound}
    entries = enumerate(check_entries(annotations, path, required=("image_id", "bbox")))
    return [(i, entry | {"file_name": names[entry["image_id"]]}) for i, entry in entries if entry["image_id"] in names]


def _key(name: str) -> str:
    """What pictures are matched by: the file's name, of numbers their value.

    >>> _key("val/000000000785.jpg"), _key("785"), _key("me.jpg"), _key("me")
    ('785', '785', 'me', 'me')
    """
    stem = PurePosixPath(name).stem
    return (stem.lstrip("0") or "0") if stem.isdecimal() else stem
