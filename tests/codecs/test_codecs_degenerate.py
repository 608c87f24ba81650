"""Joints that are not there and maps that show nothing: defined results, never a NaN."""

import math
from dataclasses import fields
from typing import Literal, get_args, get_origin

import pytest
import torch

from calbook.codecs import CODECS, build_codec
from calbook.codecs.offset import vote
from calbook.poses import PoseMaps

INPUT, SIZE = (128, 96), (32, 24)
VARIANTS = [
    ("heatmap", {}),
    ("heatmap", {"convention": "biased"}),
    ("heatmap", {"border": "full", "support": "plane"}),
    ("dark", {}),
    ("dark", {"border": "full", "step": "safe"}),
    ("dark", {"variant": "udp"}),
    ("offset", {}),
    ("offset", {"blur": (15, 7)}),
    ("offset", {"decoding": "hough"}),
    ("cal", {}),
    ("cal", {"heatmap_support": "plane", "coarse": "binary", "mask": "gaussian"}),
    ("integral", {}),
    ("integral", {"normalization": "sum"}),
]
PEAK_VARIANTS = [variant for variant in VARIANTS if variant[0] != "integral"]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS)
every_peak_variant = pytest.mark.parametrize(("name", "options"), PEAK_VARIANTS)


def make(name, options):
    return build_codec(name, INPUT, SIZE, **options)


def tensors(targets):
    return [t for t in targets if t is not None]


def with_offsets(heatmaps):
    return PoseMaps(heatmaps, torch.zeros(*heatmaps.shape[:2], 2, *SIZE))


@every_variant
@pytest.mark.parametrize(
    ("joint", "visible"),
    [
        ((math.nan, 5.0), 2),
        ((5.0, math.inf), 2),
        ((-math.inf, math.nan), 1),
        ((40.0, 50.0), 0),
        ((math.nan, math.nan), 0),
        ((1e6, 50.0), 2),
        ((40.0, -300.0), 2),
        ((1e38, -1e38), 2),
    ],
)
def test_a_joint_that_does_not_count(name, options, joint, visible):
    joints = torch.tensor([[joint, (40.0, 50.0)]])
    targets = make(name, options).encode(joints, torch.tensor([[visible, 2]]))
    assert targets.weights.tolist() == [[0.0, 1.0]]
    for maps in tensors(targets):
        assert maps.isfinite().all()
        assert (maps[0, 0] == 0).all()
    alone = make(name, options).encode(joints[:, 1:], torch.tensor([[2]]))  # and its neighbour does not notice
    for together, single in zip(tensors(targets), tensors(alone), strict=True):
        assert torch.equal(together[:, 1:], single)


@pytest.mark.parametrize("name", ["offset", "cal"])
def test_outside_keep_leaves_the_weight(name):
    codec = make(name, {"outside": "keep"})
    targets = codec.encode(torch.tensor([[[500.0, 50.0], [math.nan, 0.0]]]), torch.ones(1, 2))
    assert targets.weights.tolist() == [[1.0, 0.0]]
    assert targets.heatmaps.sum() == 0


@every_peak_variant
@pytest.mark.parametrize(
    ("value", "score"), [(0.0, 0.0), (-1.5, -1.5), (math.nan, 0.0), (math.inf, 0.0), (-math.inf, 0.0)]
)
def test_an_empty_map_decodes_to_the_first_pixel(name, options, value, score):
    pose = make(name, options).decode(with_offsets(torch.full((2, 3, *SIZE), value)))
    assert (pose.coords == 0).all()
    if options.get("decoding") == "hough":  # votes are never negative
        assert (pose.scores == 0).all()
    else:
        torch.testing.assert_close(pose.scores, torch.full((2, 3), score))


@pytest.mark.parametrize("name", ["offset", "cal", "dark", "heatmap"])
def test_nothing_finite_is_empty_whatever_the_floor(name):
    maps = PoseMaps(torch.full((1, 2, *SIZE), math.nan), torch.full((1, 2, 2, *SIZE), 3.0))
    pose = make(name, {"floor": -math.inf}).decode(maps)
    assert (pose.coords == 0).all()
    assert (pose.scores == 0).all()


@every_peak_variant
def test_a_map_of_negative_values_is_empty(name, options):
    pose = make(name, options).decode(with_offsets(-torch.rand(2, 3, *SIZE) - 0.1))
    assert (pose.coords == 0).all()


