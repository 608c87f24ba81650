"""Where a rule begins and ends: one pixel, one tap, one option further it is another."""

import math

import pytest
import torch

from calbook.codecs import build_codec, default_sigma
from calbook.codecs.blur import blur, gaussian_kernel
from calbook.codecs.dark import CLIP, TINY, differences, is_concave, newton_step
from calbook.codecs.grids import disk_hits, gaussians, nearest_pixel, peaks, read, window_hits, window_index
from calbook.codecs.offset import vote
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


def test_small_kernels_are_the_table_of_opencv():
    table = {1: [256], 3: [64, 128], 5: [16, 64, 96], 7: [8, 28, 56, 72], 9: [4, 13, 30, 51, 60]}
    for taps, half in table.items():
        assert [256 * tap for tap in gaussian_kernel(taps)] == half + half[-2::-1]


def test_maps_of_one_or_two_pixels_are_mirrored_too():
    """At the centres of their border pixels: a b goes on as a b a b, and a as a a a."""
    two = torch.tensor([[[[1.0, 5.0]]]])
    assert blur(two, 3, "reflect").tolist() == [[[[3.0, 3.0]]]]
    assert blur(two.transpose(-1, -2), 3, "reflect").flatten().tolist() == [3.0, 3.0]
    three = torch.tensor([[[[1.0, 5.0, 2.0]]]])  # on the left 5, on the right 5
    assert blur(three, 3, "reflect").flatten().tolist() == [3.0, 3.25, 3.5]


def test_what_is_not_finite_casts_no_vote():
    heatmaps = torch.tensor([[[[math.nan, math.inf, -math.inf], [-1.0, 2.0, 1.0]]]])
    offsets = torch.zeros(1, 1, 2, 2, 3)
    assert vote(heatmaps, offsets).tolist() == [[[[0.0, 0.0, 0.0], [0.0, 2.0, 1.0]]]]
    offsets[0, 0, 0, 1, 1], offsets[0, 0, 1, 1, 2] = math.nan, math.inf
    assert vote(heatmaps, offsets).sum() == 0
    offsets[0, 0, :, 1, 1], offsets[0, 0, :, 1, 2] = torch.tensor([-1.0, -0.5]), torch.tensor([1e9, 0.0])
    assert vote(heatmaps, offsets).tolist() == [[[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]]  # 1 is lost


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
    points = torch.tensor([[[-4.0, 5.0], [-4.01, 5.0], [26.0, 34.0], [5.0, 35.1], [5.0, 35.0], [27.0, 5.0]]])
    assert disk_hits(points, 4.0, SIZE).tolist() == [[True, False, False, False, True, True]]
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


@pytest.mark.parametrize(
    ("beside", "counted"), [((11, 10), 1), ((10, 9), 1), ((12, 10), 0), ((10, 8), 0), ((12, 12), 0)]
)
def test_the_joint_is_the_centroid_of_the_votes_beside_the_peak(beside, counted):
    """Three votes for one pixel and one for another: it moves the joint a quarter of the way if they touch."""
    column, row = beside
    heatmaps = torch.zeros(1, 1, *SIZE)
    heatmaps[0, 0, 10, 10], heatmaps[0, 0, row, column] = 3, 1
    codec = build_codec("offset", INPUT, SIZE, decoding="hough", radius=2.0)
    pose = codec.decode(PoseMaps(heatmaps, torch.zeros(1, 1, 2, *SIZE)))
    expected = [10 + counted * (column - 10) / 4, 10 + counted * (row - 10) / 4]
    assert codec.to_heatmap(pose.coords)[0, 0].tolist() == pytest.approx(expected)
    assert float(pose.scores) == pytest.approx((3 + counted) / (4 * math.pi))


def test_a_map_without_votes_is_empty_whatever_the_floor():
    codec = build_codec("offset", INPUT, SIZE, decoding="hough", floor=-math.inf)
    pose = codec.decode(PoseMaps(-torch.ones(1, 1, *SIZE), torch.zeros(1, 1, 2, *SIZE)))
    assert (pose.coords.tolist(), pose.scores.tolist()) == ([[[0, 0]]], [[0]])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_offset_that_is_not_finite_counts_as_zero(value):
    maps = PoseMaps(torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, 2, *SIZE))
    maps.heatmaps[0, 0, 7, 9] = 1.0
    maps.offsets[0, 0, :, 7, 9] = torch.tensor([value, 0.5])
    for name in ("offset", "cal"):
        codec = build_codec(name, INPUT, SIZE)
        assert codec.to_heatmap(codec.decode(maps).coords)[0, 0].tolist() == pytest.approx([9.0, 7.5])


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
    [
        ((-1.0, 0.0, -1.0), True),
        ((1.0, 0.0, 1.0), False),
        ((-1.0, 0.0, 1.0), False),
        ((-1.0, 1.0, -1.0), False),
        ((-1.0, 0.6, -0.25), False),
        ((-0.5, -0.8, -2.0), True),
    ],
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


