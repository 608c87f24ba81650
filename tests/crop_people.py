"""Small picture sets with people whose crops can be predicted, for tests of `calbook.data.crops`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.skeletons import COCO, Skeleton

Drawing = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def waves(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey values in [0, 1] that change slowly: a wave is 160 pixels long or more."""
    return 0.5 + 0.2 * np.sin(x / 29.0) + 0.2 * np.sin(y / 41.0 + 1) + 0.09 * np.sin((x + y) / 37.0)


def save(path: Path, size: tuple[int, int], draw: Drawing = waves) -> None:
    """A picture of height x width, JPEG at quality 97 without colour subsampling, or PNG."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    grey = np.clip(np.round(255 * draw(x, y)), 0, 255).astype(np.uint8)
    options = {"quality": 97, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(np.stack([grey] * 3, -1)).save(path, **options)


def people_in(
    folder: Path,
    boxes: list[tuple[float, float, float, float]],
    size: tuple[int, int] = (480, 640),
    draw: Drawing = waves,
    suffix: str = ".jpg",
    skeleton: Skeleton = COCO,
    per_picture: int = 1,
) -> CocoPeople:
    """People with given boxes (x, y, width, height), joints at random places in them, one of them not labelled."""
    folder.mkdir(parents=True, exist_ok=True)
    count = -(-len(boxes) // per_picture)
    names = [f"{i:03d}{suffix}" for i in range(count)]
    for name in names:
        save(folder / name, size, draw)
    places = torch.rand(len(boxes), skeleton.num_joints, 2, generator=torch.Generator().manual_seed(0))
    document = {
        "categories": [{"id": 1, "name": "person", "keypoints": list(skeleton.joints)}],
        "images": [
            {"id": i + 1, "file_name": name, "height": size[0], "width": size[1]} for i, name in enumerate(names)
        ],
        "annotations": [],
    }
    for i, ((x, y, width, height), place) in enumerate(zip(boxes, places.tolist(), strict=True)):
        keypoints = [value for u, v in place for value in (x + u * width, y + v * height, 2)]
        keypoints[3:6] = [0, 0, 0]
        document["annotations"].append(
            {
                "id": i + 1,
                "image_id": i // per_picture + 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [x, y, width, height],
                "area": width * height,
                "num_keypoints": skeleton.num_joints - 1,
                "keypoints": keypoints,
            }
        )
    return coco.from_document(document, folder)