@pytest.mark.parametrize(("name", "options"), [("heatmap", {}), ("dark", {}), ("offset", {}), ("cal", {})])
def test_floor_makes_logits_decodable(name, options):
    logits = torch.full((1, 1, *SIZE), -9.0)
    logits[0, 0, 10, 7] = -1.0
    codec = make(name, {**options, "floor": -math.inf})
    assert (codec.to_heatmap(codec.decode(with_offsets(logits)).coords) - torch.tensor([7.0, 10.0])).abs().max() < 1e-5


@every_peak_variant
def test_a_constant_map_decodes_to_the_first_pixel(name, options):
    pose = make(name, options).decode(with_offsets(torch.full((1, 2, *SIZE), 0.7)))
    if options.get("decoding") == "hough":
        pytest.skip("every pixel votes for itself")
    assert pose.coords.abs().max() < 1e-4
    torch.testing.assert_close(pose.scores, torch.full((1, 2), 0.7))


def test_integral_of_flat_and_empty_maps():
    codec = make("integral", {})
    middle = torch.tensor([95.0, 127.0]) / 2
    for value in (0.0, 0.7, -3.0):
        pose = codec.decode(PoseMaps(torch.full((1, 2, *SIZE), value)))
        torch.testing.assert_close(pose.coords, middle.expand(1, 2, 2), rtol=1e-4, atol=1e-3)
    for value in (math.nan, math.inf, -math.inf):
        pose = codec.decode(PoseMaps(torch.full((1, 2, *SIZE), value)))
        assert (pose.coords == 0).all()
        assert (pose.scores == 0).all()


@every_variant
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(20, 3), (11, 12), (0, 0)])
def test_bad_pixels_are_never_the_peak(name, options, bad, place):
    codec = make(name, options)
    joints = torch.tensor([[[47.0, 45.0], [30.0, 70.0]]])
    targets = codec.encode(joints, torch.ones(1, 2))
    heatmaps = targets.heatmaps.clone()
    heatmaps[0, 0, place[0], place[1]] = bad
    offsets = torch.zeros(1, 2, 2, *SIZE) if targets.offsets is None else targets.offsets.clone()
    offsets[0, 0, :, place[0], place[1]] = bad
    pose = codec.decode(PoseMaps(heatmaps, offsets))
    whole = codec.decode(PoseMaps(targets.heatmaps, targets.offsets if targets.offsets is not None else offsets))
    assert pose.coords.isfinite().all()
    assert pose.scores.isfinite().all()
    torch.testing.assert_close(pose.coords[0, 1], whole.coords[0, 1], rtol=1e-5, atol=1e-4)
    if name != "integral" and not options.get("blur"):
        assert (pose.coords[0, 0] - joints[0, 0]).norm() < 12  # within three pixels of the joint


@every_variant
@pytest.mark.parametrize("shape", [(0, 17), (1, 1), (1, 17), (3, 0)])
def test_batches_of_any_size(name, options, shape):
    codec = make(name, options)
    targets = codec.encode(torch.rand(*shape, 2) * 90, torch.ones(shape))
    assert targets.heatmaps.shape == (*shape, *SIZE)
    pose = codec.decode(PoseMaps(targets.heatmaps, targets.offsets))
    assert pose.coords.shape == (*shape, 2)
    assert pose.scores.shape == shape


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(name, options, dtype):
    codec = make(name, options)
    targets = codec.encode(torch.rand(2, 3, 2, dtype=dtype) * 90, torch.ones(2, 3, dtype=torch.long))
    assert {t.dtype for t in tensors(targets)} == {dtype}
    pose = codec.decode(PoseMaps(targets.heatmaps, targets.offsets))
    assert pose.coords.dtype == pose.scores.dtype == dtype


@every_variant
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_are_read_as_exactly_as_the_same_numbers_in_full(name, options, dtype):
    codec = build_codec(name, (384, 288), (96, 72), **options)
    targets = codec.encode(torch.tensor([[[270.3, 363.7]]]), torch.ones(1, 1))
    maps = PoseMaps(*(None if t is None else t.to(dtype) for t in (targets.heatmaps, targets.offsets)))
    pose = codec.decode(maps)
    full = codec.decode(PoseMaps(*(None if t is None else t.float() for t in maps)))
    assert pose.coords.dtype == pose.scores.dtype == torch.float32
    assert torch.equal(pose.coords, full.coords)
    assert torch.equal(pose.scores, full.scores)


