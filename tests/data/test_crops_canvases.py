"""Canvases hold what crops need, in the right place: against sampling from the whole picture."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from crop_people import people_in, save, waves

from calbook import geometry
from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import (
    NONE,
    Augmentation,
    CanvasOptions,
    DecodedCanvases,
    augment,
    augmentation_draws,
    person_crops,
    select,
    subset,
)
from calbook.data.crops.canvases import lay_out
from calbook.data.crops.decoding import shrink_of
from calbook.data.defects import DataError
from calbook.geometry import Size

SIZE = (64, 48)
# As high as the input at its density or less, a little more, twice, four times and more than eight times as high.
BOXES = [
    (300.3, 200.7, 30.0, 41.5),
    (201.2, 103.4, 50.5, 90.0),
    (180.0, 60.5, 80.2, 150.3),
    (180.0, 80.0, 200.0, 310.0),
]
LARGE = [(300.0, 200.0, 400.0, 700.0)]


def from_whole_pictures(people: CocoPeople, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops and joints by `geometry` alone."""
    matrices = geometry.crop_matrix(person_crops(people, size), size)
    images = [geometry.sample_crops(people.picture(i), matrices[i : i + 1], size) for i in range(len(people))]
    return torch.cat(images), geometry.transform(people.joints, matrices)


def plain_crops(people: CocoPeople, size: Size) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = DecodedCanvases(people, size)
    return tuple(augment(source.canvases(torch.arange(len(people))), size, people.skeleton, NONE))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("boxes", "size"), [(BOXES, (480, 640)), (LARGE, (1001, 901))])
def test_unaugmented_crops_are_those_of_the_whole_picture(
    tmp_path: Path, suffix: str, boxes: list[tuple[float, float, float, float]], size: Size
) -> None:
    people = people_in(tmp_path, boxes, size, suffix=suffix)
    shrinks = [shrink_of(lay_out(people, SIZE, CanvasOptions()), i) for i in range(len(boxes))]
    assert shrinks == ([1, 1, 2, 4] if boxes is BOXES else [8])
    images, joints, visible = plain_crops(people, SIZE)
    expected, places = from_whole_pictures(people, SIZE)
    labelled = visible > 0
    torch.testing.assert_close(joints[labelled], places[labelled], atol=1e-4, rtol=0)
    assert (joints[~labelled] == 0).all()
    assert (visible == people.visible).all()
    # The waves survive resampling; 8-bit rounding, twice, and JPEG leave about a grey level.
    difference = (images - expected).abs()
    assert difference.mean() < 1.0 / 255
    assert difference.amax() < 4.0 / 255


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_nothing_is_shifted_by_resampling(tmp_path: Path, suffix: str) -> None:
    """On a ramp a shift brightens, on the opposite one it darkens; rounding to 8 bits does the same to both."""
    rising = people_in(tmp_path / "rising", BOXES, draw=lambda x, y: (x - 160) / 320, suffix=suffix)
    falling = people_in(tmp_path / "falling", BOXES, draw=lambda x, y: (480 - x) / 320, suffix=suffix)
    errors = [
        (plain_crops(people, SIZE)[0] - from_whole_pictures(people, SIZE)[0])[..., 4:-4, 4:-4].mean((1, 2, 3))
        for people in (rising, falling)
    ]
    shifts = 320 * (errors[0] - errors[1]) / 2  # in picture pixels
    steps = lay_out(rising, SIZE, CanvasOptions()).steps
    assert (shifts.abs() < 0.05 * steps).all()


