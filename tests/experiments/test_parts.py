"""Trunk, displacements, codecs of evaluations, upscaling, sets."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from calbook import experiments
from calbook.data.defects import DataError
from calbook.experiments import get, trunk
from calbook.experiments.displacement import describe, displacements
from calbook.experiments.experiment import Evaluation
from calbook.experiments.presets import PRESETS
from calbook.experiments.scoring import codec_of
from calbook.experiments.search import best_rates
from calbook.experiments.sets import SPLITS, people_of, prepare
from calbook.experiments.trunk import WIDTH, limb_labels
from calbook.experiments.upscaling import UpscalingCutter
from calbook.geometry import box_to_crop, stride
from calbook.method import Method
from calbook.models import build_model
from calbook.skeletons import COCO
from calbook.training.folder import load_numbers
from calbook.training.network import warm_start


def test_limbs_are_labelled_as_by_hand():
    draw = torch.Generator().manual_seed(0)
    joints, visible = torch.rand(2, 17, 2, generator=draw) * 50, torch.randint(0, 3, (2, 17), generator=draw)
    labels = limb_labels(joints, visible, COCO.limbs, (64, 48), (16, 12))
    step = torch.tensor(stride((64, 48), (16, 12), "unbiased"))
    for person in range(2):
        for y in range(16):
            for x in range(12):
                distances = {
                    number: to_segment((x, y), *(joints[person, [a, b]] / step).tolist())
                    for number, (a, b) in enumerate(COCO.limbs, 1)
                    if visible[person, a] > 0 and visible[person, b] > 0
                }
                nearest, label = min(distances.values()), int(labels[person, y, x])
                assert (label > 0) == (nearest <= WIDTH)
                assert label == 0 or distances[label] == pytest.approx(nearest, abs=1e-4)  # limbs meet in joints


def to_segment(point, first, second):
    way = [second[0] - first[0], second[1] - first[1]]
    length = way[0] ** 2 + way[1] ** 2
    share = ((point[0] - first[0]) * way[0] + (point[1] - first[1]) * way[1]) / length if length else 0.0
    share = min(max(share, 0.0), 1.0)
    return math.hypot(point[0] - first[0] - share * way[0], point[1] - first[1] - share * way[1])


@pytest.mark.parametrize("name", ["hrnet-tiny", "cal-hrnet-tiny", "udp-hrnet-tiny", "offset-hrnet-tiny"])
def test_every_method_begins_from_the_whole_trunk_and_from_nothing_more(tmp_path, name):
    torch.manual_seed(0)
    trunk = {key: value for key, value in build_model("hrnet-tiny").state_dict().items() if key.startswith("trunk.")}
    save_file({key: value.contiguous() for key, value in trunk.items()}, tmp_path / "trunk.safetensors")
    torch.manual_seed(1)
    model = build_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    warm_start(model, str(tmp_path / "trunk.safetensors"))
    after = model.state_dict()
    assert {key for key in after if key.startswith("trunk.")} == trunk.keys()
    assert all(torch.equal(after[key], value) for key, value in trunk.items())
    assert all(torch.equal(after[key], before[key]) for key in after if not key.startswith("trunk."))
    assert load_file(tmp_path / "trunk.safetensors").keys() == trunk.keys()


def test_the_kept_trunk_is_what_the_laptop_preset_asks_for_and_is_trained_no_second_time(tmp_path, monkeypatch):
    monkeypatch.setattr(trunk, "_train", lambda *_: pytest.fail("trained"))
    experiment = get("cal-w32-64x48").at("laptop")
    file = trunk.trunk_weights(experiment, tmp_path / "data", tmp_path / "runs")
    assert file == tmp_path / "runs" / "laptop" / "trunk-tiny.safetensors"
    assert file.read_bytes() == (trunk.KEPT / "trunk-tiny-laptop.safetensors").read_bytes()
    assert load_numbers(file)["steps"] == PRESETS["laptop"].trunk_steps
    tensors, model = load_file(file), experiment.method.build_model(17)
    shapes = {key: value.shape for key, value in model.state_dict().items() if key.startswith("trunk.")}
    assert {key: value.shape for key, value in tensors.items()} == shapes


def test_displacements_are_described():
    draw = torch.Generator().manual_seed(1)
    moves = torch.randn(6000, 2, generator=draw) * torch.tensor([0.5, 2.0]) + torch.tensor([1.0, 0.0])
    found = describe(moves)
    assert found["mean_x"] == pytest.approx(1.0, abs=0.02)
    assert found["spread_y"] == pytest.approx(2.0, abs=0.05)
    assert abs(found["kurtosis_y"]) < 0.25
    assert found["likelihood_2"] - found["likelihood_1"] < 0.002
    assert sum(found["histogram_x"]) == 6000
    tails = torch.where(torch.rand(6000, 1, generator=draw) < 0.1, 6.0, 0.5) * torch.randn(6000, 2, generator=draw)
    mixed = describe(tails)
    assert mixed["kurtosis_x"] > 3
    assert mixed["likelihood_2"] - mixed["likelihood_1"] > 0.3
    assert sorted(mixed["spreads_2"]) == pytest.approx([0.5, 6.0], rel=0.15)
    assert mixed["robust_spread_x"] < 0.7


def test_displacements_are_measured_on_the_map(tmp_path):
    experiment = experiments.get("cal-w32-64x48").at("smoke")
    prepare(experiment, tmp_path)
    people = people_of(experiment.data, tmp_path / "synthetic-smoke", "val2017")
    codec = experiment.method.build_codec()
    assert displacements(people.joints, people, codec).abs().max() < 1e-4
    moved = displacements(people.joints + torch.tensor([3.0, 0.0]), people, codec)
    assert moved[:, 1].abs().max() < 1e-4
    assert (moved[:, 0] > 0).all()
    names = {path.name for path in (tmp_path / "synthetic-smoke" / "annotations").iterdir()}
    assert names == {f"person_keypoints_{split}.json" for split in SPLITS}


def test_mpii_without_its_lists_is_one_line(tmp_path):
    data = experiments.get("simple-baseline-r50-256x256-mpii").data
    with pytest.raises(DataError, match=r"valid\.json.*missing"):
        people_of(data, tmp_path, "val")


def test_another_codec_reads_the_same_maps():
    offset = Method("udp-hrnet-tiny", "offset", "udp", (64, 48), {}, {"blur": (15, 7), "outside": "keep"})
    assert codec_of(offset, Evaluation(codec_options={"blur": (1, 1)})).blur == (1, 1)
    coarse = Evaluation("coarse", codec="heatmap", codec_options={"shift": False})
    assert codec_of(offset, coarse).shift is False
    assert (
        codec_of(Method("hrnet-tiny", "heatmap", "heatmap", (64, 48), {}, {"convention": "biased"}), coarse).convention
        == "biased"
    )
    logits = codec_of(Method("cal-hrnet-tiny", "cal", "cal", (64, 48), {}, {"logits": True}), coarse)
    assert logits.floor == -math.inf


def test_upscaled_crops_are_as_large_and_less_sharp():
    draw = torch.Generator().manual_seed(2)
    picture = torch.randint(256, (3, 200, 160), dtype=torch.uint8, generator=draw)
    crops = box_to_crop(torch.tensor([[20.0, 10.0, 90.0, 150.0]]), (64, 48))
    codec = Method("hrnet-tiny", "heatmap", "heatmap", (64, 48)).build_codec()
    upscaled = UpscalingCutter.of("bicubic", codec, (16, 12), None)
    whole = upscaled.__class__.__mro__[1](codec.input_size, codec.convention)(picture, crops)
    found = upscaled(picture, crops)
    assert found.shape == whole.shape == (1, 3, 64, 48)
    assert found.std() < 0.75 * whole.std()
    assert float(found.mean()) == pytest.approx(float(whole.mean()), abs=0.02)
    with pytest.raises(ValueError, match="fourfold"):
        UpscalingCutter.of("bicubic", codec, (32, 24), None)
    with pytest.raises(DataError, match="no super-resolver"):
        UpscalingCutter.of("spsr", codec, (16, 12), None)


def test_the_best_rate_is_the_one_of_the_highest_score():
    assert best_rates({"a": {1e-3: 0.4, 2e-3: 0.5}, "b": {1e-3: 0.6, 2e-3: 0.5}}) == {"a": 2e-3, "b": 1e-3}
