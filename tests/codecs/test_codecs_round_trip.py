"""What a perfect map gives back, for 100,000 random joints and every size."""

from itertools import islice

import pytest
import torch

from calbook.codecs import build_codec
from calbook.codecs.blur import gaussian_kernel
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


def left_by_the_blur(place, sigma, taps):
    """What one Newton step misses along an axis, in heatmap pixels, of a joint ``place`` pixels beside its own.

    A Gaussian is sampled and smoothed with ``taps`` taps: a sum of shifted Gaussians, whose logarithm is no parabola.
    """
    kernel = torch.tensor(gaussian_kernel(taps), dtype=torch.float64)
    shifts = torch.arange(taps, dtype=torch.float64) - taps // 2
    steps = torch.arange(-2, 3, dtype=torch.float64)[:, None]
    logs = (kernel * torch.exp(-((steps + shifts - place[..., None, None]) ** 2) / (2 * sigma**2))).sum(-1).log()
    slope, curvature = (logs[..., 3] - logs[..., 1]) / 2, (logs[..., 4] - 2 * logs[..., 2] + logs[..., 0]) / 4
    return -slope / curvature - place


# Largest error in input pixels, for joints from whose pixel neither blur nor step reaches the border. Where a row
# lacks 11 taps, no pixel is that far inside.
WORST = {
    16: {1: 0.0, 3: 0.657, 7: 0.146},
    32: {1: 0.0, 3: 0.0521, 7: 0.0145, 11: 0.0},
    64: {1: 0.0, 3: 0.0017, 7: 0.0040, 11: 0.0014},
    96: {1: 0.0, 3: 0.0002, 7: 0.0007, 11: 0.0007},
}


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
@pytest.mark.parametrize(("dtype", "batches", "tolerance"), [(torch.float32, None, 1e-4), (torch.float64, 2, 1e-12)])
def test_dark_misses_what_the_blur_bends(input_size, heatmap_size, dtype, batches, tolerance):
    """Exact without the blur. With it the error is that of the smoothed Gaussian's logarithm, and nothing else.

    Published are 3 taps up to 128x96, 11 beyond. Within 0.05 input pixels they are from 256x192 on; at 128x96 they
    leave 0.0521 (0.013 heatmap pixels), at 64x48 0.66 (0.16).
    """
    last, sigma = torch.tensor([heatmap_size[1] - 1, heatmap_size[0] - 1]), heatmap_size[0] / 32
    for joints in islice(random_joints(input_size, heatmap_size, dtype), batches):
        for taps in WORST[heatmap_size[0]]:
            codec = build_codec("dark", input_size, heatmap_size, blur=taps)
            points = codec.to_heatmap(joints)
            pixel = nearest_pixel(points)
            reach = 2 + taps // 2
            inside = ((pixel >= reach) & (pixel <= last - reach)).all(-1)
            error, _ = errors(codec, joints)
            left = left_by_the_blur((points - pixel).double(), sigma, taps)
            assert (error - left)[inside].abs().max() < tolerance


@pytest.mark.parametrize(("input_size", "heatmap_size"), SIZES)
def test_how_much_the_blur_bends(input_size, heatmap_size):
    places, sigma = torch.linspace(-0.5, 0.5, 1001, dtype=torch.float64), heatmap_size[0] / 32
    for taps, worst in WORST[heatmap_size[0]].items():
        codec = build_codec("dark", input_size, heatmap_size, blur=taps)
        left = codec.to_input(left_by_the_blur(places, sigma, taps)[:, None].expand(-1, 2)).abs().max()
        assert float(left) == pytest.approx(worst, abs=1e-4, rel=5e-3)
    published = build_codec("dark", input_size, heatmap_size)._taps
    assert published == (3 if heatmap_size[0] <= 32 else 11)
    assert (WORST[heatmap_size[0]][published] < 0.05) == (heatmap_size[0] >= 64)
    assert WORST[heatmap_size[0]][published] / 4 < 0.05 or heatmap_size[0] == 16


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
