"""Everything in the package that reads from outside, each with the inputs to damage."""

import gzip
import io
import json
import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import numpy as np
import tiny_coco
from fuzz.attempts import Reader
from fuzz.damage import damaged_bytes, either, odd, put
from fuzz.data_sets import DATA_SETS
from fuzz.weights import WEIGHTS
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from calbook import results, runs
from calbook.bookbuild.book import Book, BookError
from calbook.bookbuild.notebooks import read_notebook
from calbook.bookbuild.parameters import parse_assignments, validated
from calbook.data import coco
from calbook.data.check import Report, check
from calbook.data.defects import DataError
from calbook.data.pictures import open_picture
from calbook.method import build_method
from calbook.results import ResultsError
from calbook.skeletons import COCO

Action = Callable[[], Any]


# Annotations and data folders.


def _annotations(rng: random.Random, folder: Path) -> Action:
    content, name = either(rng, tiny_coco.document()), "person_keypoints_val2017.json"
    if rng.random() < 0.2:
        content, name = gzip.compress(content), name + ".gz"
        if rng.random() < 0.5:
            content = damaged_bytes(rng, content)
    path = put(folder, name, content)
    return lambda: coco.read(path, folder)


def _check_people(people: coco.CocoPeople) -> None:
    count, joints = len(people), people.skeleton.num_joints
    assert people.boxes.shape == (count, 4)
    assert people.joints.shape == (count, joints, 2)
    assert all(part.isfinite().all() for part in (people.boxes, people.joints))
    assert set(people.visible.flatten().tolist()) <= {0, 1, 2}
    assert len(people.pycocotools_dict()["annotations"]) >= count


def _data_folder(rng: random.Random, folder: Path) -> Action:
    tiny_coco.write(folder / "set")
    file = folder / "set" / "annotations" / f"person_keypoints_{tiny_coco.SPLIT}.json"
    if rng.random() < 0.8:
        file.write_bytes(either(rng, tiny_coco.document()))
    if rng.random() < 0.5:
        picture = folder / "set" / tiny_coco.SPLIT / "0001.jpg"
        picture.write_bytes(damaged_bytes(rng, picture.read_bytes()))
    return lambda: check(folder / "set")


def _check_report(report: Report) -> None:
    lines = [*map(str, report.defects), *report.summary]
    assert all(line and line.isprintable() and len(line) < 4000 for line in lines), lines


# Pictures.


@cache
def _pictures() -> list[tuple[str, bytes]]:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    kinds: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("a.jpg", picture, {}),
        ("b.jpg", picture, {"progressive": True, "quality": 30}),
        ("c.jpg", picture.convert("CMYK"), {}),
        ("d.png", picture, {}),
        ("e.png", picture.quantize(16), {}),
        ("f.png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 200), {}),
        ("g.webp", picture, {}),
        ("h.bmp", picture, {}),
        ("i.gif", picture, {}),
        ("j.tif", picture, {"compression": "tiff_lzw"}),
    ]
    made = []
    for name, image, options in kinds:
        file = io.BytesIO()
        image.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(name[2:], name[2:].upper()), **options)
        made.append((name, file.getvalue()))
    return made


def _picture(rng: random.Random, folder: Path) -> Action:
    name, content = rng.choice(_pictures())
    path = put(folder, name, damaged_bytes(rng, content))
    return lambda: open_picture(path)


def _check_picture(pixels: Tensor) -> None:
    assert pixels.ndim == 3
    assert pixels.shape[0] == 3
    assert pixels.isfinite().all()


# Results files and published tables.

RECORD: dict[str, Any] = {
    "experiment": "fuzzing",
    "command": "python benchmarks/faults.py",
    "settings": {"size": [64, 48], "seed": None, "data": "../shared"},
    "figures": {"argmax": {"mean": 0.38, "joints": 7}, "ap": [0.5, 1.0], "verdict": "yes"},
    "seconds": 1.5,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "a", "cores": 2, "device": "cpu", "system": "Linux"},
    "versions": dict.fromkeys(("python", "torch", "numpy", "pycocotools", "calbook"), "1.0"),
    "commit": {"hash": "0" * 40, "dirty": False},
}


