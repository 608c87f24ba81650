import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calbook import geometry
from calbook.geometry import CropBox
from calbook.skeletons import COCO

SIZES = [(64, 48), (128, 96), (256, 192), (384, 288)]

coordinates = st.floats(-500, 1000)
lengths = st.floats(5, 1000)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 48), (4.2727, 4.2)),
        ((128, 96), (4.1304, 4.0968)),
        ((256, 192), (4.0638, 4.0476)),
        ((384, 288), (4.0423, 4.0316)),
    ],
)
def test_strides_are_the_published_ones(size, expected):
    heatmap = (size[0] // 4, size[1] // 4)
    assert geometry.stride(size, heatmap) == pytest.approx(expected, abs=5e-5)
    assert geometry.stride(size, heatmap, "biased") == (4, 4)


def test_convention_and_size_are_validated():
    with pytest.raises(ValueError, match="unknown pixel convention 'centred'"):
        geometry.stride((64, 48), (16, 12), "centred")
    with pytest.raises(ValueError, match="too small"):
        geometry.stride((64, 48), (1, 1))


def test_box_to_crop_grows_the_short_side_then_pads():
    crop = geometry.box_to_crop(torch.tensor([[10.0, 20.0, 30.0, 80.0], [0.0, 0.0, 90.0, 30.0]]), (256, 192))
    assert crop.center.tolist() == [[25, 60], [45, 15]]
    assert crop.extent.tolist() == [[75, 100], [112.5, 150]]  # 80 * 3/4 and 90 / (3/4), times 1.25


def test_clean_boxes_follow_the_published_reader():
    boxes = torch.tensor(
        [
            [10.0, 20.0, 30.0, 40.0],  # inside: one pixel shorter
            [-5.0, -5.0, 30.0, 40.0],  # moved, not cut, at the first border
            [80.0, 40.0, 50.0, 50.0],  # cut at the last pixel centre
            [10.0, 10.0, 0.0, 5.0],
            [10.0, 10.0, 5.0, -1.0],
            [200.0, 10.0, 5.0, 5.0],
            [10.0, 10.0, 1.0, 1.0],  # a single point
        ]
    )
    cleaned, usable = geometry.clean_boxes(boxes, (60, 100))
    assert cleaned[:3].tolist() == [[10, 20, 29, 39], [0, 0, 29, 39], [80, 40, 19, 19]]
    assert usable.tolist() == [True, True, True, False, False, False, False]


def test_clean_boxes_takes_one_picture_size_per_box():
    boxes = torch.tensor([[0.0, 0.0, 50.0, 50.0]] * 2)
    cleaned, usable = geometry.clean_boxes(boxes, torch.tensor([[40, 30], [100, 100]]))
    assert cleaned.tolist() == [[0, 0, 29, 39], [0, 0, 49, 49]]
    assert usable.all()


@settings(deadline=None)  # a busy machine is not an error
@given(
    center=st.tuples(coordinates, coordinates),
    extent=st.tuples(lengths, lengths),
    rotation=st.floats(-180, 180),
    size=st.sampled_from(SIZES),
    convention=st.sampled_from(["unbiased", "biased"]),
    point=st.tuples(coordinates, coordinates),
)
def test_crop_matrix_and_back_is_the_identity(center, extent, rotation, size, convention, point):
    crop = CropBox(torch.tensor(center, dtype=torch.float64), torch.tensor(extent, dtype=torch.float64))
    matrix = geometry.crop_matrix(crop, size, rotation, convention)
    points = torch.tensor([point], dtype=torch.float64)
    back = geometry.transform(geometry.transform(points, matrix), geometry.invert(matrix))
    torch.testing.assert_close(back, points, rtol=0, atol=1e-8)


@pytest.mark.parametrize("theta", [0.0, 30.0, -75.0])
def test_crop_matrix_is_udps_warp(theta):
    """The published unbiased map, written out from input pixel (u, v) to the picture."""
    (height, width), (tw, th), (cx, cy), (u, v) = (128, 96), (150.0, 200.0), (77.0, 130.0), (13.0, 101.0)
    cos, sin = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    sx, sy = tw / (width - 1), th / (height - 1)
    x = cos * sx * u + sin * sy * v + cx - 0.5 * (tw * cos + th * sin)
    y = -sin * sx * u + cos * sy * v + cy + 0.5 * (tw * sin - th * cos)
    crop = CropBox(torch.tensor([cx, cy], dtype=torch.float64), torch.tensor([tw, th], dtype=torch.float64))
    inverse = geometry.invert(geometry.crop_matrix(crop, (height, width), theta))
    found = geometry.transform(torch.tensor([[u, v]], dtype=torch.float64), inverse)
    torch.testing.assert_close(found, torch.tensor([[x, y]], dtype=torch.float64))


def test_rotation_is_clockwise_on_the_screen():
    crop = CropBox(torch.tensor([50.0, 50.0]), torch.tensor([60.0, 60.0]))
    matrix = geometry.crop_matrix(crop, (61, 61), 90.0)
    right, below = geometry.transform(torch.tensor([[70.0, 50.0], [50.0, 70.0]]), matrix)
    torch.testing.assert_close(right, torch.tensor([30.0, 50.0]))  # what was right of the centre is below it
    torch.testing.assert_close(below, torch.tensor([10.0, 30.0]))


def test_rotations_go_with_their_crops():
    crop = CropBox(torch.rand(3, 2) * 100, torch.rand(3, 2) * 50 + 10)
    angles = torch.tensor([0.0, 20.0, -40.0])
    together = geometry.crop_matrix(crop, (64, 48), angles)
    for i in range(3):
        one = geometry.crop_matrix(CropBox(crop.center[i], crop.extent[i]), (64, 48), angles[i])
        torch.testing.assert_close(together[i], one)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), width=st.integers(2, 300))
