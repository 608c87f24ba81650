"""Persons of other data sets as a document in COCO's layout.

COCO's layout is what the rest of the package reads. A reader of another format
yields persons one by one; they become the document that ``coco.from_document``
turns into arrays, or a file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from calbook.data.annotations import Entry
from calbook.data.defects import DataError, Defect
from calbook.geometry import Size
from calbook.results import write_atomically
from calbook.skeletons import Skeleton

UNKNOWN: Size = (0, 0)  # size of a picture that was not looked at


class Person(NamedTuple):
    """One annotated person.

    Attributes:
        file_name: The picture, relative to the folder of the pictures.
        box: x, y, width, height in picture pixels.
        joints: x, y, v of every joint in picture pixels; 0, 0, 0 where not labelled.
        more: Further fields of the annotation, such as ``head_box``.
    """

    file_name: str
    box: Sequence[float]
    joints: Sequence[tuple[float, float, int]]
    more: Mapping[str, Any] = {}


def to_document(skeleton: Skeleton, persons: Iterable[Person], pictures: Path | None) -> Entry:
    """A document in COCO's layout; persons and pictures are numbered from 1 in their order.

    Args:
        skeleton: Its joints are those of ``Person.joints``.
        persons: In the order of the file.
        pictures: Folder to take the pictures' sizes from; None leaves them ``UNKNOWN``.

    Raises:
        DataError: A picture is missing or is not a picture.
    """
    images: dict[str, Entry] = {}
    annotations: list[Entry] = []
    for number, person in enumerate(persons, start=1):
        image = images.get(person.file_name)
        if image is None:
            height, width = UNKNOWN if pictures is None else picture_size(pictures / person.file_name)
            image = {"id": len(images) + 1, "file_name": person.file_name, "height": height, "width": width}
            images[person.file_name] = image
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": 1,
                "iscrowd": 0,
                "bbox": list(person.box),
                "num_keypoints": sum(v > 0 for _, _, v in person.joints),
                "keypoints": [value for joint in person.joints for value in joint],
                **person.more,
            }
        )
    return {"images": list(images.values()), "annotations": annotations, "categories": [_category(skeleton)]}


def _category(skeleton: Skeleton) -> Entry:
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    return {"id": 1, "name": "person", "keypoints": list(skeleton.joints), "skeleton": limbs}


def picture_size(path: Path) -> Size:
    """Height and width from a picture's header; its pixels are not decoded.

    Raises:
        DataError: The file is missing or is not a picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except FileNotFoundError:
        problem, remedy = "the picture is missing", "get it, or read the annotations without pictures"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        problem, remedy = "this is not a picture that can be read", "copy or download it again"
    raise DataError(Defect(str(path), "", "", problem, remedy))


def clip_box(box: Sequence[float], size: Size) -> list[float]:
    """The part of a box (x, y, width, height) that lies in a picture of a size (height, width).

    >>> clip_box((-5.0, 10.0, 30.0, 80.0), (50, 60))
    [0.0, 10.0, 25.0, 40.0]
    """
    x, y, width, height = box
    left, top = min(max(x, 0.0), float(size[1])), min(max(y, 0.0), float(size[0]))
    right, bottom = min(max(x + width, 0.0), float(size[1])), min(max(y + height, 0.0), float(size[0]))
    return [left, top, right - left, bottom - top]


def write_document(document: Entry, file: Path) -> None:
    """Write a document whose picture sizes are known, its boxes clipped to the pictures; whole or not at all.

    A box that lies outside altogether becomes the whole picture.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    annotations = []
    for entry in document["annotations"]:
        height, width = sizes[entry["image_id"]]
        box = clip_box(entry["bbox"], (height, width))
        annotations.append(entry | {"bbox": box if min(box[2:]) > 0 else [0, 0, width, height]})
    write_atomically(file, json.dumps(document | {"annotations": annotations}).encode())
