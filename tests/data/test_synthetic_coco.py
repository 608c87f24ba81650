"""The synthetic set on disk is a COCO set."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import coco as pycoco

from calbook.data.check import check
from calbook.data.coco import read
from calbook.data.synthetic import PHOTOGRAPHS, coco_layout, render, write_coco
from calbook.skeletons import COCO

SIZE = (96, 64)
COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_coco(folder, "val2017", COUNT, SIZE, seed=5, progress=False)
    return folder


@pytest.fixture(scope="module")
def content(folder):
    return json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())


def test_pictures_are_on_disk_as_rendered(folder, content):
    batch = render(5, COUNT, SIZE, config=PHOTOGRAPHS)
    for i, entry in enumerate(content["images"]):
        assert entry["file_name"] == f"{i + 1:012d}.jpg"
        picture = np.asarray(Image.open(folder / "val2017" / entry["file_name"]))
        assert picture.shape == (entry["height"], entry["width"], 3) == (*SIZE, 3)
        error = torch.from_numpy(picture / 255.0).permute(2, 0, 1) - batch.pictures[i]
        assert error.square().mean().sqrt() < 0.05  # JPEG


def test_annotations_are_the_labels(content):
    batch = render(5, COUNT, SIZE, config=PHOTOGRAPHS)
    people = batch.present.nonzero()
    assert len(content["annotations"]) == len(people)
    for entry, (i, p) in zip(content["annotations"], people.tolist(), strict=True):
        assert entry["image_id"] == i + 1
        keypoints = torch.tensor(entry["keypoints"]).reshape(17, 3)
        torch.testing.assert_close(keypoints[:, :2], batch.joints[i, p], atol=6e-4, rtol=0)
        assert keypoints[:, 2].tolist() == batch.visible[i, p].tolist()
        assert entry["num_keypoints"] == int((keypoints[:, 2] > 0).sum()) > 0
        assert entry["bbox"] == batch.boxes[i, p].tolist()
        assert entry["area"] == batch.areas[i, p].item() > 0
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, len(people) + 1))


def test_pycocotools_reads_it(folder):
    read = pycoco.COCO(str(folder / "annotations" / "person_keypoints_val2017.json"))
    assert len(read.getImgIds()) == COUNT
    assert read.loadCats([1])[0]["keypoints"] == list(COCO.joints)
    assert all(1 <= joint <= 17 for limb in read.loadCats([1])[0]["skeleton"] for joint in limb)


def test_an_existing_split_is_kept(folder, content):
    with pytest.raises(FileExistsError, match="val2017"):
        write_coco(folder, "val2017", 1, SIZE, progress=False)
    write_coco(folder, "train2017", 2, SIZE, seed=1, progress=False)
    assert len(list((folder / "val2017").iterdir())) == COUNT
    assert len(list((folder / "train2017").iterdir())) == 2


def test_overwriting_replaces_all_of_it(tmp_path):
    write_coco(tmp_path, "val", 3, (32, 24), progress=False)
    write_coco(tmp_path, "val", 1, (32, 24), seed=1, progress=False, overwrite=True)
    assert [path.name for path in (tmp_path / "val").iterdir()] == ["000000000001.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "val"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_overwriting_that_fails_puts_back_what_was_there(tmp_path, monkeypatch, error, step):
    """Old pictures aside, new pictures in place, new annotations in place: each step may fail."""
    write_coco(tmp_path, "val", 3, (32, 24), progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    calls = []

    def failing(method):
        def move(path, target):
            calls.append(path)
            if len(calls) == step:
                raise error
            return method(path, target)

        return move

    monkeypatch.setattr(Path, "rename", failing(Path.rename))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    with pytest.raises(type(error)):
        write_coco(tmp_path, "val", 1, (32, 24), seed=1, progress=False, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "val"]


def test_old_pictures_survive_even_if_they_cannot_be_put_back(tmp_path, monkeypatch):
    write_coco(tmp_path, "val", 3, (32, 24), progress=False)
    before = sorted(path.read_bytes() for path in tmp_path.rglob("*.jpg"))
    rename = Path.rename
    calls = []

    def failing(path, target):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output error"):
        write_coco(tmp_path, "val", 1, (32, 24), seed=1, progress=False, overwrite=True)
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.jpg")) == before


@pytest.mark.parametrize("seed", range(3))
def test_everybody_written_can_be_seen(tmp_path, seed):
    """In pictures this small some people have no pixel of their own."""
    batch = render(seed, 100, (16, 16), config=PHOTOGRAPHS)
    assert (batch.present & (batch.areas == 0)).any()
    people = read(write_coco(tmp_path, "val", 100, (16, 16), seed, progress=False))
    assert len(people) == (batch.areas > 0).sum()
    assert (people.boxes[:, 2:] >= 1).all()
    assert check(tmp_path).passed


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no light")

    monkeypatch.setattr(coco_layout, "_people", fail)
    with pytest.raises(RuntimeError, match="no light"):
        write_coco(tmp_path / "data", "val", 2, (32, 24), progress=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "data" / "val").exists()


@pytest.mark.parametrize(("split", "count"), [("../up", 1), ("", 1), ("a/b", 1), ("val", 0)])
def test_bad_arguments_are_named(tmp_path, split, count):
    with pytest.raises(ValueError, match=r"split|count"):
        write_coco(tmp_path, split, count, (32, 24), progress=False)
