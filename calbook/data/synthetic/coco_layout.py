"""A synthetic data set on disk, in COCO's layout, for the readers of real data.

Everything COCO's person-keypoint files have, with one difference: outlines are
not written (``segmentation`` is an empty list); ``area`` is the exact number of
visible pixels all the same.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm

from calbook.data.synthetic.config import PHOTOGRAPHS, SceneConfig, SyntheticBatch
from calbook.data.synthetic.rendering import render
from calbook.geometry import Size
from calbook.skeletons import COCO

QUALITY = 92  # of the JPEG files
_BATCH = 32  # pictures rendered between two steps of the progress bar


def write_coco(
    folder: Path | str,
    split: str,
    count: int,
    size: Size = (256, 192),
    seed: int = 0,
    progress: bool = True,
    config: SceneConfig = PHOTOGRAPHS,
    overwrite: bool = False,
) -> Path:
    """Write ``count`` pictures and their annotations; all of them or nothing.

    The result is ``<folder>/<split>/000000000001.jpg`` and so on, and
    ``<folder>/annotations/person_keypoints_<split>.json``. Both are made under
    temporary names beside their place and moved when complete.

    Args:
        folder: The data folder; other splits in it are left alone.
        split: Name of the split, for example ``"train2017"``.
        count: Number of pictures.
        size: Height and width of the pictures.
        seed: Seed of the series. Use different seeds for different splits.
        progress: Whether to show a progress bar.
        config: Distribution of the scenes.
        overwrite: Whether to replace an existing split. It stays as it is unless
            everything succeeds.

    Returns:
        Path of the annotation file.

    Raises:
        FileExistsError: If the split exists, is not empty and ``overwrite`` is false.
        ValueError: If ``count`` is below 1 or ``split`` is not a plain name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_coco(folder, "val", count=2, size=(64, 48), progress=False)
    ...     sorted(path.name for path in (Path(folder) / "val").iterdir())
    ['000000000001.jpg', '000000000002.jpg']
    """
    folder = Path(folder)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not split or Path(split).name != split or split in (".", "..", "annotations"):
        raise ValueError(f"split must be a plain folder name, got {split!r}")
    pictures = folder / split
    annotations = folder / "annotations" / f"person_keypoints_{split}.json"
    taken = annotations.exists() or (pictures.is_dir() and any(pictures.iterdir()))
    if taken and not overwrite:
        remedy = "choose another name or overwrite it (overwrite=True, on the command line --overwrite)"
        raise FileExistsError(f"{folder} already has a split {split!r}: {remedy}")
    annotations.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=folder))
    try:
        (draft / "pictures").mkdir()
        content = _write_pictures(draft / "pictures", count, size, seed, progress, config)
        (draft / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
        _install(draft, pictures, annotations)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return annotations


def _install(draft: Path, pictures: Path, annotations: Path) -> None:
    """Move the finished pictures and annotations to their place, or put back what was there."""
    old = draft.with_name(f"{draft.name}-old")  # not in the draft, which is deleted whatever happens
    try:
        if pictures.exists():
            pictures.rename(old)
        (draft / "pictures").rename(pictures)
        (draft / "annotations.json").replace(annotations)
    except BaseException:
        if (draft / "annotations.json").exists():  # else all is in place already
            if not (draft / "pictures").exists():
                pictures.rename(draft / "pictures")
            if old.exists():
                old.rename(pictures)
        raise
    finally:
        if not (draft / "annotations.json").exists():
            shutil.rmtree(old, ignore_errors=True)


def _write_pictures(
    folder: Path, count: int, size: Size, seed: int, progress: bool, config: SceneConfig
) -> dict[str, Any]:
    content = _header(seed)
    with tqdm(total=count, desc="synthetic people", unit="picture", disable=not progress) as bar:
        for start in range(0, count, _BATCH):
            batch = render(seed, min(_BATCH, count - start), size, start=start, config=config)
            levels = (batch.pictures * 255 + 0.5).floor().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            for i, picture in enumerate(levels):
                number = start + i + 1
                name = f"{number:012d}.jpg"
                Image.fromarray(picture).save(folder / name, quality=QUALITY)
                content["images"].append(
                    {"id": number, "file_name": name, "height": size[0], "width": size[1], "license": 1}
                )
                content["annotations"] += _people(batch, i, number, len(content["annotations"]) + 1)
            bar.update(len(levels))
    return content


def _header(seed: int) -> dict[str, Any]:
    """All that comes before images and annotations."""
    return {
        "info": {
            "description": "Synthetic people of calbook",
            "version": "1.0",
            "contributor": "calbook",
            "seed": seed,
        },
        "licenses": [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(COCO.joints),
                "skeleton": [[a + 1, b + 1] for a, b in COCO.limbs],
            }
        ],
        "images": [],
        "annotations": [],
    }


def _people(batch: SyntheticBatch, index: int, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """Annotations of picture ``index`` of a batch, numbered from ``first_id``.

    In tiny pictures a person may be too thin to have a pixel that is mostly theirs:
    such a person has no box and is left out.
    """
    entries: list[dict[str, Any]] = []
    for person in (batch.areas[index] > 0).nonzero()[:, 0].tolist():
        visible = batch.visible[index, person]
        keypoints = torch.cat([batch.joints[index, person].double(), visible[:, None].double()], -1)
        entries.append(
            {
                "id": first_id + len(entries),
                "image_id": image_id,
                "category_id": 1,
                "iscrowd": 0,
                "num_keypoints": int((visible > 0).sum()),
                "keypoints": [round(v, 3) if k % 3 < 2 else int(v) for k, v in enumerate(keypoints.flatten().tolist())],
                "bbox": batch.boxes[index, person].tolist(),
                "area": float(batch.areas[index, person]),
                "segmentation": [],
            }
        )
    return entries