@pytest.mark.parametrize("radius", [0.4, 1.0, 2.7, 4.0, 50.0])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (8, 6), (6, 17)])
def test_disks_fields_and_gaussians_are_their_equations_on_any_map(size, radius):
    """Equations 6, 7 and 10 at every pixel: for joints on the map and beside it, disks smaller and larger than it."""
    generator = torch.Generator().manual_seed(7)
    height, width = size
    spread = torch.tensor([width - 1.0, height - 1.0], dtype=torch.float64)
    points = torch.rand(2, 25, 2, generator=generator, dtype=torch.float64) * (spread + 4) - 2
    points[0, :4] = points[0, :4].round()
    codec = build_codec("cal", (4 * height, 4 * width), size, radius=radius, sigma=1.5)
    targets = codec.encode(codec.to_input(points), torch.ones(2, 25))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    field = points[..., None, None] - torch.stack([x, y]).double()  # (2, 25, 2, h, w)
    distance = field.square().sum(2)
    disk = (distance <= radius**2 + 1e-9).double()
    torch.testing.assert_close(targets.masks, disk, rtol=0, atol=0)
    torch.testing.assert_close(targets.offsets, field * disk[:, :, None])
    torch.testing.assert_close(targets.heatmaps, torch.exp(-distance / (2 * 1.5**2)) * disk)
    assert torch.equal(targets.weights, disk.amax((-1, -2)))  # all lie within 3 sigma of the map


def log_map(rows):
    """A map of 32 x 24 with these logarithms in the middle, at 8 to 12, and hardly anything about."""
    maps = torch.full((1, 1, *SIZE), -9.0, dtype=torch.float64)
    maps[0, 0, 8:13, 8:13] = torch.tensor(rows, dtype=torch.float64)
    return PoseMaps(maps.exp())


@pytest.mark.parametrize(
    ("rows", "step", "safe"),
    [
        # g = (0.2, 0), H = diag(-0.5, -1): a maximum within one pixel.
        ([[-9, -9, -2, -9, -9], [-9, -3, -1, -3, -9], [-1, -0.4, 0, 0, -1], [-9, -3, -1, -3, -9], [-9, -9, -2, -9, -9]],
         (0.4, 0.0), True),
        # g = (0, 1), H = diag(-1, -0.5): two pixels away.
        ([[-9, -9, -1, -9, -9], [-9, -3, -2, -3, -9], [-2, -1, 0, -1, -2], [-9, -3, 0, -3, -9], [-9, -9, -1, -9, -9]],
         (0.0, 2.0), False),
        # g = (0.5, 0), H = [[-0.5, 1], [1, -0.5]]: the step is to a saddle.
        ([[-9, -9, -1, -9, -9], [-9, -1, -2, -3, -9], [-1, -1, 0, 0, -1], [-9, -3, -2, -1, -9], [-9, -9, -1, -9, -9]],
         (-1 / 3, -2 / 3), False),
    ],
)  # fmt: skip
def test_safe_steps_are_those_to_a_maximum_within_one_pixel(rows, step, safe):
    maps = log_map(rows)
    maps.heatmaps[0, 0, 10, 10] += 1e-9  # the peak
    for kind in ("published", "safe"):
        codec = build_codec("dark", INPUT, SIZE, blur=1, step=kind)
        moved = codec.to_heatmap(codec.decode(maps).coords)[0, 0] - 10
        taken = step if kind == "published" or safe else (0.0, 0.0)
        assert moved.tolist() == pytest.approx(taken, abs=1e-6)


def test_the_full_border_needs_five_pixels():
    for sizes in (((16, 20), (4, 5)), ((20, 16), (5, 4))):
        with pytest.raises(ValueError, match="at least 5x5"):
            build_codec("dark", *sizes, border="full")
        build_codec("dark", *sizes)
        build_codec("dark", *sizes, border="full", variant="udp")
    codec = build_codec("dark", (20, 20), (5, 5), border="full", blur=1, sigma=1.0)
    joints = torch.tensor([[[9.0, 10.5], [1.0, 18.0]]], dtype=torch.float64)
    maps = PoseMaps(codec.encode(joints, torch.ones(1, 2)).heatmaps)
    torch.testing.assert_close(codec.decode(maps).coords, joints, rtol=0, atol=1e-3)


