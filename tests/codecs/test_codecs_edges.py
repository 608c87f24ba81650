"""Where a rule begins and ends: one pixel, one tap, one option further it is another."""

import math

import pytest
import torch

from calbook.codecs import build_codec, default_sigma
from calbook.codecs.blur import blur, gaussian_kernel
from calbook.codecs.dark import CLIP, TINY, differences, is_concave, newton_step
from calbook.codecs.grids import disk_hits, gaussians, nearest_pixel, peaks, read, window_hits, window_index
from calbook.poses import PoseMaps

INPUT, SIZE = (128, 96), (32, 24)


@pytest.mark.parametrize("taps", range(1, 20, 2))
def test_kernels_are_gaussians_that_sum_to_one(taps):
    """OpenCV's: a table up to nine taps, 0.3 ((k - 1) / 2 - 1) + 0.8 pixels wide beyond; the table is near the rule."""
    kernel = gaussian_kernel(taps)
    assert sum(kernel) == pytest.approx(1, abs=1e-12)
    assert kernel == kernel[::-1]
    sigma = 0.3 * ((taps - 1) / 2 - 1) + 0.8
    rule = [math.exp(-((i - taps // 2) ** 2) / (2 * sigma**2)) for i in range(taps)]
    assert kernel == pytest.approx([value / sum(rule) for value in rule], abs=1e-9 if taps > 9 else 0.025)


def test_one_tap_changes_nothing():
    maps = torch.rand(1, 2, 5, 4)
    assert blur(maps, 1, "zeros") is maps


@pytest.mark.parametrize("name", ["heatmap", "dark", "integral", "cal"])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_joints_count_up_to_three_sigma_beside_the_map(name, sigma):
    options = {"heatmap_support": "plane"} if name == "cal" else {}
    codec = build_codec(name, INPUT, SIZE, sigma=sigma, **options)
    reach = int(3 * sigma + 0.5)
    # Pixels are cut towards zero, as published: beside the first, one more pixel counts as it.
    left, right, bottom = -reach - 1.5, SIZE[1] - 0.5 + reach, SIZE[0] - 0.5 + reach
    inside = [(left + 0.1, 10), (right - 0.1, 10), (10, left + 0.1), (10, bottom - 0.1)]
    outside = [(left - 0.1, 10), (right + 0.1, 10), (10, left - 0.1), (10, bottom + 0.1)]
    for places, weight in ((inside, 1), (outside, 0)):
        joints = codec.to_input(torch.tensor([places], dtype=torch.float64))
        assert codec.encode(joints, torch.ones(1, 4)).weights.tolist() == [[weight] * 4], places


def test_a_disk_reaches_its_radius():
    points = torch.tensor([[[-4.0, 5.0], [-4.01, 5.0], [26.0, 34.0], [5.0, 35.1], [5.0, 35.0]]])
    assert disk_hits(points, 4.0, SIZE).tolist() == [[True, False, False, False, True]]
    codec = build_codec("offset", INPUT, SIZE, radius=2.0)
    disk = codec.encode(codec.to_input(torch.tensor([[[10.0, 12.0]]], dtype=torch.float64)), torch.ones(1, 1)).heatmaps
    rows, columns = torch.nonzero(disk[0, 0], as_tuple=True)
    assert len(rows) == 13  # integer points within two pixels
    assert ((columns - 10) ** 2 + (rows - 12) ** 2).max() == 4


def test_votes_are_counted_per_area_of_the_disk():
    """G-RMI's f sums to the heatmap's mass over pi R^2; the score is its mass about the peak."""
    for radius in (2.0, 3.0):
        codec = build_codec("offset", INPUT, SIZE, decoding="hough", radius=radius)
        targets = codec.encode(codec.to_input(torch.tensor([[[10.0, 12.0]]])), torch.ones(1, 1))
        pose = codec.decode(PoseMaps(targets.heatmaps, targets.offsets))
        expected = float(targets.heatmaps.sum()) / (math.pi * radius**2)
        assert float(pose.scores) == pytest.approx(expected, rel=1e-5)


def test_logits_are_told_by_option():
    codec = build_codec("offset", INPUT, SIZE, logits=True)
    maps = torch.full((1, 1, *SIZE), -4.0)
    maps[0, 0, 7, 9] = 2.0
    pose = codec.decode(PoseMaps(maps, torch.zeros(1, 1, 2, *SIZE)))
    assert float(pose.scores) == pytest.approx(1 / (1 + math.exp(-2.0)))
    torch.testing.assert_close(codec.to_heatmap(pose.coords), torch.tensor([[[9.0, 7.0]]]))


def test_defaults_are_the_published_ones():
    assert [default_sigma((h, 1)) for h in (16, 32, 64, 96)] == [0.5, 1.0, 2.0, 3.0]
    offset = build_codec("offset", INPUT, SIZE)
    assert (offset.radius, offset.blur, offset.logits, offset.floor) == (4.0, (1, 1), False, 0.0)
    assert build_codec("integral", INPUT, SIZE).beta == 1.0
    assert (TINY, CLIP) == (1e-10, (1e-3, 50.0))
    taps = {height: build_codec("dark", (4 * height, 96), (height, 24))._taps for height in (16, 32, 33, 64)}
    assert taps == {16: 3, 32: 3, 33: 11, 64: 11}
    assert build_codec("dark", INPUT, SIZE, variant="udp")._taps == 7


def test_gaussians_are_cut_before_they_lose_digits():
    across, down = gaussians(torch.tensor([0.0, 1.0, 100.0]), torch.tensor([2.0, -3.0, 0.0]), 1.0)
    torch.testing.assert_close(across, torch.tensor([1.0, math.exp(-0.5), math.exp(-40)]), rtol=1e-5, atol=0)
    torch.testing.assert_close(down, torch.tensor([math.exp(-2.0), math.exp(-4.5), 1.0]), rtol=1e-5, atol=0)


def test_halves_round_up_on_the_map():
    points = torch.tensor([0.5, 1.5, 0.49, -0.4, -0.6, -1.49, -1.51, 2.0])
    assert nearest_pixel(points).tolist() == [1, 2, 0, 0, 0, 0, -1, 2]


def test_windows_meet_the_map_at_its_edges():
    pixels = torch.tensor([[[-2.0, 0.0], [-3.0, 0.0], [25.0, 0.0], [26.0, 0.0], [0.0, 33.0], [0.0, 34.0]]])
    assert window_hits(pixels, 2, SIZE).tolist() == [[True, False, True, False, True, False]]
    index, on = window_index(torch.tensor([[0]]), torch.tensor([[31]]), 1, SIZE)
    assert on[0, 0].tolist() == [[False, True, True], [False, True, True], [False, False, False]]
    assert index[0, 0, 1].tolist() == [31 * 24, 31 * 24, 31 * 24 + 1]


def test_pixels_off_the_map_read_the_nearest():
    maps = torch.arange(6.0).reshape(1, 1, 1, 2, 3)
    for column, row, value in ((-1, 0, 0.0), (3, 1, 5.0), (1, -2, 1.0), (1, 2, 4.0), (2, 0, 2.0)):
        assert float(read(maps, torch.tensor([[column]]), torch.tensor([[row]]))) == value


def test_a_peak_lies_above_the_floor():
    maps = torch.zeros(1, 1, *SIZE)
    maps[0, 0, 3, 4] = 0.5
    for floor, found in ((0.0, True), (0.5, False), (0.49, True)):
        column, row, score, seen = peaks(maps, floor)
        assert bool(seen) == found
        assert (int(column), int(row)) == ((4, 3) if found else (0, 0))
        assert float(score) == 0.5


@pytest.mark.parametrize("side", [3, 5])
def test_differences_of_a_parabola_are_its_derivatives(side):
    """f = 1 + 2x + 3y - x^2 - 2 y^2 + xy / 2 at 0: the stencils are exact on it."""
    steps = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    slopes = differences(1 + 2 * x + 3 * y - x**2 - 2 * y**2 + 0.5 * x * y)
    torch.testing.assert_close(slopes, torch.tensor([2.0, 3.0, -2.0, 0.5, -4.0], dtype=torch.float64))
    hessian = torch.tensor([[-2.0, 0.5], [0.5, -4.0]], dtype=torch.float64)
    step = -torch.linalg.solve(hessian, torch.tensor([2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(newton_step(slopes), step)


@pytest.mark.parametrize(
    ("second", "concave"),
    [((-1.0, 0.0, -1.0), True), ((1.0, 0.0, 1.0), False), ((-1.0, 0.0, 1.0), False), ((-1.0, 1.0, -1.0), False)],
)
def test_only_a_maximum_is_concave(second, concave):
    xx, xy, yy = second
    assert bool(is_concave(torch.tensor([0.3, 0.2, xx, xy, yy]))) == concave


@pytest.mark.parametrize(
    ("column", "row"), [(1, 10), (2, 10), (21, 10), (22, 10), (10, 1), (10, 2), (10, 29), (10, 30)]
)
def test_which_peaks_dark_and_the_quarter_shift_move(column, row):
    """DARK: two pixels inside along both axes. Quarter shift: two from the first, one from the last."""
    truth = torch.tensor([[[column + 0.2, row - 0.2]]], dtype=torch.float64)
    for name, inside in (
        ("dark", 2 <= column <= 21 and 2 <= row <= 29),
        ("heatmap", 2 <= column <= 22 and 2 <= row <= 30),
    ):
        codec = build_codec(name, INPUT, SIZE, **({"blur": 1} if name == "dark" else {}))
        maps = PoseMaps(codec.encode(codec.to_input(truth), torch.ones(1, 1)).heatmaps)
        moved = codec.to_heatmap(codec.decode(maps).coords) - torch.tensor([[[column, row]]])
        expected = 0.2 if name == "dark" else 0.25
        wanted = torch.tensor([[[expected, -expected]]], dtype=torch.float64) * inside
        torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-4)
