"""Predicted poses as a COCO document, written picture by picture."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from torch import Tensor

from calbook.inference.sources import Origin
from calbook.inference.stream import PicturePoses
from calbook.skeletons import Skeleton


class PoseWriter:
    """A COCO document of pictures and the people found in them, in memory that does not grow.

    The file appears when the block ends, whole; after an error it does not. It can be
    corrected by hand and read as annotations again. A joint has v = 2 if it scores above
    the threshold, else it is 0, 0, 0; ``keypoint_scores`` holds all scores. There is no
    ``area``, since nobody has measured it.

    Args:
        path: The file.
        skeleton: Joints and limbs.
        threshold: Least score of a joint that is written.
        info: What the file should say about its origin.

    Attributes:
        pictures: How many were written.
        people: How many people in them.
    """

    def __init__(self, path: Path, skeleton: Skeleton, threshold: float, info: dict[str, Any]) -> None:
        self.path, self.threshold, self.info = path, threshold, info
        self.category = {
            "id": 1,
            "name": "person",
            "keypoints": list(skeleton.joints),
            "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
        }
        self.pictures = self.people = 0
        self._parts = [path.with_name(f".{path.name}.{os.getpid()}.{part}.partial") for part in ("all", "images")]

    def __enter__(self) -> "PoseWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._document, self._images = (part.open("w", encoding="utf-8") for part in self._parts)
        self._document.write('{"annotations": [')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._images.close()
            if kind is None:
                self._complete()
            self._document.close()
            if kind is None:
                self._parts[0].replace(self.path)
        finally:
            self._document.close()
            for part in self._parts:
                part.unlink(missing_ok=True)

    def add(self, found: PicturePoses) -> None:
        """Write the poses of a picture, in the pixels of its file."""
        origin: Origin = found.key
        assert found.picture is not None  # the stream was asked for it
        shape = (found.picture.shape[1], found.picture.shape[2])
        size = origin.size or shape
        scale = torch.tensor([size[1] / shape[1], size[0] / shape[0]], dtype=torch.float64)
        coords = (found.coords + 0.5) * scale - 0.5  # where the picture was reduced to fit the memory
        boxes = found.boxes * scale.repeat(2)
        self.pictures += 1
        image = {"id": self.pictures, "file_name": origin.name, "width": size[1], "height": size[0]}
        _append(self._images, image, first=self.pictures == 1)
        certain = torch.ones(len(boxes)) if origin.box_scores is None else origin.box_scores
        for box, points, scores, box_score in zip(boxes, coords, found.scores, certain, strict=True):
            self._add_person(box, points, scores, float(box_score))

    def _add_person(self, box: Tensor, points: Tensor, scores: Tensor, box_score: float) -> None:
        self.people += 1
        sure = scores > self.threshold
        values = torch.cat([points.round(decimals=2), torch.full_like(points[:, :1], 2.0)], dim=1) * sure[:, None]
        person = {
            "id": self.people,
            "image_id": self.pictures,
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [round(value, 2) for value in box.tolist()],
            "num_keypoints": int(sure.sum()),
            "keypoints": [int(value) if i % 3 == 2 else value for i, value in enumerate(values.flatten().tolist())],
            "keypoint_scores": [round(value, 4) for value in scores.tolist()],
            "score": round(box_score * float(scores[sure].mean()) if bool(sure.any()) else 0.0, 4),
        }
        _append(self._document, person, first=self.people == 1)

    def _complete(self) -> None:
        """The rest of the document after its annotations."""
        self._document.write('],\n"images": [')
        with self._parts[1].open(encoding="utf-8") as images:
            for line in images:
                self._document.write(line)
        rest = {"categories": [self.category], "info": self.info}
        self._document.write(f"],\n{json.dumps(rest, ensure_ascii=False)[1:-1]}}}\n")


def _append(file: IO[str], entry: dict[str, Any], *, first: bool) -> None:
    file.write(f"{'' if first else ','}\n{json.dumps(entry, ensure_ascii=False, allow_nan=False)}")