def test_votes_of_half_precision_find_their_pixel():
    heatmaps, offsets = torch.zeros(1, 1, 96, 72), torch.zeros(1, 1, 2, 96, 72)
    heatmaps[0, 0, 95, 71] = heatmaps[0, 0, 50, 33] = 1
    assert torch.equal(vote(heatmaps.half(), offsets.half()).float(), vote(heatmaps, offsets))


@every_variant
def test_joints_in_whole_pixels_may_be_integers(name, options):
    codec, joints = make(name, options), torch.tensor([[[47, 60], [90, 3]]])
    assert torch.equal(codec.to_heatmap(joints), codec.to_heatmap(joints.float()))
    assert torch.equal(codec.to_input(joints), codec.to_input(joints.float()))
    whole, fractional = (codec.encode(j, torch.ones(1, 2)) for j in (joints, joints.float()))
    for ours, theirs in zip(tensors(whole), tensors(fractional), strict=True):
        assert torch.equal(ours, theirs)


@every_variant
def test_joints_do_not_touch_each_other(name, options):
    codec = make(name, options)
    heatmaps, offsets = torch.randn(4, 5, *SIZE), torch.randn(4, 5, 2, *SIZE)
    pose = codec.decode(PoseMaps(heatmaps, offsets))
    one = codec.decode(PoseMaps(heatmaps[2:3, 3:4], offsets[2:3, 3:4]))
    torch.testing.assert_close(pose.coords[2:3, 3:4], one.coords, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", CODECS)
def test_wrong_shapes_and_options_say_what_is_wrong(name):
    codec = make(name, {})
    with pytest.raises(ValueError, match=r"joints \(B, K, 2\)"):
        codec.encode(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="heatmaps"):
        codec.decode(PoseMaps(torch.zeros(1, 1, 24, 32)))
    with pytest.raises(ValueError, match="no option 'sgima'"):
        build_codec(name, INPUT, SIZE, sgima=1)
    if name in ("offset", "cal"):
        with pytest.raises(ValueError, match="decodes offsets"):
            codec.decode(PoseMaps(torch.zeros(1, 1, *SIZE)))


@pytest.mark.parametrize("name", CODECS)
def test_every_choice_is_checked(name):
    kinds = {field.name: (field.type, *get_args(field.type)) for field in fields(CODECS[name])}
    choices = [option for option, kind in kinds.items() if any(get_origin(part) is Literal for part in kind)]
    assert "convention" in choices
    for option in choices:
        with pytest.raises(ValueError, match=f"unknown {option} 'hugh'.*choose one of"):
            make(name, {option: "hugh"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("offset", {"decoding": "hugh"}, r"unknown decoding 'hugh'.*did you mean hough.*: choose one of peak, hough"),
        ("cal", {"heatmap_support": "disc"}, "unknown heatmap_support 'disc'.*did you mean disk"),
        ("heatmap", {"center": "middle"}, "unknown center 'middle': choose one of joint, pixel"),
        ("heatmap", {"sigma": 0}, "sigma must be above 0, got 0"),
        ("dark", {"sigma": -1.0}, "sigma must be above 0"),
        ("integral", {"sigma": math.nan}, "sigma must be above 0"),
        ("cal", {"mask_sigma": 0.0}, "mask_sigma must be above 0"),
        ("offset", {"radius": 0}, "radius must be above 0"),
        ("offset", {"blur": 7}, "blur must be two odd numbers, for heatmaps and for offsets, got 7"),
        ("offset", {"blur": (15, 6)}, "odd number of taps"),
    ],
)
def test_what_an_option_cannot_be_is_refused_at_once(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, options)


def test_unknown_codec():
    with pytest.raises(ValueError, match="unknown codec 'drak'"):
        build_codec("drak", INPUT, SIZE)
    with pytest.raises(ValueError, match="odd number of taps"):
        build_codec("dark", INPUT, SIZE, blur=4)
    with pytest.raises(ValueError, match="convention"):
        build_codec("heatmap", INPUT, SIZE, convention="unbiassed")
