"""What a perfect map gives back, for 100,000 random joints and every size."""

import pytest
import torch

from calbook.codecs import build_codec
from calbook.codecs.grids import nearest_pixel
from calbook.poses import PoseMaps

SIZES = [((64, 48), (16, 12)), ((128, 96), (32, 24)), ((256, 192), (64, 48)), ((384, 288), (96, 72))]
COUNT = {16: 40_000, 32: 40_000, 64: 16_000, 96: 4_000}  # 100,000 in all
BATCH = 2_000


def random_joints(input_size, heatmap_size, dtype=torch.float32, margin=0.0):
    """Batches of joints, uniform over the input (grown by ``margin``), in input pixels."""
    generator = torch.Generator().manual_seed(heatmap_size[0])
    low = torch.tensor([-margin, -margin], dtype=dtype)
    high = torch.tensor([input_size[1] - 1 + margin, input_size[0] - 1 + margin], dtype=dtype)
    for _ in range(COUNT[heatmap_size[0]] // BATCH):
        yield low + (high - low) * torch.rand(BATCH // 20, 20, 2, generator=generator, dtype=dtype)


def errors(codec, joints):
    """Decoded minus true positions in heatmap pixels, and the weights."""
    targets = codec.encode(joints, torch.ones(joints.shape[:2]))
    pose = codec.decode(PoseMaps(targets.heatmaps, targets.offsets))
    return codec.to_heatmap(pose.coords - joints), targets.weights


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
@pytest.mark.parametrize("name", ["cal", "offset"])
def test_offsets_give_back_every_joint(name, input_size, heatmap_size):
    codec = build_codec(name, input_size, heatmap_size)
    for joints in random_joints(input_size, heatmap_size):
        error, weights = errors(codec, joints)
        assert weights.min() == 1
        assert codec.to_input(error).abs().max() < 1e-3


def test_offsets_give_back_joints_beside_the_map():
    codec = build_codec("offset", (128, 96), (32, 24))
    joints = next(iter(random_joints((128, 96), (32, 24), margin=12.0)))  # all within the disk's radius of the map
    error, weights = errors(codec, joints)
    assert codec.to_input(error)[weights > 0].abs().max() < 1e-3
    assert (weights > 0).float().mean() > 0.99


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
def test_argmax_is_within_half_a_pixel(input_size, heatmap_size):
    plain = build_codec("heatmap", input_size, heatmap_size, shift=False)
    for joints in random_joints(input_size, heatmap_size):
        error, _ = errors(plain, joints)
        assert error.abs().max() <= 0.5 + 1e-5
        assert error.abs().max() > 0.49  # the bound is reached


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
def test_quarter_shift_halves_the_bound_inside(input_size, heatmap_size):
    codec = build_codec("heatmap", input_size, heatmap_size, border="full")
    last = torch.tensor([heatmap_size[1] - 2, heatmap_size[0] - 2])
    for joints in random_joints(input_size, heatmap_size):
        error, _ = errors(codec, joints)
        pixel = nearest_pixel(codec.to_heatmap(joints))
        moved = (pixel >= 1) & (pixel <= last)  # per axis
        assert error[moved].abs().max() <= 0.25 + 1e-5
        assert error.abs().max() <= 0.5 + 1e-5


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dark_inside_the_map(input_size, heatmap_size, dtype):
    """Exact without the blur; with the published one within 0.05 pixels, where it sees no border.

    Three taps on a Gaussian of sigma 1 (128x96) leave up to 0.0521 *input* pixels, 0.013
    heatmap pixels; eleven taps are within 0.05 input pixels there too.
    """
    sharp = build_codec("dark", input_size, heatmap_size, blur=1)
    kernels = {16: [], 32: [None, 11], 64: [None], 96: [None]}  # with sigma 0.5 no published kernel keeps the bound
    last = torch.tensor([heatmap_size[1] - 1, heatmap_size[0] - 1])
    for joints in list(random_joints(input_size, heatmap_size, dtype))[:10]:
        pixel = nearest_pixel(sharp.to_heatmap(joints))
        refined = ((pixel >= 2) & (pixel <= last - 2)).all(-1)
        assert errors(sharp, joints)[0][refined].abs().max() < 1e-4
        for taps in kernels[heatmap_size[0]]:
            codec = build_codec("dark", input_size, heatmap_size, blur=taps)
            reach = 2 + (codec._taps - 1) // 2
            error = errors(codec, joints)[0][((pixel >= reach) & (pixel <= last - reach)).all(-1)].abs()
            assert error.max() < 0.05
            assert codec.to_input(error).max() < (0.053 if codec._taps == 3 else 0.05)


def test_dark_full_border_reaches_every_pixel():
    codec = build_codec("dark", (128, 96), (32, 24), blur=1, border="full")
    for joints in random_joints((128, 96), (32, 24)):
        assert errors(codec, joints)[0].abs().max() < 1e-4


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
def test_hough_voting_finds_the_joint(input_size, heatmap_size):
    codec = build_codec("offset", input_size, heatmap_size, decoding="hough")
    joints = next(iter(random_joints(input_size, heatmap_size)))[:20]
    error, _ = errors(codec, joints)
    assert error.abs().max() < 1e-3


@pytest.mark.parametrize("normalization", ["sum", "softmax"])
def test_integral_inside_the_map(normalization):
    """Of a Gaussian, and of the logits of one, the mean is the joint."""
    codec = build_codec("integral", (128, 96), (32, 24), normalization=normalization)
    joints = 30 + torch.rand(4, 17, 2) * torch.tensor([36.0, 68.0])
    maps = codec.encode(joints, torch.ones(4, 17)).heatmaps
    pose = codec.decode(PoseMaps(maps if normalization == "sum" else maps.log()))
    assert (pose.coords - joints).abs().max() < 1e-2
