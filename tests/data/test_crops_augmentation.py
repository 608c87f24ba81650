"""The augmentation draws what the published code draws, and moves pictures and joints alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calbook import geometry
from calbook.codecs import build_codec
from calbook.data.crops import (
    MPII,
    NONE,
    PUBLISHED,
    RESNET,
    Augmentation,
    Canvases,
    Crops,
    augment,
    augmentation_draws,
)
from calbook.data.crops.augmentation import COLUMNS
from calbook.data.crops.halves import half_bodies, lower_body
from calbook.data.draws import Draws
from calbook.geometry import CropBox, Size
from calbook.skeletons import COCO, LSP, SKELETONS, Skeleton

SIZE = (64, 48)


class Fixed(Draws):
    """Draws of given uniform numbers, the same for all people: half, upper, growth, angle, turned, mirrored."""

    def __init__(self, *numbers: float, people: int = 1) -> None:
        self._numbers = torch.tensor([numbers] * people, dtype=torch.float64)
        self._next = 0


def normal_to_uniform(value: float) -> float:
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def canvases(people: int = 1, seed: int = 0, skeleton: Skeleton = COCO) -> Canvases:
    """Black canvases with random joints and a crop in the middle of the input's shape."""
    generator = torch.Generator().manual_seed(seed)
    joints = 40 + 60 * torch.rand(people, skeleton.num_joints, 2, generator=generator)
    return Canvases(
        torch.zeros(people, 3, 140, 140, dtype=torch.uint8),
        joints,
        torch.full((people, skeleton.num_joints), 2),
        torch.tensor([[70.0, 68.0]]).expand(people, 2),
        torch.tensor([[72.0, 96.0]]).expand(people, 2),
    )


def published(
    canvas: Canvases, size: Size, half: str | None, growth: float, degrees: float, mirrored: bool
) -> tuple[Tensor, Tensor]:
    """The published steps on one person, with its own formulas: joints in input pixels and visibilities."""
    joints, visible = canvas.joints[0].double().numpy(), canvas.visible[0].numpy()
    center, extent = canvas.centers[0].double().numpy(), canvas.extents[0].double().numpy()
    aspect = size[1] / size[0]
    if half is not None:
        chosen = joints[[k for k in range(17) if visible[k] > 0 and (k <= 10) == (half == "upper")]]
        center = chosen.mean(0)
        width, height = chosen.max(0) - chosen.min(0)
        if width > aspect * height:
            height = width / aspect
        else:
            width = height * aspect
        extent = 1.5 * np.array([width, height])
    extent = extent * growth
    if mirrored:
        across = 140
        joints = np.stack([across - 1 - joints[:, 0], joints[:, 1]], 1)[list(COCO.mirror)]
        visible = visible[list(COCO.mirror)]
        center = np.array([across - 1 - center[0], center[1]])
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (joints - center) @ turn.T + extent / 2
    return torch.from_numpy(turned * (np.array(size[::-1]) - 1) / extent), torch.from_numpy(visible)


