"""The package against loops over persons and joints, and derivatives against differences."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch.autograd import gradcheck

from calbook import gmm
from calbook.codecs import build_codec
from calbook.codecs.blur import blur, gaussian_kernel
from calbook.codecs.grids import peaks
from calbook.codecs.offset import vote
from calbook.poses import PoseMaps

INPUT, SIZE = (128, 96), (32, 24)


def points_and_visible(seed, count=6, margin=2.0):
    generator = np.random.default_rng(seed)
    low, high = -margin, np.array([SIZE[1] - 1 + margin, SIZE[0] - 1 + margin])
    points = generator.uniform(low, high, (count, 17, 2)).astype(np.float32)
    return points, (generator.random((count, 17)) < 0.8).astype(np.float32)


def noisy_maps(seed):
    points, _ = points_and_visible(seed)
    codec = build_codec("dark", INPUT, SIZE)
    maps = codec.encode(codec.to_input(torch.from_numpy(points)), torch.ones(points.shape[:2])).heatmaps
    return maps + 0.05 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed))


def test_encoding_is_that_of_the_loops(loops):
    points, visible = points_and_visible(0)
    codec = build_codec("cal", INPUT, SIZE, heatmap_support="plane")
    targets = codec.encode(codec.to_input(torch.from_numpy(points)), torch.from_numpy(visible))
    heatmaps, offsets, disks, _ = loops.encode_cal(points, visible, SIZE, sigma=1.0, radius=4.0)
    np.testing.assert_allclose(targets.heatmaps, heatmaps, atol=1e-5)
    np.testing.assert_allclose(targets.offsets, offsets, atol=1e-5)
    np.testing.assert_array_equal(targets.masks, disks)

    joints = 4 * points
    codec = build_codec("heatmap", INPUT, SIZE, convention="biased")
    targets = codec.encode(torch.from_numpy(joints), torch.from_numpy(visible))
    heatmaps, _ = loops.encode_heatmap(joints, visible, INPUT, SIZE, 1)
    np.testing.assert_allclose(targets.heatmaps, heatmaps, atol=1e-6)


@pytest.mark.parametrize("taps", [3, 7, 11])
def test_dark_is_that_of_the_loops(loops, taps):
    maps = noisy_maps(taps)
    codec = build_codec("dark", INPUT, SIZE, blur=taps)
    coords, scores = loops.decode_dark(maps.numpy(), taps)
    pose = codec.decode(PoseMaps(maps))
    np.testing.assert_allclose(codec.to_heatmap(pose.coords), coords, atol=1e-3)
    np.testing.assert_allclose(pose.scores, scores)


def test_quarter_shift_is_that_of_the_loops(loops):
    maps = noisy_maps(1)
    codec = build_codec("heatmap", INPUT, SIZE)
    np.testing.assert_allclose(
        codec.to_heatmap(codec.decode(PoseMaps(maps)).coords), loops.decode_shift(maps.numpy())[0], atol=1e-5
    )


def test_masks_are_those_of_the_loops(loops):
    points, visible = points_and_visible(5, margin=-0.5)
    codec = build_codec("cal", INPUT, SIZE)
    joints = torch.from_numpy(np.floor(points + 0.5))
    target = codec.encode(codec.to_input(joints), torch.ones(visible.shape)).heatmaps
    predicted = noisy_maps(5)
    errors, weights = gmm.displacements(
        predicted, joints, torch.from_numpy(visible), reference="pixel", keep_empty=True
    )
    mixture = gmm.fit(errors, weights=weights)
    masks = gmm.mixed_gaussian_masks(
        mixture, joints, SIZE, visible=torch.from_numpy(visible), center="pixel", epsilon=1e-5
    )
    np.testing.assert_allclose(masks, loops.masks(predicted.numpy(), target.numpy(), visible, 1), atol=1e-4)


@pytest.mark.parametrize(("edge", "scipy_mode"), [("zeros", "constant"), ("reflect", "mirror")])
@pytest.mark.parametrize("taps", [1, 3, 7, 15])
def test_blur_is_a_correlation(edge, scipy_mode, taps):
    maps = torch.randn(2, 3, 9, 6, dtype=torch.float64)
    kernel = np.array(gaussian_kernel(taps))
    expected = correlate1d(
        correlate1d(maps.numpy(), kernel, axis=-1, mode=scipy_mode), kernel, axis=-2, mode=scipy_mode
    )
    np.testing.assert_allclose(blur(maps, taps, edge), expected, atol=1e-12)
    assert kernel.sum() == pytest.approx(1)


def test_votes_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    heatmaps = torch.rand(1, 2, 5, 4, generator=generator, dtype=torch.float64)
    offsets = 3 * torch.randn(1, 2, 2, 5, 4, generator=generator, dtype=torch.float64)
    expected = torch.zeros_like(heatmaps)
    for k in range(2):
        for row in range(5):
            for column in range(4):
                x, y = column + offsets[0, k, 0, row, column], row + offsets[0, k, 1, row, column]
                for to_row in range(5):
                    for to_column in range(4):
                        share = (1 - (x - to_column).abs()).clamp(min=0) * (1 - (y - to_row).abs()).clamp(min=0)
                        expected[0, k, to_row, to_column] += share * heatmaps[0, k, row, column]
    torch.testing.assert_close(vote(heatmaps, offsets), expected)


def test_hough_voting_outvotes_a_false_peak():
    """One bright pixel elsewhere wins the argmax, not the vote."""
    joint = torch.tensor([[[47.0, 60.0]]])
    for decoding, found in (("peak", False), ("hough", True)):
        codec = build_codec("offset", INPUT, SIZE, decoding=decoding)
        targets = codec.encode(joint, torch.ones(1, 1))
        heatmaps = targets.heatmaps.clone()
        heatmaps[0, 0, 2, 2] = 1.5
        error = (codec.decode(PoseMaps(heatmaps, targets.offsets)).coords - joint).norm()
        assert (error < 0.01) == found


def test_peaks_take_the_first_of_equals():
    maps = torch.zeros(1, 1, 4, 5)
    maps[0, 0, 1, 3] = maps[0, 0, 2, 0] = maps[0, 0, 1, 4] = 1.0
    column, row, score, _ = peaks(maps)
    assert (column.item(), row.item(), score.item()) == (3, 1, 1.0)
    maps[0, 0, 3, 3] = torch.nan
    assert [int(t) for t in peaks(maps)[:2]] == [3, 1]


# Derivatives: small maps, double precision.

SMALL = ((32, 24), (8, 6))


@pytest.mark.parametrize("name", ["heatmap", "dark", "cal", "offset", "integral"])
def test_encoding_is_differentiable_in_the_joints(name):
    codec = build_codec(name, *SMALL)
    joints = torch.tensor([[[9.3, 12.9], [15.2, 20.4]]], dtype=torch.float64, requires_grad=True)
    which = "offsets" if name == "offset" else "heatmaps"
    assert gradcheck(lambda j: getattr(codec.encode(j, torch.ones(1, 2)), which), joints)


def test_offset_targets_carry_the_gradient_of_the_joint():
    codec = build_codec("cal", *SMALL)
    joints = torch.tensor([[[9.3, 12.9]]], dtype=torch.float64, requires_grad=True)
    targets = codec.encode(joints, torch.ones(1, 1))
    targets.offsets.sum().backward()
    scale = codec.to_heatmap(torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(joints.grad[0, 0], targets.masks.sum() * scale)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark", {}),
        ("dark", {"blur": 1}),
        ("dark", {"variant": "udp"}),
        ("integral", {}),
        ("integral", {"normalization": "sum"}),
    ],
)
def test_decoding_is_differentiable_in_the_maps(name, options):
    codec = build_codec(name, *SMALL, sigma=1.0, **options)
    targets = codec.encode(torch.tensor([[[9.3, 12.9]]], dtype=torch.float64), torch.ones(1, 1))
    maps = (targets.heatmaps + 0.02).clone().requires_grad_()
    assert gradcheck(lambda m: codec.decode(PoseMaps(m)).coords, maps)


@pytest.mark.parametrize("decoding", ["peak", "hough"])
def test_decoding_is_differentiable_in_the_offsets(decoding):
    codec = build_codec("offset", *SMALL, radius=2.0, decoding=decoding)
    targets = codec.encode(torch.tensor([[[9.3, 12.9]]], dtype=torch.float64), torch.ones(1, 1))
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.rand(targets.offsets.shape, generator=generator, dtype=torch.float64)
    offsets = (targets.offsets + noise).requires_grad_()
    assert gradcheck(lambda o: codec.decode(PoseMaps(targets.heatmaps, o)).coords, offsets)


def test_paper_and_code_differ_where_the_facts_say():
    """Mass of the Gaussian outside the disk, exp(-r^2 / (2 sigma^2)) on average over places of the joint."""
    for input_size, size, share in [
        ((128, 96), SIZE, 0.0003),
        ((256, 192), (64, 48), 0.135),
        ((384, 288), (96, 72), 0.408),
    ]:
        joints = torch.rand(1, 400, 2) * torch.tensor([0.2, 0.2]) * size[0] + torch.tensor([0.4, 0.4]) * input_size[1]
        plane, disk = (
            build_codec("cal", input_size, size, heatmap_support=s).encode(joints, torch.ones(1, 400)).heatmaps.sum()
            for s in ("plane", "disk")
        )
        assert float(1 - disk / plane) == pytest.approx(share, abs=0.008)


def test_ablations_of_the_coarse_target():
    joints, visible = torch.rand(2, 17, 2) * 90, torch.ones(2, 17)
    cal = build_codec("cal", INPUT, SIZE).encode(joints, visible)
    binary = build_codec("cal", INPUT, SIZE, coarse="binary").encode(joints, visible)
    assert torch.equal(binary.heatmaps, cal.masks)
    gaussian = build_codec("cal", INPUT, SIZE, mask="gaussian", mask_sigma=2.0).encode(joints, visible)
    assert ((gaussian.masks > 0) == (cal.masks > 0)).all()
    torch.testing.assert_close(gaussian.masks, cal.heatmaps ** (1 / 4))
    assert torch.equal(gaussian.offsets, cal.offsets)