def test_the_integral_is_the_mean_of_a_softmax_or_of_shares():
    """Two pixels, (2, 1) and (6, 5), with logits 0 and ln 3 and values 1 and 3: one quarter and three quarters."""
    logits = torch.full((1, 1, 8, 9), -math.inf, dtype=torch.float64)
    logits[0, 0, 1, 2], logits[0, 0, 5, 6] = 0.0, math.log(3)
    for options, maps, share in (
        ({}, logits, 3 / 4),
        ({"beta": 2.0}, logits, 9 / 10),
        ({"floor": 0.5}, logits, 1.0),  # only ln 3 is above
        ({"floor": 0.0}, logits, 3 / 4),  # the floor itself has probability
        ({"normalization": "sum"}, logits.exp(), 3 / 4),
        ({"normalization": "sum", "floor": 1.5}, logits.exp(), 1.0),
        ({"normalization": "sum"}, logits.exp() / 100, 3 / 4),
        ({"normalization": "sum"}, logits.exp() - 2 * (logits.exp() == 0), 3 / 4),  # negative values have none
    ):
        codec = build_codec("integral", (32, 36), (8, 9), **options)
        chance = codec.probability(maps)
        assert float(chance[0, 0, 5, 6]) == pytest.approx(share)
        assert float(chance.sum()) == pytest.approx(1)
        pose = codec.decode(PoseMaps(maps))
        expected = [2 + 4 * share, 1 + 4 * share]
        assert codec.to_heatmap(pose.coords)[0, 0].tolist() == pytest.approx(expected)
        assert float(pose.scores) == pytest.approx(max(share, 1 - share))


def test_large_logits_do_not_overflow():
    logits = torch.zeros(1, 1, *SIZE)
    logits[0, 0, 9, 4] = 3e4
    pose = build_codec("integral", INPUT, SIZE).decode(PoseMaps(logits))
    assert float(pose.scores) == 1


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_full_border_lays_the_parabola_through_the_nearest_inner_pixel(axis, last):
    """A peak on the border: the differences are those two pixels inside, and the step begins there.

    Logs of 0, -0.5, -2, -3 and -5 from the border inwards: g = -1.25 and H = -0.25, five pixels back from the third.
    """
    line = torch.full((SIZE[1 - axis],), -9.0, dtype=torch.float64)
    line[:5] = torch.tensor([0.0, -0.5, -2.0, -3.0, -5.0])
    line = line.flip(0) if last else line
    across = -0.5 * (torch.arange(SIZE[axis]) - 10.0).double() ** 2  # a Gaussian about pixel 10
    logs = across[:, None] + line if axis == 0 else line[:, None] + across
    codec = build_codec("dark", INPUT, SIZE, border="full", blur=1)
    found = codec.to_heatmap(codec.decode(PoseMaps(logs.exp()[None, None])).coords)[0, 0]
    assert float(found[axis]) == pytest.approx(SIZE[1 - axis] - 1 + 3 if last else -3)
    assert float(found[1 - axis]) == pytest.approx(10)


def test_dark_restores_the_maximum_before_it_cuts_values():
    """1 beside 1/2, smoothed by (1, 2, 1) / 4: along x 0, 1/4, 5/8, 1/2, 1/8 times 1/2; the largest becomes 1 again.

    So the logs two pixels away are ln(0.2) and ln(1e-10), the first difference is ln(2) / 2.
    """
    maps = torch.zeros(1, 2, *SIZE, dtype=torch.float64)
    maps[0, 0, 10, 10], maps[0, 0, 10, 11] = 1, 0.5
    maps[0, 1] = maps[0, 0] + 1e-3  # nothing to cut: the scale does not matter
    codec = build_codec("dark", INPUT, SIZE, blur=3)
    moved = codec.to_heatmap(codec.decode(PoseMaps(maps)).coords)[0, :, 0] - 10
    assert float(moved[0]) == pytest.approx(-(math.log(2) / 2) / ((math.log(0.2) + math.log(1e-10)) / 4))
    near = [math.log(value / 2 + 1e-3) for value in (0, 1 / 4, 5 / 8, 1 / 2, 1 / 8)]
    second = (near[4] - 2 * near[2] + near[0]) / 4
    assert float(moved[1]) == pytest.approx(-((near[3] - near[1]) / 2) / second)


def test_udp_restores_the_range_before_it_cuts_values():
    """Smoothed, a low map would fall below the smallest value of 0.001; stretched to its old range it does not."""
    codec = build_codec("dark", INPUT, SIZE, variant="udp")
    joints = codec.to_input(torch.tensor([[[10.3, 12.1]]], dtype=torch.float64))
    maps = codec.encode(joints, torch.ones(1, 1)).heatmaps
    coords = codec.decode(PoseMaps(maps)).coords
    torch.testing.assert_close(codec.decode(PoseMaps(0.004 * maps)).coords, coords)
    torch.testing.assert_close(codec.decode(PoseMaps(40 * maps)).coords, coords)
    assert (codec.decode(PoseMaps(0.001 * maps)).coords - coords).abs().max() > 0.01  # all is cut
    assert (codec.decode(PoseMaps(80 * maps)).coords - coords).abs().max() > 0.01