@pytest.mark.parametrize("half", [None, "upper", "lower"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("growth", "degrees"), [(1.0, 0.0), (0.8, 37.0), (1.3, -71.0)])
def test_joints_follow_the_published_steps(half: str | None, mirrored: bool, growth: float, degrees: float) -> None:
    canvas = canvases(seed=3)
    canvas.visible[0, 4] = 0
    draws = Fixed(
        0.1 if half else 0.9,
        0.1 if half == "upper" else 0.9,
        normal_to_uniform((growth - 1) / 0.35),
        normal_to_uniform(degrees / 45),
        0.5,  # turned, by an angle that may be 0
        0.1 if mirrored else 0.9,
    )
    crops = augment(canvas, SIZE, COCO, PUBLISHED, draws)
    joints, visible = published(canvas, SIZE, half, growth, degrees, mirrored)
    assert (crops.visible[0] == visible).all()
    shown = visible > 0
    torch.testing.assert_close(crops.joints[0][shown].double(), joints[shown], atol=1e-3, rtol=0)
    assert (crops.joints[0][~shown] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_pictures_move_with_their_joints(seed: int) -> None:
    """A bright spot painted at each joint's place in the canvas is found at its place in the crop."""
    canvas = canvases(people=4, seed=seed)
    y, x = torch.meshgrid(torch.arange(140.0), torch.arange(140.0), indexing="ij")
    for joint in (0, 9, 16):
        place = canvas.joints[:, joint]
        square = (x - place[:, 0, None, None]) ** 2 + (y - place[:, 1, None, None]) ** 2
        spots = (255 * torch.exp(-square / (2 * 4.0**2))).round().to(torch.uint8)[:, None].expand(4, 3, 140, 140)
        crops = augment(canvas._replace(pictures=spots), SIZE, COCO, PUBLISHED, augmentation_draws(seed, 1, range(4)))
        for image, joints in zip(crops.images[:, 0], crops.joints, strict=True):
            peak = (image == image.max()).nonzero().double().mean(0).flip(0)  # (x, y)
            distance = torch.minimum(
                (joints[joint] - peak).norm(), (joints[COCO.mirror[joint]] - peak).norm()
            )  # by side: tested above
            inside = ((joints[joint] > 6) & (joints[joint] < torch.tensor([41.0, 57.0]))).all()
            assert distance < 1.5 or not inside or image.max() < 0.5


def test_a_mirrored_crop_is_the_mirror_image() -> None:
    canvas = canvases(people=3)
    canvas.pictures.random_(generator=torch.Generator().manual_seed(1))
    plain = augment(canvas, SIZE, COCO, NONE)
    flipped = augment(canvas, SIZE, COCO, Augmentation(0, 0, 0, 1, 0), augmentation_draws(0, 0, range(3)))
    torch.testing.assert_close(flipped.images, plain.images.flip(-1), atol=1e-4, rtol=0)
    expected = geometry.flip_joints(plain.joints, SIZE[1], COCO.mirror)
    torch.testing.assert_close(flipped.joints, expected, atol=1e-4, rtol=0)


def test_crops_are_those_of_geometry_in_both_conventions() -> None:
    canvas = canvases(people=2)
    canvas.pictures.random_(generator=torch.Generator().manual_seed(1))
    for convention in ("unbiased", "biased"):
        matrices = geometry.crop_matrix(CropBox(canvas.centers, canvas.extents), SIZE, 30.0, convention)
        turned = Augmentation(30.0, 1.0, 0, 0, 0)
        draws = Fixed(0.9, 0.9, 0.5, normal_to_uniform(1.0), 0.5, 0.9, people=2)
        crops = augment(canvas, SIZE, COCO, turned, draws, convention=convention)
        torch.testing.assert_close(crops.joints, geometry.transform(canvas.joints, matrices), atol=1e-4, rtol=0)
        images = geometry.sample_crops(canvas.pictures.float() / 255, matrices, SIZE)
        torch.testing.assert_close(crops.images, images, atol=1e-3, rtol=0)


def test_a_biased_mirror_image_is_the_crop_of_the_mirrored_picture() -> None:
    """Its pixel x comes from W - x, not from W - 1 - x: what the shift in the published flip test makes up for."""
    canvas = canvases()
    flip = Augmentation(0, 0, 0, 1, 0)
    plain = augment(canvas, SIZE, COCO, NONE, convention="biased")
    mirrored = augment(canvas, SIZE, COCO, flip, augmentation_draws(0, 0, [0]), convention="biased")
    expected = torch.stack([SIZE[1] - plain.joints[..., 0], plain.joints[..., 1]], -1)[:, list(COCO.mirror)]
    torch.testing.assert_close(mirrored.joints, expected, atol=1e-4, rtol=0)


def sampled(augmentation: Augmentation, people: int = 40_000) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Growth, angle, mirrored, half body, upper half of many people, read off three joints."""
    draws = augmentation_draws(7, 3, range(people))
    half, upper = draws.chance(augmentation.half_body), draws.chance(augmentation.upper_body)
    from calbook.data.crops import augmentation as module

    growth, angle = module._growth(augmentation, draws), module._angle(augmentation, draws)
    return growth, angle, draws.chance(augmentation.flip), half, upper


def test_shares_and_spreads_are_the_published_ones() -> None:
    growth, angle, mirrored, half, upper = sampled(PUBLISHED)
    assert growth.amin().item() == pytest.approx(0.65)
    assert growth.amax().item() == pytest.approx(1.35)
    assert (growth == 0.65).double().mean() == pytest.approx(0.1587, abs=0.01)  # beyond one deviation
    assert angle.abs().amax().item() == pytest.approx(90)
    assert (angle == 0).double().mean() == pytest.approx(0.4, abs=0.01)
    turned = angle[angle != 0]
    assert (turned.abs() < 45).double().mean() == pytest.approx(0.6827, abs=0.01)
    assert turned.mean() == pytest.approx(0, abs=1)
    assert mirrored.double().mean() == pytest.approx(0.5, abs=0.01)
    assert half.double().mean() == pytest.approx(0.3, abs=0.01)
    assert upper.double().mean() == pytest.approx(0.6915, abs=0.01)
    correlation = torch.corrcoef(torch.stack([growth, angle, mirrored.double(), half.double(), upper.double()]))
    assert (correlation - torch.eye(5)).abs().max() < 0.03


def test_presets() -> None:
    assert (RESNET.rotation, RESNET.scale, RESNET.half_body) == (40, 0.3, 0)
    assert (MPII.rotation, MPII.scale, MPII.half_body) == (30, 0.25, 0)
    assert (PUBLISHED.rotation, PUBLISHED.rotation_probability, PUBLISHED.scale) == (45, 0.6, 0.35)


def rows(crops: Crops, indices: list[int]) -> list[Tensor]:
    return [value[indices] for value in crops]


def test_draws_belong_to_the_person_not_to_the_batch() -> None:
    canvas = canvases(people=8)
    canvas.pictures.random_(generator=torch.Generator().manual_seed(1))
    whole = augment(canvas, SIZE, COCO, PUBLISHED, augmentation_draws(5, 2, range(100, 108)))
    some = [6, 1, 3]
    part = Canvases(*(value[some] for value in canvas))
    alone = augment(part, SIZE, COCO, PUBLISHED, augmentation_draws(5, 2, [106, 101, 103]))
    assert all(torch.equal(a, b) for a, b in zip(rows(whole, some), alone, strict=True))
    for seed, epoch in ((6, 2), (5, 3)):
        other = augment(canvas, SIZE, COCO, PUBLISHED, augmentation_draws(seed, epoch, range(100, 108)))
        assert not torch.allclose(other.joints, whole.joints)


def test_half_bodies_are_only_for_people_of_whom_enough_is_labelled() -> None:
    always = Augmentation(0, 0, 0, 0, 1.0)
    canvas = canvases(people=3, seed=1)
    canvas.visible[0, 8:] = 0  # eight joints: not more than eight
    canvas.visible[1, 9:] = 0  # nine of the upper body: there is no lower half
    crops = augment(canvas, SIZE, COCO, always, augmentation_draws(0, 0, range(3)))
    plain = augment(canvas, SIZE, COCO, NONE)
    assert torch.equal(crops.joints[0], plain.joints[0])
    assert not torch.equal(crops.joints[1], plain.joints[1])
    assert not torch.equal(crops.joints[2], plain.joints[2])
    only_lower = Augmentation(0, 0, 0, 0, 1.0, upper_body=0.0)
    again = augment(canvas, SIZE, COCO, only_lower, augmentation_draws(0, 0, range(3)))
    torch.testing.assert_close(again.joints[1], crops.joints[1])  # still the upper half


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(SKELETONS)))
def test_half_bodies_agree_with_a_plain_loop(seed: int, name: str) -> None:
    skeleton = SKELETONS[name]
    generator = torch.Generator().manual_seed(seed)
    joints = 100 * torch.rand(1, skeleton.num_joints, 2, generator=generator)
    visible = torch.randint(0, 3, (1, skeleton.num_joints), generator=generator)
    halves = half_bodies(joints, visible, skeleton, SIZE)
    lower = lower_body(skeleton)
    for side in (0, 1):
        chosen = [joints[0, k] for k in range(skeleton.num_joints) if visible[0, k] > 0 and lower[k] == bool(side)]
        assert halves.usable[0, side].item() == (len(chosen) > 2)
        if len(chosen) > 2:
            points = torch.stack(chosen)
            width, height = (points.amax(0) - points.amin(0)).tolist()
            size = (max(width, 0.75 * height) * 1.5, max(height, width / 0.75) * 1.5)
            torch.testing.assert_close(halves.crops.center[0, side], points.mean(0))
            torch.testing.assert_close(halves.crops.extent[0, side], torch.tensor(size))


def test_halves_of_the_known_skeletons() -> None:
    assert lower_body(COCO) == (False,) * 11 + (True,) * 6
    assert lower_body(SKELETONS["mpii"]) == (True,) * 7 + (False,) * 9
    assert lower_body(LSP) == (True,) * 6 + (False,) * 8
    dog = Skeleton("dog", ("nose", "tail", "back", "neck"), (), (0.1,) * 4)
    joints = torch.rand(2, 4, 2)
    assert not half_bodies(joints, torch.ones(2, 4), dog, SIZE).usable.any()


def test_joints_at_one_point_make_no_infinite_crop() -> None:
    canvas = canvases()
    canvas.joints[:] = 50.0
    always = Augmentation(half_body=1.0)
    crops = augment(canvas, SIZE, COCO, always, augmentation_draws(0, 0, [0]))
    assert crops.images.isfinite().all()
    assert crops.joints.isfinite().all()


@pytest.mark.parametrize("name", ["heatmap", "offset", "cal", "dark"])
def test_joints_that_leave_the_crop_keep_their_visibility_and_lose_their_weight(name: str) -> None:
    canvas = canvases()
    canvas.joints[0, 0] = torch.tensor([-200.0, 60.0])
    crops = augment(canvas, SIZE, COCO, NONE)
    assert crops.visible[0, 0] == 2
    targets = build_codec(name, SIZE, (16, 12)).encode(crops.joints, crops.visible)
    assert targets.heatmaps[0, 0].abs().max() == 0
    if name != "offset":  # UDP trains such joints to an empty map, as published
        assert targets.weights[0, 0] == 0
    assert targets.weights[0, 1:].min() == 1


def test_what_does_not_vary_needs_no_draws_and_what_does_needs_them() -> None:
    augment(canvases(), SIZE, COCO, NONE)
    with pytest.raises(ValueError, match="needs draws"):
        augment(canvases(), SIZE, COCO, PUBLISHED)
    draws = augmentation_draws(0, 0, [0])
    augment(canvases(), SIZE, COCO, PUBLISHED, draws)
    assert draws._next == COLUMNS


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"flip": 1.5}, "flip is a probability"),
        ({"half_body": -0.1}, "half_body is a probability"),
        ({"scale": 1.0}, "scale must be from 0 to below 1"),
        ({"rotation": math.nan}, "rotation must be a number"),
    ],
)
def test_augmentations_out_of_range_are_refused(change: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Augmentation(**change)


def test_the_normal_numbers_are_normal() -> None:
    numbers = Draws(0, range(200), 500).normal(500)
    assert numbers.mean() == pytest.approx(0, abs=0.01)
    assert numbers.std() == pytest.approx(1, abs=0.01)
    assert (numbers.abs() < 1.96).double().mean() == pytest.approx(0.95, abs=0.003)
    lowest = Fixed(0.0).normal(1)
    assert lowest.isfinite().all()
