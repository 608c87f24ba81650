"""Test sets without annotations, whose poses only COCO's server can score."""

from pathlib import Path
from typing import Any

import torch

from calbook.data.annotations import is_integer, is_picture_name, load
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError, Defect
from calbook.skeletons import Skeleton


def image_info_file(folder: Path | str, split: str) -> Path:
    """COCO's list of the pictures of a test set, ``annotations/image_info_<split>.json``."""
    return Path(folder) / "annotations" / f"image_info_{split}.json"


def read_unlabelled(folder: Path | str, split: str, skeleton: Skeleton) -> CocoPeople:
    """The pictures of a test set, with nobody annotated in them.

    Args:
        folder: A folder in COCO's layout. The pictures of ``test-dev2017`` are in ``test2017/``.
        split: Such as ``test-dev2017``.
        skeleton: The joints that will be predicted.

    Raises:
        DataError: The list of pictures is malformed.
        OSError: It cannot be opened.
    """
    path = image_info_file(folder, split)
    document = load(path)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list):
        raise DataError(Defect(str(path), "", "images", "missing or not a list", "download the file again"))
    for index, image in enumerate(images):
        _check(image, f"image at index {index}", path)
    pictures = Path(folder) / split
    if not pictures.is_dir():
        pictures = Path(folder) / split.replace("-dev", "").replace("-challenge", "")
    joints = skeleton.num_joints
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.joints), "skeleton": []}
    return CocoPeople(
        skeleton=skeleton,
        boxes=torch.zeros(0, 4),
        joints=torch.zeros(0, joints, 2),
        visible=torch.zeros(0, joints, dtype=torch.int64),
        areas=torch.zeros(0),
        image_ids=torch.zeros(0, dtype=torch.int64),
        ids=torch.zeros(0, dtype=torch.int64),
        picture_sizes=torch.zeros(0, 2, dtype=torch.int64),
        file_names=(),
        pictures=pictures,
        _document={"images": images, "categories": [category], "annotations": []},
    )


def _check(image: Any, entry: str, path: Path) -> None:
    rules = {"id": is_integer, "file_name": is_picture_name, "width": is_integer, "height": is_integer}
    for field, is_sound in rules.items():
        if not isinstance(image, dict) or not is_sound(image.get(field)):
            raise DataError(Defect(str(path), entry, field, "missing or malformed", "download the file again"))