def _results_file(rng: random.Random, folder: Path) -> Action:
    path = put(folder, "a.json", either(rng, RECORD))
    return lambda: results.read(path)


def _check_record(record: Any) -> None:
    assert set(record) | {"sha256"} == set(results.FIELDS)  # files of the first days have no digest
    assert math.isfinite(record["seconds"])
    json.dumps(record["figures"], allow_nan=False)


def _new_results(rng: random.Random, folder: Path) -> Action:
    """Writing what does not belong in a results file."""
    record = {key: RECORD[key] for key in ("experiment", "command", "settings", "figures", "seconds")}
    record[rng.choice(("settings", "figures"))] = {"a": {rng.choice(("b", "", "\n", "\ud800")): odd(rng)}}
    path = folder / "made" / "a.json"

    def act() -> Any:
        try:
            with patch.object(results, "commit", lambda: None):  # asking git starts a process
                results.write(path, **record, device="cpu")
        except ResultsError:
            assert not path.exists()
            raise
        return results.read(path)

    return act


# Chapters and their parameters.


@cache
def _chapter() -> str:
    cells = [nbformat.v4.new_markdown_cell("# A"), nbformat.v4.new_code_cell("seed: int = 0\nshare: float = 0.5")]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return str(nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=kernel)))


def _chapters(rng: random.Random, folder: Path) -> Action:
    toc, notebook, words = b"format: jb-book\nroot: 01_a\n", _chapter().encode(), ["seed=1"]
    part = rng.randrange(3)
    if part == 0:
        toc = damaged_bytes(rng, toc)
    elif part == 1:
        notebook = either(rng, json.loads(notebook))
    else:
        value = rng.choice((odd(rng), rng.uniform(-9, 9), "9" * 5000, "nan", "0x1", "1e400", "__import__('os')"))
        words = [f"{rng.choice(('seed', 'share', 'sede', '', 'a b', 'seed' * 50))}{rng.choice(('=', '=', ''))}{value}"]
    put(folder, "_toc.yml", toc)
    put(folder, "01_a.ipynb", notebook)

    def act() -> Any:
        (chapter,) = Book(folder).choose(["01_a"])
        read_notebook(chapter.source)
        return validated(chapter, parse_assignments(words))

    return act


def _check_parameters(values: Any) -> None:
    assert isinstance(values, dict)
    assert all(type(value) in (int, float, str, bool) for value in values.values())


# Run folders.


@cache
def _run_parts() -> tuple[dict[str, Any], bytes]:
    method = build_method("hrnet-tiny", (64, 48))
    tensors = {name: tensor.contiguous() for name, tensor in method.build_model(17).state_dict().items()}
    from dataclasses import asdict

    return {"method": asdict(method), "skeleton": runs.skeleton_to_dict(COCO), "training": {}}, save(tensors)


def _run_folder(rng: random.Random, folder: Path) -> Action:
    config, weights = _run_parts()
    part = rng.random()
    put(folder, "config.json", either(rng, config) if part < 0.7 else json.dumps(config).encode())
    put(folder, "weights/best.safetensors", damaged_bytes(rng, weights) if part > 0.65 else weights)
    return lambda: runs.load(folder)


def _check_trained(trained: runs.Trained) -> None:
    assert not trained.model.training
    assert trained.skeleton.num_joints >= 1


READERS = [
    Reader("annotations", _annotations, (DataError,), _check_people),
    Reader("data folder", _data_folder, (), _check_report),
    Reader("pictures", _picture, (DataError,), _check_picture),
    Reader("results files", _results_file, (ResultsError,), _check_record),
    Reader("new results", _new_results, (ResultsError,), _check_record),
    Reader("chapters and parameters", _chapters, (BookError,), _check_parameters),
    *DATA_SETS,
    *WEIGHTS,
    Reader("run folders", _run_folder, (DataError,), _check_trained),
]