def test_flips_are_involutions(seed, width):
    generator = torch.Generator().manual_seed(seed)
    joints = torch.rand(2, 17, 2, generator=generator, dtype=torch.float64) * width
    heatmaps = torch.rand(2, 17, 4, 3, generator=generator)
    offsets = torch.rand(2, 17, 2, 4, 3, generator=generator)
    mirror = COCO.mirror
    torch.testing.assert_close(geometry.flip_joints(geometry.flip_joints(joints, width, mirror), width, mirror), joints)
    assert geometry.flip_heatmaps(geometry.flip_heatmaps(heatmaps, mirror), mirror).equal(heatmaps)
    assert geometry.flip_offsets(geometry.flip_offsets(offsets, mirror), mirror).equal(offsets)


def test_flipped_maps_are_the_maps_of_flipped_joints():
    """A field of exact offsets on the mirrored map points at the mirrored joints."""
    width, height, mirror = 12, 16, COCO.mirror
    joints = torch.rand(1, 17, 2) * torch.tensor([width - 1.0, height - 1.0])

    def field(points):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        return points[..., None, None] - torch.stack([x, y])  # (1, K, 2, h, w)

    flipped = geometry.flip_joints(joints, width, mirror)
    torch.testing.assert_close(geometry.flip_offsets(field(joints), mirror), field(flipped))
    near, far = (-field(points).square().sum(2) for points in (joints, flipped))
    torch.testing.assert_close(geometry.flip_heatmaps(near, mirror), far)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("convention", "miss"), [("unbiased", 0.0), ("biased", 0.75)])
