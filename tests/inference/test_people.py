"""Whole data sets: batches do not matter, shares add up, and real detections come through."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from trained_runs import enliven

from calbook import geometry
from calbook.codecs import Codec, build_codec
from calbook.data import coco
from calbook.data.defects import DataError
from calbook.inference import (
    Boxes,
    Cutter,
    Job,
    Predictions,
    annotated_boxes,
    predict_crops,
    predict_people,
    read_boxes,
    stream,
)
from calbook.inference.result_files import read_results, results_name, to_results, write_results
from calbook.metrics import coco_ap
from calbook.models import build_model
from calbook.models.folding import fast_inference
from calbook.poses import PoseMaps
from calbook.skeletons import COCO

DETECTIONS = "person_detection_results/COCO_val2017_detections_AP_H_56_person.json"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return enliven(build_model("cal-hrnet-tiny"))


@pytest.fixture(scope="module")
def codec():
    return build_codec("cal", (64, 48), (16, 12))


@pytest.fixture(scope="module")
def expected(network, codec, people):
    return predict_people(network, codec, people)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_and_threads_do_not_matter(network, codec, people, expected, batch_size, workers):
    found = predict_people(network, codec, people, batch_size=batch_size, workers=workers)
    # Equal to the bit where this was written; another processor may round convolutions of other batches differently.
    torch.testing.assert_close(found.coords, expected.coords, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=1e-5)
    assert torch.equal(found.image_ids, people.image_ids)


def test_the_same_as_one_crop_at_a_time(network, codec, people, expected):
    cut = Cutter((64, 48))
    boxes = annotated_boxes(people).boxes
    for index in range(len(people)):
        crop = geometry.box_to_crop(boxes[index : index + 1].double(), (64, 48))
        pose = predict_crops(network, codec, cut(people.picture(index), crop), mirror=COCO.mirror)
        place = geometry.transform(pose.coords.double(), geometry.invert(geometry.crop_matrix(crop, (64, 48))))
        # The loop smooths floating-point pixels, the stream those of eight bits.
        assert (place[0].float() - expected.coords[index]).norm(dim=-1).median() < 0.5
        assert expected.areas[index] == pytest.approx(crop.extent.prod().item())


def test_folding_changes_nothing(network, codec, people, expected):
    plain = predict_people(network, codec, people, fast=False)
    torch.testing.assert_close(plain.scores, expected.scores, atol=1e-4, rtol=0)
    folded = predict_people(fast_inference(network), codec, people)
    assert torch.equal(folded.coords, expected.coords)


def test_each_picture_is_decoded_once_and_few_are_held(network, codec):
    opened, held, most = [], 0, 0

    def job(number: int) -> Job:
        def read() -> torch.Tensor:
            nonlocal held, most
            opened.append(number)
            held += 1
            most = max(most, held)
            return torch.full((3, 40, 30), number % 256, dtype=torch.uint8)

        return Job(number, read, torch.tensor([[0.0, 0.0, 30.0, 40.0]]).repeat(number % 4, 1))

    keys = []
    for found in stream(network, codec, map(job, range(60)), batch_size=4):
        held -= 1
        keys.append(found.key)
        assert found.coords.shape[0] == found.key % 4
        assert found.picture is None
    assert keys == list(range(60)) == sorted(opened)
    assert most < 20


def test_a_crowd_in_one_picture(network, codec):
    picture = torch.randint(256, (3, 60, 200), dtype=torch.uint8)
    boxes = torch.tensor([[float(x), 5.0, 20.0, 40.0] for x in range(150)])
    (found,) = stream(network, codec, [Job("crowd", lambda: picture, boxes)], batch_size=8)
    (again,) = stream(network, codec, [Job("crowd", lambda: picture, boxes)], batch_size=150)
    torch.testing.assert_close(found.coords, again.coords, atol=1e-5, rtol=1e-6)


def test_pictures_that_fill_the_memory_with_the_batch(network, codec, monkeypatch):
    """Eight photographs of twelve million pixels, a person in each, in batches of eight: no crop is left to wait."""
    monkeypatch.setattr(importlib.import_module("calbook.inference.stream"), "HELD_BYTES", 2 * 3 * 40 * 30 - 1)
    box = torch.tensor([[0.0, 0.0, 30.0, 40.0]])
    jobs = [Job(key, lambda: torch.zeros(3, 40, 30, dtype=torch.uint8), box) for key in range(5)]
    assert [found.key for found in stream(network, codec, jobs, batch_size=2, keep_pictures=True)] == list(range(5))


def test_memory_that_is_too_small_halves_the_batch(network, codec, people, expected, monkeypatch):
    module = importlib.import_module("calbook.inference.stream")  # the name itself is the function
    sizes = []

    def limited(model, codec, images, **options):
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError("too much")
        return predict_crops(model, codec, images, **options)

    monkeypatch.setattr(module, "predict_crops", limited)
    found = predict_people(network, codec, people)
    assert max(sizes) > 3
    torch.testing.assert_close(found.coords, expected.coords, atol=1e-5, rtol=1e-6)


def test_the_model_is_not_moved_or_changed(network, codec, people):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    predict_people(network, codec, people)
    assert network.training
    network.eval()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_damaged_picture_is_named(network, codec, people, data_folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(data_folder, copy)
    damaged = coco.read_split(copy, "val2017")
    victim = copy / "val2017" / damaged.file_names[0]
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(DataError, match=victim.name):
        predict_people(network, codec, damaged)


def test_a_process_that_others_have_left_says_so_in_a_line(network, codec, people, monkeypatch):
    module = importlib.import_module("calbook.inference.people")

    def alone(_: torch.Tensor) -> None:
        raise RuntimeError("Connection closed by peer\nGood luck")

    monkeypatch.setattr(module, "_share", lambda: (0, len(people)))
    monkeypatch.setattr(module.dist, "all_reduce", alone)
    with pytest.raises(DataError, match=r"another process has ended \(Connection closed by peer\); see what it said"):
        predict_people(network, codec, people, shared=True)


def test_pictures_must_be_those_that_were_annotated(network, codec, data_folder, people):
    with pytest.raises(DataError, match="read without their pictures' folder; name their folder"):
        predict_people(network, codec, replace(people, pictures=None))
    document = json.loads((data_folder / "annotations" / "person_keypoints_val2017.json").read_text())
    document["images"][0]["height"] += 1
    with pytest.raises(DataError, match=r"the picture is 128x96, annotated as 129x96 \(height x width\)"):
        predict_people(network, codec, coco.from_document(document, data_folder / "val2017"))


@pytest.mark.parametrize("name", ["shift", "cal", "offset0", "offset1"])
def test_published_decoders_in_picture_pixels(golden: Path, name: str) -> None:
    """Golden maps, from box to picture coordinates."""
    file = "udp" if name.startswith("offset") else "decode"
    data = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(golden / f"{file}.npz").items()}
    heatmaps = data[f"{name}_heatmaps"]
    size = (heatmaps.shape[2], heatmaps.shape[3])
    offsets = None
    if name == "cal":
        offsets = data["cal_offsets"].reshape(4, 17, 2, *size) * data["cal_locref_stdev"].float()
    elif file == "udp":
        offsets = data[f"{name}_offsets"] * float(data[f"{name}_kpd"])
    codec = {
        "shift": build_codec("heatmap", (256, 192), (64, 48), convention="biased"),
        "cal": build_codec("cal", (128, 96), (32, 24)),
    }.get(name, build_codec("offset", (4 * size[0], 4 * size[1]), size, blur=(15, 7)))
    count, prefix = len(heatmaps), "" if file == "udp" else f"{name}_"
    center, extent = data[f"{prefix}center"][:count], 200 * data[f"{prefix}scale"][:count]
    boxes = torch.cat([center - extent / 2.5, extent / 1.25], dim=1)

    class Golden(nn.Module):
        weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return PoseMaps(heatmaps[: len(images)], None if offsets is None else offsets[: len(images)])

    picture = torch.zeros(3, 20, 20, dtype=torch.uint8)
    (found,) = stream(Golden(), codec, [Job(0, lambda: picture, boxes)], fast=False)
    torch.testing.assert_close(found.coords, data[f"{name}_image_coords"].double(), atol=2e-3, rtol=1e-4)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> coco.CocoPeople:
    return coco.read_split(shared_data / "coco_mini", "val2017")


@pytest.fixture(scope="module")
def detected(real: coco.CocoPeople, shared_data: Path, network: nn.Module, codec: Codec) -> tuple[Boxes, Predictions]:
    boxes = read_boxes(shared_data / "coco_mini" / DETECTIONS, real)
    return boxes, predict_people(network, codec, real, boxes=boxes)


class TestRealData:
    def test_batches_do_not_matter(self, real, network, codec):
        rows = torch.arange(60)
        boxes = Boxes(real.image_ids[rows], real.boxes[rows], torch.ones(60), "gt")
        found = [predict_people(network, codec, real, boxes=boxes, batch_size=size) for size in (1, 7, 64)]
        assert (found[0].coords - found[2].coords).abs().max() < 1e-4
        difference = (found[1].coords - found[2].coords).abs()
        assert difference.max() < 1e-4

    def test_the_truth_scores_one(self, real):
        boxes = annotated_boxes(real)
        codec = build_codec("cal", (256, 192), (64, 48))
        crops = geometry.box_to_crop(boxes.boxes, codec.input_size, padding=2.0)  # all joints inside
        matrices = geometry.crop_matrix(crops, codec.input_size)
        targets = codec.encode(geometry.transform(real.joints, matrices), real.visible)
        pose = codec.decode(PoseMaps(targets.heatmaps, targets.offsets))
        coords = geometry.transform(pose.coords, geometry.invert(matrices))
        areas = crops.extent.prod(-1)
        coords = torch.where((real.visible > 0)[..., None], coords, coords.mean(1, keepdim=True))
        everyone = Predictions(coords, torch.ones(real.visible.shape), boxes.image_ids, boxes.scores, areas)
        results = to_results(everyone, real.skeleton, suppression="none")
        assert coco_ap(real.pycocotools_dict(), results)["AP"] == pytest.approx(1.0, abs=1e-3)

    def test_detections_through_rescoring_and_suppression(self, real, detected, tmp_path):
        boxes, found = detected
        assert (len(boxes), boxes.left_out) == (118, 0)
        counts = {
            variant: len(to_results(found, real.skeleton, suppression=variant)) for variant in ("hard", "soft", "none")
        }
        assert counts["none"] == 118
        assert 4 <= counts["hard"] < 118
        assert 4 <= counts["soft"] <= 4 * 20
        path = tmp_path / results_name("val2017", "cal tiny")
        results = to_results(found, real.skeleton)
        write_results(path, results)
        again = read_results(path)
        assert again == results
        assert all(len(pose["keypoints"]) == 51 and pose["category_id"] == 1 for pose in again)
        assert set(again[0]) == {"image_id", "category_id", "keypoints", "score"}
        assert set(coco_ap(real.pycocotools_dict(), again)) >= {"AP", "AR"}

    def test_rescoring(self, real, detected):
        boxes, found = detected
        pose = to_results(found, real.skeleton, suppression="none")[0]
        confident = found.scores[0][found.scores[0] > 0.2]
        mean = confident.mean().item() if len(confident) else 0.0
        assert pose["score"] == pytest.approx(boxes.scores[0].item() * mean, rel=1e-5)


GOOD = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the top level is not a list"),
        ([7], "entry 0: 7 is not an object"),
        *[([GOOD, {k: v for k, v in GOOD.items() if k != field}], f"entry 1: {field}: missing") for field in GOOD],
        ([GOOD | {"image_id": "1"}], "image_id: '1', not an integer"),
        ([GOOD | {"bbox": [1, 2, 3]}], "bbox: .*not four finite numbers"),
        ([GOOD | {"bbox": [1, 2, -3, 4]}], "bbox: .*not four finite numbers"),
        ([GOOD | {"bbox": [1, 2, 0, 0]}], "bbox: .*a point"),
        ([GOOD | {"score": None}], "score: None, not a finite number"),
        ([GOOD | {"image_id": 10**9}], "none of its 1 person boxes lies in a picture"),
        ([GOOD | {"bbox": [-50, 2, 30, 40]}], "none of its 1 person boxes lies in a picture"),
        ([], "none of its 0 person boxes"),
    ],
)
def test_malformed_detections_are_one_line(people, tmp_path, content, message):
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as raised:
        read_boxes(file, people)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_what_is_left_out_of_detections(people, tmp_path):
    file = tmp_path / "boxes.json"
    entries = [GOOD, GOOD | {"score": 0.1}, GOOD | {"bbox": [-50, 2, 30, 40]}, GOOD | {"category_id": 18}]
    file.write_text(json.dumps(entries))
    boxes = read_boxes(file, people, min_score=0.3)
    assert isinstance(boxes, Boxes)
    assert (len(boxes), boxes.left_out, boxes.source) == (1, 2, "boxes.json")


def test_a_threshold_above_all_scores_is_named(people, tmp_path):
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([GOOD, GOOD | {"image_id": 10**9}]))
    with pytest.raises(DataError, match=r"these pictures scores 0\.75 or more; choose a lower"):
        read_boxes(file, people, min_score=0.75)


def test_a_pose_without_confident_joints_scores_zero(people):
    nothing = Predictions(
        torch.zeros(2, 17, 2), torch.zeros(2, 17), torch.ones(2, dtype=torch.int64), torch.ones(2), torch.ones(2)
    )
    assert [pose["score"] for pose in to_results(nothing, people.skeleton, suppression="none")] == [0.0, 0.0]
