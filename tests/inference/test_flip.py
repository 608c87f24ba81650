"""The flip test: mirrors of mirrors, the published shift, and symmetric people."""

import pytest
import torch
from trained_runs import enliven

from calbook.codecs import build_codec
from calbook.geometry import flip_joints
from calbook.inference import mirrored_maps, predict_crops, predict_maps
from calbook.models import build_model
from calbook.poses import Pose, PoseMaps
from calbook.skeletons import COCO

INPUT, HEATMAP = (64, 48), (16, 12)
MIRROR = COCO.mirror

# Every codec with the network that it reads.
CODECS = {
    "argmax": ("hrnet-tiny", build_codec("heatmap", INPUT, HEATMAP, shift=False)),
    "quarter shift": ("hrnet-tiny", build_codec("heatmap", INPUT, HEATMAP)),
    "quarter shift, everywhere": ("hrnet-tiny", build_codec("heatmap", INPUT, HEATMAP, border="full")),
    "dark": ("hrnet-tiny", build_codec("dark", INPUT, HEATMAP)),
    "dark, safe": ("hrnet-tiny", build_codec("dark", INPUT, HEATMAP, border="full", step="safe", blur=1)),
    "dark, udp": ("hrnet-tiny", build_codec("dark", INPUT, HEATMAP, variant="udp", blur=1, sigma=2.0)),
    "integral": ("hrnet-tiny", build_codec("integral", INPUT, HEATMAP)),
    "integral, sum": ("hrnet-tiny", build_codec("integral", INPUT, HEATMAP, normalization="sum")),
    "offset": ("offset-hrnet-tiny", build_codec("offset", INPUT, HEATMAP)),
    "offset, logits": ("offset-hrnet-tiny", build_codec("offset", INPUT, HEATMAP, logits=True)),
    "offset, blur": ("offset-hrnet-tiny", build_codec("offset", INPUT, HEATMAP, blur=(5, 3))),
    "offset, hough": ("offset-hrnet-tiny", build_codec("offset", INPUT, HEATMAP, decoding="hough")),
    "cal": ("cal-hrnet-tiny", build_codec("cal", INPUT, HEATMAP)),
}
# Published rules that are not their own mirror image: the quarter shift is withheld from two columns on the left and
# one on the right, and UDP's mixed difference takes one diagonal (exact for Gaussians, not for other maps).
LOPSIDED = {"quarter shift", "dark, udp"}
# Newton steps from an almost flat parabola multiply rounding errors.
SHAKY = {"dark"}
# Codecs that answer in whole pixels, or whole and quarter ones: how far the nose is then from its mirror image.
QUANTIZED = {"argmax": 1.0, "quarter shift": 0.5, "quarter shift, everywhere": 0.5}
MIDDLE = [k for k in range(17) if MIRROR[k] == k]
PAIRED = [k for k in range(17) if MIRROR[k] != k]


@pytest.fixture(scope="module")
def networks() -> dict[str, torch.nn.Module]:
    return {name: enliven(build_model(name)) for name in ("hrnet-tiny", "offset-hrnet-tiny", "cal-hrnet-tiny")}


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.rand(4, 3, *INPUT, generator=torch.Generator().manual_seed(0))


def asymmetry(pose: Pose, other: Pose) -> torch.Tensor:
    """How far each joint is from where it is in the mirror of another pose, ``(B, K)``; 0 where its map is empty."""
    distance = (pose.coords - flip_joints(other.coords, INPUT[1], MIRROR)).abs().amax(-1)
    seen = (pose.scores > 0) & (other.scores[:, list(MIRROR)] > 0)
    assert seen.float().mean() > 0.5
    return torch.where(seen, distance, 0.0)


@pytest.mark.parametrize("name", sorted(set(CODECS) - LOPSIDED))
def test_a_symmetric_picture_gives_a_symmetric_pose(networks, pictures, name):
    network, codec = CODECS[name]
    symmetric = (pictures + pictures.flip(-1)) / 2
    pose = predict_crops(networks[network], codec, symmetric, mirror=MIRROR)
    assert asymmetry(pose, pose)[:, PAIRED].max() < 1e-4


@pytest.mark.parametrize("name", sorted(set(CODECS) - LOPSIDED - SHAKY))
def test_a_mirrored_picture_gives_the_mirrored_pose(networks, pictures, name):
    network, codec = CODECS[name]
    pose = predict_crops(networks[network], codec, pictures, mirror=MIRROR)
    mirrored = predict_crops(networks[network], codec, pictures.flip(-1), mirror=MIRROR)
    assert asymmetry(pose, mirrored).max() < 1e-3