def test_mirroring_input_and_heatmap_agree_only_if_unbiased(size, convention, miss):
    heatmap = (size[0] // 4, size[1] // 4)
    stride = torch.tensor(geometry.stride(size, heatmap, convention), dtype=torch.float64)
    joints = torch.rand(5, 17, 2, dtype=torch.float64) * (size[1] - 1)
    input_first = geometry.flip_joints(joints, size[1], COCO.mirror) / stride
    heatmap_first = geometry.flip_joints(joints / stride, heatmap[1], COCO.mirror)
    torch.testing.assert_close(heatmap_first[..., 0] - input_first[..., 0], torch.full((5, 17), -miss).double() + 0)
    torch.testing.assert_close(heatmap_first[..., 1], input_first[..., 1])


def test_mirroring_picture_and_crop_commute_only_if_unbiased():
    picture = torch.rand(3, 60, 80)
    crop = CropBox(torch.tensor([[33.0, 28.0]]), torch.tensor([[36.0, 48.0]]))
    mirrored = CropBox(torch.tensor([[79 - 33.0, 28.0]]), crop.extent)

    def cut(image, box, convention):
        return geometry.sample_crops(image, geometry.crop_matrix(box, (32, 24), convention=convention), (32, 24))

    unbiased = cut(picture.flip(-1), mirrored, "unbiased")
    torch.testing.assert_close(unbiased, cut(picture, crop, "unbiased").flip(-1), rtol=0, atol=1e-4)
    gap = (cut(picture.flip(-1), mirrored, "biased") - cut(picture, crop, "biased").flip(-1)).abs().mean()
    assert gap > 0.05


def bilinear(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Value of a picture (C, H, W) at one point, by the definition; zero outside."""
    total = np.zeros(len(picture))
    x0, y0 = math.floor(x), math.floor(y)
    for column in (x0, x0 + 1):
        for row in (y0, y0 + 1):
            if 0 <= column < picture.shape[2] and 0 <= row < picture.shape[1]:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * picture[:, row, column]
    return total


@pytest.mark.parametrize("convention", ["unbiased", "biased"])
def test_sample_crops_is_bilinear_sampling(convention):
    size = (12, 9)
    picture = torch.rand(2, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    crop = CropBox(
        torch.tensor([[12.3, 8.1], [2.0, 18.0]], dtype=torch.float64),
        torch.tensor([[9.0, 12.0], [21.0, 28.0]], dtype=torch.float64),
    )
    matrices = geometry.crop_matrix(crop, size, torch.tensor([25.0, -10.0]), convention)
    found = geometry.sample_crops(picture, matrices, size)
    assert found.shape == (2, 2, 12, 9)
    for b, inverse in enumerate(geometry.invert(matrices).numpy()):
        for row in range(size[0]):
            for column in range(size[1]):
                x, y = inverse @ (column, row, 1)
                assert found[b, :, row, column].numpy() == pytest.approx(bilinear(picture.numpy(), x, y), abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_no_crops_of_a_picture_are_none(dtype):
    assert geometry.sample_crops(torch.zeros(3, 8, 6, dtype=dtype), torch.zeros(0, 2, 3), (4, 3)).shape == (0, 3, 4, 3)


def test_crop_of_the_whole_picture_is_the_picture():
    picture = torch.rand(3, 40, 30)
    whole = CropBox(torch.tensor([[14.5, 19.5]]), torch.tensor([[29.0, 39.0]]))
    found = geometry.sample_crops(picture, geometry.crop_matrix(whole, (40, 30)), (40, 30))
    torch.testing.assert_close(found[0], picture, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["shift", "cal"])
def test_heatmap_to_picture_matches_the_published_decoders(golden: Path, prefix):
    """The geometry half of decoding; the position on the map is read off here, by the plain rules."""
    arrays = np.load(golden / "decode.npz")
    maps = arrays[f"{prefix}_heatmaps"]
    height, width = maps.shape[2:]
    points = np.zeros((*maps.shape[:2], 2))
    for b, k in np.ndindex(*maps.shape[:2]):
        y, x = np.unravel_index(maps[b, k].argmax(), (height, width))
        if prefix == "cal":
            points[b, k] = (x, y) + arrays["cal_offsets"][b, 2 * k : 2 * k + 2, y, x] * arrays["cal_locref_stdev"]
        else:
            inside = 1 < x < width - 1 and 1 < y < height - 1
            slope = (
                (maps[b, k, y, x + 1] - maps[b, k, y, x - 1], maps[b, k, y + 1, x] - maps[b, k, y - 1, x])
                if inside
                else (0, 0)
            )
            points[b, k] = (x, y) + 0.25 * np.sign(slope)
    crop = CropBox(torch.tensor(arrays[f"{prefix}_center"]), torch.tensor(arrays[f"{prefix}_scale"] * 200))
    convention = "unbiased" if prefix == "cal" else "biased"
    inverse = geometry.invert(geometry.crop_matrix(crop, (height, width), convention=convention))
    found = geometry.transform(torch.tensor(points, dtype=inverse.dtype), inverse)
    np.testing.assert_allclose(found.numpy(), arrays[f"{prefix}_image_coords"], rtol=1e-4, atol=1e-2)
