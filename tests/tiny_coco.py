"""A small sound data folder in COCO's layout, for tests to break."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

JOINTS = ("nose", "left_knee", "right_knee")
SPLIT = "val2017"


def document() -> dict[str, Any]:
    """Three pictures; two persons, one crowd, one person without joints, one dog."""
    return {
        "categories": [
            {"id": 1, "name": "person", "keypoints": list(JOINTS), "skeleton": [[1, 2], [1, 3]]},
            {"id": 18, "name": "dog"},
        ],
        "images": [{"id": i, "file_name": f"{i:04d}.jpg", "width": 60, "height": 80} for i in (1, 2, 3)],
        "annotations": [
            person(10, image_id=1),
            person(11, image_id=2, keypoints=[20.5, 30, 2, 0, 0, 0, 50, 5, 1], num_keypoints=2, bbox=[5, 5, 40, 50]),
            person(12, image_id=2, keypoints=[0] * 9, num_keypoints=0, iscrowd=1),
            person(13, image_id=3, keypoints=[0] * 9, num_keypoints=0),
            {"id": 14, "image_id": 3, "category_id": 18, "bbox": [0, 0, 0, 0], "iscrowd": 0},
        ],
    }


def person(number: int, **changes: Any) -> dict[str, Any]:
    """One annotated person, 20 wide and 40 high at (10, 20)."""
    sound = {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [10, 20, 20, 40],
        "area": 500.0,
        "num_keypoints": 3,
        "keypoints": [20, 22, 2, 15, 50, 2, 25, 52, 1],
    }
    return sound | changes


def write(folder: Path, content: Any = None) -> Path:
    """Write the folder with its pictures; the annotations as given, a document or a text."""
    (folder / SPLIT).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    for i in (1, 2, 3):
        Image.fromarray(pixels).save(folder / SPLIT / f"{i:04d}.jpg")
    file = folder / "annotations" / f"person_keypoints_{SPLIT}.json"
    file.parent.mkdir()
    file.write_text(content if isinstance(content, str) else json.dumps(document() if content is None else content))
    return file
