"""MPII's, LSP's and detectors' files, damaged."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mpii_mat
import numpy as np
import tiny_coco
from fuzz.attempts import Reader
from fuzz.damage import damaged_bytes, either, odd, put
from PIL import Image
from scipy.io import savemat

from calbook.data import coco, lsp, mpii
from calbook.data.defects import DataError
from calbook.inference.boxes import Boxes, read_boxes
from calbook.skeletons import LSP, MPII

Action = Callable[[], Any]


@cache
def _mpii_json() -> list[dict[str, Any]]:
    sound = {
        "image": "a.jpg",
        "joints": [[10.0 + k, 20.0 + 2 * k] for k in range(MPII.num_joints)],
        "joints_vis": [0] + [1] * (MPII.num_joints - 1),
        "center": [101.0, 61.0],
        "scale": 0.5,
    }
    return [sound, sound | {"image": "b.jpg"}]


@cache
def _mpii_mat(folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    return mpii_mat.write_mat(folder, *(mpii_mat.of_json(entry) for entry in _mpii_json())).read_bytes()


def _mpii_csv(rng: random.Random) -> bytes:
    columns = ["ID", "NAME", *(f"{joint}_{axis}" for joint in mpii._COLUMNS for axis in "XY"), "Scale", "Activity"]
    row: dict[str, Any] = {"ID": 1, "NAME": "a.jpg", "Scale": 0.5, "Activity": "rowing, upright"}
    for k, joint in enumerate(mpii._COLUMNS):
        row |= {f"{joint}_X": 10.0 + k, f"{joint}_Y": 20.0 + 2 * k}
    if damage := rng.random() < 0.6:
        row[rng.choice(columns)] = odd(rng)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerow(row)
    content = text.getvalue().encode(errors="surrogatepass")
    return content if damage else damaged_bytes(rng, content)


def _mpii(rng: random.Random, folder: Path) -> Action:
    kind = rng.randrange(4)
    if kind == 0:
        path = put(folder, "a.mat", damaged_bytes(rng, _mpii_mat(folder.parent)))
    elif kind == 1:
        path = put(folder, "a.csv.gz", damaged_bytes(rng, gzip.compress(_mpii_csv(random.Random(1)))))
    elif kind == 2:
        path = put(folder, "a.csv", _mpii_csv(rng))
    else:
        path = put(folder, "a.json", either(rng, _mpii_json()))
    return lambda: mpii.read(path)


def _check_persons(people: coco.CocoPeople) -> None:
    assert people.boxes.shape == (len(people), 4)
    assert people.joints.isfinite().all()
    assert set(people.visible.flatten().tolist()) <= {0, 1, 2}


@cache
def _lsp_mat() -> bytes:
    k, n = np.meshgrid(np.arange(14.0), np.arange(3.0))
    file = io.BytesIO()
    savemat(file, {"joints": np.stack([10 + k + n, 20 + 2 * k, 0 * k], axis=-1).transpose(2, 1, 0)})
    return file.getvalue()


def _lsp(rng: random.Random, folder: Path) -> Action:
    (folder / "images").mkdir()
    for number in range(1, 4):
        Image.new("RGB", (50, 60)).save(folder / "images" / f"im{number:04d}.jpg")
    put(folder, "joints.mat", damaged_bytes(rng, _lsp_mat()))
    return lambda: lsp.read(folder)


def _check_lsp(people: coco.CocoPeople) -> None:
    assert people.skeleton is LSP
    _check_persons(people)


def _boxes(rng: random.Random, folder: Path) -> Action:
    document = tiny_coco.document()
    people = coco.from_document(document)
    entries = [
        {"image_id": image, "category_id": 1, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.75} for image in (1, 2, 3)
    ]
    path = put(folder, "boxes.json", either(rng, json.loads(json.dumps(entries))))
    return lambda: read_boxes(path, people)


def _check_boxes(boxes: Boxes) -> None:
    assert boxes.boxes.shape == (len(boxes), 4)
    assert boxes.boxes.isfinite().all()
    assert boxes.scores.isfinite().all()


DATA_SETS = [
    Reader("MPII", _mpii, (DataError,), _check_persons),
    Reader("LSP", _lsp, (DataError,), _check_lsp),
    Reader("detector's boxes", _boxes, (DataError,), _check_boxes),
]