def test_without_the_flip_test_it_does_not(networks, pictures):
    network, codec = CODECS["cal"]
    pose = predict_crops(networks[network], codec, pictures)
    mirrored = predict_crops(networks[network], codec, pictures.flip(-1))
    assert asymmetry(pose, mirrored).max() > 1


class Perfect(torch.nn.Module):
    """Sees a symmetric person exactly, the mirrored one too."""

    def __init__(self, codec, joints):
        super().__init__()
        targets = codec.encode(joints, torch.ones(joints.shape[:2]))
        self.maps = PoseMaps(targets.heatmaps, targets.offsets)

    def forward(self, images):
        return self.maps


def symmetric_person() -> torch.Tensor:
    joints = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([20.0, 40.0]) + 10
    return (joints + flip_joints(joints, INPUT[1], MIRROR)) / 2  # the nose at x = 23.5, between two heatmap pixels


@pytest.mark.parametrize("name", CODECS)
def test_a_symmetric_person_seen_perfectly_is_symmetric(name):
    _, codec = CODECS[name]
    person = Perfect(codec, symmetric_person())
    pose = predict_crops(person, codec, torch.zeros(1, 3, *INPUT), mirror=MIRROR)
    assert asymmetry(pose, pose)[:, PAIRED].max() < 1e-4


@pytest.mark.parametrize("name", sorted(set(CODECS) - SHAKY))
def test_the_nose_stays_in_the_middle_where_the_codec_can_say_so(name):
    _, codec = CODECS[name]
    person = Perfect(codec, symmetric_person())
    pose = predict_crops(person, codec, torch.zeros(1, 3, *INPUT), mirror=MIRROR)
    pixels = asymmetry(pose, pose)[:, MIDDLE].max() / codec.to_input(torch.ones(2))[0]
    assert pixels == pytest.approx(QUANTIZED.get(name, 0.0), abs=1e-4)


def test_the_average_comes_before_the_peak(networks, pictures):
    network = networks["cal-hrnet-tiny"]
    maps = predict_maps(network, pictures, mirror=MIRROR)
    once, twice = predict_maps(network, pictures), predict_maps(network, pictures.flip(-1))
    flipped = mirrored_maps(twice, MIRROR)
    assert torch.equal(maps.heatmaps, (once.heatmaps + flipped.heatmaps) / 2)
    assert maps.offsets is not None
    assert torch.equal(maps.offsets[:, 5, 0], (once.offsets[:, 5, 0] - twice.offsets[:, 6, 0].flip(-1)) / 2)  # left x
    assert torch.equal(maps.offsets[:, 5, 1], (once.offsets[:, 5, 1] + twice.offsets[:, 6, 1].flip(-1)) / 2)  # left y


def test_the_published_shift_moves_mirrored_maps_by_a_pixel(pictures):
    maps = PoseMaps(torch.rand(2, 17, *HEATMAP), torch.rand(2, 17, 2, *HEATMAP))
    plain, shifted = mirrored_maps(maps, MIRROR), mirrored_maps(maps, MIRROR, shift=True)
    for straight, moved in zip(plain, shifted, strict=True):
        assert torch.equal(moved[..., 1:], straight[..., :-1])
        assert torch.equal(moved[..., 0], straight[..., 0])


@pytest.mark.parametrize(
    ("convention", "shift", "bias"),
    [("unbiased", False, 0), ("biased", False, -0.75), ("biased", True, 0.25), ("unbiased", True, 1)],
)
def test_bias_of_the_mirrored_map(convention, shift, bias):
    """What a perfect network sees in the mirror, read back: the error of each convention, in heatmap pixels."""
    codec = build_codec("heatmap", INPUT, HEATMAP, convention=convention, center="joint", support="plane", sigma=1.5)
    fine = build_codec("integral", INPUT, HEATMAP, convention=convention, normalization="sum")
    joints = torch.rand(8, 17, 2, generator=torch.Generator().manual_seed(2)) * 8 + torch.tensor([20.0, 28.0])
    seen = codec.encode(flip_joints(joints, INPUT[1], MIRROR), torch.ones(8, 17))
    read = fine.decode(mirrored_maps(PoseMaps(seen.heatmaps), MIRROR, shift=shift)).coords
    error = codec.to_heatmap(read) - codec.to_heatmap(joints)
    torch.testing.assert_close(error[..., 0], torch.full((8, 17), float(bias)), atol=0.03, rtol=0)
    torch.testing.assert_close(error[..., 1], torch.zeros(8, 17), atol=0.03, rtol=0)


def test_a_network_is_left_in_its_mode(networks, pictures):
    model = build_model("hrnet-tiny").train()
    frozen = model.get_submodule("trunk.stem.0.1").eval()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    predict_crops(model, CODECS["argmax"][1], pictures)
    assert [part for part in model.modules() if not part.training] == [frozen]
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
