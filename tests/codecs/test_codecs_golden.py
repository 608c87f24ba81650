"""Maps and coordinates computed once by the published implementations."""

import numpy as np
import pytest
import torch

from calbook import geometry
from calbook.codecs import build_codec
from calbook.poses import PoseMaps

SIZES = [(16, 12), (32, 24), (64, 48)]


def at_stride_four(size):
    return 4 * size[0], 4 * size[1]


@pytest.fixture(scope="module")
def arrays(golden):
    names = ("decode", "encode", "udp")
    return {
        name: {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(golden / f"{name}.npz").items()} for name in names
    }


def to_image(coords, center, scale, input_size, convention="unbiased"):
    crop = geometry.CropBox(center, 200 * scale)
    return geometry.transform(coords, geometry.invert(geometry.crop_matrix(crop, input_size, convention=convention)))


def close(ours, theirs, tolerance=1e-4):
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dark_decoding(arrays, case, dtype):
    data, size = arrays["decode"], SIZES[case]
    codec = build_codec("dark", at_stride_four(size), size, blur=int(data[f"dark{case}_kernel"]))
    pose = codec.decode(PoseMaps(data[f"dark{case}_heatmaps"].to(dtype)))
    assert (codec.to_heatmap(pose.coords) - data[f"dark{case}_coords"]).abs().max() < 1e-3
    close(pose.scores, data[f"dark{case}_scores"][..., 0])


def test_plain_argmax(arrays):
    data = arrays["decode"]
    for case, size in enumerate(SIZES):
        codec = build_codec("heatmap", at_stride_four(size), size, shift=False)
        pose = codec.decode(PoseMaps(data[f"dark{case}_heatmaps"]))
        close(codec.to_heatmap(pose.coords), data[f"dark{case}_argmax"])


def test_quarter_shift_decoding(arrays):
    data, size = arrays["decode"], (64, 48)
    pose = build_codec("heatmap", (256, 192), size, convention="biased").decode(PoseMaps(data["shift_heatmaps"]))
    image = to_image(pose.coords, data["shift_center"], data["shift_scale"], (256, 192), "biased")
    close(image, data["shift_image_coords"])
    close(pose.scores, data["shift_scores"][..., 0])


def test_cal_decoding(arrays):
    data, size = arrays["decode"], (32, 24)
    offsets = data["cal_offsets"].reshape(4, 17, 2, *size) * data["cal_locref_stdev"].float()
    pose = build_codec("cal", (128, 96), size).decode(PoseMaps(data["cal_heatmaps"], offsets))
    close(to_image(pose.coords, data["cal_center"], data["cal_scale"], (128, 96)), data["cal_image_coords"])
    close(pose.scores, data["cal_scores"][..., 0])


@pytest.mark.parametrize("case", [0, 1])
def test_udp_decoding(arrays, case):
    data, size = arrays["udp"], SIZES[case + 1]
    heatmaps, kpd = data[f"offset{case}_heatmaps"], float(data[f"offset{case}_kpd"])
    codec = build_codec("offset", at_stride_four(size), size, blur=(15, 7))
    pose = codec.decode(PoseMaps(heatmaps, data[f"offset{case}_offsets"] * kpd))
    close(pose.coords, data[f"offset{case}_input_coords"])
    close(pose.scores, data[f"offset{case}_scores"][..., 0])
    image = to_image(pose.coords, data["center"][:2], data["scale"][:2], at_stride_four(size))
    close(image, data[f"offset{case}_image_coords"])

    second_order = build_codec("dark", at_stride_four(size), size, variant="udp").decode(PoseMaps(heatmaps))
    close(second_order.coords, data[f"gaussian{case}_input_coords"])


def test_cal_targets(arrays):
    data = arrays["encode"]
    codec = build_codec("cal", (128, 96), (32, 24), heatmap_support="plane", mask="gaussian")
    joints = codec.to_input(data["cal_joints"])[None]
    targets = codec.encode(joints, torch.ones(1, 16))
    close(targets.heatmaps[0], data["cal_heatmap"])
    close(targets.offsets[0] / 1.5, data["cal_offset"])
    close(targets.masks[0], data["cal_mask"])
    disk = build_codec("cal", (128, 96), (32, 24)).encode(joints, torch.ones(1, 16)).masks
    assert torch.equal(disk[0].to(torch.uint8), data["cal_disk"])


def test_hrnet_targets(arrays):
    data = arrays["encode"]
    codec = build_codec("heatmap", (256, 192), (64, 48), convention="biased")
    targets = codec.encode(data["hrnet_joints"][None], data["hrnet_visible"][None])
    close(targets.heatmaps[0], data["hrnet_target"])
    close(targets.weights[0], data["hrnet_weight"][:, 0])


@pytest.mark.parametrize("case", [0, 1])
def test_udp_targets(arrays, case):
    data, size = arrays["udp"], SIZES[case + 1]
    joints, visible = data[f"target{case}_joints"][None], data[f"target{case}_visible"][None]
    offset = build_codec("offset", at_stride_four(size), size, outside="keep").encode(joints, visible)
    stacked = torch.cat([offset.heatmaps[:, :, None], offset.offsets / 4], dim=2)  # (1, 17, 3, h, w)
    close(stacked[0], data[f"target{case}_offset"])
    close(offset.weights[0], data[f"target{case}_offset_weight"][:, 0])
    gaussian = build_codec("heatmap", at_stride_four(size), size, sigma=2.0).encode(joints, visible)
    close(gaussian.heatmaps[0], data[f"target{case}_gaussian"])
    close(gaussian.weights[0], data[f"target{case}_gaussian_weight"][:, 0])