def test_a_picture_that_needs_no_shrinking_is_sampled_exactly(shared_data: Path) -> None:
    people = select(coco.read_split(shared_data / "coco_mini", "val2017"))
    small = (lay_out(people, (128, 96), CanvasOptions()).steps == 1).nonzero()[:6, 0]
    assert len(small) == 6
    people = subset(people, small)
    images, joints, visible = plain_crops(people, (128, 96))
    expected, places = from_whole_pictures(people, (128, 96))
    torch.testing.assert_close(images, expected, atol=2e-3, rtol=0)  # float32 positions, no resampling
    torch.testing.assert_close(joints[visible > 0], places[visible > 0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("folder", "split"), [("lspet", "images"), ("coco_mini", "train2017")])
def test_real_crops_agree_with_those_of_pictures_smoothed_beforehand(
    shared_data: Path, folder: str, split: str
) -> None:
    people = select(coco.read_split(shared_data / folder, split))
    people = subset(people, torch.arange(0, len(people), len(people) // 8)[:8])
    images, joints, visible = plain_crops(people, SIZE)
    _, places = from_whole_pictures(people, SIZE)
    torch.testing.assert_close(joints[visible > 0], places[visible > 0], atol=1e-4, rtol=0)
    steps = lay_out(people, SIZE, CanvasOptions()).steps
    matrices = geometry.crop_matrix(person_crops(people, SIZE), SIZE)
    for i, step in enumerate(steps.tolist()):
        width = max(1, 2 * round(step / 2 - 0.5) + 1)  # odd
        picture = people.picture(i)[None]
        smooth = torch.nn.functional.avg_pool2d(picture, width, 1, width // 2, count_include_pad=False)[0]
        expected = geometry.sample_crops(smooth, matrices[i : i + 1], SIZE)[0]
        assert (images[i] - expected).abs().mean() < 0.035, f"person {i}, step {step}"


EXTREME = [
    Augmentation(rotation=1e-6, rotation_probability=0, scale=0.35, flip=0.5, half_body=0),
    Augmentation(half_body=1, half_body_joints=3, upper_body=1),
    Augmentation(half_body=1, half_body_joints=3, upper_body=0),
    Augmentation(rotation=90, rotation_probability=1),
]


@pytest.mark.parametrize("augmentation", EXTREME)
def test_canvases_hold_all_that_augmented_crops_show(tmp_path: Path, augmentation: Augmentation) -> None:
    """On white pictures, an input pixel is white if and only if it lies in the picture."""
    people = people_in(tmp_path, BOXES * 6, draw=lambda x, y: np.ones_like(x), per_picture=24)
    layout = lay_out(people, SIZE, CanvasOptions())
    canvases = DecodedCanvases(people, SIZE).canvases(torch.arange(len(people)))
    numbers = list(range(len(people)))
    crops = augment(canvases, SIZE, people.skeleton, augmentation, augmentation_draws(1, 2, numbers))
    # A canvas twice as dense and far larger must show the same.
    options = CanvasOptions(density=3.0, reach=4.0)
    canvases = DecodedCanvases(people, SIZE, options).canvases(torch.arange(len(people)))
    whole = augment(canvases, SIZE, people.skeleton, augmentation, augmentation_draws(1, 2, numbers))
    torch.testing.assert_close(crops.joints, whole.joints, atol=1e-3, rtol=0)
    edge = torch.nn.functional.max_pool2d(1 - whole.images, 5, 1, 2) * torch.nn.functional.max_pool2d(
        whole.images, 5, 1, 2
    )
    inner = edge < 1e-3  # two input pixels away from the picture's edge
    assert inner.float().mean() > 0.5
    torch.testing.assert_close(crops.images[inner], whole.images[inner], atol=0.02, rtol=0)
    assert max(layout.field) <= 1.5 * 1.35 * math.hypot(63, 47) + 6


def test_canvases_of_people_at_and_beyond_the_edges(tmp_path: Path) -> None:
    boxes = [(-20.0, -10.0, 60.0, 90.0), (630.0, 470.0, 10.0, 10.0), (0.0, 0.0, 640.0, 480.0), (639.0, 0.0, 1.0, 1.0)]
    people = people_in(tmp_path, boxes)
    layout = lay_out(people, SIZE, CanvasOptions())
    assert (layout.origins >= 0).all()
    assert (layout.sizes >= 1).all()
    images, _, _ = plain_crops(people, SIZE)
    expected, _ = from_whole_pictures(people, SIZE)
    assert (images - expected).abs().mean() < 0.02


def test_options_of_canvases(tmp_path: Path) -> None:
    people = people_in(tmp_path, BOXES)
    fields = {
        name: lay_out(people, SIZE, options).field
        for name, options in {
            "default": CanvasOptions(),
            "fine": CanvasOptions(density=3.0),
            "narrow": CanvasOptions(reach=1.0, half_body=False),
        }.items()
    }
    assert max(fields["narrow"]) < max(fields["default"]) < max(fields["fine"])
    for options in ({"density": 0.0}, {"reach": -1.0}, {"density": math.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be a number above 0"):
            CanvasOptions(**options)


def test_damaged_pictures_are_named_in_one_line(tmp_path: Path) -> None:
    people = people_in(tmp_path, BOXES)
    source = DecodedCanvases(people, SIZE)
    (tmp_path / "000.jpg").unlink()
    save(tmp_path / "001.jpg", (100, 100))
    whole = (tmp_path / "002.jpg").read_bytes()
    (tmp_path / "002.jpg").write_bytes(whole[: len(whole) // 2])
    for index, problem in ((0, "missing"), (1, "is 100x100, annotated as 480x640"), (2, "cut short")):
        with pytest.raises(DataError, match=problem) as caught:
            source.canvases(torch.tensor([index]))
        assert f"00{index}.jpg" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="without its pictures' folder"):
        DecodedCanvases(replace(people, pictures=None), SIZE).canvases(torch.tensor([3]))


def test_threads_decode_the_same(tmp_path: Path) -> None:
    people = people_in(tmp_path, BOXES * 2)
    one, many = (DecodedCanvases(people, SIZE, workers=workers).canvases(torch.arange(8)) for workers in (1, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_the_published_selection(tmp_path: Path) -> None:
    people = people_in(tmp_path, [*BOXES, (700.0, 10.0, 20.0, 30.0), (10.0, 10.0, 0.0, 30.0)])
    areas = people.areas.clone()
    areas[1], areas[2] = 0.0, math.nan  # no area; not known
    kept = select(replace(people, areas=areas))
    assert kept.ids.tolist() == [1, 3, 4]  # 2 has no area, 5 lies outside of the picture, 6 has an empty box
    assert kept.file_names == ("000.jpg", "002.jpg", "003.jpg")
    document = kept.pycocotools_dict()
    assert [entry["id"] for entry in document["annotations"]] == [1, 3, 4]
    assert [image["id"] for image in document["images"]] == [1, 3, 4]


def test_a_subset_keeps_what_evaluation_ignores(shared_data: Path) -> None:
    people = coco.read_split(shared_data / "coco_mini", "train2017")
    few = subset(people, torch.tensor([5, 3]))
    assert few.ids.tolist() == people.ids[[5, 3]].tolist()
    document, whole = few.pycocotools_dict(), people.pycocotools_dict()
    assert {image["id"] for image in document["images"]} == set(few.image_ids.tolist())
    persons = set(people.ids.tolist())
    assert {entry["id"] for entry in document["annotations"]} == {
        entry["id"]
        for entry in whole["annotations"]
        if entry["id"] in few.ids or (entry["image_id"] in few.image_ids and entry["id"] not in persons)
    }


def test_waves_stay_within_range() -> None:
    y, x = np.mgrid[:500, :700].astype(float)
    assert waves(x, y).min() >= 0
    assert waves(x, y).max() <= 1
